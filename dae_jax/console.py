"""Shared behaviour of the commands: one line for errors, signals, streams, JAX, progress."""

import contextlib
import ctypes
import errno
import logging
import os
import platform
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from dae_jax.errors import InputError, printable

__all__ = [
    "Progress",
    "bar",
    "cli",
    "cores",
    "give_up",
    "interruptible",
    "only_ours",
    "processor",
    "run",
    "set_up_jax",
    "unescaped",
    "write",
]

_received: list[int] = []  # the signals that ended an epoch early; see `interruptible`
_errors = [2]  # the last one is the descriptor of standard error; see `only_ours`


def cli(name: str | None = None) -> int:
    """Run a command as a process of its own: the console scripts and ``python -m``.

    The command is imported here, so that a signal during the imports is one line, too. Until it
    trains, and after that, a signal ends the process at once, as a kill would, from which any run
    resumes: an exception could be lost in a library's callback.

    Args:
        name: The module in ``dae_jax``; that by which the process was called if None.

    Returns:
        The exit status; see `run`. 130 after Ctrl-C, 143 after SIGTERM.
    """
    debug = "--debug" in sys.argv
    if not debug:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end)
        _silence_libraries()
    if name is None:
        name = Path(sys.argv[0]).stem.removeprefix("dae-jax-")
        name = "__main__" if name == "dae-jax" else name
    status = run(lambda argv: import_module(f"dae_jax.{name}").main(argv))
    if not debug:
        # All is done. Python's exit would restore the defaults, which end a process in silence.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return status


def _end(number: int, _: Any) -> None:
    """End the process after a signal, with one line."""
    with contextlib.suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h")  # a progress bar hides the cursor
        os.write(_errors[-1], b"interrupted\n")
    os._exit(128 + number)


def give_up(line: str, status: int = 2) -> NoReturn:
    """End the process at once, with one line, whatever its threads are waiting for."""
    with contextlib.suppress(OSError):
        os.write(_errors[-1], f"{line}\n".encode())
    os._exit(status)


@contextlib.contextmanager
def only_ours(last_words: str) -> Iterator[None]:
    """Keep away what libraries print without Python, and say one line when they abort.

    The runtime of several processes aborts with a C++ stack trace when one of them has died. With
    ``--debug`` it does.

    Args:
        last_words: The line.
    """
    if "--debug" in sys.argv or os.name != "posix":
        yield
        return
    with contextlib.ExitStack() as stack:
        for number, redirect in (
            (1, contextlib.redirect_stdout),
            (2, contextlib.redirect_stderr),
        ):
            stream = sys.stdout if number == 1 else sys.stderr
            stream.flush()
            kept = os.dup(number)
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            own = os.fdopen(
                kept, "w", encoding=stream.encoding, errors=stream.errors, closefd=False
            )
            stack.callback(own.flush)
            stack.enter_context(redirect(_Stream(own)))  # type: ignore[type-var]
        _errors.append(kept)
        stack.callback(_errors.pop)
        aborted = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: give_up(last_words))
        # Python's own handlers run after the function that was interrupted, and an abort is none.
        library = ctypes.CDLL(None)
        library.signal(signal.SIGABRT, aborted)
        stack.callback(library.signal, signal.SIGABRT, 0)
        yield


def _silence_libraries() -> None:
    """Keep warnings, logs and tracebacks of background threads away from the command's lines."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Call a command's `main`; print an `InputError` as one line.

    Returns:
        The exit status: that of `main`, 2 after an `InputError` or without memory, 130 after
        Ctrl-C, 143 after SIGTERM, 141 if nobody reads the output any more.
    """
    argv = sys.argv[1:] if argv is None else argv
    _received.clear()
    try:
        out, err = _Stream(sys.stdout), _Stream(sys.stderr)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(argv) or 0
            out.flush()
        return 128 + _received[-1] if status == 130 and _received else status
    except InputError as error:
        if "--debug" in argv:
            raise
        return _failed(f"error: {error}")
    except KeyboardInterrupt:
        if "--debug" in argv:
            raise
        return _failed("interrupted", 130)
    except _OutputError as error:
        _discard_output()
        if error.errno == errno.EPIPE:  # as of ... --help | head
            return 141
        return _failed(f"error: cannot write to the standard output: {error.strerror}")
    except Exception as error:
        if "--debug" in argv or not _is_memory(error):
            raise
        first = (str(error).splitlines() or [""])[0]
        do = "take a smaller model, batch or data set, or fewer seeds at once"
        return _failed(f"error: {InputError(f'out of memory: {first}', do=do)}")


def _failed(line: str, status: int = 2) -> int:
    with contextlib.suppress(OSError):  # where standard error is closed or full, too
        print(line, file=sys.stderr)
    return status


