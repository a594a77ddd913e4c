"""How much memory there is, and whether something fits into it before it is allocated."""

from collections.abc import Iterator
from pathlib import Path

import psutil

from dae_jax.errors import InputError

__all__ = ["available", "check", "in_words"]

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def available() -> int:
    """The bytes that this process can still allocate.

    It is the least of what the machine has left, swap included, of what the control groups of the
    process leave to it (of containers and batch systems, versions 1 and 2), and of its own limit.
    """
    machine = psutil.virtual_memory().available + psutil.swap_memory().free
    return max(0, min([machine, *_cgroups(), *_own_limit()]))


def check(what: object, n_bytes: int, do: str) -> None:
    """Check that something fits into the available memory, before it is allocated.

    Args:
        what: What needs the memory, for the error.
        n_bytes: The bytes that it needs at least, beyond what is allocated already.
        do: A remedy.

    Raises:
        InputError: It does not fit.
    """
    if n_bytes > (free := available()):
        expected = f"at most {in_words(free)}, the memory that is free"
        raise InputError(what, expected=expected, got=f"{in_words(n_bytes)} needed", do=do)


def in_words(n_bytes: int) -> str:
    """A number of bytes in words.

    >>> in_words(512), in_words(23_600_000_000), in_words(3 * 10**15)
    ('512 bytes', '23.6 GB', '3 PB')
    """
    power = min((len(str(n_bytes)) - 1) // 3, len(_UNITS) - 1)
    return f"{round(n_bytes / 1000**power, 1):,.10g} {_UNITS[power]}"


def _cgroups(
    proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """What each control group of this process has left, from its own up to the outermost one."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:  # on another system than Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, limit, use, cache = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            mount, cache = root / controllers, "total_inactive_file"
            limit, use = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # In a container the path may be the host's, of which only the root is mounted.
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if (left := _left(folder, limit, use, cache)) is not None:
                yield left
            if folder == mount:
                break


def _left(folder: Path, limit: str, use: str, cache: str) -> int | None:
    """The limit of a control group minus its use; the cache of files gives way to programs."""
    try:
        most = (folder / limit).read_text().strip()
        used = int((folder / use).read_text())
        entries = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return None if most == "max" else int(most) - used + int(entries.get(cache, 0))
    except (OSError, ValueError):
        return None


def _own_limit() -> list[int]:
    """What the limit of this process's addresses, ``ulimit -v``, leaves to it; empty without."""
    try:
        import resource
    except ImportError:  # on Windows
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if soft == resource.RLIM_INFINITY else [soft - psutil.Process().memory_info().vms]
