"""An API that asks for keys, and people who have some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import httpx2
from api_kit import BODY, RunningApi

PEPPER: Final = "pepper-of-the-tests-0123456789"


@dataclass(frozen=True)
class Person:
    """Whoever has a key."""

    api: RunningApi
    secret: str
    key_id: str = ""

    @property
    def header(self) -> dict[str, str]:
        """What each request carries."""
        return {"Authorization": f"Bearer {self.secret}"}

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """Send a request, with a JSON body if there is one."""
        return self.api.http.request(method, path, json=body, headers={**self.header, **(headers or {})})

    def look(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """The status of an answer and its text, of a stream what comes first."""
        with self.api.http.stream(method, path, json=body, headers=self.header) as answer:
            return answer.status_code, next(answer.iter_text(), "")

    def get(self, path: str) -> dict[str, Any]:
        """Look at something that is there."""
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return cast("dict[str, Any]", answer.json())

    def submit(self, path: str = "/v1/jobs", **fields: object) -> str:
        """Submit a job, or a turn, and return its id."""
        answer = self.ask("POST", path, {**BODY, **fields})
        assert answer.status_code == 202, answer.text
        return cast("str", answer.json()["id"])

    def issue(self, **request: object) -> Person:
        """Make a key for somebody else."""
        answer = self.ask("POST", "/v1/keys", {"name": "test", **request})
        assert answer.status_code == 201, answer.text
        issued = answer.json()
        return Person(self.api, issued["secret"], issued["key"]["id"])

    def rotate(self, person: Person, **request: object) -> Person:
        """Give somebody a new secret."""
        answer = self.ask("POST", f"/v1/keys/{person.key_id}/rotate", request or None)
        assert answer.status_code == 200, answer.text
        return Person(self.api, answer.json()["secret"], person.key_id)

    def limit(self, person: Person, **limits: object) -> None:
        """Replace somebody's limits."""
        answer = self.ask("POST", f"/v1/keys/{person.key_id}/limits", {"limits": limits})
        assert answer.status_code == 200, answer.text


def key_settings(folder: Path) -> dict[str, str]:
    """The variables of an API that makes a first key in a folder."""
    return {"IMAGEQUEUE_KEY_PEPPER": PEPPER, "IMAGEQUEUE_FIRST_KEY_FILE": str(folder / "first_key")}


def first_person(api: RunningApi) -> Person:
    """Who has the first key."""
    file = api.settings.first_key_file
    assert file
    return Person(api, file.read_text().strip())
