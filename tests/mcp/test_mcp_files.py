"""What the bridge reads and writes on the user's machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from picture_kit import encoded

from imagequeue.errors import InvalidInput
from mcp_bridge.local_files import LocalFiles, PathRefused, default_roots, is_path
from mcp_bridge.memory import Memory
from mcp_bridge.output_folders import OutputDirRefused, OutputFolders, default_folder
from mcp_bridge.previews import MAX_ANSWER_BYTES, MAX_IMAGE_BYTES, share, shrunk

JOB = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
SESSION = "ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with an image, beside a home; nothing else is allowed."""
    made = tmp_path / "work/project"
    made.mkdir(parents=True)
    (made / "a b.png").write_bytes(b"x")
    (tmp_path / "outside.png").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return made


@pytest.mark.parametrize("source", ["a b.png", "./a b.png", "{project}/a b.png", "file://{project}/a%20b.png"])
def test_files_of_the_project_are_found_however_they_are_named(project: Path, source: str) -> None:
    assert LocalFiles([project], project).find(source.format(project=project), "images[0]") == project / "a b.png"


@pytest.mark.parametrize(
    "source",
    [
        "../../outside.png",
        "{project}/../../outside.png",
        "file://{project}/../../outside.png",
        "file://server/share/a.png",
        "link.png",
        "folder/outside.png",
        "{project}/.git/a.png",
        "/nowhere/at/all.png",
        "~/a.png",
        "a\0b.png",
    ],
)
def test_what_leads_out_of_the_roots_is_refused_whether_it_exists_or_not(project: Path, source: str) -> None:
    (project / "link.png").symlink_to(project.parents[1] / "outside.png")
    (project / "folder").symlink_to(project.parents[1])
    with pytest.raises(PathRefused):
        LocalFiles([project], project).find(source.format(project=project), "images[0]")


def test_what_is_no_file_is_told(project: Path) -> None:
    os.mkfifo(project / "pipe.png")
    for missing in ("missing.png", ".", "pipe.png"):
        with pytest.raises(InvalidInput):
            LocalFiles([project], project).find(missing, "images[0]")


@pytest.mark.parametrize(
    "source", ["https://a/b.png", "HTTP://a/b.png", "data:image/png;base64,A", "job:x/0", "upload:1"]
)
def test_urls_are_no_paths(source: str) -> None:
    assert not is_path(source)


def test_the_root_of_the_file_system_is_no_project(project: Path) -> None:
    roots = default_roots(Path("/"), project, f"/a{os.pathsep}~/b")
    assert Path("/") not in roots
    assert {Path("/a"), project.parents[1] / "home/b", project.parents[1] / "home/Downloads"} <= set(roots)


@pytest.mark.parametrize(
    "folder", ["/", "/etc", "/usr/share/x", "/proc/self", "~/.ssh", "~/.aws/x", ".git/hooks", "/var/lib/x", "a\0b"]
)
def test_system_and_secret_folders_are_refused(project: Path, folder: str) -> None:
    with pytest.raises(OutputDirRefused):
        OutputFolders(project, project / "out").folder(folder)


def test_a_link_into_the_system_is_refused(project: Path) -> None:
    (project / "link").symlink_to("/etc")
    with pytest.raises(OutputDirRefused):
        OutputFolders(project, project / "out").folder("link/images")


def test_a_folder_that_cannot_be_made_is_told(project: Path) -> None:
    with pytest.raises(OutputDirRefused):
        OutputFolders(project, project / "out").folder("a b.png/images")


def test_folders_are_made_and_projects_have_folders_of_their_own(project: Path) -> None:
    folders = OutputFolders(project, default_folder(project, None))
    assert folders.folder("art/new") == project / "art/new"
    assert folders.folder(None).is_relative_to(project.parents[1] / "home")
    other = project.parent / "other" / project.name
    assert default_folder(other, None) != default_folder(project, None)
    assert default_folder(project, Path("pictures")) == project / "pictures"


def test_places_are_remembered_until_their_files_are_gone(tmp_path: Path) -> None:
    memory, image = Memory(tmp_path / "memory"), tmp_path / "a.png"
    image.write_bytes(b"x")
    memory.saved(SESSION, JOB, image)
    assert (memory.folder(SESSION), memory.image_path(SESSION, JOB)) == (str(tmp_path), str(image))
    assert memory.image_path(SESSION, "job_2") is None
    image.unlink()
    assert memory.image_path(SESSION, JOB) is None
    memory.choose(JOB, tmp_path / "art")
    assert memory.folder(JOB) == str(tmp_path / "art")
    assert memory.folder("../../etc") is None


def test_places_are_forgotten_after_a_month(tmp_path: Path) -> None:
    Memory(tmp_path).choose(JOB, tmp_path)
    (note,) = tmp_path.iterdir()
    os.utime(note, (0, 0))
    Memory(tmp_path).choose(SESSION, tmp_path)
    assert Memory(tmp_path).folder(JOB) is None
    assert Memory(tmp_path).folder(SESSION) == str(tmp_path)


def test_previews_are_shrunk_until_they_fit() -> None:
    large = encoded("WEBP", size=(768, 768), quality=95)
    small = shrunk(large, len(large) // 4)
    assert len(small) <= len(large) // 4
    assert share(1) == MAX_IMAGE_BYTES
    assert all(count * share(count) * 4 / 3 <= 900 * 1024 for count in range(1, 100))
    assert MAX_ANSWER_BYTES > MAX_IMAGE_BYTES
