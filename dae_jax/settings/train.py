"""Settings of ``python -m dae_jax.train``."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from tyro.conf import arg

from dae_jax.errors import InputError, check_objective
from dae_jax.settings import shared
from dae_jax.settings.shared import Data, Decoder, Denoising, Noise, Objective, Precision

__all__ = [
    "TUTORIAL_UPDATES",
    "Corruption",
    "Model",
    "Output",
    "Settings",
    "Training",
    "default_epochs",
]


@dataclass(frozen=True)
class Model:
    """The network."""

    n_hidden: int = 500
    """Number of hidden units."""
    tied: bool = True
    """Whether the decoder uses the transposed encoder weights; --untied gives it its own."""
    init: Literal["tutorial", "jax"] = "tutorial"
    """Initial weights: the tutorial's, bit for bit, from NumPy's legacy generator; or JAX's."""
    decoder: Decoder = "sigmoid"
    """Output: sigmoid, in (0, 1); or linear, for inputs outside [0, 1], with squared error only."""


@dataclass(frozen=True)
class Corruption:
    """The noise on the inputs."""

    corruption: Annotated[tuple[float, ...], arg(metavar="LEVEL [LEVEL ...]")] = (0.3,)
    """Levels in [0, 1]: the probability that a pixel is masked or, for Gaussian noise, its standard
    deviation in units of the scaled pixels. Several levels train in one compiled program."""
    noise: Noise = "masking"
    """Kind of noise. Swap replaces a pixel by the same one of another image in the minibatch."""


@dataclass(frozen=True)
class Training:
    """The cost and its optimisation."""

    cost: Objective = "cross-entropy"
    """Cost to minimise, summed over pixels and averaged over the minibatch."""
    epochs: Annotated[
        int | None,
        arg(
            metavar="INT",
            help_behavior_hint="(default: 15 for mnist, otherwise enough for 37500 updates)",
        ),
    ] = None
    """Passes over the training images."""
    batch_size: int = 20
    """Images per minibatch. A remainder is dropped, as in the tutorial."""
    learning_rate: float = 0.1
    """Learning rate, above 0. For adam, 0.001 is a good start."""
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    """Optax optimiser; momentum is .9."""
    seed: int = 123
    """Seed of weights, noise and order, 0 to 2**32 - 1."""
    seeds: int = 1
    """Number of seeds to train, from --seed on, in one compiled program."""
    shuffle: bool = False
    """Whether to draw a new order every epoch; the tutorial keeps the order of the file."""
    precision: Precision = "float32"
    """Precision of matrix products: tensorfloat32 and bfloat16 are faster on GPU and TPU only;
    float64 computes everything in double precision."""


@dataclass(frozen=True)
class Output:
    """Where the results go."""

    output_dir: Annotated[str, arg(metavar="PATH")] = "filters"
    """Folder for the figures."""
    run_dir: Annotated[
        str | None, arg(metavar="PATH", help_behavior_hint="(default: a new folder in runs/)")
    ] = None
    """Folder for configuration, metrics, checkpoints and parameters."""
    resume: bool = False
    """Resume the run in --run-dir; flags that are not given are taken from it."""
    animate: bool = False
    """Also write a GIF of the filters during training."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Settings:
    """Train a denoising autoencoder and draw its filters.

    The tutorial's run:  python -m dae_jax.train --corruption 0.3
    """

    prog: ClassVar[str] = "python -m dae_jax.train"
    first_flags: ClassVar[tuple[str, ...]] = (
        *("data", "corruption", "n_hidden", "epochs", "seed", "seeds"),
        *("output_dir", "run_dir", "resume"),
    )

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    corruption: Corruption = field(default_factory=Corruption)
    training: Training = field(default_factory=Training)
    output: Output = field(default_factory=Output)

    @property
    def members(self) -> list[tuple[Denoising, int]]:
        """The cost and the seed of every model to train, level by level."""
        noise, cost, decoder = self.corruption.noise, self.training.cost, self.model.decoder
        seeds = range(self.training.seed, self.training.seed + self.training.seeds)
        return [
            (Denoising(level, noise, cost, decoder), seed)
            for level in self.corruption.corruption
            for seed in seeds
        ]

    @property
    def epochs(self) -> int:
        """The number of epochs, once `resolved` has filled it in."""
        assert self.training.epochs is not None
        return self.training.epochs

    def resolved(self, data_name: str, n_images: int) -> "Settings":
        """These settings with the defaults that depend on the data filled in.

        >>> Settings().resolved("mnist", 50_000).epochs
        15
        """
        epochs = self.training.epochs
        if epochs is None:
            epochs = default_epochs(data_name, n_images, self.training.batch_size)
        return replace(
            self,
            data=replace(self.data, data=self.data.data or data_name),
            training=replace(self.training, epochs=epochs),
        )

    def check(self) -> None:
        """Check every setting, before anything is loaded or written.

        Raises:
            InputError: The first setting that is out of its range.
        """
        levels, t = self.corruption.corruption, self.training
        if not levels:
            raise InputError("--corruption", expected="at least one level in [0, 1]", got="none")
        shared.check_levels(levels)
        if len(set(levels)) < len(levels):
            got = shared.in_words(levels)
            raise InputError("--corruption", expected="different levels", got=got)
        shared.check_data(self.data)
        shared.check_count("n-hidden", self.model.n_hidden)
        shared.check_count("batch-size", t.batch_size)
        shared.check_count("seeds", t.seeds)
        shared.check_count("epochs", 1 if t.epochs is None else t.epochs)
        shared.check_above_0("learning-rate", t.learning_rate)
        shared.check_seeds(t.seed, t.seeds)
        check_objective(t.cost, self.model.decoder, "--cost cross-entropy")
        shared.check_resume(self.output)


TUTORIAL_UPDATES = 37_500
"""The updates of the tutorial's run: 15 epochs of 50,000 images in minibatches of 20."""
TUTORIAL_EPOCHS = 15


def default_epochs(data_name: str, n_images: int, batch_size: int) -> int:
    """The tutorial's 15 epochs for `mnist`; for other data the epochs that make as many updates.

    15 epochs of 5,000 images are too few for filters to emerge; 37,500 updates are enough.

    >>> default_epochs("mnist", 50_000, 20), default_epochs("mnist-sample", 4_000, 20)
    (15, 188)
    """
    if data_name == "mnist":
        return TUTORIAL_EPOCHS
    return max(1, round(TUTORIAL_UPDATES / max(1, n_images // batch_size)))
