"""Commands of the package as processes: forked from this one, which is quick, or new ones."""

import atexit
import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

__all__ = ["Ended", "forked", "import_everything", "module_of", "started", "waited", "without_root"]

MEMORY = 8 << 30
"""The address space that a command may take: enough for any of the tiny runs here."""
_MODULES = (
    *("train", "pretrain", "predict", "transform", "export", "reproduce", "__main__"),
    *("runs.da", "runs.stack", "runs.stack_report", "runs.ladder", "runs.comparison"),
    *("runs.new_images", "runs.exporting", "runs.baselines", "experiments.catalogue"),
    *("experiments.reports", "figures.plots", "datasets.tables", "export"),
)


class Ended(NamedTuple):
    """What is left of a process."""

    status: int
    """Its exit status; negative for a signal."""
    out: str
    err: str
    seconds: float
    """From its start to its end."""
    busy: float
    """Seconds of the processor."""
    hung: bool = False
    """Whether it was killed because it did not end."""


def module_of(command: str) -> str:
    """The module of a command; the empty one is ``python -m dae_jax``."""
    return f"dae_jax.{command}" if command else "dae_jax"


def import_everything() -> None:
    """Import what the commands need, so that forked ones are quick; no device is set up."""
    for name in _MODULES:
        import_module(f"dae_jax.{name}")
    for name in ("pandas", "sklearn.decomposition", "sklearn.svm", "matplotlib.pyplot", "optax"):
        import_module(name)


def without_root() -> None:
    """Give up the capabilities of root, who may otherwise read and write everything."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)()
        ctypes.CDLL(None).capset(header, data)


def forked(command: str, argv: Sequence[str], folder: Path, seconds: float, streams: Path) -> Ended:
    """Run a command in a fork of this process, as its console script would.

    Args:
        command: Its name, such as ``"train"``.
        argv: Its flags.
        folder: The working directory.
        seconds: When to kill it.
        streams: A folder for what it prints.
    """
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.setsid()
            with open(os.devnull) as null:
                os.dup2(null.fileno(), 0)
            for fd, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(streams / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
            os.chdir(folder)
            _limit()
            name = f"{'.'.join(module_of(command).split('.')[1:]) or '__main__'}.py"
            sys.argv = [str(Path(import_module("dae_jax").__path__[0], name)), *argv]
            status = _ended_as_python_does(import_module("dae_jax.console").cli)
        finally:
            os._exit(status)
    return waited(pid, start, seconds, streams)


def _limit() -> None:
    """What holds for the process of a command only."""
    without_root()
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _ended_as_python_does(cli: Callable[[], int]) -> int:
    """Call a console script and leave as the interpreter does: threads, exit functions, streams."""
    try:
        status = cli()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        return 120
    return status


def waited(pid: int, start: float, seconds: float, streams: Path) -> Ended:
    """Wait for a process, and kill its group if it does not end."""
    hung = False
    while True:
        ended, raw, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if not hung and time.monotonic() - start > seconds:
            hung = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)
    took = time.monotonic() - start
    out, err = ((streams / name).read_bytes().decode(errors="replace") for name in ("out", "err"))
    busy = usage.ru_utime + usage.ru_stime
    return Ended(os.waitstatus_to_exitcode(raw), out, err, took, busy, hung)


def started(
    command: str,
    argv: Sequence[str],
    folder: Path,
    streams: Path,
    *,
    before: Callable[[], None] | None = None,
    out: int | None = None,
    environment: Mapping[str, str] = {},
) -> subprocess.Popen[bytes]:
    """Start ``python -m dae_jax.COMMAND`` as a process of its own.

    Args:
        command: Its name.
        argv: Its flags.
        folder: The working directory.
        streams: A folder for what it prints; see `waited`.
        before: Called in the new process first.
        out: Another file descriptor for its stdout.
        environment: Variables that are its own.
    """
    streams.mkdir(parents=True, exist_ok=True)
    with open(streams / "out", "wb") as to_out, open(streams / "err", "wb") as to_err:
        return subprocess.Popen(
            [sys.executable, "-m", module_of(command), *argv],
            stdin=subprocess.DEVNULL,
            stdout=to_out if out is None else out,
            stderr=to_err,
            cwd=folder,
            env=os.environ | environment,
            start_new_session=True,
            preexec_fn=before,
        )


def ended(process: "subprocess.Popen[bytes]", start: float, seconds: float, streams: Path) -> Ended:
    """`waited` for a process of `started`."""
    result = waited(process.pid, start, seconds, streams)
    process.returncode = result.status  # it was waited for already
    return result
