"""Flower starts only where it is installed, and never open to everybody."""

from __future__ import annotations

import pytest

from imagequeue.errors import Misconfigured
from worker import monitor


@pytest.mark.parametrize("login", [None, "", "operator", "operator:", ":password", "operator:password,"])
def test_it_does_not_start_while_nobody_is_named_who_may_look(
    monkeypatch: pytest.MonkeyPatch, login: str | None
) -> None:
    monkeypatch.delenv("FLOWER_AUTH", raising=False)
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)
    if login is not None:
        monkeypatch.setenv("FLOWER_BASIC_AUTH", login)
    with pytest.raises(Misconfigured, match=r"^FLOWER_BASIC_AUTH: set it to NAME:PASSWORD"):
        monitor.main(host="127.0.0.1", port=1)


def test_where_it_is_not_installed_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        return None

    monkeypatch.setattr(monitor, "find_spec", missing)
    with pytest.raises(Misconfigured, match=r"pip install 'imagequeue\[flower\]'"):
        monitor.main(host="127.0.0.1", port=1)
