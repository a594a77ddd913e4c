"""Shared behaviour of the commands: errors in one line, JAX set-up, progress, Ctrl-C."""

import contextlib
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dae_jax.errors import InputError

__all__ = ["Progress", "cores", "interruptible", "processor", "run", "set_up_jax"]


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Call a command's `main`; print an `InputError` as one line.

    Returns:
        The exit status: that of `main`, 2 after an `InputError`, 130 after Ctrl-C, 141 if nobody
        reads the output any more.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        return main(argv) or 0
    except InputError as error:
        if "--debug" in argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if "--debug" in argv:
            raise
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as of ... --help | head; Python would complain again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def set_up_jax(precision: str, n_members: int) -> None:
    """Set precision, devices and the compilation cache of JAX, before anything is computed.

    A sweep on a CPU gets one device per core, so that its members can use all cores.
    """
    import jax
    import platformdirs

    if precision == "float64":
        jax.config.update("jax_enable_x64", True)
    else:
        jax.config.update("jax_default_matmul_precision", precision)
    if n_members > 1:
        with contextlib.suppress(RuntimeError):  # the devices are already set up: use them
            jax.config.update("jax_num_cpu_devices", min(n_members, cores()))
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
    """

    def __init__(self, epochs: int, start: int = 0, title: str = "", *, quiet: bool = False):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._epochs, self._quiet = epochs, quiet
        self._title = f"{title}, epoch" if title else "epoch"
        self._console = Console(highlight=False, soft_wrap=True)
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
            self._task = self._bar.add_task("", total=epochs, completed=start, report="compiling")
            self._bar.start()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, epoch: int, words: str, images_per_second: float, seconds_left: float) -> None:
        """Show a finished epoch, counted from 1."""
        report = f"{words}  {images_per_second:,.0f} images/s"
        if self._bar:
            self._bar.update(self._task, completed=epoch, report=report)
        elif not self._quiet and (epoch % max(1, self._epochs // 20) == 0 or epoch == self._epochs):
            print(
                f"{self._title} {epoch}/{self._epochs}  {report}  {seconds_left:.0f} s left",
                flush=True,
            )


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Install a SIGINT handler: the first Ctrl-C sets a flag, the second one interrupts.

    Yields:
        A function that returns whether Ctrl-C has been pressed.
    """
    import signal

    pressed = False

    def note(*_: Any) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)
        print("\nstopping after this epoch; Ctrl-C again stops at once", file=sys.stderr)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
