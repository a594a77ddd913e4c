"""How much memory there is, and whether something fits into it before it is allocated."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from dae_jax.errors import InputError

__all__ = ["Need", "available", "check", "check_all", "in_words", "of_images", "of_training"]

_SLOTS = {"sgd": 0, "momentum": 1, "adam": 2}
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


class Need(NamedTuple):
    """A part of a run, the memory that it needs, and a remedy if that is too much."""

    part: str
    n_bytes: int
    do: str


def check_all(needs: Sequence[Need]) -> None:
    """Check that all parts of a run fit into the available memory together.

    Raises:
        InputError: They do not; the remedy is that of the largest part.
    """
    whole, (part, n_bytes, do) = sum(need.n_bytes for need in needs), max(needs, key=lambda n: n[1])
    if whole > (free := available()):
        raise InputError(
            "memory for this run",
            expected=f"at most {in_words(free)}, which is free",
            got=f"{in_words(whole)} needed, {in_words(n_bytes)} of it for the {part}",
            do=do,
        )


def of_training(n_parameters: int, optimizer: str, n_members: int = 1, n_bytes: int = 4) -> int:
    """The bytes of models while they are trained: n (1 + 1 + slots) members bytes.

    Each has its parameters, their gradient and what the optimiser keeps for each of them: nothing,
    one number (momentum) or two (adam). Other optimisers count as if they kept nothing.

    Args:
        n_parameters: The parameters n of a model.
        optimizer: The name of the optimiser.
        n_members: The models that are trained together.
        n_bytes: The bytes of a number.

    >>> of_training(1_000, "adam", n_members=3)
    48000
    """
    return n_parameters * (2 + _SLOTS.get(optimizer, 0)) * n_members * n_bytes


def of_images(shape: Sequence[int], n_bytes: int, block_size: int | None = None) -> int:
    """The bytes of images on the device while a model is trained on them.

    Args:
        shape: Of all, (n, ...).
        n_bytes: The bytes of a value.
        block_size: The number of images that it is trained on at once, of which two are in memory
            and a third is being read; None for all.

    >>> of_images((1_000, 784), 1), of_images((1_000, 784), 1, block_size=100)
    (784000, 235200)
    """
    n = shape[0] if block_size is None else min(shape[0], 3 * block_size)
    return n * math.prod(shape[1:]) * n_bytes


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
    """The bytes that each control group of this process has left, from its own outwards."""
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
    """The bytes that the limit of addresses, ``ulimit -v``, leaves; none without a limit."""
    try:
        import resource
    except ImportError:  # on Windows
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if soft == resource.RLIM_INFINITY else [soft - psutil.Process().memory_info().vms]
