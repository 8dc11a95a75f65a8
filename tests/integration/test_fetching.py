"""A URL is fetched only from where it may lead, whatever its name, its redirects and its server do."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Generator
from pathlib import Path

import picture_kit as kit
import pytest
import trustme
from web_kit import WebServer, answer, dripping, raw, redirect, running_web

from imagequeue.errors import InvalidInput
from imagequeue.fetch_rules import IPAddress
from imagequeue.fetching import Fetcher
from imagequeue.input_images import MAX_INPUT_BYTES
from imagequeue.judged_connections import Resolve, resolve
from imagequeue.settings import Settings

PICTURE = kit.png()
PUBLIC = ipaddress.ip_address("93.184.215.14")
LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.fixture
def web() -> Generator[WebServer]:
    """A web server on loopback."""
    with running_web() as server:
        yield server


def answering(*addresses: IPAddress) -> Resolve:
    """A resolver that knows every name by these addresses."""
    return lambda _host, _port: list(addresses)


def fetcher(*origins: str, seconds: float = 20, resolver: Resolve | None = None) -> Fetcher:
    """A fetcher that trusts these origins."""
    settings = Settings(input_origins=",".join(origins) or None, input_fetch_seconds=seconds)
    return Fetcher(settings, resolver) if resolver else Fetcher(settings)


def fetched(fetcher: Fetcher, url: str, folder: Path) -> bytes:
    """What the URL gives."""
    fetcher.fetch(url, folder / "fetched", "images[0]")
    return (folder / "fetched").read_bytes()


def refusal(fetcher: Fetcher, url: str, folder: Path) -> InvalidInput:
    """How fetching is refused."""
    with pytest.raises(InvalidInput) as caught:
        fetcher.fetch(url, folder / "fetched", "images[0]")
    assert str(caught.value).startswith("images[0]: ")
    return caught.value


def test_a_trusted_origin_is_fetched_byte_for_byte(web: WebServer, tmp_path: Path) -> None:
    url = web.serve("/a.png?b=%C3%A4", answer(PICTURE))
    assert fetched(fetcher(web.origin), f"{url}#fragment", tmp_path) == PICTURE
    [request] = web.requests
    assert request.startswith("GET /a.png?b=%C3%A4 HTTP/1.1\r\n")
    headers = {line.partition(": ")[0]: line.partition(": ")[2] for line in request.split("\r\n")[1:]}
    assert headers["Host"] == f"127.0.0.1:{web.port}"
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "Referer"} & set(headers)


def test_a_chunked_answer_is_whole(web: WebServer, tmp_path: Path) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (PICTURE[:9], PICTURE[9:])) + b"0\r\n\r\n"
    url = web.serve("/", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks))
    assert fetched(fetcher(web.origin), url, tmp_path) == PICTURE


def test_nothing_on_loopback_is_asked_unless_its_exact_origin_is_trusted(web: WebServer, tmp_path: Path) -> None:
    web.serve("/", answer(PICTURE))
    near_misses = [
        fetcher(),
        fetcher(f"https://127.0.0.1:{web.port}"),
        fetcher("http://127.0.0.1"),
        fetcher(f"http://localhost:{web.port}"),
    ]
    for stranger in near_misses:
        for host in ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"):
            assert refusal(stranger, f"http://{host}:{web.port}/", tmp_path).code == "url_forbidden"
    assert web.connections == 0
    assert fetched(fetcher(f"http://LOCALHOST:{web.port}"), f"http://localhost:{web.port}/", tmp_path) == PICTURE


@pytest.mark.parametrize("addresses", [[LOOPBACK], [PUBLIC, LOOPBACK], [LOOPBACK, PUBLIC]], ids=str)
def test_a_name_with_any_private_address_is_refused(web: WebServer, tmp_path: Path, addresses: list[IPAddress]) -> None:
    error = refusal(fetcher(resolver=answering(*addresses)), "http://rebound.example.com:8080/", tmp_path)
    assert error.code == "url_forbidden"
    assert "127.0.0.1" not in str(error)


def test_a_name_is_looked_up_once_and_the_judged_address_is_connected_to(web: WebServer, tmp_path: Path) -> None:
    lookups: list[str] = []

    def changing(host: str, _port: int) -> list[IPAddress]:
        lookups.append(host)
        return [LOOPBACK if len(lookups) == 1 else PUBLIC]

    trusted = f"http://cdn.test:{web.port}"
    web.serve("/a.png", answer(PICTURE))
    assert fetched(fetcher(trusted, resolver=changing), f"{trusted}/a.png", tmp_path) == PICTURE
    assert lookups == ["cdn.test"]
    assert f"Host: cdn.test:{web.port}" in web.requests[0]


def test_what_the_systems_resolver_answers_is_judged(web: WebServer, tmp_path: Path) -> None:
    with_other_name = fetcher(resolver=lambda _host, port: resolve("localhost", port))
    assert refusal(with_other_name, "http://inside.example.com:8080/", tmp_path).code == "url_forbidden"
    assert LOOPBACK in resolve("localhost", 80)


def test_a_dead_address_does_not_hide_a_living_one(web: WebServer, tmp_path: Path) -> None:
    trusted = f"http://cdn.test:{web.port}"
    web.serve("/", answer(PICTURE))
    resolver = answering(ipaddress.ip_address("127.0.0.2"), ipaddress.ip_address("::1"), LOOPBACK)
    assert fetched(fetcher(trusted, resolver=resolver), f"{trusted}/", tmp_path) == PICTURE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_a_trusted_origin_is_followed(web: WebServer, tmp_path: Path, status: int) -> None:
    web.serve("/there.png", answer(PICTURE))
    url = web.serve("/here/it/is", redirect("../../there.png", status))
    assert fetched(fetcher(web.origin), url, tmp_path) == PICTURE


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "//localhost:8080/",
        "http://0x7f.1:8080/",
        "http://[::1]:8080/",
        "file:///etc/passwd",
        "http://user:secret@example.com/",
        "http://example.com:6379/",
        "gopher://example.com/",
        "http://[",
    ],
)
def test_a_redirect_is_judged_like_the_first_url(web: WebServer, tmp_path: Path, location: str) -> None:
    url = web.serve("/", redirect(location))
    assert refusal(fetcher(web.origin), url, tmp_path).code == "url_forbidden"
    assert web.connections == 1


def test_a_redirect_to_another_server_on_loopback_is_not_followed(web: WebServer, tmp_path: Path) -> None:
    with running_web() as inside:
        secret = inside.serve("/secret", answer(PICTURE))
        url = web.serve("/", redirect(secret))
        assert refusal(fetcher(web.origin), url, tmp_path).code == "url_forbidden"
        assert inside.connections == 0


def test_five_redirects_are_followed_and_not_more(web: WebServer, tmp_path: Path) -> None:
    web.serve("/0", answer(PICTURE))
    for number in range(1, 7):
        web.serve(f"/{number}", redirect(f"/{number - 1}"))
    assert fetched(fetcher(web.origin), f"{web.origin}/5", tmp_path) == PICTURE
    error = refusal(fetcher(web.origin), f"{web.origin}/6", tmp_path)
    assert error.code == "url_forbidden"
    assert "5 times" in str(error)


@pytest.mark.parametrize("status", [204, 206, 304, 401, 403, 404, 410, 429, 500, 503])
def test_any_other_status_is_refused_with_its_number(web: WebServer, tmp_path: Path, status: int) -> None:
    url = web.serve("/", raw(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status))
    error = refusal(fetcher(web.origin), url, tmp_path)
    assert error.code == "url_bad_status"
    assert str(status) in str(error)


def test_an_announced_size_above_the_limit_is_not_downloaded(web: WebServer, tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_INPUT_BYTES
    url = web.serve("/", dripping(head, b"", 1))
    assert refusal(fetcher(web.origin), url, tmp_path).code == "url_too_large"


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"], ids=["until the end", "chunked"])
def test_an_endless_body_ends_at_the_limit(web: WebServer, tmp_path: Path, head: bytes) -> None:
    piece = bytes(1_000_000)
    drop = b"%x\r\n%b\r\n" % (len(piece), piece) if head else piece
    url = web.serve("/", dripping(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", drop, 0))
    assert refusal(fetcher(web.origin), url, tmp_path).code == "url_too_large"
    assert (tmp_path / "fetched").stat().st_size < MAX_INPUT_BYTES


def test_a_body_shorter_than_announced_is_refused(web: WebServer, tmp_path: Path) -> None:
    url = web.serve("/", answer(PICTURE, Content_Length=str(len(PICTURE) + 1)))
    error = refusal(fetcher(web.origin), url, tmp_path)
    assert (error.code, error.retryable) == ("url_unreachable", True)


def test_a_body_longer_than_announced_is_cut_there(web: WebServer, tmp_path: Path) -> None:
    url = web.serve("/", answer(PICTURE, Content_Length="20"))
    assert fetched(fetcher(web.origin), url, tmp_path) == PICTURE[:20]


@pytest.mark.parametrize(
    "content",
    [b"", b"no http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 2", b"\x16\x03\x01"],
)
def test_what_is_no_web_server_is_refused(web: WebServer, tmp_path: Path, content: bytes) -> None:
    url = web.serve("/", raw(content))
    assert refusal(fetcher(web.origin), url, tmp_path).code == "url_unreachable"


def test_headers_without_an_end_are_refused(web: WebServer, tmp_path: Path) -> None:
    url = web.serve("/", dripping(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 9000 + b"\r\n", 0))
    assert refusal(fetcher(web.origin), url, tmp_path).code == "url_unreachable"


def test_a_closed_port_and_an_unknown_name_are_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    closed = f"http://127.0.0.1:{port}"
    assert refusal(fetcher(closed), f"{closed}/", tmp_path).code == "url_unreachable"
    assert refusal(fetcher(resolver=answering()), "http://example.com/", tmp_path).code == "url_unreachable"
    unknown = "http://nobody.invalid"
    assert refusal(fetcher(unknown), f"{unknown}/", tmp_path).code == "url_unreachable"


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b""),
    ],
    ids=["silence", "headers byte by byte", "body byte by byte", "nothing after the headers"],
)
def test_a_slow_server_ends_at_the_deadline_of_the_whole(
    web: WebServer, tmp_path: Path, head: bytes, drop: bytes
) -> None:
    url = web.serve("/", dripping(head, drop, 0.1))
    started = time.monotonic()
    error = refusal(fetcher(web.origin, seconds=0.6), url, tmp_path)
    assert (error.code, error.retryable) == ("url_timeout", True)
    assert 0.5 <= time.monotonic() - started < 5


def test_redirects_share_one_deadline(web: WebServer, tmp_path: Path) -> None:
    slow_redirect = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n"

    def talk(connection: socket.socket, stop: threading.Event) -> None:
        stop.wait(0.25)
        connection.sendall(slow_redirect + b"\r\n")

    url = web.serve("/", talk)
    assert refusal(fetcher(web.origin, seconds=0.6), url, tmp_path).code == "url_timeout"
    assert web.connections <= 4


def test_a_resolver_that_hangs_ends_at_the_deadline(tmp_path: Path) -> None:
    released = threading.Event()

    def hanging(_host: str, _port: int) -> list[IPAddress]:
        released.wait(30)
        return [PUBLIC]

    error = refusal(fetcher(resolver=hanging, seconds=0.3), "http://example.com/", tmp_path)
    released.set()
    assert error.code == "url_timeout"


def test_proxies_of_the_environment_are_not_used(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = web.serve("/", answer(PICTURE))
    with running_web() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.origin)
        assert fetched(fetcher(web.origin), url, tmp_path) == PICTURE
        assert proxy.connections == 0


def test_a_certificate_is_checked_against_the_name_not_the_address(tmp_path: Path) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    server, root = tmp_path / "server.pem", tmp_path / "root.pem"
    authority.issue_cert("images.test").private_key_and_cert_chain_pem.write_to_path(str(server))
    authority.cert_pem.write_to_path(str(root))
    served.load_cert_chain(server)
    believing = ssl.create_default_context(cafile=str(root))
    with running_web(served) as web:
        web.serve("/", answer(PICTURE))
        right, wrong = f"https://images.test:{web.port}", f"https://other.test:{web.port}"
        settings = Settings(input_origins=f"{right},{wrong}")
        believer = Fetcher(settings, answering(LOOPBACK), believing)
        assert fetched(believer, f"{right}/", tmp_path) == PICTURE
        assert refusal(believer, f"{wrong}/", tmp_path).code == "url_unreachable"
        stranger = Fetcher(settings, answering(LOOPBACK))
        assert refusal(stranger, f"{right}/", tmp_path).code == "url_unreachable"
