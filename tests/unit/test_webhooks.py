"""The rules of webhooks: where they may go, how they are signed, when they are tried again."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import get_args

import pytest
from hostile_kit import FORBIDDEN_URLS
from receiver_kit import Receiver

from imagequeue.cli.webhooks import Event, State
from imagequeue.errors import InvalidRequest
from imagequeue.fetch_rules import IPAddress, parse_origins
from imagequeue.jobs import fingerprint
from imagequeue.requests import GenerateRequest
from imagequeue.settings import Settings
from imagequeue.webhook_rules import receiver_of, webhook_target
from imagequeue.webhooks import (
    EVENT_TYPES,
    MAX_RETRY_AFTER_SECONDS,
    RETRY_DELAYS_SECONDS,
    DeliveryState,
    EventType,
    Secret,
    new_secret,
    retry_delay_ms,
    signed_headers,
)
from worker.webhook_post import Poster

NO_ORIGINS = parse_origins(None)
PRIVATE = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "::1", "fd00::1", "::ffff:10.0.0.1")


@pytest.mark.parametrize("url", [url.replace("http://", "https://") for url in FORBIDDEN_URLS])
def test_what_is_never_fetched_is_never_told_anything_either(url: str) -> None:
    with pytest.raises(InvalidRequest):
        webhook_target(url, NO_ORIGINS, "webhook")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://example.com/hook", "webhooks are sent over https only"),
        ("https://example.com:22/hook", "the port must be one of"),
        ("https://user:secret@example.com/hook", "must not hold a user name"),
        ("ftp://example.com/hook", "the scheme must be"),
        ("example.com/hook", "the scheme must be"),
        ("https:///hook", "is not the name of a host"),
        ("https://localhost/hook", "is not on the public internet"),
    ],
)
def test_a_url_that_is_refused_is_told_why(url: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        webhook_target(url, NO_ORIGINS, "webhook")
    (violation,) = refused.value.violations
    assert rule in violation.rule
    assert (violation.field, violation.example) == ("webhook", "https://example.com/imagequeue")


def test_the_operator_can_allow_an_exact_origin() -> None:
    origins = parse_origins("http://127.0.0.1:9000")
    assert webhook_target("http://127.0.0.1:9000/hook", origins, "webhook").trusted
    for other in ("http://127.0.0.1:9001/hook", "https://127.0.0.1:9000/hook", "http://localhost:9000/hook"):
        with pytest.raises(InvalidRequest):
            webhook_target(other, origins, "webhook")


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_inside_is_never_connected_to(address: str) -> None:
    def resolver(_host: str, _port: int) -> list[IPAddress]:
        return [ipaddress.ip_address("93.184.215.14"), ipaddress.ip_address(address)]

    answer = Poster(Settings(), resolver).post("https://example.com/hook", {}, "{}")
    assert answer.status is None
    assert answer.error == "never sent: the URL's host has an address that is not on the public internet"


def test_a_setting_that_no_longer_allows_an_origin_is_asked_at_every_attempt() -> None:
    with Receiver().serving() as receiver:
        allowed = Settings(webhook_origins=receiver.origin)
        assert Poster(allowed).post(f"{receiver.origin}/hook", {}, "{}").status == 200
        answer = Poster(Settings()).post(f"{receiver.origin}/hook", {}, "{}")
        assert (answer.error or "").startswith("never sent: ")
        assert len(receiver.received("/hook")) == 1


def test_a_receiver_that_is_silent_is_left_at_the_deadline() -> None:
    with Receiver().serving() as receiver:
        url = receiver.answering("/hook", silent=True)
        poster = Poster(Settings(webhook_origins=receiver.origin, webhook_timeout_seconds=0.2))
        answer = poster.post(url, {}, "{}")
    assert (answer.status, answer.error) == (None, "no answer within 0.2 seconds")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("0", 0), ("soon", None), ("-5", None), ("", None), ("DATE", 120), ("9" * 300, 9_999_999_999)],
)
def test_what_a_receiver_asks_for_is_understood(header: str, seconds: float | None) -> None:
    if header == "DATE":
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    with Receiver().serving() as receiver:
        url = receiver.answering("/hook", 503, Retry_After=header)
        answer = Poster(Settings(webhook_origins=receiver.origin)).post(url, {}, "{}")
    assert (answer.status, answer.error) == (503, "answered 503")
    assert answer.retry_after_seconds == (None if seconds is None else pytest.approx(seconds, abs=30))


def test_the_schedule_is_that_of_the_specification() -> None:
    assert sum(RETRY_DELAYS_SECONDS) == timedelta(hours=75, minutes=35, seconds=5).total_seconds()
    for number, seconds in enumerate(RETRY_DELAYS_SECONDS, 1):
        delay = retry_delay_ms(number, None)
        assert delay is not None
        assert 1000 * seconds <= delay <= 1100 * seconds, "a little later, so that not all come at once"
    assert retry_delay_ms(len(RETRY_DELAYS_SECONDS) + 1, None) is None
    assert retry_delay_ms(len(RETRY_DELAYS_SECONDS) + 1, 5) is None
    assert retry_delay_ms(1, 120) == 120_000
    assert retry_delay_ms(1, 1e12) == 1000 * MAX_RETRY_AFTER_SECONDS


def test_every_secret_signs_by_the_specifications_formula() -> None:
    secrets = [Secret(secret=new_secret()), Secret(secret=new_secret(), valid_until=1)]
    headers = signed_headers("evt_1", '{"ü": 1}', secrets)
    signed = f'evt_1.{headers["webhook-timestamp"]}.{{"ü": 1}}'.encode()
    expected: list[str] = []
    for one in secrets:
        key = b64decode(one.secret.removeprefix("whsec_"))
        assert len(key) == 32
        expected.append(f"v1,{b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}")
    assert headers["webhook-signature"].split(" ") == expected
    assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60


def test_receivers_are_told_apart_by_scheme_host_and_port() -> None:
    assert (
        receiver_of("https://Example.com/a?b=c")
        == receiver_of("https://example.com:443/d")
        == "https://example.com:443"
    )
    assert receiver_of("https://example.com:8080/a") == "https://example.com:8080"


def test_the_command_line_names_the_events_and_states_that_there_are() -> None:
    assert tuple(event.value for event in Event) == EVENT_TYPES == get_args(EventType)
    assert [state.value for state in State] == [state.value for state in DeliveryState]


def test_a_webhook_is_no_part_of_what_makes_two_requests_equal() -> None:
    plain = GenerateRequest(prompt="A lighthouse")
    with_webhook = plain.model_copy(update={"webhook": "https://example.com/hook"})
    assert fingerprint("gpt-image-2", plain) == fingerprint("gpt-image-2", with_webhook)
