"""Settings that commands have in common: the data, checks, parsing, JSON and comparison.

Settings are frozen dataclasses of groups. Their fields are the flags of a command (tyro reads the
types and the help texts below the fields), and, as JSON, the record of a run.
"""

import contextlib
import io
import math
import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from tyro.conf import arg

from dae_jax import console, records
from dae_jax.errors import InputError
from dae_jax.settings import help

__all__ = [
    "CONFIG",
    "ELSEWHERE",
    "RECORD",
    "Data",
    "Denoising",
    "Machine",
    "check_above_0",
    "check_count",
    "check_data",
    "check_emphasis",
    "check_levels",
    "check_machine",
    "check_run_dir",
    "check_seeds",
    "command",
    "default_rate",
    "differences",
    "flat",
    "from_json",
    "in_words",
    "is_of",
    "parse",
    "read_record",
    "resumed",
    "to_json",
]

Noise = Literal["masking", "masking-count", "gaussian", "salt-and-pepper", "swap"]
Objective = Literal["cross-entropy", "squared-error"]
Decoder = Literal["sigmoid", "linear"]
Optimizer = Literal["sgd", "momentum", "adam"]
Precision = Literal["float32", "tensorfloat32", "bfloat16", "float64"]
Settings = TypeVar("Settings")
CONFIG, RECORD = "config.json", "command.txt"
"""The files of a run's settings and of the command that began it."""
ELSEWHERE = ("output", "machine")
"""The groups of settings that a model does not depend on, but for rounding."""
MOST_DEVICES = 1024
"""The most devices of a process; JAX would start the threads of any number."""
TASKS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
"""The variables by which Slurm and Open MPI say how many processes they have started."""
_RATES = {"sgd": 0.1, "momentum": 0.01}  # with a sigmoid output
_RATES_BY_WIDTH = {"sgd": 0.5, "momentum": 0.05}  # with a linear one, times the hidden units
_OTHER_RATE = 0.001


@dataclass(frozen=True)
class Data:
    """The images to learn from."""

    data: Annotated[
        str | None,
        arg(
            metavar="NAME|PATH",
            help_behavior_hint="(default: mnist if it can be downloaded, otherwise mnist-sample)",
        ),
    ] = None
    """mnist, mnist-sample, digits, variations-rot or another of its kind, or a path: a folder of
    IDX files or of images, a .csv file with the columns file and label, .npz, .npy or the
    tutorial's mnist.pkl.gz; or a table of numbers, a .csv or .parquet file."""
    valid_fraction: Annotated[
        float | None, arg(metavar="SHARE", help_behavior_hint="(default: 0.1)")
    ] = None
    """Share of your own data that is held out for validation, in [0, 1), and the same share for
    testing if there is no test set."""
    image_size: Annotated[
        tuple[int, int] | None,
        arg(metavar="HEIGHT WIDTH", help_behavior_hint="(default: their own size)"),
    ] = None
    """Size in pixels that image files are resized to."""
    grey: bool = field(default=False, metadata={"since": "0.2.0"})
    """Read image files that are saved in colour as grey."""
    label_column: Annotated[
        str | None, arg(metavar="NAME", help_behavior_hint="(default: label, if there is one)")
    ] = field(default=None, metadata={"since": "0.2.0"})
    """Column of a table that holds the classes."""
    pixel_scale: float = 255.0
    """Divisor of integer pixels. The tutorial's own data file was divided by 256."""
    block_size: Annotated[
        int | None,
        arg(metavar="IMAGES", help_behavior_hint="(default: all at once, up to 1 GiB of images)"),
    ] = field(default=None, metadata={"since": "0.2.0"})
    """Images that are in memory at a time, and trained on before the next ones; the others stay in
    their files, if these are .npy, IDX or .npz and not compressed."""


