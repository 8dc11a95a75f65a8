"""The spool keeps paid answers: on its disk, in memory when that is full, and with a note for whoever comes next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from imagequeue.errors import OutcomeUnknown
from imagequeue.jobs import Applied, JobInput, Usage
from worker.spool import AnswerNote, OutputFile, Spool, SpoolFolder

FULL_DISK = Path("/dev/full")
MEMORY_DISK = Path("/dev/shm")
JOB_ID = "job_01K0000000000000000000000A"
FIRST, SECOND, THIRD = b"before " * 1000, b"while " * 1000, b"after"

needs_both_disks = pytest.mark.skipif(not FULL_DISK.exists() or not MEMORY_DISK.is_dir(), reason="only Linux has them")


@pytest.fixture
def folder(tmp_path: Path) -> Generator[SpoolFolder]:
    """An attempt's folder; neither on disk nor in memory is anything left of it."""
    folder = Spool(tmp_path / "spool", 0).folder(JOB_ID, 1)
    yield folder
    folder.remove()
    in_memory = MEMORY_DISK / f"imagequeue-{os.getuid()}" / tmp_path.relative_to("/")
    assert list(in_memory.glob("**/0")) == []
    shutil.rmtree(in_memory, ignore_errors=True)


@pytest.fixture
def memory_folder() -> Generator[Path]:
    """A folder on the memory disk, from where there is nowhere to move to."""
    path = MEMORY_DISK / f"imagequeue-test-{os.getpid()}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def fill_disk_of(path: Path) -> None:
    """Let this process's open file take no more, as on a full disk."""
    for link in Path("/proc/self/fd").iterdir():
        try:
            found = link.readlink() == path
        except FileNotFoundError:  # the folder's own descriptor
            continue
        if found:
            full = os.open(FULL_DISK, os.O_WRONLY)
            os.dup2(full, int(link.name))
            os.close(full)


def note_of(folder: SpoolFolder) -> AnswerNote:
    """A note with something in every field."""
    return AnswerNote(
        job_id=JOB_ID,
        attempt=1,
        files=(folder.path / "0",),
        usage=Usage(output_tokens=196),
        applied=Applied(size="1024x1024"),
        request_id="req_1",
        notes=("said by the call",),
        output_format="jpeg",
        inputs=(JobInput(source="upload:1", sha256="ab" * 32, mime_type="image/png", size_bytes=9, width=1, height=1),),
    )


@needs_both_disks
def test_a_disk_that_is_full_from_the_start_sends_the_image_to_memory(folder: SpoolFolder) -> None:
    (folder.path / "0").symlink_to(FULL_DISK)
    file = OutputFile(folder.path / "0")
    file.write(FIRST)
    file.close()
    assert file.path.is_relative_to(MEMORY_DISK)
    assert file.path.read_bytes() == FIRST
    assert not (folder.path / "0").is_symlink(), "the disk is full: nothing stays there"


@needs_both_disks
def test_a_disk_that_fills_up_in_the_middle_loses_no_byte(folder: SpoolFolder) -> None:
    file = OutputFile(folder.path / "0")
    file.write(FIRST)
    fill_disk_of(folder.path / "0")
    file.write(SECOND)
    file.write(THIRD)
    file.close()
    assert file.path.is_relative_to(MEMORY_DISK)
    assert file.path.read_bytes() == FIRST + SECOND + THIRD
    assert not (folder.path / "0").exists()


@needs_both_disks
def test_a_file_that_cannot_be_opened_on_disk_begins_in_memory(folder: SpoolFolder) -> None:
    file = OutputFile(folder.path / "missing" / "0")
    file.write(FIRST)
    file.close()
    assert file.path.is_relative_to(MEMORY_DISK)
    assert file.path.read_bytes() == FIRST


@needs_both_disks
def test_removing_the_folder_removes_what_it_had_in_memory(folder: SpoolFolder) -> None:
    (folder.path / "0").symlink_to(FULL_DISK)
    file = OutputFile(folder.path / "0")
    file.write(FIRST)
    file.close()
    folder.remove()
    assert not file.path.exists()
    assert not folder.path.exists()
    folder.remove()


