"""Files are written whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

from dae_jax.errors import InputError


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file so that a reader, or a crash, never sees half of it.

    The content goes to a temporary file beside `path`, which then takes its place in one step.

    Raises:
        InputError: The folder cannot be made or written, or the disk is full. An older file at
            `path` is still there.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        raise unwritable(path, error) from error
    return path


def writable_folder(path: str | os.PathLike[str], room: int = 1) -> Path:
    """Make the folder and try it, so that a long run does not find out at its end.

    Args:
        path: The folder.
        room: How many bytes it must have room for, at least 1.

    Raises:
        InputError: It cannot be made, or that much cannot be written into it.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(room))
            file.flush()
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def unwritable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """The error for a place that takes no files, in the system's own words."""
    return InputError(
        f"cannot write {path}: {error.strerror or error}", do="choose another folder, or make room"
    )
