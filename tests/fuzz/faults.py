"""What a machine does to a run: full disks, flipped bits, a second process, vanished folders."""

import contextlib
import functools
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import furniture, kills, processes
from tests.fuzz.cases import Result, generator, one_of, stray, wording

__all__ = ["KINDS", "run"]

HANGS = 180.0
AT_ONCE = 15.0
"""Seconds of the processor in which a process ends that finds its run directory taken."""
SMALL = "train, the sample"
"""The run that most faults befall: one model, quick."""


def run(seed: int, case: int, scratch: Path) -> Result:
    """Let one fault befall a run, and see how it ends."""
    rng = generator(seed, "faults", case)
    kind = list(KINDS)[case % len(KINDS)]
    about: list[str] = []
    with kills._new_folder(scratch) as folder:
        faults = KINDS[kind](rng, folder, scratch.parent, about)
    return Result(kind, tuple(faults), ", ".join(about))


# --- running --------------------------------------------------------------------------------------


def _end(kind: str, folder: Path, *, resume: bool = False, **how: Any) -> processes.Ended:
    """Run one of `kills.RUNS` to its end."""
    process, start, streams = kills.start_run(kind, folder, resume=resume, **how)
    return processes.ended(process, start, HANGS, streams)


def _one_line(end: processes.Ended, statuses: tuple[int, ...] = (2,)) -> list[str]:
    """What does not hold for a process that ended with an error: its status, its one line."""
    if end.hung:
        return [f"hung for {HANGS:.0f} s; printed {end.err[-120:]!r}"]
    faults = stray(end.err)
    if end.status not in statuses and not faults:
        faults.append(f"status {end.status}: {end.err[-200:]!r}")
    if end.status == 2 and not faults:
        message = end.err.removesuffix("\n")
        faults += wording(message)
        if not message.startswith("error: "):
            faults.append(f"no line 'error: ...': {message[:120]!r}")
    return faults


def _resumed_alike(kind: str, folder: Path, shared: Path) -> list[str]:
    """What does not hold after resuming without the fault."""
    end = _end(kind, folder, resume=True)
    if end.status or end.hung:
        return [f"the resumption ended with {end.status}: {end.err[-200:]!r}"]
    return kills.differences(folder, kills.reference(kind, shared).folder)


# --- the disk -------------------------------------------------------------------------------------


def _small_files(rng: np.random.Generator, folder: Path, shared: Path, about: list[str]) -> Any:
    """No file may become larger than so many bytes, as on a disk that is full."""
    kind, most = one_of(rng, list(kills.RUNS)), int(2 ** rng.uniform(4, 17))
    about += [kind, f"{most:,} bytes a file"]
    streams = folder / "streams"
    streams.mkdir()

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    # Through pipes: what it prints is no file that could become too large.
    command, *argv = kills.RUNS[kind]
    start = time.monotonic()
    with _piped(command, [*argv, "--run-dir", "r"], folder, limit) as process:
        out, err, hung = _communicated(process)
    end = processes.Ended(process.returncode, out, err, time.monotonic() - start, 0.0, hung)
    faults = _one_line(end, (0, 2))
    return faults or _resumed_alike(kind, folder, shared)


@contextlib.contextmanager
def _piped(command: str, argv: list[str], folder: Path, before: Callable[[], None]) -> Any:
    process = subprocess.Popen(
        [processes.sys.executable, "-m", processes.module_of(command), *argv],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=folder, preexec_fn=before, start_new_session=True,
    )  # fmt: skip
    with process:
        yield process


def _communicated(process: "subprocess.Popen[bytes]") -> tuple[str, str, bool]:
    hung = False
    try:
        out, err = process.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        hung = True
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return out.decode(errors="replace"), err.decode(errors="replace"), hung


def _full_disk(rng: np.random.Generator, folder: Path, shared: Path, about: list[str]) -> Any:
    """The run directory is on a disk of its own, of a few pages; limits of files if none may be."""
    kind, pages = one_of(rng, list(kills.RUNS)), int(2 ** rng.uniform(2, 8))
    (folder / "r").mkdir()
    mounted = _mount(folder / "r", f"size={4 * pages}k")
    if not mounted:
        (folder / "r").rmdir()
        return _small_files(rng, folder, shared, about)
    about += [kind, f"a disk of {4 * pages} kB"]
    try:
        faults = _one_line(_end(kind, folder), (0, 2))
        shutil.copytree(folder / "r", folder / "kept", symlinks=True)
    finally:
        subprocess.run(["umount", "-l", folder / "r"], check=True)
    (folder / "r").rmdir()
    (folder / "kept").rename(folder / "r")
    return faults or _resumed_alike(kind, folder, shared)


