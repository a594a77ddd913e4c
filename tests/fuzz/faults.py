"""Faults around a run: disks, caches and readers that fail, flipped bits, a second process."""

import contextlib
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import kills, processes
from tests.fuzz.cases import Result, generator, one_of, stray, wording

__all__ = ["FAULTS", "run"]

HARMLESS = {"command.txt": "words for a person", ".owner": "words for a person", ".lock": "empty"}
"""Files of a run in which a flipped bit changes no result, and why; figures are drawn again."""


def run(seed: int, case: int, scratch: Path) -> Result:
    """Make one fault happen to a run, resume it, and compare it with one that had none."""
    rng = generator(seed, "faults", case)
    fault = list(FAULTS)[case % len(FAULTS)]
    kind = one_of(rng, list(kills.RUNS))
    whole = kills.reference(kind, scratch.parent)
    with kills.new_folder(scratch) as folder:
        about, faults = FAULTS[fault](rng, kind, folder, whole)
    return Result(fault, tuple(faults), f"{kind}, {about}")


Found = tuple[str, list[str]]  # the case in words, and what did not hold


def full_disk(rng: np.random.Generator, kind: str, folder: Path, whole: kills.Reference) -> Found:
    """A limit on the size of files stands for a full disk: the system refuses the write, too."""
    sizes = sorted(path.stat().st_size for path in (whole.folder / "r").rglob("*"))
    most = int(rng.integers(100, sizes[-1]))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    end = _ended(kind, folder, before=limit)
    faults = _one_line(end, allowed=(0, 2))
    return f"{most:,} bytes", faults or _resumed(kind, folder, whole)


