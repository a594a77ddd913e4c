"""Files are written completely or not at all."""

import os
import stat
from pathlib import Path

import pytest

from dae_jax.files import sweep, writable_folder, write_whole
from helpers import files, refused


def test_names_that_are_not_utf_8_are_written_as_their_bytes(tmp_path):
    write_whole(tmp_path / "command.txt", "--output-dir caf\udce9")
    assert (tmp_path / "command.txt").read_bytes() == b"--output-dir caf\xe9"


def test_a_file_is_written_with_its_folder_and_readable_by_all(tmp_path):
    path = write_whole(tmp_path / "a" / "b.txt", "Zürich")
    assert path == tmp_path / "a" / "b.txt" and path.read_bytes() == "Zürich".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and files(tmp_path) == {"a/b.txt"}


def test_a_crash_in_the_middle_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(lambda: write_whole(path, "new"), "cannot write", "No space left on device", "free")
    assert path.read_text() == "old" and files(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("write", [lambda path: write_whole(path, ""), writable_folder])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, write):
    (tmp_path / "taken").write_text("a file")
    refused(lambda: write(tmp_path / "taken" / "below"), "cannot write", "taken/below")
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_writable_folder_is_made_and_left_empty(tmp_path, monkeypatch):
    assert writable_folder(tmp_path / "a" / "b", room=1000) == tmp_path / "a" / "b"
    assert not files(tmp_path) and Path(tmp_path, "a", "b").is_dir()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_refused_and_stays(tmp_path, linked):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    devices = [tmp_path / "pipe", tmp_path / "folder", Path("/dev/null")]
    for i, there in enumerate(devices):
        before, path = os.lstat(there).st_mode, there
        if linked:
            path = tmp_path / f"link_{i}"
            path.symlink_to(there)
        refused(lambda path=path: write_whole(path, "x"), there.name, "expected a file")
        assert os.lstat(there).st_mode == before and path.is_symlink() == linked
    assert not files(tmp_path)


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    for target in (tmp_path / "old.txt", tmp_path / "new.txt"):
        link = tmp_path / f"to_{target.name}"
        link.symlink_to(target)
        if target.name == "old.txt":
            target.write_text("old")
        write_whole(link, "content")
        assert link.is_symlink() and target.read_text() == "content"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(lambda: write_whole(tmp_path / "loop", "x"), "cannot write", "loop")


def test_a_new_file_has_the_umasks_permissions_and_an_old_one_keeps_its_own(tmp_path):
    before = os.umask(0o077)
    try:
        path = write_whole(tmp_path / "private.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    assert stat.S_IMODE(write_whole(path, "y").stat().st_mode) == 0o640


def test_a_long_name_leaves_room_for_the_temporary_file(tmp_path):
    for name in ("x" * 255, "é" * 127):
        assert write_whole(tmp_path / name, "x").read_text() == "x"
    refused(lambda: write_whole(tmp_path / ("x" * 256), "x"), "cannot write", "too long")


def test_temporary_files_of_a_crash_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr(os, "unlink", lambda *_: None)
    for folder in (tmp_path, tmp_path / "below"):
        with pytest.raises(KeyboardInterrupt):
            write_whole(folder / "a.txt", "half")
    monkeypatch.undo()
    (tmp_path / ".a.txt.not-a-temporary.tmp").write_text("mine")
    assert len(files(tmp_path)) == 3
    writable_folder(tmp_path)  # leaves those of the last hour: another process may write them
    assert len(files(tmp_path)) == 3
    sweep(tmp_path)
    assert files(tmp_path) == {".a.txt.not-a-temporary.tmp"}


def test_room_that_is_not_there_is_refused(tmp_path):
    refused(lambda: writable_folder(tmp_path, room=2**60), "cannot write", "free some space")
    assert not files(tmp_path)
