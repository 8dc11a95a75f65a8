"""What several tools' descriptions say in the same words, because the same holds for them."""

from __future__ import annotations

from typing import Final

from mcp_bridge.facts import Facts

PRICE: Final = (
    "about $0.006 (low), $0.05 (medium) or $0.21 (high quality) at 1024x1024, up to 3.4 times that at the largest"
)
EDIT_PRICE: Final = f"""\
Costs money, billed to the server's OpenAI account: each output image {PRICE}, plus about $0.01 (up to $0.05) for each \
input image; "auto" may pick any. estimate_cost tells the price first, for free."""
REFUSALS: Final = """\
Whatever is wrong with the arguments is refused before anything is spent; every error says what to do next. What \
OpenAI's moderation refuses (moderation_blocked) is not billed: change the prompt, do not retry."""


def waiting(facts: Facts) -> str:
    """How long it takes, and what becomes of a call that takes longer."""
    return f"""\
Takes about 10 s (low) to 2 minutes (high), up to 5 above 2K, and longer while it waits its turn at OpenAI's rate \
limits. If it has not ended after {facts.wait_seconds:g} s, the answer has status "running" and a job_id for \
wait_for_jobs. Cancelling or timing out loses nothing: the same call made again within a day re-attaches to its job \
until the result was handed over; after that it makes and bills a new image."""


def saving(facts: Facts) -> str:
    """Where the images go."""
    if not facts.local:
        return "The answer shows previews and links to the originals, which the server keeps; no files are written."
    return (
        "The answer shows previews; originals are saved to output_dir, over no existing file, and kept on the server."
    )
