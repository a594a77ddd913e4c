"""Write files completely or not at all."""

import contextlib
import os
import re
import secrets
import stat
import time
from pathlib import Path

from dae_jax.errors import InputError

__all__ = ["sweep", "unwritable", "writable_folder", "write_whole"]

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_NAME = 200  # characters of a temporary file's name that are the file's own, of 255 bytes
HOUR = 3600.0


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file in one step: no reader sees half of it, and no crash leaves half.

    The content goes to a temporary file in the same folder, which then replaces `path`; both are on
    the disk when this returns. A symbolic link stays, and its target is replaced. A new file has
    the permissions of the umask, an older one keeps its own.

    Args:
        path: The file; its folder is made if needed.
        content: Bytes, or text to be encoded as UTF-8.

    Returns:
        The path.

    Raises:
        InputError: The folder cannot be made or written to, the disk is full, or `path` is
            something else than a file, such as a device. What was at `path` is kept.
    """
    path = Path(path)
    # file names, as in a command, may be bytes that are not UTF-8
    content = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    temporary = None
    try:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = _mode(target)
        name = os.fsdecode(os.fsencode(target.name)[:_NAME])
        temporary = target.parent / f".{name}.{secrets.token_hex(4)}.tmp"
        with open(temporary, "xb") as file:
            if mode is not None:
                os.chmod(temporary, mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise unwritable(path, error) from error
    return path


def _mode(path: Path) -> int | None:
    """The permissions of the regular file at a path; None if there is nothing.

    Raises:
        InputError: There is something else.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
        do = "choose another name"
        raise InputError(path, expected="a file, or nothing yet", got=kind, do=do)
    return stat.S_IMODE(mode)


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, older_than: float = 0.0, pattern: str = "**/*") -> None:
    """Remove temporary files that `write_whole` left when it was killed.

    Args:
        folder: The folder, which no other process writes to, or else with a time.
        older_than: Age in seconds; younger files stay.
        pattern: Those of the folder alone, ``*``, or also below it.
    """
    for path in folder.glob(pattern):
        if _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError):  # another process was faster
                if time.time() - path.stat().st_mtime >= older_than:
                    path.unlink()


def writable_folder(path: str | os.PathLike[str], room: int = 1) -> Path:
    """Make a folder and check that files can be written to it, before a long run begins.

    Temporary files that are older than an hour are removed.

    Args:
        path: The folder.
        room: The number of bytes that must fit into it, at least 1.

    Returns:
        The path.

    Raises:
        InputError: The folder cannot be made, or that many bytes cannot be written to it.
    """
    path = Path(path)
    trial = path / f".room.{secrets.token_hex(4)}.tmp"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with open(trial, "xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, room)
            else:
                file.write(bytes(room))
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            trial.unlink()
    sweep(path, HOUR, "*")
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
