"""The ground that the estimators share: rows as numbers, their scale, the seed, the training."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from dae_jax import training
from dae_jax.datasets.scaling import Scaling, standardisation
from dae_jax.early_stopping import Best, as_sweep
from dae_jax.errors import InputError
from dae_jax.settings import shared
from dae_jax.training import State

__all__ = [
    "Learnt",
    "Rows",
    "check_counts",
    "check_rates",
    "codes",
    "each_layer",
    "filled",
    "learn",
    "numbers",
    "optimiser",
    "seed_of",
    "unit_interval",
    "watch",
    "widths",
]


class Rows(BaseEstimator):
    """Base of the estimators: the rows checked, and brought to the scale of the network."""

    standardize: Any
    _seed: int
    mean_: NDArray[Any] | None
    scale_: NDArray[Any] | None

    def _validated(self, X: Any, y: Any = "no_validation", *, reset: bool) -> Any:
        """Rows as an array, and labels if there are any, checked as scikit-learn does it."""
        allow_nan = self.__sklearn_tags__().input_tags.allow_nan
        return validate_data(
            self,
            X,
            y,
            reset=reset,
            dtype="numeric",
            ensure_all_finite="allow-nan" if allow_nan else True,
            ensure_min_samples=2 if reset else 1,
        )

    def _key(self, use: int) -> Array:
        """A random key of the estimator's seed: for the weights, or for one of the trainings."""
        return jax.random.fold_in(jax.random.key(self._seed), use)

    def _choose_scale(self, X: NDArray[Any]) -> None:
        """Take the mean and the variance of the columns, if they are to be standardised."""
        standardize = self.standardize
        if standardize == "auto":
            standardize = not unit_interval(X)
        self.mean_, self.scale_ = standardisation(X, "X") if standardize else (None, None)

    def _scaled(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """The rows as the network sees them."""
        if self.mean_ is None or self.scale_ is None:
            return X.astype(np.float32, copy=False)
        return Scaling(self.mean_, self.scale_).apply(X)

    def _unscaled(self, X: NDArray[Any]) -> NDArray[Any]:
        """Rows that the network has restored, in the units of the data."""
        if self.mean_ is None or self.scale_ is None:
            return X
        return Scaling(self.mean_, self.scale_).undo(X)


def numbers(X: NDArray[Any]) -> NDArray[Any]:
    """Rows in single or double precision; pixels of type uint8 are divided by 255."""
    if X.dtype == np.uint8:
        return X.astype(np.float32) / np.float32(255)
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def codes(X: Any, n_codes: int) -> NDArray[Any]:
    """Codes to be decoded, in single or double precision.

    Raises:
        ValueError: Another number of columns.
    """
    X = check_array(X)
    if X.shape[1] != n_codes:
        raise ValueError(f"X has {X.shape[1]} columns, but the codes of this model have {n_codes}")
    return X.astype(np.float64 if X.dtype == np.float64 else np.float32)


def filled(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scaled rows with 0 for missing values, as `autoencoder.fill` has it."""
    return np.where(np.isnan(X), np.float32(0), X)


def unit_interval(X: NDArray[Any]) -> bool:
    """Whether all values lie in [0, 1]; NaN are passed over."""
    return bool(np.fmin.reduce(X, axis=None) >= 0 and np.fmax.reduce(X, axis=None) <= 1)


def seed_of(random_state: Any) -> int:
    """A seed from scikit-learn's `random_state`: an integer is its own."""
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def widths(hidden_layer_sizes: Any) -> tuple[int, ...]:
    """The units of each layer, of which a single number is one.

    Raises:
        InputError: None, or one below 1.

    >>> widths(20), widths([20, 10])
    ((20,), (20, 10))
    """
    sizes = tuple(np.atleast_1d(np.asarray(hidden_layer_sizes)).tolist())
    if not sizes or not all(isinstance(n, int) and n >= 1 for n in sizes):
        expected = "a whole number of at least 1 for each layer"
        raise InputError("hidden_layer_sizes", expected=expected, got=hidden_layer_sizes)
    return sizes


def check_counts(estimator: Any, **least: int) -> None:
    """Check that arguments of an estimator are whole numbers, at least so large, or None.

    Raises:
        InputError: One of them is neither.
    """
    for name, smallest in least.items():
        value = getattr(estimator, name)
        if value is not None and not (isinstance(value, int | np.integer) and value >= smallest):
            expected = f"a whole number of at least {smallest}"
            raise InputError(name, expected=expected, got=repr(value))


def check_rates(estimator: Any, *names: str) -> None:
    """Check that arguments of an estimator are learning rates above 0, or None.

    Raises:
        InputError: One of them is neither.
    """
    for name in names:
        value = getattr(estimator, name)
        number = isinstance(value, int | float | np.number)
        if value is not None and not (number and 0 < value < np.inf):
            raise InputError(name, expected="a number above 0", got=repr(value))


def optimiser(solver: str, rate: float | None, decoder: str, n_hidden: int) -> Any:
    """The optimiser of that name; without a rate, that of `settings.shared.default_rate`."""
    if rate is None:
        rate = shared.default_rate(solver, decoder, n_hidden)
    return training.optimiser(solver, rate)


class Learnt(NamedTuple):
    """The end of a training, in NumPy arrays: of the best epoch with early stopping."""

    state: State
    costs: list[float]
    """The mean cost of each epoch."""
    errors: list[float]
    """The error on the rows held out after each epoch; none without early stopping."""


def learn(
    cost: Callable[..., Any],
    state: State,
    data: Any,
    key: Array,
    *,
    best: Best | None = None,
    verbose: Any = False,
    title: str = "",
    **how: Any,
) -> Learnt:
    """Train one model, and keep the costs.

    Args:
        cost: See `training.fit`, as for `state`, `data` and `key`.
        best: From `watch`; it may end the training, and chooses the epoch.
        verbose: Whether to print the cost of every epoch.
        title: What these lines begin with.
        **how: The keywords of `training.fit`.

    Raises:
        InputError: The cost is not finite any more.
    """
    costs, errors = [], []
    state = State(*jax.tree.map(jnp.asarray, state))
    for report in training.fit(cost, state, data, key, **how):
        training.check_finite(report, "lower learning_rate_init, or scale X")
        costs.append(float(report.cost))
        if verbose:
            print(f"{title}epoch {report.epoch}, cost {report.cost:#.6g}")
        state = report.state
        if best is not None:
            errors += best.after(as_sweep(report))["valid_error"]
            if best.done(report.epoch):
                break
    state = jax.device_get(state)
    if best is not None:
        state = state._replace(params=jax.tree.map(lambda leaf: leaf[0], best.params))
    return Learnt(state, costs, errors)


def watch(params: Any, error: Callable[[Any], Any], updates: int, least_epochs: int) -> Best:
    """Early stopping of one model.

    Args:
        params: Its parameters before the training.
        error: ``error(params)``, on rows held out.
        updates: Minibatches per epoch.
        least_epochs: Epochs to train for at least, counted from the first one of all.
    """
    return Best(
        jax.tree.map(lambda leaf: leaf[None], params),
        lambda _, params: float(error(params)),
        updates,
        least_epochs * updates,
    )


def each_layer(name: str, value: Any, n_layers: int) -> Sequence[Any]:
    """One value for each layer, from a single one or as many.

    Raises:
        InputError: Another number of values.
    """
    values = [value] * n_layers if np.ndim(value) == 0 else list(value)
    if len(values) != n_layers:
        expected = f"one value, or {n_layers}, one for each layer"
        raise InputError(name, expected=expected, got=len(values))
    return values
