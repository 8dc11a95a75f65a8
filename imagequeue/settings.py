"""All settings, read once from the environment into one frozen object.

Ours are `IMAGEQUEUE_*`; OpenAI's and AWS's keep their usual names. A bad value stops the process at start with one
line that names the variable and never prints a secret.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from imagequeue.errors import Misconfigured
from imagequeue.rate_limits import RateLimits

DEFAULT_MODEL: Final = "gpt-image-2"
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]
_OWN_NAMES: Final = ("127.0.0.1", "localhost", "::1")
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")


def _origins(value: str) -> str:
    if all(_ORIGIN.fullmatch(origin.strip().lower()) for origin in value.split(",")):
        return value
    raise ValueError("must be origins such as https://cdn.example.com:8443, separated by commas")


Origins = Annotated[str, AfterValidator(_origins)]


class Settings(BaseSettings):
    """One process's settings. Descriptions name the unit; docs/operations.md lists them all."""

    model_config = SettingsConfigDict(
        env_prefix="IMAGEQUEUE_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    redis_url: str = Field(default="redis://127.0.0.1:6379/0", repr=False, description="Redis that holds all records.")
    broker_url: str | None = Field(
        default=None, description="Redis for Celery's messages; default: the records' Redis."
    )
    key_prefix: str = Field(default="iq:", description="Prefix of every Redis key, for sharing a Redis.")

    s3_endpoint: str | None = Field(default=None, description="S3 server; default: AWS's own.")
    s3_public_endpoint: str | None = Field(
        default=None, description="S3 server as clients reach it, put into presigned URLs; default: the same."
    )
    s3_bucket: str = Field(default="imagequeue", min_length=3, max_length=63, description="Bucket for all objects.")
    aws_access_key_id: SecretStr | None = Field(
        default=None, validation_alias="AWS_ACCESS_KEY_ID", description="S3 key."
    )
    aws_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias="AWS_SECRET_ACCESS_KEY", description="S3 secret."
    )
    aws_region: str = Field(
        default="us-east-1",
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="S3 region.",
    )
    presigned_url_seconds: int = Field(
        default=900, ge=1, le=604_800, description="How long, in seconds, a redirect to an image stays usable."
    )

    openai_api_key: SecretStr | None = Field(
        default=None, validation_alias="OPENAI_API_KEY", description="OpenAI key; needed by workers only."
    )
    openai_base_url: str | None = Field(
        default=None,
        validation_alias="OPENAI_BASE_URL",
        description="OpenAI-compatible server; default: OpenAI's own.",
    )
    openai_org_id: str | None = Field(
        default=None, validation_alias="OPENAI_ORG_ID", description="OpenAI organisation."
    )
    openai_project_id: str | None = Field(
        default=None, validation_alias="OPENAI_PROJECT_ID", description="OpenAI project."
    )
    model: str = Field(default=DEFAULT_MODEL, description="Image model that every job is sent to.")
    openai_timeout_seconds: Seconds = Field(
        default=360,
        description="Longest silence, in seconds, of one call to OpenAI before its outcome counts as unknown.",
    )
    on_unknown_outcome: Literal["retry", "fail"] = Field(
        default="retry", description="After a call whose fate is not known: call once more, or fail."
    )
    unknown_retries: int = Field(
        default=1, ge=0, le=100, description="How often a call of unknown fate is repeated under `retry`."
    )
    max_worker_losses: int = Field(
        default=3, ge=1, le=100, description="A job that lost this many workers ends failed: it is the likely killer."
    )
    session_idle_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=24, description="How long, in hours, an edit session may be unused before it expires."
    )
    max_waiting_turns: int = Field(
        default=100, ge=1, le=10_000, description="How many turns of one session may be in the queue at once."
    )
    retention_days: Days = Field(
        default=30,
        description="How long, in days, jobs with their images, sessions and unused inputs are kept after their end.",
    )
    hot_days: Days = Field(
        default=3,
        description="How long, in days, the record of a job that has ended stays in Redis; then it is read from S3.",
    )
    responses_model: str = Field(
        default="gpt-5",
        description="Model that calls the image tool when edits go through the Responses API.",
    )
    retry_budget_seconds: Seconds = Field(
        default=600, description="How long after its first start a job may be retried when OpenAI is busy."
    )

    images_per_minute: int | None = Field(
        default=None, ge=1, description="Images that the account may make in a minute; default: learned from 429s only."
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Tokens that the account may use in a minute; default: learned from 429s only."
    )
    input_images_per_minute: int | None = Field(
        default=None, ge=1, description="Images that the account may send in a minute; default: learned from 429s only."
    )
    interactive_share: float = Field(
        default=0.2,
        ge=0,
        le=0.9,
        description="Part of each limit per minute that batch jobs leave to interactive ones while those come.",
    )

    batch_window: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Lines of one batch in flight at most, unless the batch says otherwise.",
    )

    economy_poll_seconds: Seconds = Field(
        default=60, description="How often OpenAI is asked how far a batch of its Batch API is, in seconds."
    )
    economy_margin_seconds: Seconds = Field(
        default=900,
        description="How long before its latest time, in seconds, a line of the economy lane leaves OpenAI's Batch API "
        "to meet the deadline: OpenAI may take ten minutes to let it go.",
    )

    worker_slots: int = Field(default=128, ge=1, le=1000, description="Calls that one worker process holds at once.")
    lease_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        default=15, description="How long a worker may be silent before its jobs are taken back; renewed at a third."
    )
    spool_dir: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir(), "imagequeue-spool"),
        description="Folder for files on their way: answers between OpenAI and S3, inputs while they are checked.",
    )

    spool_hold_seconds: Seconds = Field(
        default=600,
        description="How long an answer left on a worker's disk is waited for before its call counts as lost.",
    )
    spool_min_free_bytes: int = Field(
        default=268_435_456, ge=0, description="Free bytes on the spool's disk below which a worker takes no job."
    )
    shutdown_grace_seconds: Seconds = Field(
        default=360, description="How long, in seconds, a worker told to stop waits for its calls in flight."
    )

    input_origins: Origins | None = Field(
        default=None,
        description="Servers that input images are fetched from even if their address is private or their port "
        "unusual: scheme://host:port, separated by commas.",
    )
    input_fetch_seconds: Seconds = Field(
        default=30, description="Longest time, in seconds, that fetching an input image from a URL may take."
    )

    key_pepper: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Long random text that API keys are hashed with, the same for every process; needed for keys.",
    )
    first_key_file: Path | None = Field(
        default=None,
        description="File for a first API key with all rights, made when the API starts and there was never a key.",
    )
    webhook_origins: Origins | None = Field(
        default=None,
        description="Servers that webhooks are sent to even if their address is private, their port unusual or their "
        "scheme http: scheme://host:port, separated by commas.",
    )
    webhook_timeout_seconds: Seconds = Field(
        default=15, description="Longest time, in seconds, that the receiver of a webhook may take to answer."
    )

    api_host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(default=8080, ge=1, le=65535, description="Port the API listens on.")
    api_allowed_hosts: str | None = Field(
        default=None,
        description="Hosts that the API answers for besides this machine's own names, separated by commas; "
        ".example.com stands for all below it. Without it, an API on loopback answers for none, any other for all.",
    )
    api_processes: int = Field(default=2, ge=1, le=64, description="API processes.")
    api_threads: int = Field(default=800, ge=1, le=4000, description="Requests that one API process serves at once.")
    max_wait_seconds: Seconds = Field(
        default=90, description="Longest time one request may wait for a job; common proxies cut at 100 seconds."
    )
    images_wait_seconds: Seconds = Field(
        default=570,
        description="Longest time, in seconds, that POST /v1/images/generations and /v1/images/edits hold their "
        "answer; OpenAI's SDKs wait for 600.",
    )
    max_body_bytes: int = Field(
        default=1_048_576, ge=1024, description="Largest JSON request body in bytes, not counting data: URLs."
    )
    max_edit_body_bytes: int = Field(
        default=67_108_864,
        ge=1024,
        description="Largest JSON request body in bytes of edits and sessions, with the images in data: URLs.",
    )

    max_manifest_bytes: int = Field(
        default=200_000_000,
        ge=1024,
        description="Largest manifest of a batch in bytes, with images in data: URLs; as OpenAI's Batch API has it.",
    )

    mcp_wait_seconds: Seconds = Field(
        default=45, description="How long, in seconds, an MCP tool waits before it answers with the job's id."
    )
    mcp_roots: str | None = Field(
        default=None,
        description="Folders that the MCP bridge may read images from besides its own, separated as in PATH.",
    )
    mcp_output_dir: Path | None = Field(
        default=None,
        validation_alias="GPT_IMAGE_2_OUTPUT_DIR",
        description="Folder that the MCP bridge saves images in; default: one per project in the user's config folder.",
    )

    mcp_host: str = Field(default="127.0.0.1", description="Address that the MCP bridge listens on with --http.")
    mcp_port: int = Field(default=8765, ge=1, le=65535, description="Port that the MCP bridge listens on with --http.")
    mcp_allowed_hosts: str | None = Field(
        default=None,
        description="Host headers that the MCP bridge answers besides this machine's own names, separated by commas; "
        "name:* allows any port.",
    )
    mcp_allowed_origins: Origins | None = Field(
        default=None,
        description="Origins of web pages that may call the MCP bridge besides this machine's, separated by commas.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["console", "json"] = Field(
        default="console", description="Log lines for people or for machines."
    )

    @property
    def celery_broker_url(self) -> str:
        """Where Celery's messages go."""
        return self.broker_url or self.redis_url

    @property
    def session_idle_ms(self) -> int:
        """How long a session may be unused, in milliseconds."""
        return int(self.session_idle_hours * 3_600_000)

    @property
    def retention_ms(self) -> int:
        """How long what has ended is kept, in milliseconds."""
        return int(self.retention_days * 86_400_000)

    @property
    def hot_ms(self) -> int:
        """How long what has ended stays in Redis, in milliseconds: never longer than it is kept at all."""
        return min(int(self.hot_days * 86_400_000), self.retention_ms)

    @property
    def rate_limits(self) -> RateLimits:
        """What the account may use in a minute."""
        return RateLimits(
            images=self.images_per_minute or 0,
            tokens=self.tokens_per_minute or 0,
            input_images=self.input_images_per_minute or 0,
            interactive_share=self.interactive_share,
        )

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds, as the Lua scripts take it."""
        return int(self.lease_seconds * 1000)


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        Misconfigured: a variable has a bad value; the text names each variable and what is wrong with it.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{variable_name(problem['loc'])}: {problem['msg']}" for problem in error.errors(include_input=False)]
        raise Misconfigured("Bad setting: " + "; ".join(lines)) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    return host in _OWN_NAMES


def variable_name(location: tuple[int | str, ...]) -> str:
    """The environment variable behind a field's name or alias in a validation error."""
    name = str(location[0])
    return name if name in os.environ or name.isupper() else f"IMAGEQUEUE_{name.upper()}"
