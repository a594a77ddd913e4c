"""Load what a path holds, data or a trained model: ``dae_jax.load``."""

import os
from pathlib import Path
from typing import Any, Literal, overload

from dae_jax import datasets
from dae_jax.datasets import Dataset
from dae_jax.errors import InputError
from dae_jax.runs import saved
from dae_jax.runs.run import read_settings

__all__ = ["load"]


@overload
def load(name_or_path: Literal["mnist", "mnist-sample", "digits"], **options: Any) -> Dataset: ...


@overload
def load(name_or_path: str | os.PathLike[str], **options: Any) -> Any: ...


def load(name_or_path: str | os.PathLike[str], **options: Any) -> Any:
    """Load a data set by name or path, or a trained model by the path of its run or its file.

    Args:
        name_or_path: A ``.safetensors`` file or a run directory is a model; anything else is data,
            see `datasets.load`.
        **options: Those of `datasets.load`, for data only.

    Returns:
        A `datasets.Dataset`, or a model with `predict`, `predict_proba`, `encode` and
        `reconstruct`; see `runs.saved.Model`.

    Raises:
        InputError: There is neither, or it cannot be read.
    """
    if not _is_model(name_or_path):
        return datasets.load(name_or_path, **options)
    if options:
        option, got = next(iter(options)), f"the model {name_or_path}"
        raise InputError(option, expected="data to load", got=got, do="leave it out")
    return saved.load(saved.find(str(name_or_path), saved.CLASSIFIER, saved.DA))


def _is_model(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a model's file, of a run or of a member of a sweep."""
    path = Path(name_or_path)
    if name_or_path in datasets.NAMES:
        return False
    models = (path / name for name in (saved.CLASSIFIER, saved.DA))
    is_file = path.suffix == ".safetensors" or any(os.path.isfile(model) for model in models)
    return is_file or read_settings(path) is not None