def _is_memory(error: Exception) -> bool:
    """Whether memory was refused, by Python, NumPy or XLA."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)[:1000]


class _OutputError(OSError):
    """The standard output cannot be written to."""


class _Stream:
    """A text stream whose errors are `_OutputError`, and what it is given is `printable`."""

    def __init__(self, stream: Any, change: Callable[[str], str] = printable):
        self.stream, self._change = stream, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with _output_errors():
            return self.stream.write(self._change(text))

    def flush(self) -> None:
        with _output_errors():
            self.stream.flush()


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _OutputError(error.errno, error.strerror) from error


def unescaped() -> Any:
    """The standard output without `errors.printable`, for the escape sequences of our own."""
    return _Stream(getattr(sys.stdout, "stream", sys.stdout), str)


def write(content: bytes) -> None:
    """Write a file's content to the standard output."""
    with _output_errors():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def _discard_output() -> None:
    """Send the rest of the output nowhere, since Python would complain again at its exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def set_up_jax(precision: str, n_members: int, devices: int | str | None = None) -> None:
    """Set precision, devices and the compilation cache of JAX, before anything is computed.

    A sweep on a CPU gets one device per core, so that its members can use all cores.

    Args:
        precision: Of matrix products, or ``"float64"`` for everything.
        n_members: Models that are trained together, by this process.
        devices: How many of a CPU, or ``"all"`` for one per core; None for what the members use.
    """
    import jax
    import platformdirs

    if precision == "float64":
        jax.config.update("jax_enable_x64", True)
    else:
        jax.config.update("jax_default_matmul_precision", precision)
    n = cores() if devices == "all" else devices or min(n_members, cores())
    if n != 1:
        with contextlib.suppress(RuntimeError):  # the devices are already set up: use them
            jax.config.update("jax_num_cpu_devices", n)
    if not jax.config.values["jax_compilation_cache_dir"]:
        cache = os.path.join(platformdirs.user_cache_dir("dae_jax"), "xla")
        jax.config.update("jax_compilation_cache_dir", cache)
    # By default JAX does not cache programs that compile in less than a second, as the epoch does.
    # The cache is a convenience: no warning if it cannot be written.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")


def processor() -> str:
    """The name of the processor, as the system says it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.processor() or platform.machine()


def cores() -> int:
    """The number of CPU cores that this process may use."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


class Progress:
    """Progress over epochs: a live bar in a terminal, about twenty plain lines elsewhere.

    Args:
        epochs: The number of the last epoch.
        start: The number of epochs before the first.
        title: The name of the training.
        quiet: Whether nothing stays on the screen: no lines, and the bar disappears at the end.
        blocks: The number of blocks of an epoch.
    """

    def __init__(
        self,
        epochs: int,
        start: float = 0,
        title: str = "",
        *,
        quiet: bool = False,
        blocks: int = 1,
    ):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._epochs, self._blocks, self._quiet = epochs, blocks, quiet
        self._title = f"{title}, epoch" if title else "epoch"
        self._console = Console(file=unescaped(), highlight=False, soft_wrap=True)
        self._bar = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn(self._title),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.fields[report]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self._console,
                transient=quiet,
            )
            self._task = self._bar.add_task("", total=epochs, report="compiling")
            self._bar.update(self._task, completed=start)
            self._bar.start()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar:
            self._bar.stop()

    def show(
        self,
        epoch: int,
        words: str,
        images_per_second: float,
        seconds_left: float,
        block: int | None = None,
    ) -> None:
        """Show a finished epoch, or a block of one, both counted from 1."""
        block = self._blocks if block is None else block
        report = f"{words}  {images_per_second:,.0f} images/s"
        where = f"block {block}/{self._blocks}  " if block < self._blocks else ""
        n, done = self._epochs * self._blocks, (epoch - 1) * self._blocks + block
        if self._bar:
            completed = done / self._blocks if where else epoch
            self._bar.update(self._task, completed=completed, report=where + report)
        elif not self._quiet and (done % max(1, n // 20) == 0 or done == n):
            print(
                f"{self._title} {epoch}/{self._epochs}  {where}{report}  {seconds_left:.0f} s left",
                flush=True,
            )


@contextlib.contextmanager
def bar(n: int, what: str) -> Iterator[Callable[[int], None]]:
    """A bar of so many things, in a terminal, which disappears at the end.

    Yields:
        A function that advances it by a number of things.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=unescaped())
    if not (what and console.is_terminal):
        yield lambda _: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(what, total=n)
        yield lambda more: progress.advance(task, more)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Install handlers: the first Ctrl-C or SIGTERM sets a flag, the second one ends.

    Yields:
        A function that returns whether there has been one.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    pressed = False

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _: Any) -> None:
        nonlocal pressed
        pressed = True
        _received.append(number)
        restore()
        if sys.stderr.isatty():
            print("\nstopping after this epoch; Ctrl-C again stops at once", file=sys.stderr)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: pressed
    finally:
        restore()
