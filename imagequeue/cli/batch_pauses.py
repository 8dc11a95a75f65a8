"""Why a batch does not go on, and the command that lets it: what the API says of it names the API's own ways."""

from __future__ import annotations

from imagequeue.batch_views import BatchView, PauseView
from imagequeue.cli.output import local_time
from imagequeue.estimates import in_dollars


def whys(batch: BatchView) -> list[str]:
    """Why it does not go on, or not faster, and what to do; nothing while it does."""
    if batch.pause:
        return [f"{why_paused(batch, batch.pause)} Go on: {way_on(batch, batch.pause)}"]
    return [f"waits for {_by_options(batch.waiting_for)}"] if batch.waiting_for else []


def why_paused(batch: BatchView, pause: PauseView) -> str:
    """Why, in one sentence or two."""
    if pause.code == "max_cost_usd" and batch.max_cost_usd is not None:
        spent = in_dollars(batch.cost_usd_estimated + batch.possible_extra_cost_usd)
        return f"{spent} of --max-cost, {in_dollars(batch.max_cost_usd)}, are spent, and the next line could exceed it."
    if pause.code == "budget_exceeded":
        goes_on = f"It goes on by itself at {local_time(pause.resumes_at)}" if pause.resumes_at else ""
        after = f"{goes_on}, or" if goes_on else "The line alone exceeds it: it goes on"
        return (
            "The API key's budget has no room for the next line. "
            f"{after} once you have had the budget raised (imagequeue keys limit)."
        )
    return "You asked for it." if pause.code == "asked" else pause.message


def way_on(batch: BatchView, pause: PauseView) -> str:
    """The command."""
    if pause.code == "max_cost_usd":
        return f"imagequeue batch set {batch.id} --max-cost USD"
    return f"imagequeue batch resume {batch.id}"


def _by_options(text: str) -> str:
    """What the API says, with the command line's name of what it is about."""
    return text.replace("max_cost_usd", "--max-cost")
