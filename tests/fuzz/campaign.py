"""The campaign: parts in turns with a share of the time each, in one process per core."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.cases import PARTS, Result, repeat

__all__ = ["GOALS", "SHARES", "Done", "conducted", "in_markdown", "run_cases"]

SHARES = {"readers": 0.2, "commands": 0.32, "kills": 0.33, "faults": 0.15}
"""Of the time, so that thirty minutes on two cores reach the goals."""
GOALS = {"readers": 20_000, "commands": 500, "kills": 60, "faults": 30}
"""The numbers of cases of a campaign of thirty minutes."""
PATIENCE = {"readers": 90.0, "commands": 240.0, "kills": 1200.0, "faults": 1200.0}
"""Seconds until a case counts as hanging: several times what it takes on a busy machine."""
ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """A case that was tried."""

    part: str
    seed: int
    case: int
    result: Result
    seconds: float = 0.0


class _Worker:
    """A process for one part, started when it is needed, and again after a case that killed it."""

    def __init__(self, part: str, folder: Path):
        self._part, self._folder = part, folder
        self._process: subprocess.Popen[str] | None = None

    def run(self, seed: int, case: int) -> Result:
        """The result of a case; a fault if the process hangs or ends."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker", str(self._folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, cwd=ROOT, env=environment(self._folder.parent), start_new_session=True,
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{self._part} {seed} {case}\n")
            process.stdin.flush()
        answered, _, _ = select.select([process.stdout], [], [], PATIENCE[self._part])
        line = process.stdout.readline() if answered else ""
        if line:
            values: dict[str, Any] = json.loads(line)
            return Result(values["kind"], tuple(values["faults"]), values["about"])
        hung = process.poll() is None and not answered
        self.stop()
        what = f"hung for {PATIENCE[self._part]:.0f} s" if hung else "ended the process that ran it"
        return Result("hang or crash", (what,))

    def stop(self) -> None:
        """End the process and all that it has started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with self._process:  # closes its pipes and waits for its end
                pass
            self._process = None


def environment(folder: Path) -> dict[str, str]:
    """The environment of a campaign in this folder: one thread, a cache and a home of its own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("XLA_")}
    for name in ("DAE_JAX_DATA", "JAX_COMPILATION_CACHE_DIR"):
        ours.pop(name, None)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return ours | {
        "HOME": str(folder / "home"),
        "JAX_PLATFORMS": "cpu",
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "TMPDIR": str(folder / "tmp"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """The folder of a campaign; a temporary one if none is given."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-")) if given is None else given.absolute()
    for name in ("home", "tmp", "cache", "matplotlib"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if given is None:
            shutil.rmtree(folder, ignore_errors=True)


def run_cases(cases: Sequence[tuple[str, int, int]], folder: Path | None = None) -> list[Done]:
    """Run these (part, seed, case), one after the other."""
    with _folder(folder) as home:
        workers = {part: _Worker(part, home / f"{part}-0") for part, _, _ in cases}
        try:
            return [
                Done(part, seed, case, workers[part].run(seed, case)) for part, seed, case in cases
            ]
        finally:
            for worker in workers.values():
                worker.stop()


def conducted(
    parts: Sequence[str], seed: int, seconds: float, cores: int, folder: Path | None = None
) -> list[Done]:
    """Run cases from number 0 on for a time, on several cores; progress goes to stderr."""
    done: list[Done] = []
    spent = dict.fromkeys(parts, 0.0)
    following = Counter[str]()
    lock, end = threading.Lock(), time.monotonic() + seconds

    def work(number: int, home: Path) -> None:  # reads `end`, which Ctrl-C moves
        workers = {part: _Worker(part, home / f"{part}-{number}") for part in parts}
        try:
            while time.monotonic() < end:
                with lock:
                    part = min(parts, key=lambda name: spent[name] / SHARES[name])
                    first, n = following[part], 100 if part == "readers" else 1
                    following[part] += n
                    spent[part] += 0.01  # so that two processes do not choose alike
                start = time.monotonic()
                for case in range(first, first + n):
                    begun = time.monotonic()
                    result = workers[part].run(seed, case)
                    one = Done(part, seed, case, result, time.monotonic() - begun)
                    with lock:
                        done.append(one)
                        _tell(one)
                    if time.monotonic() > end:
                        break
                with lock:
                    spent[part] += time.monotonic() - start
        finally:
            for worker in workers.values():
                worker.stop()

    with _folder(folder) as home:
        threads = [threading.Thread(target=work, args=(i, home)) for i in range(cores)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:  # the cases that run now are the last ones
            end = 0.0
            for thread in threads:
                thread.join()
    return sorted(done, key=lambda one: (PARTS.index(one.part), one.case))


def _tell(one: Done) -> None:
    if one.result.faults or one.part in ("kills", "faults"):
        words = "; ".join(one.result.faults) or "held"
        about = f"{one.result.kind}, {one.result.about}"
        print(f"{one.part} {one.case} ({about}, {one.seconds:.0f} s): {words}"[:500],
              file=sys.stderr, flush=True)  # fmt: skip


def in_markdown(done: Iterable[Done], minutes: float, cores: int) -> str:
    """The table of a campaign: kind, tried, failed; and below, how to repeat what failed."""
    done = list(done)
    tried = Counter((one.part, one.result.kind) for one in done)
    failed = Counter((one.part, one.result.kind) for one in done if one.result.faults)
    totals = Counter(one.part for one in done)
    faulty = Counter(one.part for one in done if one.result.faults)
    rows = [
        f"# Campaign of {minutes:.1f} minutes on {cores} cores",
        "",
        "| part | tried | failed |",
        "|---|--:|--:|",
        *(f"| {part} | {totals[part]:,} | {faulty[part]:,} |" for part in PARTS if totals[part]),
        "",
        "| part | kind | tried | failed |",
        "|---|---|--:|--:|",
    ]
    ordered = sorted(tried, key=lambda pair: (PARTS.index(pair[0]), pair[1]))
    rows += [f"| {p} | {kind} | {tried[p, kind]:,} | {failed[p, kind]:,} |" for p, kind in ordered]
    if failures := _grouped(done):
        rows += ["", "| what failed | times | repeat the first |", "|---|--:|---|"]
        rows += [
            f"| {_cell(f'{kind}: {fault}')} | {len(ones)} | "
            f"`{repeat(ones[0].seed, ones[0].part, ones[0].case)}` |"
            for (kind, fault), ones in failures.items()
        ]
    return "\n".join(rows) + "\n"


def _grouped(done: Iterable[Done]) -> Mapping[tuple[str, str], list[Done]]:
    """The failures of one kind with one fault, up to its values, the most frequent first."""
    groups: dict[tuple[str, str], list[Done]] = {}
    shown: dict[tuple[str, str], str] = {}
    for one in done:
        for fault in one.result.faults:
            plain = re.sub(r"['\"\[(].*|\d|U\+\w+", "", fault)  # without values and numbers
            key = (one.result.kind, plain[:60])
            shown.setdefault(key, fault)
            groups.setdefault(key, []).append(one)
    ordered = sorted(groups, key=lambda key: -len(groups[key]))
    return {(key[0], shown[key]): groups[key] for key in ordered}


def _cell(text: str) -> str:
    """Text as a cell of a Markdown table."""
    plain = " ".join(text[:240].replace("|", "\\|").split())
    return "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in plain)
