"""Edit sessions."""

from __future__ import annotations

from typing import Final

from mcp.types import CallToolResult, TextContent

from imagequeue.requests import ContinueSessionRequest, StartSessionRequest, parse_as
from imagequeue.session_views import SessionSummary, SessionView
from mcp_bridge.bridge import Call
from mcp_bridge.facts import Facts
from mcp_bridge.outputs import EndResult, SessionDetail, SessionInfo, SessionList, TurnResult
from mcp_bridge.results import answer, narrowed, resource_of, structured
from mcp_bridge.schemas import ContinueEditSession, ForkEditSession, ListEditSessions, OneSession, StartEditSession
from mcp_bridge.tool import ToolSpec
from mcp_bridge.tools.annotations import ADDS, PAID, READS, STOPS
from mcp_bridge.tools.delivery import deliver
from mcp_bridge.tools.edit import with_sources
from mcp_bridge.tools.texts import EDIT_PRICE, REFUSALS, saving, waiting
from mcp_bridge.waiting import describe, dollars

_LISTED: Final = 100


async def start_edit_session(call: Call, arguments: StartEditSession) -> CallToolResult:
    """Start a session with its first turn."""
    folder = call.bridge.folder(arguments.output_dir)
    request = parse_as(StartSessionRequest, await with_sources(call, arguments))
    return await deliver(call, await call.door.start_session(request), folder)


async def continue_edit_session(call: Call, arguments: ContinueEditSession) -> CallToolResult:
    """Add a turn."""
    local = call.bridge.local
    folder = call.bridge.folder(local.memory.folder(arguments.session_id) if local else None)
    fields = arguments.model_dump(exclude={"session_id"}, exclude_none=True)
    request = parse_as(ContinueSessionRequest, fields)
    return await deliver(call, await call.door.add_turn(arguments.session_id, request), folder)


async def list_edit_sessions(call: Call, arguments: ListEditSessions) -> CallToolResult:
    """The newest sessions."""
    page = await call.door.sessions(None, _LISTED)
    infos = tuple(_info(call, session) for session in page.sessions)
    lines = [f"{info.session_id}: {info.state}, {_turns(info)}: {info.last_prompt or '–'}" for info in infos]
    text = "\n".join(lines) or "There are no sessions yet: start_edit_session starts one."
    return answer(SessionList(sessions=infos, more=page.next_cursor is not None), TextContent(text=text))


async def get_edit_session(call: Call, arguments: OneSession) -> CallToolResult:
    """A session with its turns."""
    return _detail(call, await call.door.session(arguments.session_id))


async def fork_edit_session(call: Call, arguments: ForkEditSession) -> CallToolResult:
    """A new session from a turn's image."""
    return _detail(call, await call.door.fork_session(arguments.session_id, arguments.turn))


async def end_edit_session(call: Call, arguments: OneSession) -> CallToolResult:
    """End a session."""
    session = await call.door.end_session(arguments.session_id)
    text = (
        f"Session {session.id} has ended. Its images stay; fork_edit_session goes on from one of them in a new session."
    )
    return answer(EndResult(ended=True, session_id=session.id), TextContent(text=text))


def _info(call: Call, session: SessionSummary) -> SessionInfo:
    job_id, index = _current(session)
    local = call.bridge.local
    return SessionInfo(
        session_id=session.id,
        state=session.state.value,
        created_at=session.created_at.isoformat(timespec="seconds"),
        updated_at=session.updated_at.isoformat(timespec="seconds"),
        turns=session.turns_submitted,
        turn=session.turn,
        turns_waiting=session.turns_waiting,
        last_prompt=session.last_prompt,
        last_image_path=local.memory.image_path(session.id, job_id) if local else None,
        last_image=resource_of(job_id, index) if job_id else None,
        output_format=session.output_format,
        forked_from=session.forked_from,
        cost_usd_estimated=session.cost_usd_estimated,
        possible_extra_cost_usd=session.possible_extra_cost_usd,
    )


def _current(session: SessionSummary) -> tuple[str | None, int]:
    """Job and index of the image that the next turn edits, as its path has them."""
    if session.image_url is None:
        return None, 0
    *_, job_id, _images, index = session.image_url.split("/")
    return job_id, int(index)


def _detail(call: Call, session: SessionView) -> CallToolResult:
    info = _info(call, session)
    turns = tuple(
        TurnResult.model_validate(narrowed(structured(call, job, {}, ())).model_dump()) for job in session.turns
    )
    detail = SessionDetail(**info.model_dump(), history=turns)
    origin = f", forked from {info.forked_from}" if info.forked_from else ""
    head = f"Session {info.session_id}: {info.state}{origin}, {_turns(info)}, about {dollars(info.cost_usd_estimated)}"
    lines = [f"Turn {job.turn}: {describe(job)}: {job.request.prompt[:100]} (job {job.id})" for job in session.turns]
    image = [f"Current image: {info.last_image_path or info.last_image}"] if info.last_image else []
    return answer(detail, TextContent(text="\n".join([head, *lines, *image])))


