"""Parcels of the economy lane: lines of a batch that go to OpenAI together, in one batch of its Batch API.

A parcel is `packed` (images and input file uploaded), then `sent` (OpenAI's batch is begun: from there on it costs
money), and gone once every line of it has ended or was given back to be run in real time. What its lines are lies in
S3 from before it is sent: nothing that happens to their sources meanwhile can part an image from its line.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field
from ulid import ULID

from imagequeue.jobs import Frozen, JobInput, NewJob
from imagequeue.requests import EditRequest, JobRequest

Endpoint = Literal["/v1/images/generations", "/v1/images/edits"]
"""Where OpenAI serves a request; a batch of OpenAI's is for one of them."""
ParcelState = Literal["new", "packed", "creating", "sent"]
PARCEL_LINES: Final = 1000
"""At most. Even with the longest prompts they stay below the 200 MB that OpenAI takes in one file."""


class Parcel(Frozen):
    """Lines `first` to `end` (without it) of a batch's manifest, as far as they are for one endpoint.

    Times are milliseconds of Redis's clock, money is in whole millionths of a dollar.
    """

    id: str = Field(default_factory=lambda: f"parcel_{ULID()}")
    batch_id: str
    owner: str
    key_id: str | None = None
    endpoint: Endpoint
    first: int
    end: int
    lines: int  # that are its own
    reserved: int  # what they may cost at most
    state: ParcelState = "new"
    input_file: str | None = None  # OpenAI's id
    creating_at: int | None = None  # OpenAI's batch was perhaps begun then
    remote_id: str | None = None  # of OpenAI's batch
    remote_state: str | None = None  # as it was when it was looked at last
    real_time_seconds: float = 0.0  # how long its batch's lines at OpenAI would take without it
    tries: int = 0  # how often in a row OpenAI did not take it
    trouble: str | None = None  # why it does not go on, for people
    ending: bool = False  # OpenAI was asked to cancel it: its batch was cancelled, or its deadline is near
    holder: str | None = None  # who looks after it now


class PackedLine(Frozen):
    """A line of a parcel: its number in the manifest, the job that it becomes, and the images that were sent.

    `files` are OpenAI's ids of those images.
    """

    number: int
    job: NewJob
    inputs: tuple[JobInput, ...] = ()
    files: tuple[str, ...] = ()


def endpoint_of(request: JobRequest) -> Endpoint:
    """Where OpenAI serves the request."""
    return "/v1/images/edits" if isinstance(request, EditRequest) else "/v1/images/generations"
