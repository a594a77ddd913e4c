"""Data sets by name or path; see `loading.load`."""

from dae_jax.datasets.loading import (
    NAMES,
    Dataset,
    Split,
    from_array,
    holds_image_files,
    load,
    load_default,
    load_whole,
)

__all__ = [
    "NAMES",
    "Dataset",
    "Split",
    "from_array",
    "holds_image_files",
    "load",
    "load_default",
    "load_whole",
]
