"""What stands in the path and query of requests about batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from api.manifest_parameters import ManifestQuery
from api.parameters import DEFAULT_PAGE, EXAMPLE_BATCH_ID, MAX_PAGE, Query, no_cursor, seconds
from imagequeue.batch_requests import BatchOptions, ResultOrder
from imagequeue.batches import is_batch_id


def _batch_cursor(value: str) -> str:
    if is_batch_id(value):
        return value
    raise no_cursor(EXAMPLE_BATCH_ID)


class BatchListQuery(Query):
    """How many batches, from where on."""

    cursor: Annotated[str, AfterValidator(_batch_cursor)] | None = Field(
        default=None, description="`next_cursor` of the page before.", examples=[EXAMPLE_BATCH_ID]
    )
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Batches on a page.", examples=["20"])


class BatchQuery(Query):
    """How long to wait for a batch."""

    wait: Annotated[
        float | None,
        BeforeValidator(seconds),
        Field(
            description="Seconds to wait for the batch to end or pause; the server's limit (90 by default) applies to "
            "larger values. Without it the answer comes at once.",
            examples=["30"],
        ),
    ] = None


class BatchOptionsQuery(ManifestQuery, BatchOptions):
    """A batch's options, where the body holds its lines alone."""


class ResultsQuery(Query):
    """In which order, from where on."""

    order: ResultOrder = Field(
        default="manifest",
        description="`manifest`: up to the first line that has not ended; `finished`: those that have ended, in that "
        "order, a line that ran again once more.",
        examples=["finished"],
    )
    after: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000_000,
        description="Go on behind it: the `line` of the last result that you have or, with `order=finished`, its "
        "`position`.",
        examples=["499"],
    )


class ZipQuery(Query):
    """How the archive is ordered."""

    folders: Literal["none", "prompt"] = Field(
        default="none",
        description="`prompt`: a folder for each prompt, named by its beginning; `none`: all images side by side.",
        examples=["prompt"],
    )


class ReportQuery(Query):
    """Which page of the contact sheet."""

    page: int = Field(
        default=1, ge=1, le=1_000_000, description="Of the contact sheet: 100 lines each, from 1.", examples=["2"]
    )


class AcceptHeader(BaseModel):
    """In which form the answer is wanted."""

    accept: str = Field(
        default="",
        alias="Accept",
        description="`text/html` for the report as a page; otherwise it is JSON.",
        examples=["text/html"],
    )


class BatchPath(BaseModel):
    """Which batch."""

    batch_id: str = Field(description="The batch's id.", examples=[EXAMPLE_BATCH_ID])
