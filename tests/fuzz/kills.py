"""Runs that are killed at any moment and resumed, beside one that is not."""

import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz import furniture, processes
from tests.fuzz.cases import Result, generator, one_of, stray

__all__ = ["RUNS", "Reference", "differences", "reference", "run", "start_run"]

HANGS = 180.0
RUNS: dict[str, tuple[str, ...]] = {
    "train, a sweep": (
        "train", "--data", "small.npz", "--corruption", "0", "0.3", "--n-hidden", "12",
        "--epochs", "1800", "--output-dir", "r/filters"),
    "train, the sample": (
        "train", "--data", "mnist-sample", "--n-hidden", "20", "--epochs", "12", "--batch-size",
        "100", "--output-dir", "r/filters"),
    "pretrain, a stack": (
        "pretrain", "--preset", "large-rate", "--data", "small.npz", "--hidden", "12", "8",
        "--pretrain-epochs", "400", "--batch-size", "16", "--finetune-epochs", "40",
        "--finetune-batch-size", "16"),
    "pretrain, few labels": (
        "pretrain", "--preset", "few-labels", "--data", "small.npz", "--hidden", "12", "8",
        "--labels", "30", "--epochs", "40"),
}  # fmt: skip
"""The runs that are killed: command and flags."""
_TIMES = re.compile(r"second|duration|elapsed|date|time|per_second|checksum|sha256|crc|^resume$")
"""Fields of records that differ from run to run, checksums of rows that have such, --resume."""
_TIMED_TEXT = re.compile(r"\b\d[\d,.]* (s|images/s)\b")


class Reference(NamedTuple):
    """A run that nothing disturbed."""

    folder: Path
    seconds: float


def run(seed: int, case: int, scratch: Path) -> Result:
    """Kill a run at a random moment, now and then its resumption too, resume it, and compare."""
    rng = generator(seed, "kills", case)
    kind = list(RUNS)[case % len(RUNS)]
    kills = [float(rng.random())]
    while len(kills) < 3 and rng.random() < 0.3:
        kills.append(float(rng.random()))
    signals = [one_of(rng, _SIGNALS) for _ in kills]
    moments = ", ".join(f"{s.name} at {share:.0%}" for s, share in zip(signals, kills, strict=True))
    whole = reference(kind, scratch.parent)
    faults: list[str] = []
    with _new_folder(scratch) as folder:
        for i, (which, share) in enumerate(zip(signals, kills, strict=True)):
            process, start, streams = start_run(kind, folder, resume=i > 0)
            time.sleep(share * whole.seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, which)
            end = processes.ended(process, start, HANGS, streams)
            faults += _of_signal(which, end)
        if not faults:
            process, start, streams = start_run(kind, folder, resume=True)
            end = processes.ended(process, start, HANGS, streams)
            if end.status or end.hung:
                faults.append(f"the resumption ended with {end.status}: {end.err[-200:]!r}")
            else:
                faults += [f"on resuming: {fault}" for fault in stray(end.err)]
                faults += differences(folder, whole.folder)
    return Result(f"{kind}: {signals[0].name}", tuple(faults), moments)


_SIGNALS = (signal.SIGKILL,) * 6 + (signal.SIGINT,) * 2 + (signal.SIGTERM,) * 2


def _of_signal(which: signal.Signals, end: processes.Ended) -> list[str]:
    """What does not hold after a signal that ended a process, or came too late to end it."""
    if end.hung:
        return [f"went on for {HANGS:.0f} s after {which.name}"]
    if which == signal.SIGKILL:
        return [] if end.status in (0, -which) else [f"ended by itself: {end.err[-200:]!r}"]
    before_us = end.seconds < 0.5 and "dae_jax" not in end.err
    allowed = (0, 128 + which, *([-which] if before_us or not end.err else []))
    faults = stray(end.err) if not before_us else []
    if end.status not in allowed or (end.status == -signal.SIGINT and not before_us):
        faults.append(f"status {end.status} after {which.name}: {end.err[-160:].strip()!r}")
    if len(lines := end.err.strip().splitlines()) > 1:
        faults.append(f"{len(lines)} lines after {which.name}: {end.err[:200]!r}")
    return faults


