"""Which URLs and addresses are public, judged before anything is asked for."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hostile_kit import FORBIDDEN_URLS

from imagequeue.errors import InvalidInput, Misconfigured
from imagequeue.fetch_rules import IPAddress, check_url, is_public, parse_origins
from imagequeue.fetching import Fetcher
from imagequeue.settings import Settings, load_settings


@pytest.mark.parametrize("url", FORBIDDEN_URLS, ids=lambda url: repr(url)[:50])
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