def _mount(folder: Path, options: str) -> bool:
    """Mount a small disk in memory, if this process may."""
    command = ["mount", "-t", "tmpfs", "-o", options, "fuzz", folder]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _no_cache(rng: np.random.Generator, folder: Path, shared: Path, about: list[str]) -> Any:
    """The cache cannot be written: a file in its place, no permission, or a full disk."""
    way, cache = one_of(rng, ("a file", "read-only", "full", "/dev/full")), folder / "cache"
    about.append(f"cache: {way}")
    mounted = False
    match way:
        case "a file":
            cache.write_text("no folder")
        case "/dev/full":
            cache = Path("/dev/full")
        case "full":
            cache.mkdir()
            mounted = _mount(cache, "size=16k")
        case _:
            cache.mkdir()
            cache.chmod(0o555)
    try:
        end = _end(
            SMALL, folder, environment={"XDG_CACHE_HOME": str(cache)}, before=processes.without_root
        )
    finally:
        if mounted:
            subprocess.run(["umount", "-l", cache], check=True)
    faults = _one_line(end, (0,))
    return faults or kills.differences(folder, kills.reference(SMALL, shared).folder)


def _vanished(rng: np.random.Generator, folder: Path, shared: Path, about: list[str]) -> Any:
    """The run directory is removed, or renamed, while the run goes on."""
    kind, share = one_of(rng, list(kills.RUNS)), float(rng.uniform(0.3, 0.95))
    way = one_of(rng, ("removed", "renamed"))
    about += [kind, f"{way} at {share:.0%}"]
    whole = kills.reference(kind, shared)
    process, start, streams = kills.start_run(kind, folder, resume=False)
    time.sleep(share * whole.seconds)
    if way == "removed":
        shutil.rmtree(folder / "r", ignore_errors=True)
    elif (folder / "r").exists():
        (folder / "r").rename(folder / "moved")
    end = processes.ended(process, start, HANGS, streams)
    return _one_line(end, (0, 2))


# --- flipped bits ---------------------------------------------------------------------------------

HARMLESS = ("command.txt", ".png", ".gif")
"""Files that nothing is computed from: the words that began a run, and pictures."""


def _flip(rng: np.random.Generator, files: list[Path], about: list[str], home: Path) -> Path:
    """Flip one bit of one of the files."""
    path = one_of(rng, sorted(files))
    content = bytearray(path.read_bytes())
    at, bit = int(rng.integers(len(content))), int(rng.integers(8))
    content[at] ^= 1 << bit
    path.write_bytes(content)
    about.append(f"bit {bit} of byte {at:,} of {path.relative_to(home)}")
    return path


