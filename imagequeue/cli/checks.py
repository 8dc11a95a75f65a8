"""The doctor's checks: each says what it found and, when that is wrong, how to mend it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urljoin

import httpx2

from imagequeue.api_connection import UNPROXIED
from imagequeue.cli.surroundings import Surroundings
from imagequeue.client import ApiProblem, ApiUnreachable, Client
from imagequeue.errors import ImageNotFound, ImageQueueError, Misconfigured
from imagequeue.local_stack import LocalStack
from imagequeue.objects import ObjectStore
from imagequeue.service import open_queue
from imagequeue.settings import Settings
from imagequeue.store.connection import RedisClient, connect, translated

_OPENAI_URL: Final = "https://api.openai.com/v1"
"""The OpenAI SDK's default."""
_OPENAI_TIMEOUT_SECONDS: Final = 15.0
_BRIDGE_TIMEOUT_SECONDS: Final = 5.0
_PROBE_SECONDS: Final = 5.0
"""An idle worker answers a probe within milliseconds; a busy one as soon as a slot is free."""
_MEND_REDIS: Final = "Start Redis, or correct IMAGEQUEUE_REDIS_URL."
_MEND_WORKER: Final = "Start a worker: imagequeue worker"
_MEND_PART: Final = {"workers": _MEND_WORKER, "openai": "Jobs wait and nothing is lost; they go on by themselves."}


