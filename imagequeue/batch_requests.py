"""What a client may ask of a batch, besides its lines."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from imagequeue.api_keys import Dollars
from imagequeue.request_fields import WebhookUrl, no_boolean
from imagequeue.sizes import broken

MAX_WINDOW: Final = 10_000
MAX_PRIORITY: Final = 1_000
MAX_NAME: Final = 200

Again = Literal["failed", "refused", "cancelled"]
ResultOrder = Literal["manifest", "finished"]


def _printable(name: str) -> str:
    if name.isprintable():
        return name
    raise broken("name", "must consist of printable characters", "Spring catalogue")


Name = Annotated[
    Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_printable)] | None,
    Field(description="For people.", examples=["Spring catalogue"]),
]
Window = Annotated[
    Annotated[int, Field(ge=1, le=MAX_WINDOW), BeforeValidator(no_boolean)] | None,
    Field(
        description="Lines in flight at most; default: the server's setting. The fleet's worker slots limit it, too.",
        examples=[50],
    ),
]
Priority = Annotated[
    int,
    BeforeValidator(no_boolean),
    Field(
        ge=-MAX_PRIORITY,
        le=MAX_PRIORITY,
        description="Batches with a higher one are served first, 0 by default; equal ones share, line by line.",
        examples=[10],
    ),
]
MaxCost = Annotated[
    Dollars | None,
    Field(
        description="No line begins that could take the batch beyond these dollars: it pauses then, and goes on when "
        "the cap is raised. Lines in flight count with the most that they may cost.",
        examples=[25.5],
    ),
]
BatchWebhook = Annotated[
    WebhookUrl | None,
    Field(
        description="https:// URL that is told when the batch is completed, cancelled or paused, by a signed POST "
        "(Standard Webhooks).",
        examples=["https://example.com/imagequeue"],
    ),
]
SkipInvalid = Annotated[
    bool, Field(description="Leave bad lines out instead of refusing the whole manifest.", examples=[True])
]
CompletionWindow = Annotated[
    Literal["24h"] | None,
    Field(
        description="`24h`: the lines may take a day, and go through OpenAI's Batch API at half the price; those that "
        "it has not done in time are run in real time.",
        examples=["24h"],
    ),
]
Deadline = Annotated[
    AwareDatetime | None,
    Field(
        description="As `completion_window`, with the time by which all lines are to have ended, at most 30 days "
        "ahead; by default in 24 hours.",
        examples=["2026-08-02T06:00:00Z"],
    ),
]


class BatchOptions(BaseModel):
    """How a batch is to be run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = None
    window: Window = None
    priority: Priority = 0
    max_cost_usd: MaxCost = None
    completion_window: CompletionWindow = None
    deadline: Deadline = None
    webhook: BatchWebhook = None
    skip_invalid: SkipInvalid = False


class BatchChange(BaseModel):
    """What is to be changed; what is left out stays. `max_cost_usd: null` takes the cap away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: Window = None
    priority: Priority | None = None
    max_cost_usd: MaxCost = None


class CancelRequest(BaseModel):
    """How far a cancel goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    running: bool = Field(
        default=False,
        description="Also stop the lines in flight; OpenAI may bill those that it works on all the same.",
        examples=[True],
    )


class RetryRequest(BaseModel):
    """Which lines are to run again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    states: Annotated[
        tuple[Again, ...],
        Field(
            min_length=1,
            max_length=3,
            description="Lines that ended so: `failed` by default; `refused` ones would be refused again, most likely.",
            examples=[["failed"]],
        ),
    ] = ("failed",)
