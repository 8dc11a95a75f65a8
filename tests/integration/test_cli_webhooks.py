"""`imagequeue webhooks` as people run it, against a whole stack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from cli_kit import Shell

URL = "https://receiver.invalid/hook"


def test_endpoints_and_secrets_are_managed_by_hand(iq: Shell) -> None:
    assert "No endpoints yet" in iq("webhooks", "list").err
    added = iq("webhooks", "add", URL, "--event", "job.failed", "--event", "job.cancelled")
    assert (added.code, "job.failed, job.cancelled" in added.err) == (0, True)
    identity = added.out.strip()
    assert iq("webhooks", "list").out == f"{identity}\tenabled\tjob.failed job.cancelled\t{URL}\n"
    assert json.loads(iq("webhooks", "list", "--json").out)["endpoints"][0]["id"] == identity
    assert iq("webhooks", "remove", identity).out == f"{identity} is removed.\n"
    gone = iq("webhooks", "remove", identity)
    assert (gone.code, "No endpoint" in gone.err) == (1, True)
    bad = iq("webhooks", "add", "http://127.0.0.1/hook")
    assert (bad.code, "not on the public internet" in bad.err) == (2, True)
    secret = iq("webhooks", "secret").out.strip()
    rotated = iq("webhooks", "rotate-secret")
    assert secret.startswith("whsec_")
    assert "can verify until" in rotated.err
    shown = json.loads(iq("webhooks", "secret", "--json").out)
    assert (shown["secret"], shown["replaced"][0]["secret"]) == (rotated.out.strip(), secret)


def test_deliveries_are_looked_at_and_sent_again(iq: Shell, stack: Mapping[str, Any]) -> None:
    body = {"prompt": "A webhook by hand", "quality": "low", "webhook": URL}
    answer = httpx2.post(
        f"{stack['api_url']}/v1/jobs",
        json=body,
        headers={"Prefer": "wait=30", "Authorization": f"Bearer {Path(stack['key_file']).read_text().strip()}"},
        timeout=60,
    )
    job = answer.raise_for_status().json()["id"]
    identity = ""
    while not identity:
        identity = iq("webhooks", "deliveries", "--job", job).out.partition("\t")[0]
    line = iq("webhooks", "deliveries", "--state", "pending").out
    assert (identity in line, job in line, URL in line) == (True, True, True)
    assert json.loads(iq("webhooks", "deliveries", "--job", job, "--json").out)["deliveries"][0]["id"] == identity
    assert iq("webhooks", "redeliver", identity).out == f"{identity} goes to {URL} again.\n"
    assert "No such deliveries" in iq("webhooks", "deliveries", "--job", job, "--state", "delivered").err
