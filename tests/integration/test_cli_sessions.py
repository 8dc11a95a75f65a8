"""`imagequeue edit` and `imagequeue session` as people run them, against a whole stack that paints by the sandbox."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import picture_kit as kit
import pytest
from cli_kit import Run, Shell, client_of
from PIL import Image, ImageDraw

SESSION_ID = re.compile(r"ses_[0-9A-Z]{26}")
SIZE = (1024, 1024)


@pytest.fixture
def picture(iq: Shell) -> Path:
    """A PNG in the folder."""
    path = iq.folder / "sea.png"
    Image.new("RGB", SIZE, "steelblue").save(path)
    return path


@pytest.fixture
def mask(iq: Shell) -> Path:
    """A mask for it, with a hole in the middle."""
    image = Image.new("RGBA", SIZE, "black")
    ImageDraw.Draw(image).ellipse((300, 300, 700, 700), fill=(0, 0, 0, 0))
    image.save(iq.folder / "mask.png")
    return iq.folder / "mask.png"


def answer(run: Run) -> dict[str, Any]:
    """The JSON that a command printed."""
    assert run.code == 0, run
    return cast("dict[str, Any]", json.loads(run.out))


def start(iq: Shell, picture: Path, prompt: str = "make it night") -> str:
    """A new session whose first turn is not waited for."""
    run = iq("session", "start", prompt, picture.name, "--quality", "low", "--no-wait")
    assert run.code == 0, run
    return run.out.rstrip("\n")


def go_on(iq: Shell, session: str, prompt: str, *more: str) -> Run:
    """One more turn."""
    return iq("session", "continue", session, prompt, "--quality", "low", *more)


def states(iq: Shell, session: str) -> list[str]:
    """The second column of the turns."""
    return [line.split("\t")[1] for line in iq("session", "show", session).out.splitlines()]


def test_a_masked_edit_of_a_file_changes_what_the_mask_marks(iq: Shell, picture: Path, mask: Path) -> None:
    run = iq("edit", "a red boat", picture.name, "--mask", mask.name, "--quality", "low", "-o", "out")
    assert run.code == 0, run
    file = iq.folder / run.out.partition("\t")[0]
    with Image.open(file) as after, Image.open(picture) as before:
        assert after.convert("RGB").getpixel((5, 5)) == before.getpixel((5, 5))
        assert after.convert("RGB").tobytes() != before.tobytes()
    assert re.search(r"^Cost: \$\d\.\d{4} ", run.err, re.MULTILINE)


OTHERS = ("--user", "u-1", "--on-unknown", "fail")


def test_an_edit_passes_every_option_on_and_uploads_a_file_once(iq: Shell, picture: Path) -> None:
    options = "--size 1536x1024 --quality low -n 2 --format webp --compression 80 --background opaque --prefix boat"
    job = answer(
        iq(
            "edit",
            "boats",
            picture.name,
            picture.name,
            *options.split(),
            "--user",
            "u-1",
            "--on-unknown",
            "fail",
            "--json",
        )
    )
    sha256 = hashlib.sha256(picture.read_bytes()).hexdigest()
    asked = {"size": "1536x1024", "quality": "low", "n": 2, "output_format": "webp", "output_compression": 80}
    asked |= {"background": "opaque", "filename_prefix": "boat", "user": "u-1", "mask": None}
    asked |= {"on_unknown_outcome": "fail", "partial_images": 0}
    assert job["request"] == asked | {"type": "edit", "prompt": "boats", "images": [f"upload:{sha256}"] * 2}
    assert [image["sha256"] for image in job["inputs"]] == [sha256, sha256]
    assert len(job["files"]) == 2
    shown = iq("jobs", "show", job["id"]).out
    assert f"upload:{sha256}" in shown
    assert "images=" not in shown


def test_an_edit_takes_images_of_jobs_and_uploads_and_a_file_with_another_types_name(iq: Shell, picture: Path) -> None:
    made = answer(iq("generate", "a sea", "--quality", "low", "--json"))
    picture.rename(iq.folder / "a photo.jpg")
    first = answer(iq("edit", "x", f"job:{made['id']}/0", "a photo.jpg", "--quality", "low", "--json"))
    assert first["inputs"][0]["sha256"] == made["images"][0]["sha256"]
    again = answer(iq("edit", "x", first["request"]["images"][1], "--quality", "low", "--json"))
    assert again["inputs"] == first["inputs"][1:]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.png"], "missing.png: does not exist"),
        (["."], ".: is a folder"),
        (["empty.png"], "empty.png: "),
        (["huge.png"], "huge.png: "),
        (["text.png"], "text.png: PNG, JPEG and WebP are taken"),
        (["sea.png", "--mask", "missing.png"], "missing.png: does not exist"),
        (["sea.png", "--mask", "sea.png"], "mask: a mask needs an alpha channel"),
        (["sea.png", "--mask", "small.png"], "mask: "),
        (["upload:" + "0" * 64], "images[0]: "),
        (["job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0"], "images[0]: job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0 is no image"),
        (["http://127.0.0.1/a.png"], "images[0]: 127.0.0.1 is not on the public internet"),
        ([*["sea.png"] * 9], "IMAGE: may have at most 8 entries, not 9"),
        (["sea.png", "--size", "1000x1000"], "--size: both edges must be multiples of 16"),
        (["sea.png", "-o", "text.png"], "--output: must be a folder that can be written"),
    ],
)
@pytest.mark.usefixtures("picture")
def test_images_that_cannot_be_used_are_told_in_one_line_and_make_no_job(
    stack: Mapping[str, Any], iq: Shell, arguments: list[str], told: str
) -> None:
    (iq.folder / "empty.png").touch()
    (iq.folder / "text.png").write_text("just text")
    (iq.folder / "small.png").write_bytes(kit.mask((64, 48)))
    with (iq.folder / "huge.png").open("wb") as huge:
        huge.truncate(50_000_000)
    commands = [("edit", "x"), ("session", "start", "x")][: 2 if "--mask" in arguments else 1]
    with client_of(stack) as client:
        before = client.list(limit=1)
        for command in commands:
            run = iq(*command, *arguments)
            assert (run.code, run.out) == (2, "")
            assert run.err.startswith(told), run.err
            assert len(run.err.splitlines()) == 1
        assert client.list(limit=1) == before


def test_turns_enqueued_at_once_run_in_order_each_on_the_image_before(iq: Shell, picture: Path) -> None:
    session = start(iq, picture)
    assert SESSION_ID.fullmatch(session)
    second = go_on(iq, session, "add a moon", "--no-wait")
    assert re.fullmatch(r"job_\w+\n", second.out)
    assert f"Turn 2 of {session}" in second.err
    third = answer(go_on(iq, session, "add fog", "-o", "out", "--json"))
    assert (third["session_id"], third["turn"], len(third["files"])) == (session, 3, 1)
    rows = [line.split("\t") for line in iq("session", "show", session).out.splitlines()]
    assert [(row[0], row[1], row[2], row[3]) for row in rows] == [
        ("1", "succeeded", "make it night", "1024x1024"),
        ("2", "succeeded", "add a moon", "1024x1024"),
        ("3", "succeeded", "add fog", "1024x1024"),
    ]
    assert all(re.fullmatch(r"\d+\.\d", row[4]) and re.fullmatch(r"\$0\.\d{4}", row[5]) for row in rows)
    assert rows[2][6].endswith(f"/v1/jobs/{third['id']}/images/0")
    shown = answer(iq("session", "show", session, "--json"))
    images = [turn["images"][0]["sha256"] for turn in shown["turns"]]
    assert [turn["inputs"][0]["sha256"] for turn in shown["turns"][1:]] == images[:2]
    assert shown["image"]["sha256"] == images[2]


def test_starting_and_waiting_saves_the_image_and_says_how_to_go_on(iq: Shell, picture: Path, mask: Path) -> None:
    run = iq("session", "start", "a boat", picture.name, "--mask", mask.name, "--quality", "low", "-o", "out")
    assert run.code == 0, run
    assert (iq.folder / run.out.partition("\t")[0]).is_file()
    (session,) = set(SESSION_ID.findall(run.err))
    assert f'imagequeue session continue {session} "PROMPT"' in run.err
    listed = iq("session", "list", "--limit", "1").out.split("\t")
    assert (listed[0], listed[1], listed[2], listed[-1]) == (session, "active", "1", "a boat\n")
    page = answer(iq("session", "list", "--limit", "1", "--json"))
    assert [one["id"] for one in page["sessions"]] == [session]


def test_a_refused_turn_halts_those_behind_it_and_the_session_goes_on(iq: Shell, picture: Path) -> None:
    session = start(iq, picture)
    refused = go_on(iq, session, "something FORBIDDEN")
    assert refused.code == 1
    assert "(moderation_blocked)" in refused.err
    good = go_on(iq, session, "fog")
    assert good.code == 0, good
    assert states(iq, session) == ["succeeded", "failed (moderation_blocked)", "succeeded"]


def test_a_contact_sheet_shows_every_turn(iq: Shell, picture: Path) -> None:
    session = start(iq, picture, 'night <b>"bold"</b> & Füchse 日本')
    go_on(iq, session, "something FORBIDDEN")
    go_on(iq, session, "fog")
    for file in ("turns.png", "turns.html"):
        (iq.folder / file).write_text("an old sheet")
        run = iq("session", "show", session, "--sheet", file)
        assert (run.code, f"Contact sheet: {file}" in run.err) == (0, True), run
        assert len(run.out.splitlines()) == 3
    page = (iq.folder / "turns.html").read_text()
    assert page.count("<figure>") == 3
    assert "night &lt;b&gt;&quot;bold&quot;&lt;/b&gt; &amp; Füchse 日本" in page
    assert "failed (moderation_blocked)" in page
    previews = [base64.b64decode(found) for found in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)]
    assert len(previews) == 2
    assert "://" not in page, "it needs nothing else"
    with Image.open(iq.folder / "turns.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 3 * 360
        colours = [sheet.getpixel((24 + 20 + place * 384, 64 + 20)) for place in range(3)]
    assert colours[1] == (0xEC, 0xEE, 0xF1), "no image"
    assert colours[0] != colours[1] != colours[2]


def test_a_fork_goes_on_from_an_earlier_turn(iq: Shell, picture: Path) -> None:
    session = start(iq, picture)
    go_on(iq, session, "fog")
    forked = iq("session", "fork", session, "--turn", "1")
    assert forked.code == 0, forked
    other = forked.out.rstrip("\n")
    assert f"Forked from {session}/1" in forked.err
    turn = answer(go_on(iq, other, "winter", "--json"))
    first = answer(iq("session", "show", session, "--json"))["turns"][0]
    assert turn["inputs"][0]["sha256"] == first["images"][0]["sha256"]
    assert answer(iq("session", "fork", session, "--json"))["forked_from"] == f"{session}/2"
    missing = iq("session", "fork", session, "--turn", "7")
    assert (missing.code, "no image of turn 7" in missing.err) == (1, True)


def test_a_session_that_has_ended_takes_no_turns_and_says_how_to_go_on(iq: Shell, picture: Path) -> None:
    session = start(iq, picture)
    go_on(iq, session, "fog")
    ended = iq("session", "end", session)
    assert (ended.code, ended.out) == (0, f"{session} has ended after turn 2; its images stay.\n")
    assert answer(iq("session", "end", session, "--json"))["state"] == "ended"
    refused = go_on(iq, session, "more")
    assert refused.code == 1
    assert f"imagequeue session fork {session}" in refused.err
    assert "has ended" in refused.err


def test_what_is_not_there_or_cannot_be_written_is_said(iq: Shell, picture: Path) -> None:
    missing = "ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
    for command in (("show", missing), ("continue", missing, "x"), ("fork", missing), ("end", missing)):
        run = iq("session", *command)
        assert (run.code, missing in run.err, run.out) == (1, True, "")
    session = start(iq, picture)
    go_on(iq, session, "fog")
    assert iq("session", "show", session, "--sheet", "turns.gif").code == 2
    assert iq("session", "show", session, "--sheet", "nowhere/turns.png").code == 2
    fork = iq("session", "fork", session).out.rstrip("\n")
    empty = iq("session", "show", fork, "--sheet", "turns.png")
    assert (empty.code, "no turns yet" in empty.err) == (1, True)
    assert not (iq.folder / "turns.png").exists()


def test_jobs_are_listed_by_type(iq: Shell, picture: Path) -> None:
    iq("edit", "an edit", picture.name, "--quality", "low", "--no-wait")
    session = start(iq, picture)
    turn = answer(go_on(iq, session, "fog", "--json"))
    newest = iq("jobs", "list", "--type", "turn", "--limit", "1").out.split("\t")
    assert newest[0] == turn["id"]
    assert iq("jobs", "list", "--type", "edit", "--limit", "1").out.endswith("\tan edit\n")
    assert f"{session}, turn 2" in iq("jobs", "show", turn["id"]).out
    assert "No cancelled turn jobs." in iq("jobs", "list", "--type", "turn", "--state", "cancelled").err