@needs_both_disks
def test_when_memory_is_full_too_the_outcome_is_unknown(memory_folder: Path) -> None:
    (memory_folder / "0").symlink_to(FULL_DISK)
    file = OutputFile(memory_folder / "0")
    with pytest.raises(OutcomeUnknown, match="the spool's disk did not take it"):
        file.write(FIRST)
    file.close()


@needs_both_disks
def test_an_answer_in_memory_is_found_by_its_note(folder: SpoolFolder) -> None:
    (folder.path / "0").symlink_to(FULL_DISK)
    file = OutputFile(folder.path / "0")
    file.write(FIRST)
    file.close()
    note = note_of(folder).model_copy(update={"files": (file.path,)})
    folder.keep(note)
    assert folder.note() == note
    file.path.unlink()
    assert folder.note() is None, "the machine was started anew: memory is gone"


def test_a_note_comes_back_as_it_was_kept(folder: SpoolFolder) -> None:
    (folder.path / "0").write_bytes(FIRST)
    folder.keep(note_of(folder))
    assert folder.note() == note_of(folder)
    assert [path.name for path in sorted(folder.path.iterdir())] == ["0", "answer.json"]


@needs_both_disks
def test_a_whole_note_is_not_lost_to_one_that_is_only_half_written(folder: SpoolFolder) -> None:
    (folder.path / "0").write_bytes(FIRST)
    folder.keep(note_of(folder))
    (folder.path / "answer.json.part").symlink_to(FULL_DISK)
    with pytest.raises(OSError, match="No space left"):
        folder.keep(note_of(folder).model_copy(update={"request_id": "other"}))
    assert folder.note() == note_of(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff\xfe"])
def test_a_note_that_cannot_be_read_is_none(folder: SpoolFolder, content: bytes) -> None:
    (folder.path / "answer.json").write_bytes(content)
    assert folder.note() is None


def test_a_note_without_its_images_is_none(folder: SpoolFolder) -> None:
    folder.keep(note_of(folder))
    assert folder.note() is None


def test_what_is_left_behind_is_listed_by_job_and_attempt_and_nothing_else_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 0)
    assert list(spool.left_behind()) == [], "there is no folder yet"
    folders = [spool.folder(JOB_ID, attempt) for attempt in (1, 12)]
    for other in ("job_x.part", "notes.1", "lost+found"):
        (spool.root / other).mkdir()
    assert list(spool.left_behind()) == [(JOB_ID, 1, folders[0]), (JOB_ID, 12, folders[1])]


@pytest.mark.parametrize(("min_free_bytes", "room"), [(0, True), (2**62, False)])
def test_room_is_what_the_disk_has_beyond_the_least(tmp_path: Path, min_free_bytes: int, room: bool) -> None:
    assert Spool(tmp_path / "a" / "spool", min_free_bytes).has_room() is room


def test_a_folder_with_nothing_but_inputs_holds_no_answer(folder: SpoolFolder) -> None:
    assert folder.holds_no_answer
    for name in ("input-0.png", "mask.png"):
        (folder.path / name).write_bytes(FIRST)
    assert folder.holds_no_answer
    (folder.path / "0").write_bytes(b"")
    assert not folder.holds_no_answer, "a piece of an answer, perhaps"


@needs_both_disks
def test_an_answer_that_moved_to_memory_is_one(folder: SpoolFolder) -> None:
    (folder.path / "0").symlink_to(FULL_DISK)
    file = OutputFile(folder.path / "0")
    file.write(FIRST)
    file.close()
    assert not folder.holds_no_answer


def test_only_old_folders_of_checks_are_cleared_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 0)
    spool.clear_checks(60)
    answer = spool.folder(JOB_ID, 1)
    for name in ("input-old", "input-new"):
        (spool.root / name).mkdir()
    for old in (spool.root / "input-old", answer.path):
        os.utime(old, (0, 0))
    spool.clear_checks(60)
    assert sorted(path.name for path in spool.root.iterdir()) == ["input-new", f"{JOB_ID}.1"]
    assert answer.age_seconds > 60
