"""Denoising autoencoders in functional JAX: the deeplearning.net tutorial, alive again.

A model is a pytree of parameters and a pure ``cost(params, batch, key) -> scalar``; one training
loop trains all of them. The names a user needs first are here, and are imported when first used::

    import dae_jax

    mnist = dae_jax.load("mnist-sample")
    dae_jax.load("runs/mine").predict(mnist.test.images)

======================================================================  ============================
the equations: `autoencoder`, `corruption`, `objectives`, `stacked`,    what the tutorial teaches
`deep`, `supervised`, `ladder`
`training`, `early_stopping`, `evaluation`                              train and evaluate a model
`estimators`                                                            scikit-learn's interface
`datasets`                                                              load images
`figures`                                                               sheets of filters, plots
`train`, `pretrain`, `predict`, `transform`, `export`, `reproduce`      the commands
`settings`, `runs`, `experiments`                                       what the commands consist of
======================================================================  ============================
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dae_jax import (
        autoencoder,
        corruption,
        datasets,
        deep,
        early_stopping,
        estimators,
        evaluation,
        figures,
        ladder,
        objectives,
        stacked,
        supervised,
        training,
    )
    from dae_jax.datasets import Dataset, Split
    from dae_jax.errors import InputError
    from dae_jax.estimators import (
        DenoisingAutoencoder,
        LadderClassifier,
        StackedDenoisingAutoencoder,
        StackedDenoisingClassifier,
    )
    from dae_jax.evaluation import apply
    from dae_jax.figures import tile_raster_images
    from dae_jax.runs.data_or_model import load
    from dae_jax.training import bind, fit, optimiser, start_state

_NAMES = {
    "Dataset": "datasets",
    "DenoisingAutoencoder": "estimators",
    "InputError": "errors",
    "LadderClassifier": "estimators",
    "Split": "datasets",
    "StackedDenoisingAutoencoder": "estimators",
    "StackedDenoisingClassifier": "estimators",
    "apply": "evaluation",
    "bind": "training",
    "fit": "training",
    "load": "runs.data_or_model",
    "optimiser": "training",
    "start_state": "training",
    "tile_raster_images": "figures",
}

__all__ = [
    "Dataset",
    "DenoisingAutoencoder",
    "InputError",
    "LadderClassifier",
    "Split",
    "StackedDenoisingAutoencoder",
    "StackedDenoisingClassifier",
    "__version__",
    "apply",
    "autoencoder",
    "bind",
    "corruption",
    "datasets",
    "deep",
    "early_stopping",
    "estimators",
    "evaluation",
    "figures",
    "fit",
    "ladder",
    "load",
    "objectives",
    "optimiser",
    "stacked",
    "start_state",
    "supervised",
    "tile_raster_images",
    "training",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``--help`` need not wait for JAX."""
    if name in _NAMES:
        return getattr(import_module(f"dae_jax.{_NAMES[name]}"), name)
    if name in __all__:
        return import_module(f"dae_jax.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
