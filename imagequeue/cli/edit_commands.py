"""`imagequeue edit`, `session start` and `session continue`: local files are uploaded, then named."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from imagequeue.cli.connection import connect
from imagequeue.cli.delivery import Delivery, hand_over
from imagequeue.cli.exits import ExitCode, exit_code, say
from imagequeue.cli.submission import checked, submitted
from imagequeue.client import ApiProblem, Client
from imagequeue.errors import InvalidInput
from imagequeue.input_images import check_size
from imagequeue.requests import ContinueSessionRequest, EditRequest, StartSessionRequest, parse_as
from imagequeue.views import JobView

_REMOTE: Final = ("job:", "upload:", "http://", "https://", "data:")
_CLOSED: Final = ("session_ended", "session_expired")
_WithImages = TypeVar("_WithImages", EditRequest, StartSessionRequest)


def edit(request: Mapping[str, object], delivery: Delivery) -> None:
    """Submit an edit; then leave, or wait for the images and save them."""
    asked = checked(partial(parse_as, EditRequest), {"type": "edit", **request})
    _check_files(asked)
    delivery.prepare()
    with connect() as client:
        uploaded = _with_uploads(client, asked)
        hand_over(client, submitted(lambda: client.submit(uploaded)), delivery)


def start_session(request: Mapping[str, object], delivery: Delivery) -> None:
    """Start a session; then leave with its id, or wait for the first image and save it."""
    asked = checked(partial(parse_as, StartSessionRequest), request)
    _check_files(asked)
    delivery.prepare()
    with connect() as client:
        uploaded = _with_uploads(client, asked)
        turn = submitted(lambda: client.start_session(uploaded))
        _announce(turn)
        hand_over(client, turn, delivery, lambda job: job.session_id or "")


def continue_session(session_id: str, request: Mapping[str, object], delivery: Delivery) -> None:
    """Add a turn; then leave, or wait for its image and save it."""
    asked = checked(partial(parse_as, ContinueSessionRequest), request)
    delivery.prepare()
    with connect() as client:
        try:
            turn = submitted(lambda: client.add_turn(session_id, asked))
        except ApiProblem as error:
            if error.code in _CLOSED:
                say(f"Go on in a new one: imagequeue session fork {session_id}")
            raise
        _announce(turn)
        hand_over(client, turn, delivery)


def _announce(turn: JobView) -> None:
    say(f'Turn {turn.turn} of {turn.session_id}. Go on: imagequeue session continue {turn.session_id} "PROMPT"')


def _check_files(request: EditRequest | StartSessionRequest) -> None:
    """End the command when a file is not there, before anything is sent."""
    for source in filter(_is_local, _sources(request)):
        path = Path(source)
        if not path.is_file():
            kind = "is a folder" if path.is_dir() else "does not exist"
            _refuse(f"{source}: {kind}; give an image file, job:ID/INDEX, upload:SHA256 or an http(s) URL")
        try:
            check_size(path.stat().st_size, source)
        except (InvalidInput, OSError) as error:
            _refuse(str(error))


def _with_uploads(client: Client, request: _WithImages) -> _WithImages:
    """The request with its files uploaded, each once, and named by what they are uploaded as."""
    files = list(dict.fromkeys(filter(_is_local, _sources(request))))
    if files:
        client.readiness()  # fails at once where nothing answers; an upload waits, because it may be repeated
    names = {source: _upload(client, source) for source in files}
    images = tuple(names.get(source, source) for source in request.images)
    mask = {"mask": names.get(request.mask, request.mask)} if request.mask else {}
    return request.model_copy(update={"images": images, **mask})


def _upload(client: Client, source: str) -> str:
    try:
        return client.upload(Path(source))
    except ApiProblem as error:
        say(f"{source}: {error.detail.removeprefix('file: ')}")
        sys.exit(exit_code(error))
    except OSError as error:
        _refuse(f"{source}: cannot be read ({error})")
    except KeyboardInterrupt:
        say("\nNothing was submitted.")
        sys.exit(ExitCode.INTERRUPTED)


def _sources(request: EditRequest | StartSessionRequest) -> tuple[str, ...]:
    return (*request.images, *((request.mask,) if request.mask else ()))


def _is_local(source: str) -> bool:
    return not source.lower().startswith(_REMOTE)


def _refuse(text: str) -> NoReturn:
    say(text)
    sys.exit(ExitCode.BAD_INPUT)
