"""The ladder network as a scikit-learn classifier."""

import jax
import numpy as np
from numpy.typing import NDArray

from dae_jax import ladder as equations
from dae_jax import training
from dae_jax.datasets.labels import evenly
from dae_jax.errors import InputError
from dae_jax.estimators import rows
from dae_jax.estimators.labels import LabelledRows
from dae_jax.runs import ladder
from dae_jax.runs.stage import INIT
from dae_jax.settings.ladder import Network, Settings, Training

__all__ = ["LadderClassifier"]


class LadderClassifier(LabelledRows):
    """Ladder network: a classifier of few labels, with a denoising cost at every layer.

    The model and its cost are those of `ladder`, equations (1) to (7); rows with and without labels
    train it together. Rows without a label are marked in y by -1, as in `sklearn.semi_supervised`;
    `score` leaves them out. If there are none, the labelled rows are used without their labels,
    too. Pixels of type uint8 are divided by 255.

    Args:
        hidden_layer_sizes: Units of each layer, from the columns up.
        unlabelled: The label that marks rows without one; None if every label is a class, such as
            -1 beside 1.
        noise: Standard deviations of the noise at the rows and at every layer, at least 0; both are
            brought to variance 1.
        denoising: Weights of the denoising costs, from the rows up, at least 0; the last one is
            that of all layers above.
        standardize: Whether each column is brought to mean 0 and variance 1 first; ``"auto"``: if
            not all values are in [0, 1]. All values together always are.
        learning_rate_init: Learning rate of Adam; over the last third of the epochs it falls
            linearly to 0.
        batch_size: Rows per minibatch, without their labels, at least 2; all of them if there are
            fewer.
        labelled_batch_size: Labelled rows beside them, at least 2; all of them if there are fewer.
        max_iter: Epochs; None for as many as make 7,500 updates.
        early_stopping: Whether to hold out labelled rows, and to keep the parameters of the epoch
            that has the lowest error on them. Few rows choose badly: those after the last epoch,
            when the rate has fallen to 0, are often better.
        validation_fraction: The share of labelled rows that is held out.
        n_iter_no_change: Epochs to train for at least with early stopping; every clear improvement
            extends them to twice the epochs so far. See `early_stopping`.
        warm_start: Whether `fit` begins with the parameters of the `fit` before.
        random_state: Seed of weights, noise, order and the rows held out.
        verbose: Whether to print the cost of every epoch.

    Attributes:
        classes_: The classes, in order.
        params_: The parameters, for the functions of `ladder`.
        mean_, scale_: What the columns are standardised with; None if they are not.
        loss_curve_: The mean cost of each epoch of the last `fit`.
        n_iter_: The number of these epochs.
        validation_scores_, best_validation_score_: The accuracy on the rows held out after each
            epoch, and the highest; with `early_stopping` only.
        n_features_in_, feature_names_in_: As in scikit-learn.

    >>> X = np.random.default_rng(0).random((100, 5))
    >>> y = np.where(np.arange(100) < 30, X[:, 0] > 0.5, -1)
    >>> model = LadderClassifier((4, 3), max_iter=2, random_state=0)
    >>> with jax.numpy_dtype_promotion("standard"):
    ...     model.fit(X, y).predict_proba(X).shape
    (100, 2)
    """

    _activation = "relu"

    def __init__(
        self,
        hidden_layer_sizes=(1000, 500, 250, 250, 250),
        *,
        unlabelled=-1,
        noise=(1.0, 0.3),
        denoising=(1000, 100, 0.1),
        standardize="auto",
        learning_rate_init=0.002,
        batch_size=100,
        labelled_batch_size=100,
        max_iter=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        warm_start=False,
        random_state=None,
        verbose=False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.unlabelled = unlabelled
        self.noise = noise
        self.denoising = denoising
        self.standardize = standardize
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.labelled_batch_size = labelled_batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _train(self, X: NDArray[np.float32], classes: NDArray[np.int32], afresh: bool) -> None:
        rows.check_counts(self, batch_size=2, labelled_batch_size=2, max_iter=1, n_iter_no_change=1)
        rows.check_rates(self, "learning_rate_init")
        if X.min() == X.max():
            raise InputError("X", expected="values that differ", got=f"{X.min():g} everywhere")
        own, targets, held_out = self._hold_out(X, classes)
        order = evenly(targets, len(targets), self._seed)
        network, first = self._network(), self._epochs
        how = Training(self.max_iter, batch_size=min(self.batch_size, len(X)))
        settings = Settings(training=how).resolved("", len(X))
        updates = len(X) // settings.batch_size
        by = ladder.inputs(X, 1.0)
        if afresh:
            sizes = [X.shape[1], *network.hidden, len(self.classes_)]
            self.params_ = equations.init(self._key(INIT), sizes)
        best = None
        if held_out is not None:
            best = rows.watch(
                self.params_,
                lambda params: self._error(ladder.predictor(params, X, by), held_out),
                updates,
                first + self.n_iter_no_change,
            )
        rule = ladder.adam(self.learning_rate_init, settings.epochs, updates)
        learnt = rows.learn(
            ladder.cost(network, by),
            training.start_state(jax.tree.map(np.array, self.params_), rule),
            X,
            self._key(0),
            best=best,
            verbose=self.verbose,
            optimizer=rule,
            epochs=first + settings.epochs,
            batch_size=settings.batch_size,
            shuffle=True,
            start=first,
            labelled=(own[order], targets[order]),
            labelled_batch_size=min(self.labelled_batch_size, len(own)),
        )
        self.params_ = learnt.state.params
        self._model = jax.device_get(ladder.predictor(self.params_, X, by))
        self._keep(learnt)

    def _network(self) -> Network:
        """The settings of the network, checked."""
        hidden, noise = rows.widths(self.hidden_layer_sizes), tuple(self.noise)
        if len(noise) != 2:
            raise InputError("noise", expected="two numbers, of rows and layers", got=noise)
        network = Network(hidden, noise, tuple(np.atleast_1d(self.denoising).tolist()))
        try:
            network.check()
        except InputError as error:
            raise InputError(str(error).removeprefix("--")) from None
        return network
