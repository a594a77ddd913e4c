"""Denoising autoencoders in functional JAX: the deeplearning.net tutorial, alive again.

The package imports nothing heavy by itself; take what you need from its modules::

    from dae_jax import autoencoder, corruption, datasets, figures, objectives, training
"""

__version__ = "0.1.0"
