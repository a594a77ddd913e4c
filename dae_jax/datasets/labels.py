"""Draw the images that keep their labels."""

import numpy as np

__all__ = ["evenly"]


def evenly(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw the images that keep their labels, as evenly over the classes as possible.

    Args:
        labels: The classes of all training images.
        n: Number to draw, at least one per class.
        seed: Seed of the draw.

    Returns:
        (n,) indices, with the classes in turn, so that minibatches are balanced too.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), int)  # number of images of the same class before this one
    for k in range(int(labels.max()) + 1):
        own = order[labels[order] == k]
        turn[own] = np.arange(len(own))
    return order[np.lexsort((labels[order], turn[order]))][:n]
