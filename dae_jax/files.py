"""Write files completely or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

from dae_jax.errors import InputError

__all__ = ["unwritable", "writable_folder", "write_whole"]


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file in one step: no reader sees half of it, and no crash leaves half.

    The content goes to a temporary file in the same folder, which then replaces `path`.

    Args:
        path: The file; its folder is made if needed.
        content: Bytes, or text to be encoded as UTF-8.

    Returns:
        The path.

    Raises:
        InputError: The folder cannot be made or written to, or the disk is full. An older file at
            `path` is kept.
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
    """Make a folder and check that files can be written to it, before a long run begins.

    Args:
        path: The folder.
        room: The number of bytes that must fit into it, at least 1.

    Returns:
        The path.

    Raises:
        InputError: The folder cannot be made, or that many bytes cannot be written to it.
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
    """The error for a file or folder that cannot be written.

    Args:
        path: The file or folder.
        error: The system's error, whose reason is repeated.

    Returns:
        The error, to be raised.
    """
    return InputError(
        f"cannot write {path}: {error.strerror or error}",
        do="choose another folder or free some space",
    )
