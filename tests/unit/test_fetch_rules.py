"""Which URLs and addresses are public, judged before anything is asked for."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from imagequeue.errors import InvalidInput, Misconfigured
from imagequeue.fetch_rules import IPAddress, check_url, is_public, parse_origins
from imagequeue.fetching import Fetcher
from imagequeue.settings import Settings, load_settings

FORBIDDEN = [
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


@pytest.mark.parametrize("url", FORBIDDEN, ids=lambda url: repr(url)[:50])
def test_a_url_that_leads_inside_is_refused_without_asking_anybody(tmp_path: Path, url: str) -> None:
    lookups: list[str] = []

    def resolver(host: str, _port: int) -> list[IPAddress]:
        lookups.append(host)
        return []

    with pytest.raises(InvalidInput) as caught:
        Fetcher(Settings(), resolver).fetch(url, tmp_path / "fetched", "images[0]")
    error = caught.value
    assert lookups == []
    assert error.code == "url_forbidden"
    assert not error.retryable
    assert "secret" not in str(error)
    assert "\r" not in str(error)


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "http://example.com:8080", "http://8.8.8.8/", "https://[2606:4700::1111]:443/"]
)
def test_a_public_url_is_not_refused_before_it_is_asked_for(url: str) -> None:
    assert not check_url(url, frozenset(), "image").trusted


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_origins_are_compared_with_their_usual_port() -> None:
    assert parse_origins("https://CDN.test, http://a:81") == {("https", "cdn.test", 443), ("http", "a", 81)}
    assert check_url("https://cdn.test:443/x", parse_origins("https://cdn.test"), "image").trusted
    assert parse_origins(None) == frozenset()


@pytest.mark.parametrize(
    "value", ["cdn.example.com", "https://", "https://a/path", "https://u:p@a", "ftp://a", "a,", "*"]
)
def test_a_setting_that_is_no_list_of_origins_stops_the_process(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("IMAGEQUEUE_INPUT_ORIGINS", value)
    with pytest.raises(Misconfigured, match=r"IMAGEQUEUE_INPUT_ORIGINS: .*separated by commas"):
        load_settings()
