"""Helpers of the tutorial pages: their size, their data, and how to show images and source code.

With ``DAE_JAX_TUTORIAL=quick`` the same cells run on fewer images for fewer epochs. The tests
execute every page in this way.
"""

import inspect
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from dae_jax import datasets
from dae_jax.datasets import Dataset, Split

if TYPE_CHECKING:
    from IPython.display import Code
    from PIL.Image import Image

__all__ = ["QUICK_IMAGES", "full", "mnist", "quick", "show", "size", "source"]

QUICK_IMAGES = 1_000
"""Training images at the reduced size."""


def quick() -> bool:
    """Whether the pages run at their reduced size."""
    return os.environ.get("DAE_JAX_TUTORIAL", "full") == "quick"


def size(full: int, reduced: int) -> int:
    """A number of epochs, images or units: `reduced` if the pages run at their reduced size.

    Args:
        full: The number otherwise.
        reduced: The number at the reduced size.

    Returns:
        One of the two.
    """
    return reduced if quick() else full


def mnist() -> Dataset:
    """MNIST, or its sample of 5,000 digits if MNIST is not available.

    Returns:
        The data set; at the reduced size, the sample with its first `QUICK_IMAGES` training images.

    Raises:
        InputError: MNIST is found but wrong, or the sample is not installed either.
    """
    if not quick():
        return datasets.load_default()
    sample = datasets.load("mnist-sample")
    images, labels = sample.train
    assert labels is not None
    return sample._replace(train=Split(images[:QUICK_IMAGES], labels[:QUICK_IMAGES]))


def full(data: Dataset) -> bool:
    """Whether a page runs at full size on all of MNIST, so that the numbers in its text apply.

    Args:
        data: The data set that the page trains on, from `mnist`.

    Returns:
        Whether to assert these numbers.
    """
    return not quick() and data.name == "mnist"


def show(sheet: np.ndarray, zoom: int = 2) -> "Image":
    """A sheet as an image that a notebook displays.

    Args:
        sheet: Bytes, (height, width) or (height, width, 4); see `dae_jax.figures`.
        zoom: Whole-number magnification, without smoothing.

    Returns:
        The image, from Pillow.
    """
    from PIL import Image

    return Image.fromarray(sheet.repeat(zoom, axis=0).repeat(zoom, axis=1))


def source(of: Any) -> "Code":
    """The source code of a function or class, so that a page always shows the current code.

    Args:
        of: The function or class, decorated or not.

    Returns:
        The code, for a notebook to display.
    """
    from IPython.display import Code

    return Code(inspect.getsource(inspect.unwrap(of)), language="python")
