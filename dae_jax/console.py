"""What every command does alike: parse flags, set JAX up, show progress, end with a clear line."""

import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dae_jax.errors import InputError
from dae_jax.settings import train as config

C = TypeVar("C")


def parse(kind: type[C], argv: Sequence[str], prog: str, default: C | None = None) -> C:
    """Read flags into the frozen dataclass `kind`, by tyro; ``--help`` prints and exits.

    Raises:
        InputError: A flag that is not known, or a value that is none.
    """
    import tyro

    # tyro's own opposite of --tied is --no-tied; the field says untied.
    argv = ["--no-tied" if word == "--untied" else word for word in argv]
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind,
                prog=prog,
                args=argv,
                default=kind() if default is None else default,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as exit:
        if not exit.code:
            raise
        raise InputError(_in_one_line(complaint.getvalue()), do=f"see {prog} --help") from None


def _in_one_line(box: str) -> str:
    """What tyro says in a box, without the box and without the hints that `--help` gives too."""
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]
    told: list[str] = []
    for line in lines:
        if set(line) <= {"─"} and told:
            break
        told.append(line)
    return " ".join(told).rstrip(".")


def settings_to_resume(asked: C, argv: Sequence[str], prog: str, may_grow: str) -> C:
    """The settings of the run in ``--run-dir``, after a look whether the flags agree with them.

    Args:
        asked: What the flags alone say.
        argv: The flags.
        prog: The command.
        may_grow: The name of the setting that may be larger than it was.

    Returns:
        The run's settings, with this call's length and places for output; `asked` itself, where
        there is no run yet.

    Raises:
        InputError: There is something else, or the run's settings are others.
    """
    folder = Path(str(asked.output.run_dir))  # type: ignore[attr-defined]
    path = folder / "config.json"
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"--resume: {folder} holds no run", do="check the path of --run-dir")
        print(f"no run in {folder} yet: starting from the beginning")
        return asked
    try:
        saved = config.from_json(type(asked), json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}", do="start again in another one") from error
    # Parsed once more with the run's own settings as defaults, only what was asked for can differ.
    asked = parse(type(asked), argv, prog, default=saved)
    differing = config.differences(saved, asked, may_grow)
    if differing:
        raise InputError(
            f"--resume: the run in {folder} has another configuration ({'; '.join(differing)})",
            do="leave these flags away, or choose another --run-dir",
        )
    return asked


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Call a command's `main` and turn what the user can mend into one line and status 2.

    Returns:
        0, what `main` returned, 2 after an `InputError`, or 130 after Ctrl-C.
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


def set_up_jax(precision: str, n_members: int) -> None:
    """Choose precision, devices and the compilation cache, before anything is computed.

    A sweep on CPU gets a device a core, so that its members can be spread over the cores.
    """
    import jax
    import platformdirs

    if precision == "float64":
        jax.config.update("jax_enable_x64", True)
    else:
        jax.config.update("jax_default_matmul_precision", precision)
    if n_members > 1:
        with contextlib.suppress(RuntimeError):  # devices exist already: take what there is
            jax.config.update("jax_num_cpu_devices", min(n_members, _cores()))
    if not jax.config.values["jax_compilation_cache_dir"]:
        cache = os.path.join(platformdirs.user_cache_dir("dae_jax"), "xla")
        jax.config.update("jax_compilation_cache_dir", cache)
    # The epoch compiles in less than the second below which JAX would not keep it. The cache is a
    # comfort: one that cannot be written is no reason to say anything.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")


def _cores() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


class Progress:
    """Epochs as they pass: a live bar in a terminal, about twenty plain lines elsewhere."""

    def __init__(self, epochs: int, start: int = 0, title: str = ""):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._epochs = epochs
        self._title = f"{title}, epoch" if title else "epoch"
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn(self._title),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.fields[told]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=epochs, completed=start, told="compiling")
            self._bar.start()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar:
            self._bar.stop()

    def tell(self, epoch: int, words: str, images_per_second: float, seconds_left: float) -> None:
        """Show an epoch that has ended, counted from 1."""
        told = f"{words}  {images_per_second:,.0f} images/s"
        if self._bar:
            self._bar.update(self._task, completed=epoch, told=told)
        elif epoch % max(1, self._epochs // 20) == 0 or epoch == self._epochs:
            print(
                f"{self._title} {epoch}/{self._epochs}  {told}  {seconds_left:.0f} s left",
                flush=True,
            )


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Make the first Ctrl-C only be told, by the function yielded; a second one interrupts."""
    import signal

    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)
        print("\nstopping after this epoch; Ctrl-C again stops at once", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