class Verdict(StrEnum):
    """What a check came to."""

    OK = "ok"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One part, what was found, and the mending step when it is wrong."""

    name: str
    verdict: Verdict
    detail: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """The fields as JSON has them."""
        return asdict(self)


def api_checks(client: Client) -> Iterator[Check]:
    """Whether the API answers, and each part as the API sees it."""
    try:
        readiness = client.readiness()
    except ApiUnreachable as error:
        found = str(error) if error.maybe_received else f"nothing answers at {client.base_url}"
        yield Check("api", Verdict.WRONG, found, "Start it: imagequeue up. Or set IMAGEQUEUE_API_URL.")
        return
    except ApiProblem as error:
        yield Check("api", Verdict.WRONG, f"{error.status} {error}", "Look at the API's log.")
        return
    yield Check("api", Verdict.OK, f"answers at {client.base_url}, {readiness.status}")
    for name, part in readiness.parts.items():
        mend = "" if part.ok else _MEND_PART.get(name, "Mend it where the API runs.")
        yield Check(f"api > {name}", Verdict.OK if part.ok else Verdict.WRONG, part.detail, mend)
    yield _key_check(client)


def _key_check(client: Client) -> Check:
    try:
        caller = client.keys.current()
    except ImageQueueError as error:
        return Check("api key", Verdict.WRONG, str(error), "Set IMAGEQUEUE_API_KEY to a key that is good there.")
    if caller.key is None:
        return Check("api key", Verdict.OK, "none is needed: none was ever made")
    return Check("api key", Verdict.OK, f"{caller.key.name} of {caller.owner} may {', '.join(caller.scopes)}")


def bridge_check(stack: LocalStack) -> Check:
    """Whether the MCP bridge of the stack on this machine answers."""
    try:
        with httpx2.Client(timeout=_BRIDGE_TIMEOUT_SECONDS, trust_env=False) as http:
            answer = http.get(urljoin(stack.mcp_url, "/healthz"))
        found = "" if answer.is_success else f"{stack.mcp_url} answers {answer.status_code}"
    except httpx2.HTTPError as error:
        found = f"nothing answers at {stack.mcp_url}: {error}"
    if found:
        return Check("mcp", Verdict.WRONG, found, "Look at logs/mcp.log in the stack's data folder.")
    return Check("mcp", Verdict.OK, f"answers at {stack.mcp_url}")


def service_checks(around: Surroundings) -> Iterator[Check]:
    """Redis, S3, the workers and the way of messages, from this machine."""
    if not around.services_known:
        reason = "not checked from here: set IMAGEQUEUE_REDIS_URL (and the S3 settings) to do so"
        yield Check("redis, s3", Verdict.SKIPPED, reason)
        return
    redis = list(_redis_checks(around.settings))
    yield from redis
    yield _s3_check(around.settings)
    if any(check.verdict is Verdict.WRONG for check in redis):
        yield Check("messages", Verdict.SKIPPED, "not checked: Redis has to serve first")
    else:
        yield from _worker_checks(around.settings)


def openai_check(around: Surroundings) -> Check:
    """Whether the key is accepted, by listing models: free, and no image is made."""
    settings = around.settings
    key, base = settings.openai_api_key, (settings.openai_base_url or _OPENAI_URL).rstrip("/")
    if key is None:
        return _no_key(around)
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"}
    try:
        with httpx2.Client(timeout=_OPENAI_TIMEOUT_SECONDS, mounts=dict.fromkeys(UNPROXIED)) as http:
            answer = http.get(f"{base}/models", headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeEncodeError) as error:
        return Check("openai", Verdict.WRONG, f"{base} does not answer: {error}", "Check OPENAI_BASE_URL and network.")
    if answer.status_code in (401, 403):
        return Check("openai", Verdict.WRONG, f"{base} refuses the key", "Set OPENAI_API_KEY to a valid key.")
    if not answer.is_success:
        return Check("openai", Verdict.WRONG, f"{base} answers {answer.status_code}", "Check OPENAI_BASE_URL.")
    if "x-imagequeue-sandbox" in answer.headers or (around.stack and around.stack.sandbox):
        return Check("openai", Verdict.OK, "the sandbox: images are painted, for free")
    return Check("openai", Verdict.OK, f"{base} accepts the key: images are real and cost money")


def _no_key(around: Surroundings) -> Check:
    if around.stack is None and not around.services_known:
        return Check("openai", Verdict.SKIPPED, "not checked: OPENAI_API_KEY is not set here (workers need it)")
    if around.stack:
        return Check("openai", Verdict.SKIPPED, "not checked: the key is known to the stack, not to this shell")
    mend = "Set OPENAI_API_KEY, or rehearse for free with: imagequeue sandbox"
    return Check("openai", Verdict.WRONG, "OPENAI_API_KEY is not set", mend)


def _redis_checks(settings: Settings) -> Iterator[Check]:
    try:
        with closing(connect(settings.redis_url)) as client:
            yield from _redis_facts(client)
    except Misconfigured as error:
        yield Check("redis", Verdict.WRONG, str(error), "Correct IMAGEQUEUE_REDIS_URL.")
    except ImageQueueError as error:
        yield Check("redis", Verdict.WRONG, str(error), _MEND_REDIS)


def _redis_facts(client: RedisClient) -> Iterator[Check]:
    with translated():
        server, memory, persistence = (client.info(section) for section in ("server", "memory", "persistence"))
    yield Check("redis", Verdict.OK, f"answers, version {server.get('redis_version')}")
    policy = memory.get("maxmemory_policy")
    if policy == "noeviction":
        yield Check("redis eviction", Verdict.OK, "noeviction: no record is thrown away")
    else:
        mend = "redis-cli CONFIG SET maxmemory-policy noeviction"
        yield Check("redis eviction", Verdict.WRONG, f"{policy}: records may be thrown away when it is full", mend)
    if persistence.get("aof_enabled"):
        yield Check("redis appendonly", Verdict.OK, "on: jobs outlive a crash of Redis")
    else:
        mend = "redis-cli CONFIG SET appendonly yes"
        yield Check("redis appendonly", Verdict.WRONG, "off: a crash of Redis loses jobs", mend)


def _s3_check(settings: Settings) -> Check:
    key, body = f"doctor/probe-{secrets.token_hex(8)}.txt", secrets.token_bytes(32)
    mend = "Check IMAGEQUEUE_S3_ENDPOINT, IMAGEQUEUE_S3_BUCKET, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    try:
        store = ObjectStore(settings)
        store.ping()
        store.put_bytes(key, body, content_type="text/plain", filename="probe.txt")
        same = store.get_bytes(key) == body
        store.delete(key)
    except ImageNotFound:
        found = f"there is no bucket {settings.s3_bucket!r}"
        return Check("s3", Verdict.WRONG, found, "Start a worker: it makes the bucket. Or set IMAGEQUEUE_S3_BUCKET.")
    except ImageQueueError as error:
        return Check("s3", Verdict.WRONG, str(error), mend)
    if not same:
        return Check("s3", Verdict.WRONG, "an object read back was not the one written", mend)
    return Check("s3", Verdict.OK, f"bucket {settings.s3_bucket!r}: an object was written, read and deleted")


def _worker_checks(settings: Settings) -> Iterator[Check]:
    try:
        with closing(open_queue(settings)) as queue:
            workers = queue.health()["workers"]
            mend = "" if workers.ok else _MEND_WORKER
            yield Check("workers", Verdict.OK if workers.ok else Verdict.WRONG, workers.detail, mend)
            if workers.ok:
                answered_by = queue.probe_messages(_PROBE_SECONDS)
                yield _messages_check(answered_by)
    except ImageQueueError as error:
        yield Check("messages", Verdict.WRONG, str(error), _MEND_REDIS)


def _messages_check(answered_by: str | None) -> Check:
    if answered_by:
        return Check("messages", Verdict.OK, f"a probe was answered by {answered_by}")
    mend = "Look at the worker's log; all its slots may be busy, or it uses another IMAGEQUEUE_BROKER_URL."
    return Check("messages", Verdict.WRONG, f"no worker answered a probe within {_PROBE_SECONDS:g} s", mend)
