"""Settings of ``python -m dae_jax.pretrain --preset few-labels``: a ladder network."""

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from tyro.conf import arg

from dae_jax.errors import InputError
from dae_jax.settings import pretrain, shared
from dae_jax.settings.pretrain import Output, Running

__all__ = ["UPDATES", "Data", "Network", "Settings", "Training"]

UPDATES = 7_500
"""Minibatches of a run, if no number of epochs is given; the authors take 90,000."""
BATCH = 100


@dataclass(frozen=True)
class Data(pretrain.Data):
    """The images to learn from."""

    labels: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")] = None
    """Number of training images that keep their labels, drawn evenly from the classes by each seed;
    the others are used without theirs."""


@dataclass(frozen=True)
class Network:
    """The network and its costs."""

    hidden: Annotated[tuple[int, ...], arg(metavar="UNITS [UNITS ...]")] = (
        1000,
        500,
        250,
        250,
        250,
    )
    """Number of units of each layer, from the images up."""
    noise: Annotated[tuple[float, float], arg(metavar="IMAGES LAYERS")] = (1.0, 0.3)
    """Standard deviations of the noise at the images and at every layer, at least 0, in units of
    those of the pixels and of the units: the images too are standardised."""
    denoising: Annotated[tuple[float, ...], arg(metavar="WEIGHT [WEIGHT ...]")] = (1000, 100, 0.1)
    """Weights of the denoising costs, from the images up, at least 0; the last one is that of all
    layers above. 0 0 0 0 0 0 0.5 is the Gamma model, 500 0 the bottom one."""

    def noises(self) -> tuple[float, ...]:
        """The noise of each layer, from the images to the softmax."""
        at_images, at_layers = self.noise
        return (at_images, *[at_layers] * (len(self.hidden) + 1))

    def weights(self) -> tuple[float, ...]:
        """The weight of each layer, from the images to the softmax.

        >>> Network(hidden=(20, 20), denoising=(5.0, 0.0)).weights()
        (5.0, 0.0, 0.0, 0.0)
        """
        more = len(self.hidden) + 2 - len(self.denoising)
        return (*map(float, self.denoising), *[float(self.denoising[-1])] * more)

    def check(self) -> None:
        """Check the widths, the noise and the weights."""
        if not self.hidden or min(self.hidden) < 1:
            got = " ".join(map(str, self.hidden)) or "none"
            raise InputError("--hidden", expected="a width of at least 1 for each layer", got=got)
        for noise in self.noise:
            if not (noise >= 0 and math.isfinite(noise)):
                raise InputError("--noise", expected="two numbers of at least 0", got=noise)
        levels = len(self.hidden) + 2
        if not 1 <= len(self.denoising) <= levels:
            expected = f"1 to {levels} weights: the images, {levels - 2} layers and the softmax"
            raise InputError("--denoising", expected=expected, got=len(self.denoising))
        for weight in self.denoising:
            if not (weight >= 0 and math.isfinite(weight)):
                raise InputError("--denoising", expected="weights of at least 0", got=weight)


@dataclass(frozen=True)
class Training:
    """The optimisation, by Adam."""

    epochs: Annotated[
        int | None,
        arg(metavar="INT", help_behavior_hint=f"(default: enough for {UPDATES} updates)"),
    ] = None
    """Passes over all images. The authors take 150."""
    learning_rate: float = 0.002
    """Learning rate, above 0; over the last third of the epochs it falls linearly to 0."""
    batch_size: Annotated[
        int | None,
        arg(metavar="INT", help_behavior_hint="(default: 100, at most)"),
    ] = None
    """Images per minibatch, without their labels. A remainder is dropped."""
    labelled_batch_size: int = 100
    """Labelled images beside them, at most; if there are fewer, all of them."""
    shift: Annotated[
        int | None, arg(metavar="PIXELS", help_behavior_hint="(default: by trial)")
    ] = None
    """Shift each image by up to so many pixels, vertically and horizontally, anew every time. By
    default a fourteenth of its side, if that helps an SVM and a nearest neighbour to learn from the
    labelled images."""

    def check(self) -> None:
        """Check the range of each setting."""
        shared.check_count("epochs", 1 if self.epochs is None else self.epochs)
        shared.check_above_0("learning-rate", self.learning_rate)
        for flag, size in (
            ("--batch-size", self.batch_size),
            ("--labelled-batch-size", self.labelled_batch_size),
        ):
            if size is not None and size < 2:
                expected = "at least 2 images, whose mean and variance normalise the layers"
                raise InputError(flag, expected=expected, got=size)


@dataclass(frozen=True)
class Settings:
    """Train a ladder network with few labels and many images, and test it.

    For example:  python -m dae_jax.pretrain --preset few-labels --labels 100
    """

    prog: ClassVar[str] = "python -m dae_jax.pretrain"
    first_flags: ClassVar[tuple[str, ...]] = (
        *("data", "unlabelled", "labels", "preset", "hidden", "epochs"),
        *("seed", "seeds", "run_dir", "resume"),
    )

    preset: Literal["few-labels"] = "few-labels"
    """The recipe. For the stack of denoising autoencoders, whose flags are others, leave it out."""
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    training: Training = field(default_factory=Training)
    running: Running = field(default_factory=Running)
    machine: shared.Machine = field(default_factory=shared.Machine, metadata={"since": "0.2.0"})
    output: Output = field(default_factory=Output)

    @property
    def seeds(self) -> list[int]:
        """The seed of every member."""
        return list(range(self.running.seed, self.running.seed + self.running.seeds))

    @property
    def epochs(self) -> int:
        """The number of epochs, once `resolved` has filled it in."""
        assert self.training.epochs is not None
        return self.training.epochs

    @property
    def batch_size(self) -> int:
        """The images per minibatch, once `resolved` has filled them in."""
        assert self.training.batch_size is not None
        return self.training.batch_size

    def resolved(self, data_name: str, n_images: int) -> "Settings":
        """These settings with the defaults that depend on the data filled in.

        Args:
            data_name: Name of the data set.
            n_images: Number of images, with and without labels.

        >>> Settings().resolved("mnist", 50_000).epochs
        15
        """
        batch_size = self.training.batch_size or min(BATCH, n_images)
        epochs = self.training.epochs or max(1, round(UPDATES / max(1, n_images // batch_size)))
        return replace(
            self,
            data=replace(self.data, data=self.data.data or data_name),
            training=replace(self.training, epochs=epochs, batch_size=batch_size),
        )

    def check(self) -> None:
        """Check every setting, before anything is loaded or written.

        Raises:
            InputError: The first setting that is out of its range.
        """
        shared.check_data(self.data)
        shared.check_machine(self.machine)
        if self.data.labels is not None:
            shared.check_count("labels", self.data.labels)
        self.network.check()
        self.training.check()
        shared.check_count("seeds", self.running.seeds)
        shared.check_seeds(self.running.seed, self.running.seeds)
        shared.check_run_dir(self.output)
