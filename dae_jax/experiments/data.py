"""The data of an experiment: scaled, split and standardised as its declaration says."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from dae_jax import autoencoder
from dae_jax.datasets import Dataset, Split, checks, variations
from dae_jax.errors import InputError

__all__ = ["Images", "Part", "Patches", "Prepared", "prepare", "whitened"]


@dataclass(frozen=True)
class Images:
    """The preparation of the images."""

    prepare: Literal["unit", "standardised"] = "unit"
    """In [0, 1]; or each pixel with mean 0 and standard deviation 1 over the training images."""
    pixel_scale: float = 255.0
    with_valid: bool = False
    """Whether to train on the validation images too, as in articles without a validation set. The
    test images are then `Prepared.valid`, too; nothing is chosen by them."""
    skip: int = 0
    """Number of the first of 60,000 training images that the source leaves out; in proportion, for
    data sets of other sizes."""
    batches_of: int = 1
    """A batch size: the source leaves out the last validation and test images, which do not fill
    a batch."""


@dataclass(frozen=True)
class Patches:
    """Patches of our own photographs instead of the images of a data set."""

    side: int = 12
    train: int = 50_000
    held_out: int = 10_000
    seed: int = 0


class Part(NamedTuple):
    """Images as models see them, float32, and their labels."""

    x: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready for all models of an experiment."""

    name: str
    image_shape: tuple[int, ...] | None
    images: np.ndarray  # to train on; bytes, unless they are standardised
    pixel_scale: float
    train: Part
    valid: Part
    test: Part  # the same object as `valid` if there are no validation images
    mean: np.ndarray | float = 0.0  # subtracted from the pixels
    deviation: np.ndarray | float = 1.0  # divisor of the pixels after that

    def picture(self, x: np.ndarray) -> np.ndarray:
        """Images for display, in [0, 1]."""
        return np.clip(x * self.deviation + self.mean, 0, 1)

    @property
    def n_pixels(self) -> int:
        """The number of pixels of an image."""
        return self.images.shape[1]

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return int(self.train.labels.max()) + 1


def prepare(dataset: Dataset, how: Images | Patches) -> Prepared:
    """Prepare a data set for an experiment; for `Patches`, those instead.

    Raises:
        InputError: Images of another size than MNIST's, for which the experiments are declared;
            images without labels; or pixels outside [0, 1] after scaling.
    """
    if isinstance(how, Patches):
        return _patches(how)
    if dataset.image_shape != (28, 28):
        raise InputError(
            f"images of {dataset.name}",
            expected="28 x 28 grey pixels, as the experiments are declared",
            got=dataset.image_shape,
            do="pass --image-size 28 28 with a folder of images, or use mnist",
        )
    splits = dataset.train, dataset.valid, dataset.test
    if any(split.labels is None or not len(split.images) for split in splits):
        raise InputError(
            f"data {dataset.name}",
            expected="labelled images to train, validate and test on",
            got="some without",
            do="use mnist or mnist-sample",
        )
    checks.check_complete(dataset.name, *(split.images for split in splits))
    train, valid, test = splits
    images, labels = train.images, train.labels
    if how.with_valid:
        images = np.concatenate([images, valid.images])
        labels = np.concatenate([train.labels, valid.labels])  # type: ignore[list-item]
        valid = test
    valid, test = (_whole_batches(part, how.batches_of) for part in (valid, test))
    skip = how.skip * len(images) // 60_000
    images, labels = images[skip:], labels[skip:]  # type: ignore[index]
    scale = how.pixel_scale
    parts = [
        np.asarray(autoencoder.pixels(jnp.asarray(part), scale))
        for part in (images, valid.images, test.images)
    ]
    if min(part.min() for part in parts) < 0 or max(part.max() for part in parts) > 1:
        raise InputError(f"pixels of {dataset.name}", expected="values in [0, 1]", got="others")
    mean, deviation = 0.0, 1.0
    if how.prepare == "standardised":
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(parts[0])
        parts = [np.asarray(scaler.transform(part), np.float32) for part in parts]
        images, mean, deviation = parts[0], scaler.mean_, scaler.scale_
    with_labels = zip(parts, (labels, valid.labels, test.labels), strict=True)
    for_training, held_out, tested = (Part(x, y) for x, y in with_labels)  # type: ignore[arg-type]
    return Prepared(
        dataset.name,
        dataset.image_shape,
        images,
        scale,
        for_training,
        tested if how.with_valid else held_out,
        tested,
        mean,  # type: ignore[arg-type]
        deviation,  # type: ignore[arg-type]
    )


def _patches(how: Patches) -> Prepared:
    """Patches of whitened photographs, with mean 0 and standard deviation 1 over all of them."""
    pictures = [whitened(picture) for picture in variations.photographs()]
    rng, n = np.random.RandomState(how.seed), how.train + how.held_out
    drawn = variations.patches(rng, n, pictures, 0.0, how.side).reshape(n, -1)
    x = np.float32((drawn - drawn.mean()) / drawn.std())
    train, held_out = (Part(part, np.zeros(len(part), int)) for part in np.split(x, [how.train]))
    # shown in grey, with three standard deviations on either side
    grey = {"mean": 0.5, "deviation": 1 / 6}
    shape = how.side, how.side
    return Prepared("own photographs", shape, train.x, 1.0, train, held_out, held_out, **grey)


def whitened(picture: np.ndarray, cutoff: float = 0.8) -> np.ndarray:
    r"""A photograph whose spectrum is flat, but for the highest frequencies, which are left out.

    .. math:: R(f) = f \exp(-(f / f_0)^4)

    the filter of Olshausen & Field (Nature 1996), since the amplitudes of natural images fall as
    :math:`1 / f`.

    Args:
        picture: (h, w).
        cutoff: :math:`f_0` as a share of the highest frequency of a row of pixels.

    Returns:
        (h, w), float32, with standard deviation 1.
    """
    f = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, picture.shape), indexing="ij"))
    f0 = cutoff / 2  # cycles per pixel
    flat = np.real(np.fft.ifft2(np.fft.fft2(picture) * f * np.exp(-((f / f0) ** 4))))
    return np.asarray(flat / flat.std(), np.float32)


def _whole_batches(part: Split, size: int) -> Split:
    """The images and labels that fill batches of that size; all of them if they fill none."""
    n = len(part.images) // size * size or len(part.images)
    assert part.labels is not None
    return part._replace(images=part.images[:n], labels=part.labels[:n])
