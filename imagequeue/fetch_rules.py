"""Which URLs may be fetched for somebody else: public web servers, and the origins that the operator names.

Whoever can make a server fetch a URL speaks with the server's network position: to cloud metadata, to databases, to
its neighbours. So nothing but public addresses is ever connected to, whatever the name or the redirect.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx2

from imagequeue.errors import ImageQueueError, InputFault, InvalidInput
from imagequeue.requests import shown

PORTS: Final = (80, 443, 8080)
MAX_URL: Final = 8192
"""Characters. Presigned URLs with session tokens reach 2,000; most servers stop at 8 KiB."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""All public IPv6 addresses (IANA); outside lie the forms that hide an IPv4 address: mapped, NAT64, compatible."""
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # shared address space of providers, RFC 6598
        "168.63.129.16/32",  # Azure's host agent, on a public address
        "192.0.0.0/24",  # IETF protocol assignments
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "2001::/23",  # IETF protocol assignments: Teredo, ORCHID
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
    )
)
"""What some versions of Python's `is_global` take for public."""
_WAY_OUT: Final = "Upload the image with POST /v1/uploads, or put it on a public web server."

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Origin = tuple[str, str, int]
"""Scheme, host, port."""
Refuse = Callable[[str], ImageQueueError]
"""From what is wrong with a URL to the error that its client gets."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be asked for. `trusted`: its origin is allowed whatever its address is."""

    url: httpx2.URL
    host: str
    port: int
    trusted: bool


def parse_origins(setting: str | None) -> frozenset[Origin]:
    """The origins of a setting such as `input_origins`."""
    urls = [httpx2.URL(origin.strip()) for origin in (setting or "").split(",") if origin.strip()]
    return frozenset(origin_of(url) for url in urls)


def check_url(text: str, origins: frozenset[Origin], field: str) -> Target:
    """Judge the URL of an input image by what it says, before any name is looked up.

    Raises:
        InvalidInput: `url_forbidden`.
    """
    return judge_url(text, origins, partial(forbidden, field))


def judge_url(text: str, origins: frozenset[Origin], refuse: Refuse) -> Target:
    """Judge any URL by what it says; raises what `refuse` makes of the rule that it breaks."""
    if len(text) > MAX_URL:
        raise refuse(f"a URL may have {MAX_URL:,} characters; this has {len(text):,}")
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise refuse(f"{shown(text)} is not a URL") from error
    if url.scheme not in _DEFAULT_PORTS:
        raise refuse(f"the scheme must be http or https; this is {shown(url.scheme)}")
    if url.userinfo:
        raise refuse("a URL must not hold a user name or a password")
    origin = origin_of(url)
    _, host, port = origin
    trusted = origin in origins
    if not trusted:
        _check_host(host, refuse)
        if port not in PORTS:
            ports = ", ".join(str(port) for port in PORTS)
            raise refuse(f"the port must be one of {ports}; this is {port}")
    return Target(url, host, port, trusted)


def origin_of(url: httpx2.URL) -> Origin:
    """Where a URL leads."""
    # The raw host is the ASCII form: what is judged here is what is looked up and connected to later.
    port = _DEFAULT_PORTS.get(url.scheme, 0) if url.port is None else url.port
    return url.scheme, url.raw_host.decode("ascii"), port


def is_public(address: IPAddress) -> bool:
    """Whether an address belongs to the public internet."""
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)


def forbidden(field: str, problem: str) -> InvalidInput:
    """The refusal of an input image's URL."""
    return InvalidInput(InputFault.URL_FORBIDDEN, field, problem, _WAY_OUT)


def _check_host(host: str, refuse: Refuse) -> None:
    address = _literal_address(host)
    if address is None and not _HOST_NAME.fullmatch(host):
        raise refuse(f"{shown(host)} is not the name of a host")
    name = host.rstrip(".")
    local = name == "localhost" or name.endswith(".localhost") if address is None else not is_public(address)
    if local:
        raise refuse(f"{shown(host)} is not on the public internet")


def _literal_address(host: str) -> IPAddress | None:
    """The address that a host is, in any of the forms that the system's resolver takes (`0x7f.1`, `2130706433`)."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