# --- runs -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _new_folder(scratch: Path) -> Any:
    """A folder for one run, with its data."""
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        furniture.write_small(folder / "small.npz")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_run(
    kind: str,
    folder: Path,
    *,
    resume: bool,
    streams: str = "streams",
    before: Callable[[], None] | None = None,
    out: int | None = None,
    environment: dict[str, str] | None = None,
) -> Any:
    """Start one of `RUNS` in a folder, in its run directory ``r``.

    Returns:
        The process, when it was started, and the folder of what it prints.
    """
    command, *argv = RUNS[kind]
    flags = [*argv, "--run-dir", "r", *(["--resume"] if resume else [])]
    start, home = time.monotonic(), folder / streams
    process = processes.started(
        command, flags, folder, home, before=before, out=out, environment=environment or {}
    )
    return process, start, home


def reference(kind: str, shared: Path) -> Reference:
    """The run that nothing disturbs, made once for all workers; the second of two, for its time."""
    home = shared / "references" / re.sub(r"\W+", "-", kind)
    if not (home / "seconds").exists():
        for _ in range(2):  # the first one fills the cache of compiled programs
            with _new_folder(shared) as folder:
                process, start, streams = start_run(kind, folder, resume=False)
                end = processes.ended(process, start, HANGS, streams)
                assert end.status == 0, end.err
                (folder / "seconds").write_text(str(end.seconds))
                home.parent.mkdir(exist_ok=True)
                kept = Path(tempfile.mkdtemp(dir=shared))
                shutil.copytree(folder, kept / "run")
            with contextlib.suppress(OSError):  # another worker was quicker
                (kept / "run").rename(home)
            (home / "seconds").write_text(str(end.seconds))
            shutil.rmtree(kept, ignore_errors=True)
    return Reference(home, float((home / "seconds").read_text()))


# --- comparing ------------------------------------------------------------------------------------


def differences(folder: Path, whole: Path) -> list[str]:
    """How the files of a run differ from those of one that nothing disturbed."""
    mine, others = _files(folder / "r"), _files(whole / "r")
    faults = []
    if missing := sorted(others - mine):
        faults.append(f"without {', '.join(missing[:3])}")
    if more := sorted(mine - others):
        faults.append(f"left over: {', '.join(more[:3])}")
    faults += [
        fault
        for name in sorted(mine & others)
        if (fault := _difference(folder / "r" / name, whole / "r" / name, name))
    ]
    return faults


def _files(folder: Path) -> set[str]:
    """The files of a run, without checkpoints, of which other epochs may be kept, and locks."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    owner = (".lock", ".owner")
    return {name for name in names if "checkpoints" not in name and name not in owner}


def _difference(mine: Path, other: Path, name: str) -> str:
    """How a file differs, in words; nothing if it does not."""
    try:
        match mine.suffix:
            case ".json":
                left, right = (_timeless(json.loads(path.read_text())) for path in (mine, other))
                return "" if left == right else f"another {name}: {_first(left, right)}"
            case ".jsonl":
                left, right = ([*map(_timeless, _rows(path))] for path in (mine, other))
                return "" if left == right else f"another {name}: {_first(left, right)}"
            case ".png" | ".gif":
                count = _pixels_that_differ(mine, other)
                return f"{count} other pixels in {name}" if count else ""
            case ".txt":
                same = _command(mine.read_text()) == _command(other.read_text())
                return "" if same else f"another {name}: {mine.read_text()[:100]!r}"
    except (OSError, ValueError) as error:
        return f"unreadable {name}: {error}"
    return "" if mine.read_bytes() == other.read_bytes() else f"another {name}"


def _rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _timeless(value: Any) -> Any:
    """A record without what differs from run to run: seconds, and how it was resumed."""
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if not _TIMES.search(k)}
    if isinstance(value, list):
        return [_timeless(one) for one in value]
    return _command(_TIMED_TEXT.sub("TIME", value)) if isinstance(value, str) else value


def _command(text: str) -> str:
    return text.replace(" --resume", "")


def _first(left: Any, right: Any, where: str = "") -> str:
    """Where two records differ first, and how."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            if left.get(key) != right.get(key):
                return _first(left.get(key), right.get(key), f"{where}.{key}")
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            if a != b:
                return _first(a, b, f"{where}[{i}]")
    return f"{where} is {str(left)[:60]}, not {str(right)[:60]}"


def _pixels_that_differ(mine: Path, other: Path) -> int:
    from PIL import Image, ImageSequence

    count = 0
    with Image.open(mine) as a, Image.open(other) as b:
        frames = [
            [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
            for image in (a, b)
        ]
    if [frame.shape for frame in frames[0]] != [frame.shape for frame in frames[1]]:
        return -1
    for left, right in zip(*frames, strict=True):
        count += int((left != right).any(axis=-1).sum())
    return count
