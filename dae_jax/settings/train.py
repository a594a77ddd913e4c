"""What can be chosen: one frozen dataclass, which makes the flags and the record of a run."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar

from tyro.conf import arg

from dae_jax.errors import InputError

C = TypeVar("C")


@dataclass(frozen=True)
class Data:
    """Which images to learn from."""

    data: Annotated[
        str | None,
        arg(
            metavar="NAME|PATH",
            help_behavior_hint="(default: mnist where it can be had, otherwise mnist-sample)",
        ),
    ] = None
    """mnist, mnist-sample, digits, or a path: a folder of IDX files or of images, .npz, .npy or the
    tutorial's mnist.pkl.gz."""
    valid_fraction: Annotated[
        float | None, arg(metavar="SHARE", help_behavior_hint="(default: 0.1)")
    ] = None
    """Share of a data set of your own that is held out for validation, in [0, 1); and as much again
    for testing if it brings no test set."""
    image_size: Annotated[
        tuple[int, int] | None,
        arg(metavar="HEIGHT WIDTH", help_behavior_hint="(default: as they are)"),
    ] = None
    """Pixels that a folder of images is resized to."""
    pixel_scale: float = 255.0
    """What integer pixels are divided by. The tutorial's own file had divided by 256."""


@dataclass(frozen=True)
class Model:
    """What is trained."""

    n_hidden: int = 500
    """Hidden units."""
    tied: bool = True
    """Whether the decoder reads the transposed encoder weights; --untied gives it its own."""
    init: Literal["tutorial", "jax"] = "tutorial"
    """Who draws the initial weights: the tutorial's legacy NumPy generator, bit for bit, or JAX."""
    decoder: Literal["sigmoid", "linear"] = "sigmoid"
    """The output: in (0, 1), or any number, for inputs not in [0, 1] and squared error only."""


@dataclass(frozen=True)
class Corruption:
    """What is done to the inputs."""

    corruption: tuple[float, ...] = (0.3,)
    """Levels in [0, 1]: the probability that a pixel is lost or, for Gaussian noise, its standard
    deviation in units of the scaled pixels. Several levels train in one compiled program."""
    noise: Literal["masking", "gaussian", "salt-and-pepper"] = "masking"
    """What corrupts the inputs."""


@dataclass(frozen=True)
class Training:
    """How it is trained."""

    cost: Literal["cross-entropy", "squared-error"] = "cross-entropy"
    """What is minimised, summed over pixels and averaged over the minibatch."""
    epochs: Annotated[
        int | None,
        arg(
            metavar="INT",
            help_behavior_hint="(default: 15 for mnist, else as many as make 37500 updates)",
        ),
    ] = None
    """Passes over the training images."""
    batch_size: int = 20
    """Images a minibatch. A remainder is dropped, as in the tutorial."""
    learning_rate: float = 0.1
    """Step size, above 0. For adam, 0.001 is a good start."""
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    """The Optax optimiser; momentum is .9."""
    seed: int = 123
    """Seed of weights, noise and order, 0 to 2**32 - 1."""
    seeds: int = 1
    """How many seeds to train, from --seed on, in one compiled program."""
    shuffle: bool = False
    """Whether to draw a new order every epoch; the tutorial keeps the order of the file."""
    precision: Literal["float32", "tensorfloat32", "bfloat16", "float64"] = "float32"
    """Of the matrix products: tensorfloat32 and bfloat16 are faster on GPU and TPU only; float64
    computes everything in double precision."""


@dataclass(frozen=True)
class Output:
    """Where the results go."""

    output_dir: str = "filters"
    """Folder for the figures."""
    run_dir: Annotated[
        str | None, arg(metavar="PATH", help_behavior_hint="(default: a new folder in runs/)")
    ] = None
    """Folder for configuration, metrics, checkpoints and parameters."""
    resume: bool = False
    """Go on where the run in --run-dir stopped; flags not given are taken from it."""
    animate: bool = False
    """Also write a GIF of the filters emerging."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Config:
    """Train a denoising autoencoder and draw its filters.

    The tutorial's run:  python -m dae_jax.train --corruption 0.3
    """

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    corruption: Corruption = field(default_factory=Corruption)
    training: Training = field(default_factory=Training)
    output: Output = field(default_factory=Output)

    @property
    def members(self) -> list[tuple[float, int]]:
        """The (level, seed) of every model that is trained."""
        seeds = range(self.training.seed, self.training.seed + self.training.seeds)
        return [(level, seed) for level in self.corruption.corruption for seed in seeds]


TUTORIAL_UPDATES = 37_500  # 15 epochs of 50,000 images in minibatches of 20
TUTORIAL_EPOCHS = 15


def default_epochs(data_name: str, n_images: int, batch_size: int) -> int:
    """The tutorial's 15 passes for `mnist`; for other data the passes that make as many updates.

    15 passes over 5,000 images are too few for filters to emerge; 37,500 updates are enough.

    >>> default_epochs("mnist", 50_000, 20), default_epochs("mnist-sample", 4_000, 20)
    (15, 188)
    """
    if data_name == "mnist":
        return TUTORIAL_EPOCHS
    return max(1, round(TUTORIAL_UPDATES / max(1, n_images // batch_size)))


def validate(config: Config) -> None:
    """Refuse what cannot be meant, before anything is loaded or written.

    Raises:
        InputError: The first setting that is out of its range.
    """
    d, m, c, t = config.data, config.model, config.corruption, config.training
    if not c.corruption:
        raise InputError("--corruption", expected="at least one level in [0, 1]", got="none")
    for level in c.corruption:
        if not 0 <= level <= 1:  # NaN is not, either
            raise InputError("--corruption", expected="levels in [0, 1]", got=level)
    if len(set(c.corruption)) < len(c.corruption):
        raise InputError("--corruption", expected="different levels", got=in_words(c.corruption))
    check_data(d)
    for name, value in {
        "n-hidden": m.n_hidden,
        "batch-size": t.batch_size,
        "seeds": t.seeds,
        "epochs": 1 if t.epochs is None else t.epochs,
    }.items():
        check_count(name, value)
    check_above_0("learning-rate", t.learning_rate)
    check_seeds(t.seed, t.seeds)
    if t.cost == "cross-entropy" and m.decoder == "linear":
        raise InputError(
            "--cost cross-entropy",
            expected="--decoder sigmoid, whose output is in (0, 1)",
            got="linear",
            do="use --cost squared-error with it",
        )
    check_resume(config.output)


def check_data(data: Data) -> None:
    """Refuse a size, a share or a scale that no images can have."""
    if data.image_size is not None:
        check_count("image-size", min(data.image_size))
    check_above_0("pixel-scale", data.pixel_scale)
    if data.valid_fraction is not None and not 0 <= data.valid_fraction < 1:
        raise InputError("--valid-fraction", expected="a share in [0, 1)", got=data.valid_fraction)


def check_count(name: str, value: int) -> None:
    """Refuse a number of things below 1."""
    if value < 1:
        raise InputError(f"--{name}", expected="a whole number of at least 1", got=value)


def check_above_0(name: str, value: float) -> None:
    """Refuse what is no number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"--{name}", expected="a number above 0", got=value)


