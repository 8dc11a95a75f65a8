"""How the settings reach the call: the key is one, and an empty variable counts as none."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from imagequeue.errors import Misconfigured, ProviderBusy
from imagequeue.jobs import Job, JobState, NewJob
from imagequeue.requests import parse_request
from imagequeue.settings import Settings
from sandbox.stack.ports import HOST
from worker.openai_images import OpenAIImages


def claimed() -> Job:
    """A running job."""
    new = NewJob(
        request=parse_request({"prompt": "A lighthouse"}),
        owner="tester",
        lane="interactive",
        model="gpt-image-2",
        on_unknown_outcome="retry",
    )
    return Job(
        **new.model_dump(exclude={"request"}),
        type="generate",
        request=new.request,
        fingerprint=new.fingerprint,
        estimate=new.estimate,
        state=JobState.RUNNING,
        created_at=1,
        attempt=1,
    )


async def heads_of_a_call(monkeypatch: pytest.MonkeyPatch, folder: Path, *, via: str, status: str) -> str:
    """The head of the request that a call sends to a server named by the variable `via`."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        monkeypatch.setenv(via, f"http://{HOST}:{server.sockets[0].getsockname()[1]}")
        openai = OpenAIImages(Settings())
        try:
            with pytest.raises(ProviderBusy):
                await openai.generate(claimed(), folder, lambda preview: None)
        finally:
            await openai.close()
    return heads[0]


@pytest.fixture(autouse=True)
def only_these_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, and every other variable of OpenAI's empty, as a line `NAME=` of an env file leaves it."""
    for name in (
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")


def test_an_empty_base_url_means_openais_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    head = asyncio.run(heads_of_a_call(monkeypatch, tmp_path, via="HTTPS_PROXY", status="502 Bad Gateway"))
    assert head.startswith("CONNECT api.openai.com:443 ")


def test_empty_organisation_and_project_are_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    head = asyncio.run(heads_of_a_call(monkeypatch, tmp_path, via="OPENAI_BASE_URL", status="429 Too Many Requests"))
    assert "openai-organization" not in head.lower()
    assert "openai-project" not in head.lower()


def test_organisation_and_project_are_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    head = asyncio.run(heads_of_a_call(monkeypatch, tmp_path, via="OPENAI_BASE_URL", status="429 Too Many Requests"))
    assert {"openai-organization: org-1", "openai-project: proj-1"} <= set(head.lower().splitlines())


def test_the_line_break_that_a_secret_file_ends_with_is_no_part_of_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789\n")
    head = asyncio.run(heads_of_a_call(monkeypatch, tmp_path, via="OPENAI_BASE_URL", status="429 Too Many Requests"))
    assert "authorization: bearer sk-test-0123456789\r\n" in head.lower()


@pytest.mark.parametrize("key", ["sk-two words", "sk-two\nlines", "sk-ключ", "sk-dash–dash", "sk-nul\x7f", " \n"])
def test_what_cannot_be_a_key_stops_the_worker_at_start_without_being_told(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY holds") as raised:
        OpenAIImages(Settings())
    assert key not in str(raised.value)


def test_without_a_key_the_worker_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY is not set"):
        OpenAIImages(Settings())
