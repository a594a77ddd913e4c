"""The denoising autoencoder as a scikit-learn transformer."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted

from dae_jax import autoencoder, evaluation, training
from dae_jax.datasets.scaling import standardisation
from dae_jax.errors import check_objective
from dae_jax.estimators import rows
from dae_jax.estimators.rows import Rows
from dae_jax.runs import saved
from dae_jax.runs.stage import INIT, VALID, cost_of
from dae_jax.settings.train import default_epochs

__all__ = ["DenoisingAutoencoder"]


class DenoisingAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Rows):
    """Denoising autoencoder: codes from which corrupted rows can be restored.

    The model and its cost are those of `autoencoder`, equations (1) to (4); the training is
    `training.fit`. Missing values, which are NaN, are allowed everywhere: at the input they count
    as masked, the cost leaves them out, and `denoise` fills them in. Pixels of type uint8 are
    divided by 255; all other values are taken as they are.

    Args:
        n_components: Number of hidden units.
        corruption: Level in [0, 1] or, for Gaussian noise, standard deviation.
        noise: A name in `corruption.NOISES`, or a function ``noise(key, x, level)``.
        emphasis: Weights in the loss of values that the noise has changed, and of the others; None
            for 1 and 1.
        loss: ``"cross-entropy"``, ``"squared-error"`` or ``"auto"``: the first if the decoder is a
            sigmoid.
        decoder: ``"sigmoid"``, for values in [0, 1], ``"linear"``, or ``"auto"``: by the values.
        tied: Whether the decoder uses the transposed weights of the encoder.
        standardize: Whether each column is brought to mean 0 and variance 1 first, which `denoise`
            and `inverse_transform` undo; ``"auto"``: if the decoder is linear.
        solver: ``"sgd"``, ``"momentum"``, ``"adam"`` or another optimiser of Optax.
        learning_rate_init: Learning rate; None for 0.1 (sgd), 0.01 (momentum) or 0.001 (others)
            and, with a linear decoder, 0.5 and 0.05 over the number of units (sgd, momentum).
        batch_size: Rows per minibatch; all of them if there are fewer.
        max_iter: Epochs; None for as many as make 37,500 updates.
        shuffle: Whether to draw a new order every epoch.
        early_stopping: Whether to hold out rows, and to keep the parameters of the epoch that has
            the lowest cost on them.
        validation_fraction: The share of rows that is held out.
        n_iter_no_change: Epochs to train for at least; every clear improvement extends them to
            twice the epochs so far. See `early_stopping`.
        warm_start: Whether `fit` continues from the parameters of the `fit` before.
        random_state: Seed of weights, noise and order.
        verbose: Whether to print the cost of some epochs.

    Attributes:
        params_: The parameters, for the functions of `autoencoder`.
        mean_, scale_: What the columns are standardised with; None if they are not.
        loss_curve_: The mean cost of each epoch of the last `fit`.
        n_iter_: The number of these epochs.
        n_features_in_, feature_names_in_: As in scikit-learn.

    >>> X = np.random.default_rng(0).random((100, 5))
    >>> model = DenoisingAutoencoder(3, solver="sgd", max_iter=2, random_state=0).fit(X)
    >>> model.transform(X).shape, model.denoise(X).shape
    ((100, 3), (100, 5))
    """

    def __init__(
        self,
        n_components=500,
        *,
        corruption=0.3,
        noise="masking",
        emphasis=None,
        loss="auto",
        decoder="auto",
        tied=True,
        standardize="auto",
        solver="adam",
        learning_rate_init=None,
        batch_size=20,
        max_iter=None,
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        warm_start=False,
        random_state=None,
        verbose=False,
    ):
        self.n_components = n_components
        self.corruption = corruption
        self.noise = noise
        self.emphasis = emphasis
        self.loss = loss
        self.decoder = decoder
        self.tied = tied
        self.standardize = standardize
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "DenoisingAutoencoder":
        """Train on rows X, (n, n_features); y is not used."""
        afresh = not (self.warm_start and hasattr(self, "params_"))
        X = rows.numbers(self._validated(X, reset=afresh))
        if afresh:
            self._begin(X)
        X = self._scaled(X)
        epochs = self.max_iter
        if epochs is None:
            epochs = default_epochs("", len(X), min(self.batch_size, len(X)))
        return self._train(X, epochs)

    def partial_fit(self, X: Any, y: Any = None) -> "DenoisingAutoencoder":
        """Train for one epoch on rows X, which may be others each time; y is not used."""
        afresh = not hasattr(self, "params_")
        X = rows.numbers(self._validated(X, reset=afresh))
        if afresh:
            self._begin(X)
        return self._train(self._scaled(X), 1, held_out=False)

    def transform(self, X: Any) -> NDArray[Any]:
        """The codes of rows, (n, n_components), each in (0, 1)."""
        return self._apply(_codes, X)

    def denoise(self, X: Any) -> NDArray[Any]:
        """The rows restored, (n, n_features), without gaps; values that were observed change, too.

        To fill in missing values alone: ``np.where(np.isnan(X), model.denoise(X), X)``.
        """
        return self._unscaled(self._apply(saved.reconstruct(self.decoder_), X))

    def inverse_transform(self, X: Any) -> NDArray[Any]:
        """The rows that codes X, (n, n_components), stand for, (n, n_features)."""
        check_is_fitted(self)
        codes = rows.codes(X, self._n_features_out)
        restored = evaluation.apply(
            autoencoder.DECODERS[self.decoder_], self.params_, codes.astype(np.float32)
        )
        return self._unscaled(restored.astype(codes.dtype))

    def score_samples(self, X: Any) -> NDArray[Any]:
        """Minus the cost of reconstructing each row, (n,): the lower, the stranger is the row.

        Nothing is corrupted. Missing values are left out, so that rows with gaps cost less.
        """
        return -self._apply(saved.row_cost(self.loss_, self.decoder_), X)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`; y is not used."""
        return float(np.mean(self.score_samples(X)))

    @property
    def components_(self) -> NDArray[Any]:
        """The filters, (n_components, n_features)."""
        return self.params_.W.T

    @property
    def intercept_hidden_(self) -> NDArray[Any]:
        """The hidden bias, (n_components,)."""
        return self.params_.b

    @property
    def intercept_visible_(self) -> NDArray[Any]:
        """The visible bias, (n_features,)."""
        return self.params_.b_prime

    @property
    def _n_features_out(self) -> int:
        return len(self.params_.b)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _begin(self, X: NDArray[Any]) -> None:
        """Choose what is left to the values of the first rows, and draw the parameters."""
        within = rows.unit_interval(X)
        self.decoder_ = self.decoder
        if self.decoder == "auto":
            self.decoder_ = "sigmoid" if within else "linear"
        self.loss_ = self.loss
        if self.loss == "auto":
            self.loss_ = "cross-entropy" if self.decoder_ == "sigmoid" else "squared-error"
        check_objective(self.loss_, self.decoder_, "loss")
        standardize = self.decoder_ == "linear" if self.standardize == "auto" else self.standardize
        if self.decoder_ == "sigmoid" and (standardize or not within):
            raise ValueError(
                "a sigmoid decoder restores values in [0, 1] only: scale X, or use "
                "decoder='linear' with loss='squared-error'"
            )
        self.mean_ = self.scale_ = None
        if standardize:
            self.mean_, self.scale_ = standardisation(X, "X")
        self._seed = rows.seed_of(self.random_state)
        key = self._key(INIT)
        params = autoencoder.init(key, X.shape[1], self.n_components, tied=self.tied)
        self._state = jax.device_get(training.start_state(params, self._rule))
        self._epochs = 0

    @property
    def _rule(self) -> Any:
        return rows.optimiser(
            self.solver, self.learning_rate_init, self.decoder_, self.n_components
        )

    def _train(self, X: Any, epochs: int, *, held_out: bool = True) -> "DenoisingAutoencoder":
        """Train for more epochs; with `held_out`, early stopping may end them."""
        cost = training.bind(
            autoencoder.denoising_cost,
            level=self.corruption,
            pixel_scale=1.0,
            noise=self.noise,
            objective=self.loss_,
            decoder=self.decoder_,
            missing=bool(np.isnan(X).any()),
            emphasis=self.emphasis,
        )
        best, first = None, self._epochs
        if self.early_stopping and held_out:
            X, valid = train_test_split(
                X, test_size=self.validation_fraction, random_state=self._seed
            )
        batch_size = min(self.batch_size, len(X))
        if self.early_stopping and held_out:
            best = rows.watch(
                self._state.params,
                lambda params: cost_of(cost, params, valid, self._key(VALID)),
                len(X) // batch_size,
                first + self.n_iter_no_change,
            )
        learnt = rows.learn(
            cost,
            self._state,
            X,
            jax.random.key(self._seed),
            best=best,
            verbose=self.verbose,
            optimizer=self._rule,
            epochs=first + epochs,
            batch_size=batch_size,
            shuffle=self.shuffle,
            start=first,
        )
        self._state, self.loss_curve_ = learnt.state, learnt.costs
        self.n_iter_ = len(learnt.costs)
        self._epochs = first + self.n_iter_
        self.params_ = self._state.params
        return self

    def _apply(self, network: Callable[..., Any], X: Any) -> NDArray[Any]:
        """The outputs of a network for rows, in the precision of the rows."""
        check_is_fitted(self)
        X = rows.numbers(self._validated(X, reset=False))
        return evaluation.apply(network, self.params_, self._scaled(X)).astype(X.dtype)


def _codes(params: Any, x: Any) -> Any:
    return autoencoder.encode(params, autoencoder.fill(x))