def check_seeds(seed: int, seeds: int) -> None:
    """Refuse seeds that the generators do not take."""
    if not (seed >= 0 and seed + seeds <= 2**32):
        raise InputError("--seed", expected="seeds in [0, 2**32)", got=seed)


def check_resume(output: Any) -> None:
    """Refuse to resume nobody knows what."""
    if output.resume and output.run_dir is None:
        raise InputError("--resume", expected="the --run-dir of the run to go on with", got="none")


def figure_suffix(config: Config, data_name: str, seed: int, usual_epochs: int | None) -> str:
    """How a figure's name says that it is not the tutorial's experiment: empty if it is.

    Everything that changes the picture is named, so that no experiment overwrites another's figure.

    >>> figure_suffix(Config(), "mnist", 123, None), figure_suffix(Config(), "digits", 7, None)
    ('', '_digits_seed-7')
    >>> other = Config(data=Data(image_size=(8, 6)), model=Model(tied=False))
    >>> figure_suffix(other, "faces", 123, None)
    '_faces_image-size-8x6_untied'
    """
    words = [] if data_name == "mnist" else [data_name]
    usual = _settings(Config(training=Training(epochs=usual_epochs)))
    for name, value in (_settings(config) | {"seed": seed}).items():
        if name not in ("data", "corruption", "seeds") and value != usual[name]:
            flag = name.replace("_", "-")
            words.append(
                {True: flag, False: f"un{flag}"}[value]
                if isinstance(value, bool)
                else f"{flag}-{in_words(value).replace(' ', 'x')}"
            )
    return "".join(f"_{word}" for word in words)


def percent(level: float) -> str:
    """A level as the tutorial's file names have it.

    >>> percent(0.3), percent(0.125)
    ('30', '12.5')
    """
    return f"{100 * level:.10g}"


def to_json(config: Any) -> dict[str, Any]:
    """The configuration as JSON can hold it."""
    return asdict(config)


def from_json(kind: type[C], saved: Mapping[str, Any]) -> C:
    """The configuration of that kind that `to_json` turned into JSON.

    Raises:
        InputError: It is none, or one of another version or of another command.
    """

    def value_of(default: Any, value: Any) -> Any:
        if is_dataclass(default):
            if set(value) != {part.name for part in fields(default)}:
                raise TypeError(f"{type(default).__name__} has other settings")
            parts = {name: value_of(getattr(default, name), v) for name, v in value.items()}
            return type(default)(**parts)
        return tuple(value) if isinstance(value, list) else value

    try:
        return value_of(kind(), saved)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError("config.json", expected="a configuration", got=repr(error)) from error


def differences(saved: Any, asked: Any, may_grow: str) -> list[str]:
    """What a run would have to be another run for, as ``--name: saved, not asked``.

    A longer run is the same run, and so is one whose results go elsewhere.

    Args:
        saved: The configuration of the run.
        asked: Another one of the same kind.
        may_grow: The name of the setting that is the run's length.
    """
    now = _settings(asked)
    told = []
    for name, value in _settings(saved).items():
        longer = name == may_grow and None not in (value, now[name]) and now[name] >= value
        if now[name] != value and not longer:
            flag = name.replace("_", "-")
            told.append(f"--{flag} is {in_words(value)} there, {in_words(now[name])} here")
    return told


def _settings(config: Any) -> dict[str, Any]:
    """All that makes a run what it is, by name: everything but where its results go."""
    found = {}
    for part in fields(config):
        value = getattr(config, part.name)
        if not is_dataclass(value):
            found[part.name] = value
        elif part.name != "output":
            found |= vars(value)
    return found


def in_words(value: Any) -> str:
    """A setting as it would be typed."""
    if isinstance(value, tuple):
        return " ".join(in_words(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
