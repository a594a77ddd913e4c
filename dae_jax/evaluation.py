"""Apply a model to many images, and measures of filters, codes and errors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array
from numpy.typing import ArrayLike, NDArray

from dae_jax import autoencoder
from dae_jax.rows import Rows

__all__ = [
    "CHUNK",
    "apply",
    "confusion",
    "dead",
    "error_interval",
    "error_rate",
    "locality",
    "mcnemar",
    "mean_interval",
]

CHUNK = 1_000
"""Images that go through a model at once. One size for all, so that nothing recompiles; on a CPU
the codes are the same to the bit as those of any other size."""


def apply(
    network: Callable[..., Any], params: Any, images: ArrayLike | Rows, pixel_scale: float = 255.0
) -> NDArray[Any]:
    """Apply a network to any number of images, in chunks of one size.

    The last chunk is filled up with zeros, so that every chunk runs the same compiled program and
    memory is bounded by one of them.

    Args:
        network: ``network(params, x)``, images (n, d) to outputs (n, ...), image by image. It is
            compiled once for each function object: define it once, outside of a loop.
        params: A pytree of parameters.
        images: (n, d) as the data set holds them, in memory or not; see `autoencoder.pixels`.
        pixel_scale: Divisor of integer pixels.

    Returns:
        The outputs, (n, ...).

    >>> apply(lambda W, x: x @ W, np.ones((2, 1)), np.eye(2, dtype=np.float32)).tolist()
    [[1.0], [1.0]]
    """
    images = images if isinstance(images, Rows) else np.asarray(images)
    n, outputs = len(images), []
    for at in range(0, max(n, 1), CHUNK):
        chunk = images[at : at + CHUNK]
        padding = [(0, CHUNK - len(chunk)), *[(0, 0)] * (images.ndim - 1)]
        padded = np.pad(chunk, padding) if len(chunk) < CHUNK else chunk
        outputs.append(np.asarray(_chunk(network, params, padded, pixel_scale))[: len(chunk)])
    return np.concatenate(outputs)


@partial(jax.jit, static_argnames="network")
def _chunk(network: Callable[..., Any], params: Any, images: Array, pixel_scale: Array) -> Array:
    return network(params, autoencoder.pixels(images, pixel_scale))


def error_rate(
    logits: Callable[..., Any],
    params: Any,
    images: ArrayLike | Rows,
    labels: ArrayLike,
    pixel_scale: float = 255.0,
) -> float:
    """The share of images, in [0, 1], whose largest logit is not that of their label.

    Args:
        logits: ``logits(params, x)``, (n, d) to (n, K); see `apply`, as for `params`, `images` and
            `pixel_scale`.
        labels: (n,), 0 .. K-1.
    """
    predicted = apply(logits, params, images, pixel_scale).argmax(axis=1)
    return float(np.mean(predicted != np.asarray(labels)))


def confusion(labels: ArrayLike, predicted: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """The confusion matrix: images of each true class (row) by predicted class (column), (K, K).

    Args:
        labels: True classes, (n,), 0 .. K-1, at least one.
        predicted: Predicted classes, (n,), 0 .. K-1.
        n_classes: K.

    >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, predicted, labels=range(n_classes))


def error_interval(wrong: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of an error rate that was measured on some images (Wilson, 1927).

    Args:
        wrong: Misclassified images.
        n: Images, at least 1.
        confidence: The share of such intervals that contain the error rate of all images.

    Returns:
        The ends, in [0, 1].

    >>> low, high = error_interval(2, 10)
    >>> round(low, 3), round(high, 3)
    (0.057, 0.51)
    """
    from scipy.stats import binomtest

    interval = binomtest(int(wrong), int(n)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(labels: ArrayLike, one: ArrayLike, other: ArrayLike) -> tuple[int, int, float]:
    """McNemar's exact test of whether two classifiers have the same error rate.

    Of the images that only one of them classifies correctly, each has as many then, by chance.

    Args:
        labels: True classes, (n,).
        one: The classes that the first classifier predicts, (n,).
        other: Those that the second one predicts for the same images, (n,).

    Returns:
        The numbers of images that only the first and only the second one classifies correctly, and
        the two-sided p-value, 1 if there are none.

    >>> mcnemar([0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1])
    (3, 0, 0.25)
    """
    from scipy.stats import binomtest

    truth = np.asarray(labels)
    first, second = np.asarray(one) == truth, np.asarray(other) == truth
    b, c = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    return b, c, float(binomtest(b, b + c).pvalue) if b + c else 1.0


def locality(
    W: ArrayLike, image_shape: Sequence[int], window: float = 1 / 3
) -> NDArray[np.float64]:
    r"""The locality of each filter: the largest share of its energy in one small window.

    The energy of pixel p is :math:`(w_p - \mathrm{median}(w))^2`, summed over colours; the median
    removes the flat background of a filter. The window is a third of the image on each side (9 x 9
    of 28 x 28). A single spot scores near 1; energy spread evenly scores the window's share of the
    area, .10 for MNIST.

    Args:
        W: Weights (n_visible, n_hidden).
        image_shape: (height, width) or (height, width, colours).
        window: The window's side as a share of the image's, in (0, 1].

    Returns:
        (n_hidden,), each in (0, 1]; 0 for a constant filter.
    """
    filters = np.asarray(W, np.float64).T
    filters = filters.reshape(len(filters), *image_shape[:2], -1)
    energy = ((filters - np.median(filters, axis=(1, 2), keepdims=True)) ** 2).sum(axis=3)
    h, w = (max(1, int(side * window)) for side in image_shape[:2])
    # Sums over all windows at once, from a summed-area table (Crow 1984).
    sums = np.pad(energy, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    inside = sums[:, h:, w:] - sums[:, :-h, w:] - sums[:, h:, :-w] + sums[:, :-h, :-w]
    total = energy.sum(axis=(1, 2))
    return np.divide(inside.max(axis=(1, 2)), total, out=np.zeros_like(total), where=total > 0)


def dead(codes: ArrayLike, threshold: float = 0.01) -> NDArray[np.bool_]:
    """Whether each hidden unit has the same activation for every image.

    Args:
        codes: Activations in [0, 1] of clean images, (images, n_hidden).
        threshold: A unit is dead if the standard deviation of its activation is below this.
    """
    return np.asarray(codes, np.float64).std(axis=0) < threshold


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    r"""A mean and the half-width of its interval, by Student's t over independent runs.

    .. math:: \bar v \pm t_{n-1}\, s / \sqrt n

    Args:
        values: One number per run, (n,).
        confidence: The share of such intervals that contain the true mean, in (0, 1).

    Returns:
        The mean and the half-width, which is infinite for a single run.

    >>> mean, half = mean_interval([1.0, 2.0, 3.0])  # s = 1; t = 4.303 for two degrees of freedom
    >>> mean, round(half, 3)
    (2.0, 2.484)
    """
    from scipy.stats import t

    runs = np.asarray(values, np.float64)
    if len(runs) < 2:
        return float(runs.mean()), float("inf")
    half = t.ppf((1 + confidence) / 2, len(runs) - 1) * runs.std(ddof=1) / np.sqrt(len(runs))
    return float(runs.mean()), float(half)
