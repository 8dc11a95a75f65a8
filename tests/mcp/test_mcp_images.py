"""generate_image and edit_image, over both doors: what is made, saved, shown and told."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from bridge_kit import RunningBridge
from fleet_kit import Fleet
from picture_kit import mask, png

SIZE = (1024, 1024)


def test_an_image_is_made_saved_and_shown(bridge: RunningBridge, working_fleet: Fleet) -> None:
    answer = bridge.call(
        "generate_image", prompt="A pier, over MCP", quality="low", output_format="webp", filename_prefix="Pier 1!"
    )
    (image,) = answer["images"]
    saved = Path(image["file_path"])
    assert saved.parent.parent.name == "images"
    assert (saved.name[:7], saved.suffix) == ("Pier-1-", ".webp")
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == image["sha256"]
    assert (answer["status"], answer["requested"]["quality"], answer["applied"]["output_format"]) == (
        "succeeded",
        "low",
        "webp",
    )
    assert answer["usage"]["output_tokens"] == 196
    assert answer["cost_usd_estimated"] > 0
    assert [picture.mime_type for picture in answer.pictures] == ["image/webp"]
    assert base64.b64decode(answer.pictures[0].data) == saved.read_bytes()
    assert [link.uri for link in answer.links] == [f"image://{answer['job_id']}/0"] == [image["resource"]]
    for told in (str(saved), "quality low", "Tokens: ", "about $0.006", answer["job_id"]):
        assert told in answer.text


def test_images_are_saved_where_the_call_says_and_never_over_others(bridge: RunningBridge) -> None:
    first, second = (
        bridge.call("generate_image", prompt="Twice", quality="low", n=2, output_dir="art/new") for _ in range(2)
    )
    paths = [Path(image["file_path"]) for answer in (first, second) for image in answer["images"]]
    assert len(set(paths)) == 4
    assert {path.parent for path in paths} == {bridge.project / "art/new"}
    assert len(list((bridge.project / "art/new").iterdir())) == 4


def test_edits_take_files_of_the_machine_and_a_mask(bridge: RunningBridge, working_fleet: Fleet) -> None:
    (bridge.project / "room.png").write_bytes(png(size=SIZE))
    (bridge.project / "mask.png").write_bytes(mask(SIZE))
    prompt = f"Another lamp for {bridge.pid}"
    answer = bridge.call(
        "edit_image",
        prompt=prompt,
        images=["room.png", (bridge.project / "room.png").as_uri()],
        mask=str(bridge.project / "mask.png"),
        quality="low",
    )
    assert (answer["route"], answer["model"]) == ("direct", "gpt-image-2")
    (call,) = working_fleet.sandbox.calls(prompt)
    assert (len(call["inputs"]), bool(call["mask"])) == (2, True)
    again = bridge.call("edit_image", prompt="And a rug", images=[answer["images"][0]["source"]], quality="low")
    assert again["status"] == "succeeded"


def test_what_clients_send_as_text_or_null_is_understood(bridge: RunningBridge) -> None:
    answer = bridge.call("generate_image", prompt="As text", quality=" LOW ", n="2", user=None, output_format=None)
    assert len(answer["images"]) == 2
    (bridge.project / "text.png").write_bytes(png(size=SIZE))
    assert bridge.call("edit_image", prompt="List", images='["text.png"]', quality="low")["status"] == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "prompt: "),
        ({"prompt": " "}, "prompt: must not be blank"),
        ({"promt": "A pier"}, "did you mean 'prompt'?"),
        ({"prompt": "A pier", "resolution": "2K"}, "did you mean 'size'?"),
        ({"prompt": "A pier", "magic": True}, "It takes prompt, size, quality, n, "),
        ({"prompt": "A pier", "size": "1000x1000"}, "for example 992x992"),
        ({"prompt": "A pier", "quality": "ultra"}, "quality: "),
        ({"prompt": "A pier", "n": 11}, "n: "),
        ({"prompt": "A pier", "n": 1.5}, "n: "),
        ({"prompt": "A pier", "background": "transparent"}, "does not support transparent"),
        ({"prompt": "A pier", "output_dir": "/etc/images"}, "belongs to the system"),
        ({"prompt": "A pier", "output_dir": "~/.ssh"}, "for keys or programs"),
    ],
)
def test_bad_arguments_are_refused_with_the_way_out(
    bridge: RunningBridge, arguments: dict[str, object], told: str
) -> None:
    error = bridge.refused("generate_image", **arguments)
    assert told in error
    assert error.split(":")[0] in ("invalid_request", "output_dir_refused")
    assert "\nNext: " in error
    assert "Nothing was spent" in error


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("/etc/passwd", "path_refused"),
        ("../" * 20 + "etc/passwd", "path_refused"),
        ("file:///etc/passwd", "path_refused"),
        ("link.png", "path_refused"),
        ("missing.png", "input_missing"),
        ("words.txt", "input_not_an_image"),
        ("data:image/png;base64,AAAA", "input_not_an_image"),
        ("http://127.0.0.1/a.png", "url_forbidden"),
        ("job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0", "input_missing"),
    ],
)
def test_bad_images_are_refused_before_anything_is_spent(bridge: RunningBridge, image: str, code: str) -> None:
    (bridge.project / "words.txt").write_text("not an image at all\n" * 9)
    if not (bridge.project / "link.png").is_symlink():
        (bridge.project / "link.png").symlink_to("/etc/hostname")
    error = bridge.refused("edit_image", prompt="Never made", images=[image])
    assert error.startswith(f"{code}: images[0]: ")
    assert "\nNext: " in error


def test_a_refusal_by_openai_says_what_to_do(bridge: RunningBridge) -> None:
    error = bridge.refused("generate_image", prompt="FORBIDDEN over MCP", quality="low")
    assert error.startswith("moderation_blocked: ")
    assert "(job job_" in error
    assert "Next: Change the prompt" in error
