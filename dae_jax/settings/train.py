"""Settings of ``python -m dae_jax.train``."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from tyro.conf import arg

from dae_jax.errors import InputError, check_objective
from dae_jax.settings import shared
from dae_jax.settings.shared import (
    Data,
    Decoder,
    Denoising,
    Noise,
    Objective,
    Optimizer,
    Precision,
)

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
    decoder: Annotated[
        Decoder | None,
        arg(
            metavar="{sigmoid,linear}",
            help_behavior_hint="(default: sigmoid if all values are in [0, 1])",
        ),
    ] = None
    """Output: sigmoid, in (0, 1); or linear, for inputs outside [0, 1], with squared error only."""
    standardize: bool = field(default=False, metadata={"since": "0.2.0"})
    """Bring each column to mean 0 and variance 1 first; a table with values outside [0, 1] is, in
    any case, unless --decoder is given. The model keeps both and restores rows in their units."""


@dataclass(frozen=True)
class Corruption:
    """The noise on the inputs."""

    corruption: Annotated[tuple[float, ...], arg(metavar="LEVEL [LEVEL ...]")] = (0.3,)
    """Levels in [0, 1]: the probability that a pixel is masked or, for Gaussian noise, its standard
    deviation in units of the scaled pixels. Several levels train in one compiled program."""
    noise: Noise = "masking"
    """Kind of noise. Masking-count masks the same number of pixels in each image; swap replaces a
    pixel by the same one of another image in the minibatch."""
    emphasis: Annotated[
        tuple[float, float] | None,
        arg(metavar="CHANGED OTHERS", help_behavior_hint="(default: 1 1)"),
    ] = field(default=None, metadata={"since": "0.2.0"})
    """Weights in the cost of pixels that the noise has changed, and of the others."""


@dataclass(frozen=True)
class Training:
    """The cost and its optimisation."""

    cost: Annotated[
        Objective | None,
        arg(
            metavar="{cross-entropy,squared-error}",
            help_behavior_hint="(default: cross-entropy; squared-error of a linear output)",
        ),
    ] = None
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
    learning_rate: Annotated[
        float | None,
        arg(
            metavar="RATE",
            help_behavior_hint="(default: 0.1 for sgd, 0.01 for momentum, 0.001 for adam; "
            "sgd and momentum of a linear output 0.5 and 0.05 / --n-hidden)",
        ),
    ] = None
    """Learning rate, above 0."""
    optimizer: Annotated[
        Optimizer | None,
        arg(
            metavar="{sgd,momentum,adam}",
            help_behavior_hint="(default: sgd; adam for a linear output)",
        ),
    ] = None
    """Optax optimiser; momentum is .9."""
    early_stopping: bool = field(default=False, metadata={"since": "0.2.0"})
    """Keep the parameters of the epoch with the lowest cost on the images held out, and stop when
    it has not fallen for long, by the tutorial's patience rule."""
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
    machine: shared.Machine = field(default_factory=shared.Machine, metadata={"since": "0.2.0"})
    output: Output = field(default_factory=Output)

    @property
    def n_members(self) -> int:
        """The number of models to train."""
        return len(self.corruption.corruption) * self.training.seeds

    @property
    def members(self) -> list[tuple[Denoising, int]]:
        """The cost and the seed of every model to train, level by level, of `resolved` settings."""
        noise, cost, decoder = self.corruption.noise, self.training.cost, self.model.decoder
        assert cost is not None and decoder is not None
        seeds = range(self.training.seed, self.training.seed + self.training.seeds)
        return [
            (Denoising(level, noise, cost, decoder, emphasis=self.corruption.emphasis), seed)
            for level in self.corruption.corruption
            for seed in seeds
        ]

    @property
    def epochs(self) -> int:
        """The number of epochs, once `resolved` has filled it in."""
        assert self.training.epochs is not None
        return self.training.epochs

    def resolved(
        self, data_name: str, n_images: int, *, unit: bool = True, table: bool = False
    ) -> "Settings":
        """These settings with the defaults that depend on the data filled in.

        Args:
            data_name: The name of the data set.
            n_images: The number of its training images.
            unit: Whether all its values are in [0, 1].
            table: Whether it is a table, whose columns have units of their own.

        >>> settings = Settings().resolved("mnist", 50_000)
        >>> settings.epochs, settings.training.cost
        (15, 'cross-entropy')
        >>> settings = Settings().resolved("prices", 1_000, unit=False, table=True)
        >>> settings.model.standardize, settings.model.decoder, settings.training.optimizer
        (True, 'linear', 'adam')
        """
        model, t, epochs = self.model, self.training, self.training.epochs
        decoder, standardize = model.decoder, model.standardize
        if decoder is None:
            fits = unit and not standardize
            decoder = "sigmoid" if fits or t.cost == "cross-entropy" else "linear"
            standardize = standardize or (decoder == "linear" and table)
        linear = decoder == "linear"
        optimizer = t.optimizer or ("adam" if linear else "sgd")
        rate = t.learning_rate
        if rate is None:
            rate = shared.default_rate(optimizer, decoder, model.n_hidden)
        if epochs is None:
            epochs = default_epochs(data_name, n_images, t.batch_size)
        return replace(
            self,
            data=replace(self.data, data=self.data.data or data_name),
            model=replace(model, decoder=decoder, standardize=standardize),
            training=replace(
                t,
                cost=t.cost or ("squared-error" if linear else "cross-entropy"),
                epochs=epochs,
                learning_rate=rate,
                optimizer=optimizer,
            ),
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
        shared.check_emphasis(self.corruption.emphasis)
        if len(set(levels)) < len(levels):
            got = shared.in_words(levels)
            raise InputError("--corruption", expected="different levels", got=got)
        shared.check_data(self.data)
        shared.check_machine(self.machine)
        shared.check_count("n-hidden", self.model.n_hidden)
        shared.check_count("batch-size", t.batch_size)
        shared.check_count("seeds", t.seeds)
        shared.check_count("epochs", 1 if t.epochs is None else t.epochs)
        if t.learning_rate is not None:
            shared.check_above_0("learning-rate", t.learning_rate)
        shared.check_seeds(t.seed, t.seeds)
        if t.cost is not None and self.model.decoder is not None:
            check_objective(t.cost, self.model.decoder, "--cost cross-entropy")
        sigmoid = self.model.decoder == "sigmoid"
        if self.model.standardize and (sigmoid or t.cost == "cross-entropy"):
            given = "--decoder sigmoid" if sigmoid else "--cost cross-entropy"
            raise InputError(
                f"--standardize with {given}",
                expected="a linear output, as standardised values are outside [0, 1]",
                got="a sigmoid's, in (0, 1)",
                do=f"leave {given} out",
            )
        shared.check_run_dir(self.output)


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
