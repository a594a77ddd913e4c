"""scikit-learn estimators: the models of this package with `fit`, `transform` and `predict`."""

from dae_jax.estimators.autoencoder import DenoisingAutoencoder

__all__ = ["DenoisingAutoencoder"]
