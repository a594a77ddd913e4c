"""The stack of denoising autoencoders as a scikit-learn transformer and as a classifier."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from dae_jax import autoencoder, evaluation, stacked, training
from dae_jax.errors import InputError
from dae_jax.estimators import rows
from dae_jax.estimators.labels import LabelledRows
from dae_jax.estimators.rows import Rows
from dae_jax.runs import saved
from dae_jax.runs.stage import INIT
from dae_jax.settings.pretrain import Finetuning, default_epochs
from dae_jax.stacked import Classifier

__all__ = ["StackedDenoisingAutoencoder", "StackedDenoisingClassifier"]

UPDATES, LEAST_EPOCHS = 5_000, 20
"""The minibatches of fine-tuning, and its epochs at least, if no number is given."""
_CODES = saved.encode("sigmoid")


class _Stack(Rows):
    """Base of both: the layers, pretrained one after another."""

    hidden_layer_sizes: Any
    corruption: Any
    noise: Any
    emphasis: Any
    solver: Any
    batch_size: Any
    shuffle: Any
    verbose: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _pretrain(self, X: NDArray[np.float32], rate: float | None, epochs: int | None) -> Any:
        """Train each layer on the clean codes of those below; their parameters and cost curves."""
        sizes = rows.widths(self.hidden_layer_sizes)
        levels = _levels(self.corruption, self.noise, len(sizes))
        self._linear = self.mean_ is not None or not rows.unit_interval(X)
        missing = bool(np.isnan(X).any())
        batch_size = min(self.batch_size, len(X))
        if epochs is None:
            epochs = default_epochs("", len(X), batch_size)
        layers, curves = [], []
        for k, params in enumerate(stacked.init(self._key(INIT), X.shape[1], sizes)):
            linear = self._linear and not k
            decoder = "linear" if linear else "sigmoid"
            rule = rows.optimiser(self.solver, rate, decoder, sizes[k])
            cost = training.bind(
                autoencoder.denoising_cost,
                level=levels[k],
                pixel_scale=1.0,
                noise=self.noise,
                objective="squared-error" if linear else "cross-entropy",
                decoder=decoder,
                missing=missing and not k,
                emphasis=self.emphasis,
            )
            learnt = rows.learn(
                cost,
                training.start_state(params, rule),
                X,
                self._key(k),
                verbose=self.verbose,
                title=f"layer {k + 1}, ",
                optimizer=rule,
                epochs=epochs,
                batch_size=batch_size,
                shuffle=self.shuffle,
            )
            layers.append(learnt.state.params)
            curves.append(learnt.costs)
            if k + 1 < len(sizes):
                X = evaluation.apply(_CODES, layers[-1:], X)
        return layers, curves


class StackedDenoisingAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Stack):
    """Stack of denoising autoencoders, each trained on the clean codes of the one below.

    The equations are those of `stacked`; each layer is trained as a `DenoisingAutoencoder`. Missing
    values, which are NaN, count as masked, and `denoise` fills them in. Pixels of type uint8 are
    divided by 255. If all values are in [0, 1], the first layer has a sigmoid decoder and the
    cross-entropy; otherwise a linear one and the squared error.

    Args:
        hidden_layer_sizes: Units of each layer, from the columns up.
        corruption: Level in [0, 1] or, for Gaussian noise, standard deviation: one for all layers,
            or one for each.
        noise: A name in `corruption.NOISES`, or a function ``noise(key, x, level)``.
        emphasis: See `DenoisingAutoencoder`.
        standardize: Whether each column is brought to mean 0 and variance 1 first, which `denoise`
            and `inverse_transform` undo; ``"auto"``: if not all values are in [0, 1].
        solver: ``"sgd"``, ``"momentum"``, ``"adam"`` or another optimiser of Optax.
        learning_rate_init: Learning rate; None for that of a `DenoisingAutoencoder`.
        batch_size: Rows per minibatch; all of them if there are fewer.
        max_iter: Epochs of each layer; None for as many as make 18,750 updates.
        shuffle: Whether to draw a new order every epoch.
        random_state: Seed of weights, noise and order.
        verbose: Whether to print the cost of every epoch.

    Attributes:
        layers_: The parameters of each layer, from the columns up, for the functions of `stacked`
            and `autoencoder`.
        mean_, scale_: What the columns are standardised with; None if they are not.
        loss_curves_: For each layer, the mean cost of each epoch.
        n_iter_: The number of epochs of a layer.
        n_features_in_, feature_names_in_: As in scikit-learn.

    >>> X = np.random.default_rng(0).random((100, 5))
    >>> model = StackedDenoisingAutoencoder((4, 3), solver="sgd", max_iter=2, random_state=0)
    >>> model.fit_transform(X).shape, model.denoise(X).shape
    ((100, 3), (100, 5))
    """

    def __init__(
        self,
        hidden_layer_sizes=(1000, 1000, 1000),
        *,
        corruption=0.3,
        noise="masking",
        emphasis=None,
        standardize="auto",
        solver="adam",
        learning_rate_init=None,
        batch_size=20,
        max_iter=None,
        shuffle=True,
        random_state=None,
        verbose=False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.corruption = corruption
        self.noise = noise
        self.emphasis = emphasis
        self.standardize = standardize
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "StackedDenoisingAutoencoder":
        """Train layer after layer on rows X, (n, n_features); y is not used."""
        X = rows.numbers(self._validated(X, reset=True))
        rows.check_counts(self, batch_size=1, max_iter=1)
        rows.check_rates(self, "learning_rate_init")
        self._seed = rows.seed_of(self.random_state)
        self._choose_scale(X)
        self.layers_, self.loss_curves_ = self._pretrain(
            self._scaled(X), self.learning_rate_init, self.max_iter
        )
        self.n_iter_ = len(self.loss_curves_[0])
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """The codes of the top layer, (n, hidden_layer_sizes[-1]), each in (0, 1)."""
        return self._apply(_CODES, X)

    def denoise(self, X: Any) -> NDArray[Any]:
        """The rows restored, (n, n_features), without gaps: their codes, decoded layer by layer."""
        return self._unscaled(self._apply(_restored(self._linear), X))

    def inverse_transform(self, X: Any) -> NDArray[Any]:
        """The rows that codes X of the top layer stand for, (n, n_features)."""
        check_is_fitted(self)
        codes = rows.codes(X, self._n_features_out)
        network = _decoded(self._linear)
        restored = evaluation.apply(network, self.layers_, codes.astype(np.float32))
        return self._unscaled(restored.astype(codes.dtype))

    @property
    def _n_features_out(self) -> int:
        return len(self.layers_[-1].b)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _apply(self, network: Any, X: Any) -> NDArray[Any]:
        """The outputs of a network for rows, in the precision of the rows."""
        check_is_fitted(self)
        X = rows.numbers(self._validated(X, reset=False))
        return evaluation.apply(network, self.layers_, self._scaled(X)).astype(X.dtype)


class StackedDenoisingClassifier(LabelledRows, _Stack):
    """Stack of denoising autoencoders, pretrained on all rows and fine-tuned on the labelled ones.

    The equations are those of `stacked`. Rows without a label are marked in y by -1, as in
    `sklearn.semi_supervised`; `score` leaves them out. Missing values, which are NaN, count as
    masked. Pixels of type uint8 are divided by 255.

    Args:
        hidden_layer_sizes: Units of each layer, from the columns up.
        unlabelled: The label that marks rows without one; None if every label is a class, such as
            -1 beside 1.
        corruption: Level in [0, 1] or, for Gaussian noise, standard deviation: one for all layers,
            or one for each.
        noise: A name in `corruption.NOISES`, or a function ``noise(key, x, level)``.
        emphasis: See `DenoisingAutoencoder`.
        standardize: Whether each column is brought to mean 0 and variance 1 first; ``"auto"``: if
            not all values are in [0, 1].
        solver: ``"sgd"``, ``"momentum"``, ``"adam"`` or another optimiser of Optax.
        pretrain_learning_rate_init: Learning rate of pretraining; None for that of a
            `DenoisingAutoencoder`.
        learning_rate_init: That of fine-tuning; None for 0.001 or, with sgd, 0.1 times the
            minibatch, at most 2, and with momentum 0.01 times it, at most 1.
        batch_size: Rows per minibatch; all of them if there are fewer.
        pretrain_max_iter: Epochs of each layer's pretraining; None for as many as make 18,750
            updates, 0 to leave the initial weights.
        max_iter: Largest number of epochs of fine-tuning; None for as many as make 5,000 updates,
            at least 20.
        shuffle: Whether to draw a new order every epoch.
        early_stopping: Whether to hold out labelled rows, and to keep the parameters of the epoch
            that has the lowest error on them.
        validation_fraction: The share of labelled rows that is held out.
        n_iter_no_change: Epochs to train for at least; every clear improvement extends them to
            twice the epochs so far. See `early_stopping`.
        warm_start: Whether `fit` continues to fine-tune the parameters of the `fit` before,
            without pretraining again.
        random_state: Seed of weights, noise, order and the rows held out.
        verbose: Whether to print the cost of every epoch.

    Attributes:
        classes_: The classes, in order.
        params_: The parameters, for the functions of `stacked`.
        mean_, scale_: What the columns are standardised with; None if they are not.
        pretrain_loss_curves_: For each layer, the mean cost of each epoch of pretraining.
        loss_curve_: The mean cost of each epoch of fine-tuning in the last `fit`.
        n_iter_: The number of these epochs.
        validation_scores_, best_validation_score_: The accuracy on the rows held out after each
            epoch, and the highest; with `early_stopping` only.
        n_features_in_, feature_names_in_: As in scikit-learn.

    >>> X = np.random.default_rng(0).random((100, 5))
    >>> y = np.where(np.arange(100) < 30, X[:, 0] > 0.5, -1)
    >>> model = StackedDenoisingClassifier((4, 3), solver="sgd", pretrain_max_iter=2, max_iter=2)
    >>> model.fit(X, y).predict_proba(X).shape
    (100, 2)
    """

    _activation = "sigmoid"

    def __init__(
        self,
        hidden_layer_sizes=(1000, 1000, 1000),
        *,
        unlabelled=-1,
        corruption=0.3,
        noise="masking",
        emphasis=None,
        standardize="auto",
        solver="adam",
        pretrain_learning_rate_init=None,
        learning_rate_init=None,
        batch_size=20,
        pretrain_max_iter=None,
        max_iter=None,
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        warm_start=False,
        random_state=None,
        verbose=False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.unlabelled = unlabelled
        self.corruption = corruption
        self.noise = noise
        self.emphasis = emphasis
        self.standardize = standardize
        self.solver = solver
        self.pretrain_learning_rate_init = pretrain_learning_rate_init
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.pretrain_max_iter = pretrain_max_iter
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    @property
    def _model(self) -> Classifier:
        return self.params_

    def _train(self, X: NDArray[np.float32], classes: NDArray[np.int32], afresh: bool) -> None:
        rows.check_counts(self, batch_size=1, pretrain_max_iter=0, max_iter=1, n_iter_no_change=1)
        rows.check_rates(self, "pretrain_learning_rate_init", "learning_rate_init")
        own, targets, held_out = self._hold_out(rows.filled(X), classes)
        batch_size = min(self.batch_size, len(own))
        updates, first = len(own) // batch_size, self._epochs
        rate = Finetuning(
            finetune_learning_rate=self.learning_rate_init,
            finetune_optimizer=self.solver,
            finetune_batch_size=self.batch_size,
        ).rate
        rule = training.optimiser(self.solver, rate)
        if afresh:
            layers, self.pretrain_loss_curves_ = self._pretrain(
                X, self.pretrain_learning_rate_init, self.pretrain_max_iter
            )
            model = stacked.classifier(layers, X.shape[1], len(self.classes_))
            self._state = training.start_state(model, rule)
        best = None
        if held_out is not None:
            best = rows.watch(
                self._state.params,
                lambda model: self._error(model, held_out),
                updates,
                first + self.n_iter_no_change,
            )
        epochs = self.max_iter
        if epochs is None:
            epochs = max(LEAST_EPOCHS, round(UPDATES / updates))
        learnt = rows.learn(
            training.bind(stacked.cost, pixel_scale=1.0),
            self._state,
            (own, targets),
            self._key(len(self._state.params.hidden)),
            best=best,
            verbose=self.verbose,
            optimizer=rule,
            epochs=first + epochs,
            batch_size=batch_size,
            shuffle=self.shuffle,
            start=first,
        )
        self._state, self.params_ = learnt.state, learnt.state.params
        self._keep(learnt)


def _levels(corruption: Any, noise: Any, n_layers: int) -> list[float]:
    """The level of each layer, checked."""
    levels = list(rows.each_layer("corruption", corruption, n_layers))
    most = np.inf if callable(noise) or noise == "gaussian" else 1
    for level in levels:
        if not 0 <= level <= most:
            expected = "at least 0" if most > 1 else f"levels in [0, 1] for {noise} noise"
            raise InputError("corruption", expected=expected, got=level)
    return levels


@cache  # the same object for the same choice, since JAX compares functions by identity
def _decoded(linear: bool) -> Any:
    def network(layers: Any, y: Any) -> Any:
        first, *above = layers
        for layer in reversed(above):
            y = autoencoder.decode(layer, y)
        return autoencoder.DECODERS["linear" if linear else "sigmoid"](first, y)

    return network


@cache
def _restored(linear: bool) -> Any:
    return lambda layers, x: _decoded(linear)(layers, _CODES(layers, x))