def _with_bytes(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


def _flip_in_finished(
    rng: np.random.Generator, folder: Path, shared: Path, about: list[str]
) -> Any:
    """A bit of a finished run flips before it is resumed, which has nothing more to do."""
    kind = one_of(rng, list(kills.RUNS))
    whole = kills.reference(kind, shared)
    shutil.copytree(whole.folder / "r", folder / "r")
    about.append(kind)
    path = _flip(rng, _with_bytes(folder / "r"), about, folder)
    return _after_flip(kind, folder, whole.folder, path)


def _flip_in_interrupted(
    rng: np.random.Generator, folder: Path, shared: Path, about: list[str]
) -> Any:
    """A bit of an interrupted run flips before it is resumed."""
    kind = one_of(rng, list(kills.RUNS))
    whole = kills.reference(kind, shared)
    shutil.copytree(_interrupted(kind, shared), folder / "r")
    about.append(kind)
    files = _with_bytes(folder / "r")
    if rng.random() < 0.5:  # they are most of what is read again
        files = [path for path in files if "checkpoints" in path.parts] or files
    path = _flip(rng, files, about, folder)
    return _after_flip(kind, folder, whole.folder, path)


def _after_flip(kind: str, folder: Path, whole: Path, flipped: Path) -> list[str]:
    """What does not hold if a run is resumed one of whose files has another bit."""
    end = _end(kind, folder, resume=True)
    if end.status == 2:
        faults = _one_line(end)
        named = [flipped.name, *(parent.name for parent in flipped.parents if parent != folder)]
        known = any(name in end.err for name in named if len(name) > 3)
        return faults or ([] if known else [f"does not name the file: {end.err[:200]!r}"])
    faults = _one_line(end, (0,))
    others = kills.differences(folder, whole)
    if flipped.name.endswith(HARMLESS):
        others = [fault for fault in others if flipped.name not in fault and "command" not in fault]
    return faults + [f"resumed with status 0 to {fault}" for fault in others]


def _interrupted(kind: str, shared: Path) -> Path:
    """A run directory of this kind after Ctrl-C in the middle, made once for all workers."""
    home = shared / "interrupted" / re.sub(r"\W+", "-", kind)
    if not home.exists():
        whole = kills.reference(kind, shared).folder
        metrics = [path.relative_to(whole) for path in whole.rglob("metrics.jsonl")]
        epochs = _epochs(whole, metrics)
        for share in (0.6, 0.5, 0.4, 0.3):  # a slow machine may be late
            with kills._new_folder(shared) as folder:
                process, start, streams = kills.start_run(kind, folder, resume=False)
                while (
                    _epochs(folder, metrics) < share * epochs and time.monotonic() < start + HANGS
                ):
                    time.sleep(0.02)
                os.kill(process.pid, signal.SIGINT)
                end = processes.ended(process, start, HANGS, streams)
                if end.status == 130 and list((folder / "r").rglob("checkpoints")):
                    home.parent.mkdir(exist_ok=True)
                    with contextlib.suppress(OSError):  # another worker was quicker
                        (folder / "r").rename(home)
                    break
        assert home.exists(), f"{kind} could not be interrupted in the middle"
    return home


def _epochs(folder: Path, metrics: Sequence[Path]) -> int:
    """The number of epochs that a run has noted, in the files of all of its stages."""
    files = [folder / path for path in metrics]
    return sum(file.read_bytes().count(b"\n") for file in files if file.exists())


_USES = {
    "runs/da": (
        ("transform", "runs/da", "small.npz", "--out", "x.npy"),
        ("transform", "runs/da", "small.npz", "--score", "--out", "x.csv"),
        ("export", "runs/da", "--to", "onnx", "--out", "x.onnx"),
    ),
    "runs/stack": (
        ("predict", "runs/stack", "small.npz", "--out", "x.csv"),
        ("transform", "runs/stack", "small.npz", "--layer", "1", "--out", "x.npy"),
        ("export", "runs/stack", "--to", "stablehlo", "--out", "x.bin"),
    ),
    "runs/ladder": (("predict", "runs/ladder", "small.npz", "--out", "x.csv"),),
}


def _flip_in_model(rng: np.random.Generator, folder: Path, shared: Path, about: list[str]) -> Any:
    """A bit of a finished run flips before the model is used."""
    stock = furniture.stock(shared)
    name = one_of(rng, list(_USES))
    command, *argv = one_of(rng, _USES[name])
    expected = _used(stock, command, tuple(argv))
    shutil.copytree(stock / name, folder / name)
    files = _with_bytes(folder / name)
    if rng.random() < 0.6:
        files = [path for path in files if path.suffix == ".safetensors"]
    about.append(command)
    path = _flip(rng, files, about, folder)
    end, written = _use(folder, command, argv)
    if end.status == 2:
        faults = _one_line(end)
        return faults or ([] if path.name in end.err else [f"names another file: {end.err[:200]}"])
    faults = _one_line(end, (0,))
    return faults or ([] if written == expected else ["status 0 and another result"])


def _use(folder: Path, command: str, argv: list[str]) -> tuple[processes.Ended, bytes | None]:
    start, streams = time.monotonic(), folder / "streams"
    process = processes.started(command, argv, folder, streams)
    end = processes.ended(process, start, HANGS, streams)
    out = folder / argv[-1]
    return end, out.read_bytes() if out.exists() else None


@functools.cache
def _used(stock: Path, command: str, argv: tuple[str, ...]) -> bytes | None:
    """What a command makes of the intact run."""
    with tempfile.TemporaryDirectory(dir=stock.parent) as folder:
        shutil.copytree(stock, Path(folder, "here"), symlinks=True)
        return _use(Path(folder, "here"), command, list(argv))[1]


# --- other processes ------------------------------------------------------------------------------


def _second(rng: np.random.Generator, folder: Path, shared: Path, about: list[str]) -> Any:
    """The same command is started twice in one run directory."""
    kind = one_of(rng, list(kills.RUNS))
    whole = kills.reference(kind, shared)
    later = 0.0 if rng.random() < 0.5 else float(rng.uniform(0, 0.6)) * whole.seconds
    resume = bool(rng.random() < 0.3)
    about += [kind, f"{later:.1f} s later", "--resume" if resume else "new"]
    first = kills.start_run(kind, folder, resume=False, streams="first")
    time.sleep(later)
    second = kills.start_run(kind, folder, resume=resume, streams="second")
    pids = [first[0].pid, second[0].pid]
    ends = [
        processes.ended(process, start, HANGS, streams)
        for process, start, streams in (first, second)
    ]
    if any(end.hung for end in ends):
        return [f"hung: {' and '.join(repr(end.err[-120:]) for end in ends)}"]
    faults = [fault for end in ends for fault in _one_line(end, (0, 2))]
    losers = [i for i, end in enumerate(ends) if end.status == 2]
    if faults:
        return faults
    if len(losers) == 2:
        return [f"neither went on: {ends[0].err[:160]!r} and {ends[1].err[:160]!r}"]
    faults = kills.differences(folder, whole.folder)
    if not losers:  # as the second may resume what the first has finished
        return faults if later or resume else [*faults, "both went on"]
    (i,) = losers
    if str(pids[1 - i]) not in ends[i].err and "holds a run already" not in ends[i].err:
        faults.append(f"does not name process {pids[1 - i]}: {ends[i].err[:160]!r}")
    if ends[i].busy > AT_ONCE:
        faults.append(f"the loser took {ends[i].busy:.0f} s of the processor")
    return faults


# --- what is printed ------------------------------------------------------------------------------


def _closed(rng: np.random.Generator, folder: Path, shared: Path, about: list[str]) -> Any:
    """Whoever reads the output goes away after a line, or before the first."""
    kind, lines = one_of(rng, list(kills.RUNS)), int(rng.integers(3))
    about += [kind, f"read {lines} lines"]
    reading, writing = os.pipe()
    process, start, streams = kills.start_run(kind, folder, resume=False, out=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as output:
        for _ in range(lines):
            output.readline()
    end = processes.ended(process, start, HANGS, streams)
    faults = _one_line(end, (0, 141))
    if end.err.strip() and not faults:
        faults.append(f"on stderr: {end.err[:160]!r}")
    return faults or _resumed_alike(kind, folder, shared)


def _full_output(rng: np.random.Generator, folder: Path, shared: Path, about: list[str]) -> Any:
    """What is printed goes to a full disk."""
    kind = one_of(rng, list(kills.RUNS))
    about.append(kind)
    with open("/dev/full", "wb") as full:
        process, start, streams = kills.start_run(kind, folder, resume=False, out=full.fileno())
    end = processes.ended(process, start, HANGS, streams)
    return _one_line(end, (0, 2)) or _resumed_alike(kind, folder, shared)


def _damaged_record(rng: np.random.Generator, folder: Path, shared: Path, about: list[str]) -> Any:
    """A record of an interrupted run is cut off, empty, or full of NUL, as after a power loss."""
    kind = one_of(rng, list(kills.RUNS))
    shutil.copytree(_interrupted(kind, shared), folder / "r")
    records = [path for path in _with_bytes(folder / "r") if path.suffix in (".json", ".jsonl")]
    path, way = one_of(rng, sorted(records)), one_of(rng, ("empty", "cut", "NUL", "tail of NUL"))
    content = path.read_bytes()
    at = int(rng.integers(len(content)))
    path.write_bytes({
        "empty": b"", "cut": content[:at], "NUL": bytes(len(content)),
        "tail of NUL": content[:at] + bytes(len(content) - at),
    }[way])  # fmt: skip
    about += [kind, f"{path.relative_to(folder)}: {way} at {at}"]
    return _after_flip(kind, folder, kills.reference(kind, shared).folder, path)


KINDS: dict[str, Callable[..., Any]] = {
    "a bit flips in a model": _flip_in_model,
    "a bit flips in an interrupted run": _flip_in_interrupted,
    "small files only": _small_files,
    "two processes": _second,
    "a damaged record": _damaged_record,
    "the output is closed": _closed,
    "a full disk": _full_disk,
    "a bit flips in a finished run": _flip_in_finished,
    "a vanished folder": _vanished,
    "no cache": _no_cache,
    "the output is on a full disk": _full_output,
}
"""The kinds of faults, in turns."""