@dataclass(frozen=True)
class Machine:
    """The processors to use, which change results by rounding only."""

    devices: Annotated[
        int | Literal["all"] | None,
        arg(
            metavar="N|all",
            help_behavior_hint="(default: one; of several seeds and levels, one each)",
        ),
    ] = None
    """Devices to train on, of each process: cores of a CPU, or GPUs. Seeds and levels are spread
    over them, and the minibatches of each are split over those that are left."""
    processes: Annotated[
        int | Literal["auto"] | None,
        arg(
            metavar="N|auto",
            help_behavior_hint="(default: those that Slurm or Open MPI have started, or one)",
        ),
    ] = None
    """Processes that run this command together, on one machine or on several, which see the same
    files; auto for what JAX finds on Kubernetes or Cloud TPU."""
    coordinator: Annotated[
        str | None,
        arg(metavar="HOST:PORT", help_behavior_hint="(default: found on a cluster)"),
    ] = None
    """Address of process 0, and a free port there, the same for all."""
    process: Annotated[
        int | None, arg(metavar="I", help_behavior_hint="(default: found on a cluster)")
    ] = None
    """Number of this process, from 0."""
    connect_timeout: int = 300
    """Seconds that a process waits for the others at the start."""

    @property
    def started(self) -> int | None:
        """The number of processes of this run; None if JAX is to find it."""
        if self.processes is not None:
            return None if self.processes == "auto" else self.processes
        counts = (os.environ.get(name, "") for name in TASKS)
        return next((int(n) for n in counts if n.isdigit() and int(n) > 1), 1)

    def each(self, members: int) -> int:
        """The number of members that one process trains, of so many in all."""
        return -(-members // (self.started or 1))


@dataclass(frozen=True)
class Denoising:
    """The cost of one dA: its corruption, and how its reconstruction is judged."""

    corruption: float
    noise: Noise
    cost: Objective
    decoder: Decoder
    emphasis: tuple[float, float] | None = field(default=None, kw_only=True)


def default_rate(optimizer: str, decoder: str, n_hidden: int) -> float:
    """The learning rate of a dA, by the optimiser and the curvature of the cost.

    The squared error of a linear output has a curvature in the decoder's weights of twice the sum
    of the squared codes, which grows with the number of hidden units, each in (0, 1).

    Args:
        optimizer: Its name.
        decoder: ``"sigmoid"`` or ``"linear"``.
        n_hidden: Number of hidden units.

    >>> default_rate("sgd", "sigmoid", 500), default_rate("sgd", "linear", 500)
    (0.1, 0.001)
    """
    if decoder == "linear" and optimizer in _RATES_BY_WIDTH:
        return _RATES_BY_WIDTH[optimizer] / n_hidden
    return _RATES.get(optimizer, _OTHER_RATE)


def check_data(data: Data) -> None:
    """Check the image size, the validation share and the pixel scale.

    Raises:
        InputError: One of them is out of its range.
    """
    if data.image_size is not None:
        check_count("image-size", min(data.image_size))
    check_above_0("pixel-scale", data.pixel_scale)
    check_count("block-size", 1 if data.block_size is None else data.block_size)
    if data.valid_fraction is not None and not 0 <= data.valid_fraction < 1:
        raise InputError("--valid-fraction", expected="a share in [0, 1)", got=data.valid_fraction)


def check_machine(machine: Machine) -> None:
    """Check the number of devices, and that processes can find each other.

    Raises:
        InputError: A number is out of its range, or one of several settings is missing.
    """
    devices = machine.devices if isinstance(machine.devices, int) else 1
    check_count("devices", devices)
    if devices > MOST_DEVICES:
        raise InputError("--devices", expected=f"at most {MOST_DEVICES:,}", got=f"{devices:,}")
    check_count("connect-timeout", machine.connect_timeout)
    n, index, address = machine.processes, machine.process, machine.coordinator
    check_count("processes", n if isinstance(n, int) else 1)
    if n is None and (index is not None or address is not None):
        expected = "the number of processes, with --coordinator and --process"
        raise InputError("--processes", expected=expected, got="none")
    if address is not None and not re.fullmatch(r".+:\d{1,5}", address):
        raise InputError("--coordinator", expected="an address as host:port", got=address)
    if index is not None and not 0 <= index < (n if isinstance(n, int) else math.inf):
        expected = f"0 to {n - 1}" if isinstance(n, int) else "at least 0"
        raise InputError("--process", expected=expected, got=index)
    if (index is None) != (address is None):
        missing, other = ("--coordinator", "--process")[:: 1 if address is None else -1]
        raise InputError(missing, expected=f"one, beside {other}", got="none")


def check_levels(levels: Sequence[float]) -> None:
    """Check that corruption levels are in [0, 1]; NaN is not."""
    for level in levels:
        if not 0 <= level <= 1:
            raise InputError("--corruption", expected="levels in [0, 1]", got=level)


def check_emphasis(emphasis: tuple[float, float] | None) -> None:
    """Check the two weights of `Denoising.emphasis`: at least 0, and not both 0."""
    if emphasis is None:
        return
    if not all(math.isfinite(weight) and weight >= 0 for weight in emphasis) or not any(emphasis):
        expected = "two numbers of at least 0, not both 0"
        raise InputError("--emphasis", expected=expected, got=in_words(emphasis))


def check_count(name: str, value: int) -> None:
    """Check that a number of things is at least 1."""
    if value < 1:
        raise InputError(f"--{name}", expected="a whole number of at least 1", got=value)


def check_above_0(name: str, value: float) -> None:
    """Check that a number is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"--{name}", expected="a number above 0", got=value)


def check_seeds(seed: int, seeds: int) -> None:
    """Check that all seeds are in the range of the random generators."""
    if not (seed >= 0 and seed + seeds <= 2**32):
        raise InputError("--seed", expected="seeds in [0, 2**32)", got=seed)


def check_run_dir(output: Any) -> None:
    """Check that --run-dir names a folder, if it is given, and require it with --resume."""
    if output.run_dir == "":
        raise InputError("--run-dir", expected="the name of a folder", got="an empty one")
    if output.resume and output.run_dir is None:
        raise InputError("--resume", expected="the --run-dir of the run to resume", got="none")


def parse(kind: type[Settings], argv: Sequence[str], default: Settings | None = None) -> Settings:
    """Parse flags into settings with tyro; ``--help`` prints and exits.

    Args:
        kind: A dataclass of settings, whose `prog` is the command that help and errors name.
        argv: The flags.
        default: The settings of flags that are not given; `kind`'s own defaults if None.

    Raises:
        InputError: An unknown flag, or an invalid value.
    """
    import tyro

    # tyro's own opposite of --tied is --no-tied; the help text says --untied.
    argv = ["--no-tied" if word == "--untied" else word for word in argv]
    prog = help.as_typed(kind.prog)  # type: ignore[attr-defined]
    default = kind() if default is None else default
    if {"-h", "--help"} & set(argv) and hasattr(kind, "first_flags"):
        with contextlib.redirect_stdout(console.unescaped()):  # for the colours of the help
            help.show(kind, default, short="--help" not in argv)
    complaint = io.StringIO()
    try:
        output = contextlib.redirect_stdout(console.unescaped())
        with contextlib.redirect_stderr(complaint), output:
            return tyro.cli(
                kind,
                prog=prog,
                args=argv,
                default=default,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as exit:
        if not exit.code:
            raise
        raise InputError(_in_one_line(complaint.getvalue()), do=f"see {prog} --help") from None


def _in_one_line(box: str) -> str:
    """The message in tyro's box, without the frame and the hints, which ``--help`` gives too."""
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]
    message: list[str] = []
    for line in lines:
        if set(line) <= {"─"} and message:
            break
        message.append(line)
    return " ".join(message).rstrip(".")


