"""Logging of every process: structlog and the libraries' own loggers, one line an event on stderr, no secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TextIO, cast
from urllib.parse import urlsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from imagequeue.settings import Settings

REDACTED: Final = "[redacted]"
_SECRET_NAME: Final = re.compile(
    r"(?i)(^|[_-])(authorization|cookie|password|passwd|secret|api[_-]?key|access[_-]?key([_-]id)?|token|signature)$"
)
_SECRET_TEXTS: Final = (
    re.compile(r"\b(?:sk|iq|whsec)[-_][A-Za-z0-9_\-]{8,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"),
    re.compile(r"(?i)(?<=\bbearer )[^\s'\",]+"),
    re.compile(r"(?i)(?<=\bx-amz-signature=)\w+"),
    re.compile(r"(?i)(?<=\bx-amz-credential=)[^&\s'\"]+"),
    re.compile(r"(?<=://)[^/@\s]*:[^/@\s]+(?=@)"),
)
_SHORTEST_SECRET: Final = 8
"""Shorter values would blot out ordinary words."""
_TALKATIVE: Final = ("boto3", "botocore", "s3transfer", "urllib3", "openai", "httpx2", "httpcore2", "kombu", "amqp")
"""They log every request, with its headers, at a level that we want to see of ourselves."""


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all log events of this process to `stream`, stderr by default, as the settings say.

    Repeating it replaces what was there before.
    """
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,  # before the redactor: a traceback may quote a secret
                Redactor(known_secrets(settings)),
                _renderer(settings, out),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class Redactor:
    """A processor that blots out secrets: those that are known, what looks like one, and fields named like one."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        known = sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)
        exact = [re.compile("|".join(re.escape(secret) for secret in known))] if known else []
        self._patterns = (*exact, *_SECRET_TEXTS)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Return the event without secrets."""
        return {name: self._clean(name, value) for name, value in event.items()}

    def _clean(self, name: str, value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        if _SECRET_NAME.search(name):
            return REDACTED
        if isinstance(value, Mapping):
            entries = cast("Mapping[object, object]", value)
            return {key: self._clean(str(key), entry) for key, entry in entries.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean("", entry) for entry in cast("Sequence[object]", value)]
        return self.redact(value if isinstance(value, str) else str(value))

    def redact(self, text: str) -> str:
        """The text with every secret blotted out."""
        for pattern in self._patterns:
            text = pattern.sub(REDACTED, text)
        return text


def known_secrets(settings: Settings) -> list[str]:
    """Every secret that the settings hold, the passwords inside URLs included."""
    held = (settings.openai_api_key, settings.aws_access_key_id, settings.aws_secret_access_key)
    urls = (settings.redis_url, settings.broker_url, settings.s3_endpoint, settings.openai_base_url)
    return [
        *(secret.get_secret_value() for secret in held if secret),
        *(password for url in urls if url and (password := _password(url))),
    ]


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:  # not a URL: whoever connects to it will say so
        return None


def _renderer(settings: Settings, stream: TextIO) -> Processor:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer()
    # The traceback is text already when it comes here.
    return structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
