"""What nobody sends by mistake: URLs that lead inside, and requests byte by byte."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any, Final

from sandbox.stack.ports import HOST

FORBIDDEN_URLS: Final = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://a.localhost/",
    "http://127.1/",
    "http://0x7f.1/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0/",
    "http://0.0.0.0/",
    "http://127。0。0。1/",
    "http://１２７.0.0.1/",
    "http://10.1.2.3/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/",
    "http://100.64.0.1/",
    "http://192.0.0.192/",
    "http://192.88.99.1/",
    "http://198.18.0.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://example.com:22/",
    "http://example.com:6379/",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://:secret@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://exa mple.com/",
    "http://a..b/",
    "http://...",
    "http:///etc/passwd",
    "http:",
    "http://example.com/\r\nHost: x",
    "http://example.com/\0",
    "http://" + "a" * 64 + ".com/",
    "http://example.com/" + "a" * 9000,
    "file:///etc/passwd",
    "ftp://example.com/a.png",
    "gopher://example.com/",
    "//example.com/a.png",
    "/etc/passwd",
    "",
]
"""Each is refused before a name is looked up."""


@dataclass(frozen=True)
class RawAnswer:
    """What came back until the server closed; status 0: nothing."""

    status: int
    head: bytes
    body: bytes

    @property
    def code(self) -> str | None:
        """The problem's code; None where the server's own words came."""
        try:
            problem: Any = json.loads(self.body)
        except ValueError:
            return None
        return problem.get("code")


def raw_answer(port: int, request: bytes) -> RawAnswer:
    """Send these very bytes; they must make the server close the connection, or say that it may."""
    with socket.create_connection((HOST, port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    return RawAnswer(int(head.split()[1]) if head else 0, head, body)