def resumed(requested: Settings, argv: Sequence[str], may_grow: str) -> Settings:
    """The settings of the run in ``--run-dir``, after checking that the flags agree with them.

    Args:
        requested: The settings from the flags alone.
        argv: The flags.
        may_grow: The setting that may be larger than in the saved run: its length.

    Returns:
        The saved settings with the length and output places of this call; `requested` itself if
        there is no run yet.

    Raises:
        InputError: The folder holds something else, or a run with other settings.
    """
    folder = Path(str(requested.output.run_dir))  # type: ignore[attr-defined]
    path = folder / "config.json"
    if not os.path.exists(path):
        if os.path.exists(folder) and not _may_begin(folder):
            raise InputError(f"--resume: {folder} holds no run", do="check the path of --run-dir")
        print(f"no run in {folder} yet: starting from the beginning")
        return requested
    saved: Any = from_json(
        type(requested), read_record(folder), str(path), "take another --run-dir"
    )
    # With the saved settings as defaults, only the flags that were given can differ from them. The
    # processes are those of this call.
    if hasattr(saved, "machine"):
        alone = replace(saved.machine, processes=None, coordinator=None, process=None)
        saved = replace(saved, machine=alone)
    requested = parse(type(requested), argv, default=saved)
    differing = differences(saved, requested, may_grow)
    if differing:
        raise InputError(
            f"--resume: the run in {folder} has another configuration ({'; '.join(differing)})",
            do="leave these flags out, or choose another --run-dir",
        )
    return requested


