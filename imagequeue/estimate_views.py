"""What is asked of, and told by, an estimate."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from imagequeue.batch_requests import SkipInvalid
from imagequeue.estimates import Bound, Excess, LimitName
from imagequeue.manifests.views import LineView, LineViolation
from imagequeue.views import View


class ManifestBody(BaseModel):
    """A manifest as JSON: `lines`; or a `template` and `variables`; or `manifest`, perhaps with a `template`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: tuple[dict[str, object], ...] | None = Field(
        default=None,
        max_length=50_000,
        description="Requests, as for POST /v1/jobs, perhaps with a `custom_id`; or lines of OpenAI's Batch API.",
        examples=[[{"custom_id": "dawn", "prompt": "A lighthouse at dawn"}]],
    )
    template: str | dict[str, object] | None = Field(
        default=None,
        description="A prompt with {placeholders}, or a request with such texts; {{ and }} stand for braces.",
        examples=["A {animal} in the style of {style}"],
    )
    variables: tuple[dict[str, str | float], ...] | dict[str, tuple[str | float, ...]] | None = Field(
        default=None,
        description="Values for the placeholders: an object for each line, or a list for each placeholder, of which "
        "every combination makes a line.",
        examples=[[{"animal": "cat", "style": "oil"}], {"animal": ["cat", "dog"], "style": ["oil", "ink"]}],
    )
    manifest: str | None = Field(
        default=None,
        description="s3:// URL of a manifest, from PUT /v1/manifests.",
        examples=["s3://images/manifests/local/spring.jsonl"],
    )
    skip_invalid: SkipInvalid = False


class StoredManifest(View):
    """A manifest that was put into S3."""

    manifest: str = Field(description="What to name it by.", examples=["s3://images/manifests/local/spring.jsonl"])
    size_bytes: int


class SpendingLimitView(View):
    """What may still be spent, and whether the lines exceed it."""

    name: LimitName
    left_usd: float = Field(description="Neither spent nor reserved for jobs that have not ended.")
    exceeded: Excess = Field(
        description="Whether the lines together exceed it: `possible` at the upper bound, `likely` at the expected "
        "price, `certain` even at the lowest."
    )
    covered_lines: int = Field(description="How many lines, in order, it pays for even at the upper bound.")


class EstimateView(View):
    """What the lines will come to. Nothing was stored, reserved or spent."""

    summary: str = Field(examples=["500 images at 20 per minute: about 25 min, $26.50"])
    lines: int
    images: int
    low_usd: float
    expected_usd: float
    high_usd: float = Field(description="Upper bound: what is reserved.")
    price_table: str = Field(description="Version of the price table.")
    seconds: int = Field(description="How long all lines will probably take when nothing else runs.")
    bound: Bound = Field(description="Why it does not take less.")
    images_per_minute: float | None = Field(description="How fast the limits let images go; null when none is known.")
    limits: tuple[SpendingLimitView, ...] = Field(description="Those that there are.")
    notes: tuple[str, ...] = Field(description="What the figures leave out, or what keeps jobs from being made now.")
    preview: tuple[LineView, ...] = Field(description="The first lines.")
    skipped_lines: int = Field(description="Bad lines that were left out.")
    skipped: tuple[LineViolation, ...] = Field(description="What is wrong with the first of them.")
