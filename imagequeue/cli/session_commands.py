"""`imagequeue session list`, `show`, `fork` and `end`."""

from __future__ import annotations

import sys
from pathlib import Path

from imagequeue.cli.connection import connect
from imagequeue.cli.contact_sheet import Tile, write_sheet
from imagequeue.cli.exits import ExitCode, say
from imagequeue.cli.output import dollars, local_time, one_line, print_json, print_line, print_table
from imagequeue.client import Client
from imagequeue.session_views import SessionPage, SessionSummary, SessionView
from imagequeue.views import JobView

_LARGEST_PAGE = 100
_SHEETS = (".html", ".png")
_COLUMNS = ("turn", "state", "prompt", "size", "seconds", "cost", "image")


def list_sessions(limit: int, *, as_json: bool) -> None:
    """Print the newest sessions, fetching as many pages as `limit` needs."""
    with connect() as client:
        page = _collect(client, limit)
    if as_json:
        print_json(page)
        return
    rows = [
        (one.id, one.state, str(one.turn), local_time(one.updated_at), _cost(one), one_line(one.last_prompt or ""))
        for one in page.sessions
    ]
    if not rows:
        say('No sessions yet. Start one: imagequeue session start "make it night" lighthouse.png')
        return
    print_table(("id", "state", "turn", "updated", "cost", "last prompt"), rows, long={"last prompt"})
    if page.next_cursor:
        say(f"There are more; see them with --limit {limit * 2}.")


def show(session_id: str, sheet: Path | None, *, as_json: bool) -> None:
    """Print a session's turns, and write their contact sheet if a file is named."""
    if sheet and sheet.suffix.lower() not in _SHEETS:
        say(f"--sheet: must end in {' or '.join(_SHEETS)}; given {sheet}, for example turns.html")
        sys.exit(ExitCode.BAD_INPUT)
    with connect() as client:
        session = client.get_session(session_id)
        tiles = [_tile(client, turn) for turn in session.turns] if sheet else []
        base_url = client.base_url
    if as_json:
        print_json(session)
    else:
        _print_session(session, base_url)
    if sheet:
        _write(tiles, f"Edit session {session.id}", sheet)


def fork(session_id: str, turn: int | None, *, as_json: bool) -> None:
    """Make a new session from a turn's image and say how to go on with it."""
    with connect() as client:
        session = client.fork_session(session_id, turn)
    if as_json:
        print_json(session)
        return
    print_line(session.id)
    say(f'Forked from {session.forked_from}. Go on: imagequeue session continue {session.id} "PROMPT"')


def end(session_id: str, *, as_json: bool) -> None:
    """End a session and say what that came to."""
    with connect() as client:
        session = client.end_session(session_id)
    if as_json:
        print_json(session)
        return
    running = " One turn is running and finishes." if session.turns_waiting else ""
    print_line(f"{session.id} has {session.state} after turn {session.turn}; its images stay.{running}")


def _collect(client: Client, limit: int) -> SessionPage:
    page = client.list_sessions(limit=min(limit, _LARGEST_PAGE))
    sessions = page.sessions
    while page.next_cursor and len(sessions) < limit:
        page = client.list_sessions(page.next_cursor, min(limit - len(sessions), _LARGEST_PAGE))
        sessions += page.sessions
    return SessionPage(sessions=sessions, next_cursor=page.next_cursor)


def _print_session(session: SessionView, base_url: str) -> None:
    origin = f", forked from {session.forked_from}" if session.forked_from else ""
    reason = f" ({session.end_reason})" if session.end_reason else ""
    say(f"{session.id} is {session.state}{reason}{origin}; {len(session.turns)} turns cost {_cost(session)}.")
    rows = [_row(turn, base_url) for turn in session.turns]
    if not rows:
        return
    if not sys.stdout.isatty():
        print_table(_COLUMNS, rows, long=())
        return
    print_table(_COLUMNS[:-1], [row[:-1] for row in rows], long={"prompt"})
    for number, *_, image in rows:  # a table would break the addresses
        if image:
            print_line(f"Image of turn {number}: {image}")


def _row(turn: JobView, base_url: str) -> tuple[str, ...]:
    cost = dollars(turn.cost_usd_estimated) if turn.finished_at and turn.attempts else ""
    image = f"{base_url}{turn.images[0].url}" if turn.images else ""
    return str(turn.turn), _state(turn), one_line(turn.request.prompt), _size(turn), _seconds(turn), cost, image


def _write(tiles: list[Tile], title: str, sheet: Path) -> None:
    if not tiles:
        say("The session has no turns yet: no sheet was made.")
        sys.exit(ExitCode.FAILED)
    try:
        write_sheet(tiles, title, sheet)
    except OSError as error:
        say(f"--sheet: must be a file that can be written ({error})")
        sys.exit(ExitCode.BAD_INPUT)
    say(f"Contact sheet: {sheet}")


def _tile(client: Client, turn: JobView) -> Tile:
    facts = (_state(turn), _size(turn), f"{_seconds(turn)} s", dollars(turn.cost_usd_estimated))
    done = bool(turn.images)
    return Tile(
        number=turn.turn or 0,
        prompt=one_line(turn.request.prompt, 2000),
        facts=" · ".join(facts[1:] if done else facts[:1]),
        preview=client.preview(turn.id, turn.images[0]) if done else None,
    )


def _cost(session: SessionSummary) -> str:
    extra = session.possible_extra_cost_usd
    return dollars(session.cost_usd_estimated) + (f" (perhaps {dollars(extra)} more)" if extra else "")


def _state(turn: JobView) -> str:
    if turn.error is None or turn.error.code == turn.state:  # cancelled by the client
        return str(turn.state)
    return f"{turn.state} ({turn.error.code})"


def _size(turn: JobView) -> str:
    return f"{turn.images[0].width}x{turn.images[0].height}" if turn.images else turn.request.size


def _seconds(turn: JobView) -> str:
    if not turn.started_at or not turn.finished_at:
        return ""
    return f"{(turn.finished_at - turn.started_at).total_seconds():.1f}"