def _may_begin(folder: Path) -> bool:
    """Whether a folder holds nothing but what a run leaves that was killed in its first write."""
    try:
        return all(path.name.startswith(".") or path.name == RECORD for path in folder.iterdir())
    except OSError:
        return False


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in the ``config.json`` of a run; one of an earlier version has no checksum.

    Raises:
        InputError: It cannot be read, is none, or is not that of its checksum.
    """
    path, do = Path(folder) / CONFIG, "take another run directory"
    return records.verified(records.load(path, dict[str, Any], do), str(path), do)


def is_of(kind: type[Any], run_dir: str | None) -> bool:
    """Whether a folder holds a run with settings of that kind, by their names."""
    if run_dir is None:
        return False
    try:
        saved = read_record(run_dir)
    except InputError:
        return False
    return not _strange(kind(), saved)


def to_json(settings: Any) -> dict[str, Any]:
    """The settings as a dictionary that JSON can hold."""
    return asdict(settings)


def from_json(
    kind: type[Settings], saved: Mapping[str, Any], what: str = CONFIG, do: str = ""
) -> Settings:
    """The settings of that kind that `to_json` turned into a dictionary.

    A setting whose field has `since` in its metadata, the version that added it, has its default if
    it is missing.

    Args:
        kind: A dataclass of settings.
        saved: The dictionary.
        what: The file, for an error.
        do: The remedy that an error names.

    Raises:
        InputError: It holds no settings, those of another version or of another command, or a
            value of another type.
    """
    if strange := _strange(kind(), saved):
        expected, got = "the settings of this command and version", f"others ({strange})"
        raise InputError(what, expected=expected, got=got, do=do)
    records.checked(saved, kind, what, do)
    return _rebuilt(kind(), saved)


def _rebuilt(default: Any, saved: Any) -> Any:
    """The settings with the very numbers of the dictionary: a whole one stays whole, if checked."""
    if is_dataclass(default):
        given = {name: _rebuilt(getattr(default, name), value) for name, value in saved.items()}
        return type(default)(**given)
    return tuple(saved) if isinstance(saved, list) else saved


def _strange(default: Any, saved: Any) -> str:
    """The first setting that is missing or unknown, as ``no epochs``; empty if there is none."""
    if not is_dataclass(default) or not isinstance(saved, Mapping):
        return ""
    parts = {part.name: part for part in fields(default)}
    for name, part in parts.items():
        if name not in saved and "since" not in part.metadata:
            return f"no {name}"
    for name, value in saved.items():
        if name not in parts:
            return str(name) or "one without a name"
        if inner := _strange(getattr(default, name), value):
            return inner
    return ""


def differences(saved: Any, requested: Any, may_grow: str) -> list[str]:
    """Settings that differ from the saved run's, as ``--name is SAVED there, REQUESTED here``.

    A longer run is the same run, and so is one whose results go elsewhere.

    Args:
        saved: The settings of the run.
        requested: Other settings of the same kind.
        may_grow: The name of the setting that is the run's length.
    """
    now = flat(requested)
    differing = []
    for name, value in flat(saved).items():
        longer = name == may_grow and None not in (value, now[name]) and now[name] >= value
        if now[name] != value and not longer:
            flag = name.replace("_", "-")
            differing.append(f"--{flag} is {in_words(value)} there, {in_words(now[name])} here")
    return differing


def flat(settings: Any) -> dict[str, Any]:
    """All settings by name, without their groups and without those that are `ELSEWHERE`."""
    values: dict[str, Any] = {}
    for part in fields(settings):
        value = getattr(settings, part.name)
        if not is_dataclass(value):
            values[part.name] = value
        elif part.name not in ELSEWHERE:
            values |= vars(value)
    return values


def command(settings: Any, usual: Any, without: Collection[str] = ELSEWHERE) -> str:
    """The command that makes these settings: its flags are those that differ from the usual ones.

    Args:
        settings: The settings.
        usual: Those that the command has without flags, but for its preset.
        without: Groups of settings whose flags are left out.
    """
    words = [f"--preset {settings.preset}"] if hasattr(settings, "preset") else []
    for part in fields(settings):
        group = getattr(settings, part.name)
        if part.name in without or not is_dataclass(group):
            continue
        for name, value in vars(group).items():
            if value == getattr(getattr(usual, part.name), name):
                continue
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                values = value if isinstance(value, tuple) else (value,)
                words.append(shlex.join([f"--{flag}", *map(str, values)]))
    return " ".join([settings.prog, *words])


def in_words(value: Any) -> str:
    """A setting as one would type it."""
    if isinstance(value, tuple):
        return " ".join(in_words(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