def _turns(info: SessionInfo) -> str:
    waiting = f", {info.turns_waiting} waiting" if info.turns_waiting else ""
    return f"{info.turns} turn{'s' * (info.turns != 1)}{waiting}"


def _start_description(facts: Facts) -> str:
    return f"""\
Begin a multi-turn edit session: runs the first edit on 1–8 input images and returns a session_id for \
continue_edit_session, where each turn edits the exact image that the turn before made. Each turn makes one image. \
Call end_edit_session when done.
Use it when several changes to one image are likely. For a single edit, or variants, use edit_image; to branch off an \
existing session, fork_edit_session, which costs nothing.
The session survives restarts and expires when it is idle for {facts.idle}; its images stay. If this first turn fails \
or is cancelled, the session ends: start another. A mask marks what to change in the first image, with its dimensions; \
it holds for this turn only. output_compression applies to jpeg and webp only.
{EDIT_PRICE}
{waiting(facts)}
{saving(facts)}
{REFUSALS}"""


START_EDIT_SESSION: Final = ToolSpec(
    name="start_edit_session",
    title="Start Iterative Edit Session",
    description=_start_description,
    inputs=StartEditSession,
    output=TurnResult,
    annotations=PAID,
    handle=start_edit_session,
)


def _continue_description(facts: Facts) -> str:
    where = "Images are saved where the session's first were. " if facts.local else ""
    return f"""\
Apply another edit turn to an existing session: it edits the image of the last turn that succeeded, so give no \
images. Use short, focused prompts like "make the sky more orange"; include "keep everything else the same" to limit \
drift.
Not for a first edit (start_edit_session), for other input images (edit_image), or for going back to an earlier turn \
(fork_edit_session).
Turns run strictly in the order of the calls, one at a time; up to {facts.waiting_turns} may wait (session_full). If a \
turn fails, those waiting behind it are cancelled unpaid (previous_turn_failed) and the session stays at its last good \
image. A session that was ended (session_ended) or idle for {facts.idle} (session_expired) takes no more turns: fork \
it.
size and quality are not inherited from earlier turns; output_format is. {where}output_compression applies to jpeg and \
webp only.
{EDIT_PRICE}
{waiting(facts)}
{REFUSALS}"""


CONTINUE_EDIT_SESSION: Final = ToolSpec(
    name="continue_edit_session",
    title="Continue Edit Session",
    description=_continue_description,
    inputs=ContinueEditSession,
    output=TurnResult,
    annotations=PAID,
    handle=continue_edit_session,
)
LIST_EDIT_SESSIONS: Final = ToolSpec(
    name="list_edit_sessions",
    title="List Edit Sessions",
    description=lambda _: (
        f"""\
List your edit sessions, newest first, at most {_LISTED}: state, turns, last prompt, current image, cost. Use it to \
find a session_id again; for the turns of one session use get_edit_session. Free; it changes nothing and extends no \
session's life. Sessions that have ended or expired are listed too: they take no turns but can be forked."""
    ),
    inputs=ListEditSessions,
    output=SessionList,
    annotations=READS,
    handle=list_edit_sessions,
)
GET_EDIT_SESSION: Final = ToolSpec(
    name="get_edit_session",
    title="Get Edit Session",
    description=lambda _: (
        """\
Look at one edit session with its whole history: prompt, settings, state, image, cost or error of each turn. Use it \
before fork_edit_session to choose a turn, or to see what became of turns that were not waited for; use \
list_edit_sessions when the session_id is not known, and wait_for_jobs to wait for a turn or to see its image. Free; \
it changes nothing. An unknown id is an error (session_not_found)."""
    ),
    inputs=OneSession,
    output=SessionDetail,
    annotations=READS,
    handle=get_edit_session,
)
FORK_EDIT_SESSION: Final = ToolSpec(
    name="fork_edit_session",
    title="Fork Edit Session",
    description=lambda _: (
        """\
Make a new session that goes on from the image of one turn of another, which stays as it is. Use it to try an \
alternative, to go back to an earlier turn, or to go on from a session that has ended or expired; to simply go on, \
use continue_edit_session. Free: nothing is spent before the new session gets a turn. Returns the new session_id; \
each call makes another session, and without `turn` it starts from the last turn that succeeded. A turn that failed or \
has not ended has no image (image_not_found): get_edit_session shows which have."""
    ),
    inputs=ForkEditSession,
    output=SessionDetail,
    annotations=ADDS,
    handle=fork_edit_session,
)
END_EDIT_SESSION: Final = ToolSpec(
    name="end_edit_session",
    title="End Edit Session",
    description=lambda facts: (
        f"""\
End an edit session for good: it takes no more turns, and turns that wait are cancelled unpaid. A turn that runs \
finishes, is billed and can be fetched with wait_for_jobs. All images and the history stay, and fork_edit_session can \
still go on from them. Use it when the edits are done; to stop a single turn use cancel_job. Free; ending a session \
again changes nothing. A session idle for {facts.idle} expires by itself, so ending is tidy, not required. An unknown \
id is an error (session_not_found)."""
    ),
    inputs=OneSession,
    output=EndResult,
    annotations=STOPS,
    handle=end_edit_session,
)
