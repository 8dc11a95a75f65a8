"""Jobs that were handed over as ids, and prices before there is a job."""

from __future__ import annotations

from typing import Final

from mcp.types import CallToolResult, ContentBlock, TextContent

from imagequeue import pricing
from imagequeue.jobs import JobState
from imagequeue.sizes import parse_size
from imagequeue.views import JobView
from mcp_bridge.bridge import Call
from mcp_bridge.facts import Facts
from mcp_bridge.outputs import CancelResult, CostEstimate, JobResult, WaitResult
from mcp_bridge.results import answer, next_step, share_of, status, structured, summary
from mcp_bridge.schemas import MAX_AWAITED, CancelJob, EstimateCost, WaitForJobs
from mcp_bridge.tool import ToolSpec
from mcp_bridge.tools.annotations import FETCHES, READS, STOPS
from mcp_bridge.tools.delivery import collect
from mcp_bridge.waiting import all_ended, any_ended, dollars


async def wait_for_jobs(call: Call, arguments: WaitForJobs) -> CallToolResult:
    """Wait for jobs and hand their images over."""
    ids = tuple(dict.fromkeys(arguments.job_ids))
    jobs = await call.wait(ids, any_ended if arguments.wait_for == "any" else all_ended)
    limit = share_of(jobs)
    results: list[JobResult] = []
    blocks: list[ContentBlock] = []
    for job in jobs:
        result, shown = await _collected(call, job, limit)
        results.append(result)
        blocks += shown
    running = tuple(result.job_id for result in results if result.status == "running")
    return answer(WaitResult(jobs=tuple(results), running=running), *blocks)


async def _collected(call: Call, job: JobView, limit: int) -> tuple[JobResult, list[ContentBlock]]:
    """A job's result and how it is shown; what has ended counts as handed over."""
    if not job.state.terminal:
        result = structured(call, job, {}, ())
        return result, [TextContent(text=f"{summary(result, job)}\n{next_step(result, call.tool)}")]
    return await collect(call, job, limit)


async def cancel_job(call: Call, arguments: CancelJob) -> CallToolResult:
    """Cancel a job."""
    job = await call.door.cancel(arguments.job_id)
    message = (
        "Cancelled before anything was sent: nothing was spent."
        if job.state is JobState.CANCELLED and not job.attempts
        else "Cancelled; what had been sent to OpenAI may be billed."
        if job.state is JobState.CANCELLED
        else "The worker was asked to stop; OpenAI may bill the call all the same. wait_for_jobs tells how it ended."
    )
    output = CancelResult(job_id=job.id, status=status(job), message=message)
    return answer(output, TextContent(text=f"Job {job.id}: {message}"))


async def estimate_cost(call: Call, arguments: EstimateCost) -> CallToolResult:
    """Price a call."""
    n = arguments.n or 1
    size = parse_size(arguments.size)
    figures = pricing.estimate(arguments.prompt, size, arguments.quality, n, arguments.input_images)
    basis = f"{n} image{'s' * (n != 1)}, size {arguments.size}, quality {arguments.quality}"
    if arguments.input_images:
        basis += f", {arguments.input_images} input images, whose tokens OpenAI does not publish"
    if arguments.size == "auto" or arguments.quality == "auto":
        basis += '; "auto" leaves the choice to the model: expected is 1024x1024 at medium'
    output = CostEstimate(
        low_usd=figures.low_usd,
        expected_usd=figures.expected_usd,
        high_usd=figures.high_usd,
        price_table=pricing.PRICE_TABLE_VERSION,
        basis=basis,
    )
    text = (
        f"About {dollars(figures.expected_usd)} (between {dollars(figures.low_usd)} and {dollars(figures.high_usd)}) "
        f"for {basis}."
    )
    return answer(output, TextContent(text=text))


def _wait_description(facts: Facts) -> str:
    saved = "saves and shows" if facts.local else "shows"
    return f"""\
Get the results of jobs that an earlier call left running: waits until all of them (or, with wait_for "any", the \
first) have ended, then {saved} their images as the first call would have. Takes 1–{MAX_AWAITED} job_ids; the more \
images, the smaller their previews.
Whenever an answer has status "running", call this; for the history of a session use get_edit_session, and to stop a \
job cancel_job.
Waits up to {facts.wait_seconds:g} s; what has not ended then is listed in `running`: call again. Free: it submits \
nothing, and a job is billed once however often it is waited for. What it hands over counts as delivered, so repeating \
the call that made it buys new images; this one fetches the same images again as long as the server keeps them.
A failed job is part of the answer, with its error, and makes no error of this call. An unknown id does \
(job_not_found)."""


WAIT_FOR_JOBS: Final = ToolSpec(
    name="wait_for_jobs",
    title="Wait for Jobs",
    description=_wait_description,
    inputs=WaitForJobs,
    output=WaitResult,
    annotations=FETCHES,
    handle=wait_for_jobs,
)
CANCEL_JOB: Final = ToolSpec(
    name="cancel_job",
    title="Cancel Job",
    description=lambda _: (
        """\
Stop a job for good. One that waits is cancelled at once and costs nothing; one that runs is asked to stop, and \
OpenAI may bill it all the same. After a cancelled turn its session goes on from the last good image; a session whose \
first turn is cancelled ends. Use it only when the image is no longer wanted: giving up waiting needs no cancel, and \
end_edit_session ends a whole session. Images that are made already stay; a job that has ended cannot be cancelled \
(job_finished)."""
    ),
    inputs=CancelJob,
    output=CancelResult,
    annotations=STOPS,
    handle=cancel_job,
)
ESTIMATE_COST: Final = ToolSpec(
    name="estimate_cost",
    title="Estimate Cost",
    description=lambda _: (
        """\
Price a call of generate_image, edit_image or a session's turn before making it, in US dollars: low, expected and \
high. Give the same prompt, size, quality and n, and the number of input images. Free; nothing is sent, checked or \
queued, so a prompt that moderation would refuse is priced, too. The range is wide where size or quality is "auto". \
Use it before large batches or high quality; every answer of the image tools tells its real cost afterwards."""
    ),
    inputs=EstimateCost,
    output=CostEstimate,
    annotations=READS,
    handle=estimate_cost,
)
