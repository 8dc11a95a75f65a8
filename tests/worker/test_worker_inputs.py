"""What a turn edits: the very bytes that its session's last turn stored, wherever they are nearest."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

import pytest
from fleet_kit import Fleet
from session_kit import add_turn, start_session

from imagequeue.errors import InvalidInput
from imagequeue.inputs import InputStore
from imagequeue.jobs import Job
from imagequeue.objects import ObjectStore
from imagequeue.sessions import session_image
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from imagequeue.store.sessions import SessionStore
from worker.inputs import AtHand, InputGatherer


@pytest.fixture
def objects(fleet: Fleet) -> ObjectStore:
    """The fleet's bucket."""
    return ObjectStore(fleet.settings)


@pytest.fixture
def gatherer(fleet: Fleet, objects: ObjectStore) -> Generator[InputGatherer]:
    """What a worker of the fleet would gather inputs with."""
    with contextlib.closing(connect(fleet.settings.redis_url)) as client:
        sessions = SessionStore(client, Keys(fleet.settings.key_prefix))
        yield InputGatherer(InputStore(objects, fleet.settings), objects, sessions)


@pytest.fixture
def turns(fleet: Fleet) -> tuple[Job, Job]:
    """A session's first turn, which has ended, and its second, which nobody runs."""
    worker = fleet.start_worker()
    first = fleet.finished(start_session(fleet, "gathered 1", output_format="webp"))
    fleet.kill(worker)
    return first, add_turn(fleet, first, "gathered 2")


def at_hand(turn: Job, *files: Path) -> AtHand:
    """What a turn that has just ended leaves to the next one."""
    image = session_image(turn)
    assert image
    return AtHand(image, files)


def edited(gatherer: InputGatherer, turn: Job, folder: Path, left: AtHand | None = None) -> bytes:
    """The bytes that the turn would send, which are all that it would send."""
    folder.mkdir()
    order = gatherer.prepare(turn, folder, left).order
    assert order
    assert order.output_format == "webp", "the session's"
    (image,) = order.images
    assert image.path.parent == folder
    return image.path.read_bytes()


def test_a_turn_takes_its_image_from_what_the_one_before_has_left(
    gatherer: InputGatherer, objects: ObjectStore, turns: tuple[Job, Job], tmp_path: Path
) -> None:
    first, second = turns
    left, other = tmp_path / "0", tmp_path / "1"
    objects.get_file(first.images[0].key, left)
    other.write_bytes(b"another image of the same answer")
    content = left.read_bytes()
    objects.delete(first.images[0].key)
    assert edited(gatherer, second, tmp_path / "turn", at_hand(first, other, left)) == content
    assert not left.exists(), "it was moved"


def test_a_turn_fetches_its_image_when_what_was_left_is_another_one_or_gone(
    gatherer: InputGatherer, objects: ObjectStore, turns: tuple[Job, Job], tmp_path: Path
) -> None:
    first, second = turns
    content = objects.get_bytes(first.images[0].key)
    (tmp_path / "other").write_bytes(content + b"\0")
    others = at_hand(first, tmp_path / "other", tmp_path / "gone")
    assert edited(gatherer, second, tmp_path / "turn", others) == content
    assert edited(gatherer, second, tmp_path / "again") == content


def test_a_turn_whose_image_is_nowhere_or_has_other_bytes_is_refused(
    gatherer: InputGatherer, objects: ObjectStore, turns: tuple[Job, Job], tmp_path: Path
) -> None:
    first, second = turns
    key = first.images[0].key
    objects.put_bytes(key, b"other bytes", content_type="image/png", filename="image.png")
    with pytest.raises(InvalidInput, match="has other bytes than were stored"):
        edited(gatherer, second, tmp_path / "changed")
    objects.delete(key)
    with pytest.raises(InvalidInput, match="is gone from the bucket"):
        edited(gatherer, second, tmp_path / "deleted")
