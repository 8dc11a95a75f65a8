"""What the server in front lets through and HTTP does not, or who asks for somebody else: refused before all else."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from flask import Flask, request
from werkzeug.exceptions import BadRequest, MisdirectedRequest, NotFound

from imagequeue.settings import Settings, is_loopback

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(:\d{0,5})?", re.ASCII)
"""A host and a port as RFC 3986 spells them."""


class HostRule:
    """Which hosts a server answers for: only its own names and those that are allowed, if it listens on loopback.

    There nobody may need a key, and a web page whose name was made to mean this machine would be let in like its user.
    """

    def __init__(self, settings: Settings) -> None:
        self._allowed = tuple(part.strip().lower() for part in (settings.api_allowed_hosts or "").split(",") if part)
        self._any = not self._allowed and not is_loopback(settings.api_host)

    def check(self) -> None:
        """Refuse the current request if its Host is none, or not one of ours."""
        given = request.headers.get("Host")
        if given is None and request.environ["SERVER_PROTOCOL"] == "HTTP/1.1":
            raise BadRequest("HTTP/1.1 asks for a Host header (RFC 9112, section 3.2).")
        match = _HOST.fullmatch("localhost" if given is None else given)
        if match is None:
            raise BadRequest("The Host header must be a host, and may have a port: api.example.com:8080.")
        if not self._answers(match[1].lower()):
            raise MisdirectedRequest(
                "This server does not answer for this Host: whoever runs it can add it to IMAGEQUEUE_API_ALLOWED_HOSTS."
            )

    def _answers(self, name: str) -> bool:
        if self._any or _is_own(name.strip("[]")):
            return True
        return any(name == one or (one.startswith(".") and name.endswith(one)) for one in self._allowed)


def _is_own(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def refuse_ambiguous_requests(app: Flask, settings: Settings) -> None:
    """Refuse requests for other hosts, and those whose path two programs on the way may read differently."""
    app.before_request(HostRule(settings).check)
    app.before_request(_refuse_slashes)


def _refuse_slashes() -> None:
    if request.environ["PATH_INFO"].startswith("//"):  # routing passes over it; a proxy's rules may not
        raise NotFound
