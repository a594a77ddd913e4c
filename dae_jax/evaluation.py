"""A number beside each picture: what a filter sheet shows, said so that it can be compared."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def locality(
    W: ArrayLike, image_shape: Sequence[int], window: float = 1 / 3
) -> NDArray[np.float64]:
    r"""How local each filter is: the largest share of its energy in one small square window.

    The energy of pixel p is :math:`(w_p - \mathrm{median}(w))^2`, summed over colours: the median
    takes away the flat background of a filter, which says nothing. The window is a third of the
    image on each side (9 x 9 of 28 x 28). A single spot scores near 1; energy spread evenly scores
    the window's share of the area, .10 for MNIST.

    Args:
        W: Weights (n_visible, n_hidden).
        image_shape: (height, width) or (height, width, colours).
        window: The window's side as a share of the image's, in (0, 1].

    Returns:
        (n_hidden,), each in (0, 1]; 0 for a filter that is constant.
    """
    filters = np.asarray(W, np.float64).T
    filters = filters.reshape(len(filters), *image_shape[:2], -1)
    energy = ((filters - np.median(filters, axis=(1, 2), keepdims=True)) ** 2).sum(axis=3)
    h, w = (max(1, int(side * window)) for side in image_shape[:2])
    # Sums over all windows at once, from the table of sums over all corners (Crow 1984).
    sums = np.pad(energy, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    inside = sums[:, h:, w:] - sums[:, :-h, w:] - sums[:, h:, :-w] + sums[:, :-h, :-w]
    total = energy.sum(axis=(1, 2))
    return np.divide(inside.max(axis=(1, 2)), total, out=np.zeros_like(total), where=total > 0)


def dead(codes: ArrayLike, threshold: float = 0.01) -> NDArray[np.bool_]:
    """Which hidden units say the same of every image.

    Args:
        codes: Activations in [0, 1] of clean images, (images, n_hidden).
        threshold: A unit is dead if the standard deviation of its activation is below this.
    """
    return np.asarray(codes, np.float64).std(axis=0) < threshold


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    r"""A mean and the half-width of its interval, by Student's t over independent runs.

    .. math:: \bar v \pm t_{n-1}\, s / \sqrt n

    Args:
        values: One number a run, (n,).
        confidence: How often such intervals hold the true mean, in (0, 1).

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