def flipped_bit(rng: np.random.Generator, kind: str, folder: Path, whole: kills.Reference) -> Found:
    """A bit of any file of a run, which is then resumed: finished, or before its models."""
    shutil.copytree(whole.folder / "r", folder / "r")
    if rng.random() < 0.6:
        for path in (folder / "r").rglob("*"):
            if path.name in ("model.safetensors", "params.safetensors", "results.json"):
                path.unlink()
    paths = [path for path in (folder / "r").rglob("*") if path.is_file() and path.stat().st_size]
    paths = sorted(path for path in paths if path.name not in HARMLESS)
    homes = sorted({path.parent for path in paths})  # the many files of checkpoints count as one
    home = one_of(rng, homes)
    path = one_of(rng, [path for path in paths if path.parent == home])
    content = bytearray(path.read_bytes())
    at = int(rng.integers(len(content)))
    content[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    name = str(path.relative_to(folder))
    end = _ended(kind, folder, resume=True)
    faults = _one_line(end, allowed=(0, 2))
    if end.status == 2 and not faults and Path(name).name not in end.err:
        near = [part for part in Path(name).parts[1:] if part in end.err]
        faults = [] if near else [f"refused without a name: {end.err[:160]!r}"]
    if end.status == 0 and not faults:
        faults = kills.differences(folder, whole.folder)
    return f"byte {at:,} of {name}", faults


def second_process(
    rng: np.random.Generator, kind: str, folder: Path, whole: kills.Reference
) -> Found:
    """Two processes in one run directory, the second one at any moment, or at the same one."""
    share = float(rng.random()) if rng.random() < 0.5 else 0.0
    resume = bool(rng.random() < 0.5)
    first = kills.start_run(kind, folder, resume=resume, streams="first")
    time.sleep(share * whole.seconds)
    second = kills.start_run(kind, folder, resume=resume, streams="second")
    pids = {first[0].pid, second[0].pid}
    ends = [
        processes.ended(process, start, kills.HANGS, streams)
        for process, start, streams in (second, first)
    ]
    faults: list[str] = []
    for end in ends:
        faults += _one_line(end, allowed=(0, 2))
    losers = [end for end in ends if end.status == 2]
    if len(losers) == 2:
        faults.append(f"both were refused: {ends[0].err!r} {ends[1].err!r}")
    for end in losers:
        named = re.search(r"process (\d+)", end.err)
        if not (named and int(named[1]) in pids) and "holds a run already" not in end.err:
            faults.append(f"the owner is not named: {end.err!r}")
        if named and end.busy > 10:
            faults.append(f"refused after {end.busy:.0f} s of the processor")
    how = "with --resume" if resume else "begun"
    return f"{how}, after {share:.0%}", faults or kills.differences(folder, whole.folder)


def vanished_folder(
    rng: np.random.Generator, kind: str, folder: Path, whole: kills.Reference
) -> Found:
    """The run directory is removed in the middle; a new run in its place is as any."""
    share = float(rng.random())
    process, start, streams = kills.start_run(kind, folder, resume=False)
    time.sleep(share * whole.seconds)
    for _ in range(3):  # the process may write into it meanwhile
        shutil.rmtree(folder / "r", ignore_errors=True)
    end = processes.ended(process, start, kills.HANGS, streams)
    faults = _one_line(end, allowed=(0, 2))
    shutil.rmtree(folder / "r", ignore_errors=True)
    return f"after {share:.0%}", faults or _resumed(kind, folder, whole)


def bad_cache(rng: np.random.Generator, kind: str, folder: Path, whole: kills.Reference) -> Found:
    """A cache that cannot be written, of the data and of compiled programs."""
    cache, how = folder / "cache", one_of(rng, ("a file", "read-only", "not there", "a device"))
    before: Callable[[], None] | None = None
    if how == "a file":
        cache.write_text("a file")
    elif how == "read-only":
        cache.mkdir(mode=0o555)
        before = processes.without_root
    elif how == "a device":
        cache = Path("/dev/full")
    else:
        cache = Path("/proc/none")
    end = _ended(kind, folder, before=before, environment={"XDG_CACHE_HOME": str(cache)})
    faults = _one_line(end, allowed=(0,))
    return how, faults or kills.differences(folder, whole.folder)


def lost_output(rng: np.random.Generator, kind: str, folder: Path, whole: kills.Reference) -> Found:
    """A reader that stops reading, or a full device behind the output."""
    how = one_of(rng, ("/dev/full", "a reader that has gone"))
    if how == "/dev/full":
        out, allowed = os.open("/dev/full", os.O_WRONLY), (2,)
    else:
        reading, out = os.pipe()
        os.close(reading)
        allowed = (141, -signal.SIGPIPE)
    try:
        end = _ended(kind, folder, out=out)
    finally:
        os.close(out)
    return how, _one_line(end, allowed=allowed) or _resumed(kind, folder, whole)


FAULTS: dict[str, Callable[[np.random.Generator, str, Path, kills.Reference], Found]] = {
    "a flipped bit": flipped_bit,
    "a full disk": full_disk,
    "a second process": second_process,
    "a cache that cannot be written": bad_cache,
    "output that is lost": lost_output,
    "a run directory that vanishes": vanished_folder,
}
"""The faults by name."""


def _ended(kind: str, folder: Path, *, resume: bool = False, **how: Any) -> processes.Ended:
    process, start, streams = kills.start_run(kind, folder, resume=resume, **how)
    return processes.ended(process, start, kills.HANGS, streams)


def _resumed(kind: str, folder: Path, whole: kills.Reference) -> list[str]:
    """What does not hold when the run is resumed without the fault."""
    end = _ended(kind, folder, resume=True)
    faults = _one_line(end, allowed=(0,))
    return faults or kills.differences(folder, whole.folder)


def _one_line(end: processes.Ended, allowed: tuple[int, ...]) -> list[str]:
    """What does not hold of the end of a process: its status, and what it says."""
    if end.hung:
        return [f"did not end in {kills.HANGS:.0f} s"]
    if faults := stray(end.err):
        return faults
    if end.status not in allowed:
        return [f"status {end.status}: {end.err[-200:].strip()!r}"]
    if end.status != 2:
        return []
    message = end.err.removesuffix("\n")
    return wording(message) if message.startswith("error: ") else [f"no error: {message[:99]!r}"]


with contextlib.suppress(ValueError):  # a full disk is an error, and no signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
