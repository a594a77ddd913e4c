"""scikit-learn estimators: the models of this package with `fit`, `transform` and `predict`."""

from dae_jax.estimators.autoencoder import DenoisingAutoencoder
from dae_jax.estimators.ladder import LadderClassifier
from dae_jax.estimators.stack import StackedDenoisingAutoencoder, StackedDenoisingClassifier

__all__ = [
    "DenoisingAutoencoder",
    "LadderClassifier",
    "StackedDenoisingAutoencoder",
    "StackedDenoisingClassifier",
]
