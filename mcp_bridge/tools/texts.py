"""What several tools' descriptions say in the same words, because the same holds for them."""

from __future__ import annotations

from typing import Final

WAITING: Final = """\
Takes 10 to 300 seconds. The job is queued durably: if it takes longer than the call may, the answer has status \
"running" and a job_id for wait_for_jobs. Cancelling or timing out never loses or repeats it: the same call made \
again re-attaches to the job until its result was handed over; after that it makes and bills a new image."""
SAVING: Final = """\
Originals are kept and, by a bridge on the user's machine, saved to output_dir without overwriting anything; the \
answer shows previews. output_compression needs output_format jpeg or webp."""
EDIT_PRICE: Final = """\
Costs money: each output image about $0.006 (low), $0.05 (medium) or $0.21 (high quality) at 1024x1024, plus about \
$0.01 (up to $0.05) for each input image; estimate_cost tells the price first, for free."""
REFUSALS: Final = """\
Bad images, masks and paths are refused before anything is spent. A refusal by OpenAI's moderation \
(moderation_blocked) is not billed: change the prompt instead of retrying."""
