"""What the tutorial pages share: one setting for their size, their data, and two ways to show.

``DAE_JAX_TUTORIAL=quick`` runs the very same cells on fewer images for fewer epochs, which is how
the tests execute every page; without it the pages take the time that their figures need.
"""

import inspect
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from dae_jax import datasets
from dae_jax.datasets import Dataset

if TYPE_CHECKING:
    from IPython.display import Code
    from PIL.Image import Image

QUICK_IMAGES = 1_000


def quick() -> bool:
    """Whether the pages run at their reduced size."""
    return os.environ.get("DAE_JAX_TUTORIAL", "full") == "quick"


def size(full: int, reduced: int) -> int:
    """A number of epochs, images or units: `full`, or `reduced` where pages run quickly."""
    return reduced if quick() else full


def mnist() -> Dataset:
    """All of MNIST where it is to be had, otherwise the sample; quickly, 1,000 images of that."""
    if not quick():
        return datasets.load_default()
    sample = datasets.load("mnist-sample")
    few = slice(QUICK_IMAGES)
    images, labels = sample.train
    assert labels is not None
    return sample._replace(train=sample.train._replace(images=images[few], labels=labels[few]))


def show(sheet: np.ndarray, zoom: int = 2) -> "Image":
    """A sheet of bytes as a picture that a notebook displays, each pixel `zoom` wide."""
    from PIL import Image

    return Image.fromarray(sheet.repeat(zoom, axis=0).repeat(zoom, axis=1))


def source(of: Any) -> "Code":
    """The source of a function or class of this package, so that a page cannot drift from it."""
    from IPython.display import Code

    return Code(inspect.getsource(inspect.unwrap(of)), language="python")
