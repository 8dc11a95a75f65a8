"""Errors as the model reads them: the stable code, the reason, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from mcp.server.mcpserver.exceptions import ToolError

from imagequeue.api_answers import ApiProblem
from imagequeue.errors import ImageQueueError, InputFault, InvalidRequest
from imagequeue.jobs import JobError

_FORK: Final = (
    "Call fork_edit_session with this session_id to go on from its last image in a new session, or start_edit_session."
)
_REASONS: Final = {
    "session_not_found": "There is no such session, or it is somebody else's.",
    "session_ended": "The session has ended and takes no more turns. Its images stay.",
    "session_expired": "The session was idle for too long and has expired. Its images stay.",
    "job_not_found": "There is no such job, or it is somebody else's.",
}
"""Where the domain's own words speak of REST."""
_AWAY: Final = "Nothing is lost: call again in some seconds. The same call gets the same job, if one was made."
_CORRECT: Final = "Correct the argument and call again. Nothing was spent."
_NEXT: Final = {
    "invalid_request": _CORRECT,
    "path_refused": "Bring the image in one of these ways and call again. Nothing was spent.",
    "output_dir_refused": "Leave output_dir out, or name a folder that is allowed. Nothing was spent.",
    "job_not_found": "Use the job_id of an earlier result, letter by letter.",
    "session_not_found": "Call list_edit_sessions to see those there are, or start_edit_session for a new one.",
    "session_ended": _FORK,
    "session_expired": _FORK,
    "session_full": "Call wait_for_jobs with the job_id of its turns, then add the next one.",
    "image_not_found": "Call get_edit_session to see which turns have images; a running job has none yet.",
    "job_finished": "There is nothing to stop; call wait_for_jobs to get what it made.",
    "store_unavailable": _AWAY,
    "objects_unavailable": _AWAY,
    "api_unreachable": _AWAY,
    "moderation_blocked": "Change the prompt or the images: the same request will be refused again.",
    "provider_refused": "Change what OpenAI objects to; the same request will be refused again.",
    "outcome_unknown": "Call again only if paying perhaps a second time is acceptable.",
    "bad_output": "It was billed. Call again if paying once more is acceptable.",
    "worker_lost": "Try a smaller size once; if that fails too, tell the operator.",
    "previous_turn_failed": "Call continue_edit_session again: it goes on from the session's last good image.",
    "cancelled": "Call the tool again if the image is wanted after all.",
    "unauthorized": "Tell the user: the API key (IMAGEQUEUE_API_KEY, or the client's own header) is missing or bad.",
    "forbidden": "Tell the user: the API key needs the scopes submit and read.",
    "budget_exceeded": "Choose a lower quality or a smaller size, or tell the user. Nothing was spent.",
    "too_many_jobs_in_flight": "Call wait_for_jobs with the job_ids of earlier results, then call again.",
    "too_many_jobs_per_minute": "Call again when it says so. Nothing was spent.",
    "misconfigured": "Tell the user: only whoever runs the server can mend this.",
}


_OTHER_NAMES: Final = {
    **dict.fromkeys(("resolution", "dimensions", "aspect_ratio", "width", "height"), "size"),
    **dict.fromkeys(("count", "num_images", "number"), "n"),
    **dict.fromkeys(("description", "text", "instruction"), "prompt"),
    **dict.fromkeys(("format", "image_format", "type"), "output_format"),
    **dict.fromkeys(("path", "folder", "directory", "output_path"), "output_dir"),
    **dict.fromkeys(("filename", "name"), "filename_prefix"),
    **dict.fromkeys(("image_path", "input", "references"), "images"),
    **dict.fromkeys(("ids", "jobs", "job_id"), "job_ids"),
}
"""What models write for a parameter of another name."""


def refusal(code: str, reason: str, next_step: str | None = None) -> ToolError:
    """An error that the model can act on."""
    step = next_step or next_step_for(code)
    return ToolError(f"{code}: {reason}" + (f"\nNext: {step}" if step else ""))


def of_error(error: ImageQueueError) -> ToolError:
    """One of our errors as the model reads it."""
    violations = error.violations if isinstance(error, InvalidRequest | ApiProblem) else ()
    reason = "\n".join(map(str, violations)) or _REASONS.get(error.code) or str(error)
    retry = "It may pass later: call again in a minute." if error.retryable else None
    return refusal(error.code, reason, next_step_for(error.code) or retry)


def of_job(job_id: str, error: JobError) -> ToolError:
    """Why a job made no image."""
    retry = "It may pass later: call again in a minute." if error.retryable else None
    return refusal(error.code, f"{error.message} (job {job_id})", next_step_for(error.code) or retry)


def unknown_arguments(tool: str, given: Iterable[str], known: Iterable[str]) -> ToolError | None:
    """The refusal of arguments that the tool does not have, naming the nearest that it has; None when all are known."""
    names = list(known)
    lines = [_unknown(tool, name, names) for name in given if name not in names]
    return refusal("invalid_request", "\n".join(lines)) if lines else None


def next_step_for(code: str) -> str | None:
    """What to do after an error of this code, if that does not depend on the case."""
    if code in set(InputFault):
        return "Give another image, or mend this one, and call again. Nothing was spent."
    return _NEXT.get(code)


def _unknown(tool: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.7)
    meant = next((other for other in [_OTHER_NAMES.get(name.lower()), *near] if other in known), None)
    guess = f"; did you mean {meant!r}?" if meant else "."
    return f"{tool} has no parameter {name[:80]!r}{guess} It takes {', '.join(known) or 'none'}."
