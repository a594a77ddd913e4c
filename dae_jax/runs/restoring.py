"""How well a dA restores corrupted rows, beside PCA and the column means."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpy.typing import NDArray

from dae_jax import autoencoder, corruption
from dae_jax.objectives import AnyArray
from dae_jax.settings.shared import Denoising

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

__all__ = ["Baselines", "Restored"]

MOST = 10_000  # rows to learn from, and rows to restore
TRIED = 2_000  # rows to restore with each number of components


class Restored(NamedTuple):
    """Root mean squared errors per value of rows that were corrupted and restored."""

    da: float
    pca: float
    components: int
    """Of the PCA: their number was chosen by its error on training rows."""
    mean: float
    """Of the column means, which know nothing of the row."""


class _Corrupted(NamedTuple):
    """Rows, of which some values may be missing, and the same ones with noise."""

    x: NDArray[np.floating]
    x_tilde: NDArray[np.floating]
    observed: NDArray[np.bool_]

    def error(self, restored: AnyArray) -> float:
        """The root mean squared error of values that are not missing."""
        return float(np.sqrt(np.mean((np.asarray(restored) - self.x)[self.observed] ** 2)))


class Baselines:
    """PCA and the column means, which restore rows, too.

    They learn from clean training rows, 10,000 at most, with the column means in place of missing
    values.

    Args:
        train: Training rows as the network sees them; NaN is a missing value.
        n_hidden: Number of hidden units, which PCA's components do not exceed.
    """

    def __init__(self, train: Float[np.ndarray, "n values"], n_hidden: int):
        from sklearn.decomposition import PCA

        train = train[:MOST]
        with warnings.catch_warnings():  # of a column without values, and of a single row
            warnings.simplefilter("ignore")
            self._mean = np.nan_to_num(np.nanmean(train, axis=0))
            filled = np.where(np.isnan(train), self._mean, train)
            self._pca = PCA(min(n_hidden, *train.shape), random_state=0).fit(filled)
        self._tried = train[:TRIED]

    def compared(
        self,
        held_out: Float[np.ndarray, "m values"],
        how: Denoising,
        restore: Callable[[AnyArray], AnyArray],
        key: Key[Array, ""],
    ) -> Restored:
        """Corrupt held-out rows as in training, and restore them in three ways.

        Args:
            held_out: Other rows, of which 10,000 at most are used.
            how: The noise.
            restore: The dA, from corrupted rows to restored ones.
            key: A key for the noise.
        """
        pca, keys = self._pca, jax.random.split(key)
        tried = _corrupted(self._tried, how, keys[0])
        powers = 2 ** np.arange(pca.n_components_.bit_length())
        counts = sorted({*powers.tolist(), int(pca.n_components_)})
        components = min(counts, key=lambda k: tried.error(_projected(pca, tried.x_tilde, k)))
        new = _corrupted(held_out[:MOST], how, keys[1])
        return Restored(
            new.error(restore(new.x_tilde)),
            new.error(_projected(pca, new.x_tilde, components)),
            components,
            new.error(np.broadcast_to(self._mean, new.x.shape)),
        )


def _corrupted(x: NDArray[np.floating], how: Denoising, key: Key[Array, ""]) -> _Corrupted:
    observed = ~np.isnan(x)
    filled = autoencoder.fill(jnp.asarray(x))
    x_tilde = corruption.corrupt(key, filled, how.corruption, how.noise)
    return _Corrupted(np.asarray(filled), np.where(observed, x_tilde, 0), observed)


def _projected(pca: "PCA", x: NDArray[np.floating], k: int) -> NDArray[np.floating]:
    """Rows projected on the first k components."""
    V = np.asarray(pca.components_)[:k]
    return (x - pca.mean_) @ V.T @ V + pca.mean_
