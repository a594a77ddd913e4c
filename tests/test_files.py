"""Files are written completely or not at all."""

import os
import stat
from pathlib import Path

import pytest

from dae_jax.files import writable_folder, write_whole
from helpers import files, refused


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
