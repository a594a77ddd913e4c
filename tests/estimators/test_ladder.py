"""The ladder network for scikit-learn: its checks, and that it is the network of the command."""

import pickle

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from dae_jax import datasets
from dae_jax.datasets.labels import evenly
from dae_jax.estimators import LadderClassifier
from dae_jax.runs import saved
from small_rows import PARTLY, TABLE, TRUTH, UNIT

pytestmark = pytest.mark.usefixtures("standard_promotion")


def model(sizes=(6, 4), **how):
    return LadderClassifier(sizes, **dict(max_iter=4, batch_size=20, random_state=0) | how)


def small(unlabelled):
    # without a decoder, since most of the time goes into compiling
    how = dict(denoising=0, noise=(0.3, 0.3), learning_rate_init=0.05)
    return LadderClassifier((8,), unlabelled=unlabelled, batch_size=20, max_iter=10, **how)


def expected_failures(estimator):
    """The checks that take -1 for a class."""
    if estimator.unlabelled is None:
        return {}
    return {"check_classifiers_classes": "-1 marks rows without a label"}


@parametrize_with_checks([small(-1), small(None)], expected_failed_checks=expected_failures)
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


def test_it_trains_the_parameters_that_the_command_trains(pretrain_call):
    np.savez("data.npz", x_train=UNIT[:24], y_train=TRUTH[:24], x_test=UNIT, y_test=TRUTH)
    np.save("more.npy", UNIT[24:])
    flags = (
        "--preset few-labels --data data.npz --unlabelled more.npy --valid-fraction 0 --shift 0 "
        "--hidden 6 4 --epochs 4 --batch-size 20 --seed 5 --run-dir run"
    )
    assert pretrain_call(*flags.split()).status == 0
    of_command = saved.load("run/model.safetensors").params
    own = model(random_state=5).fit(UNIT, PARTLY)
    jax.tree.map(np.testing.assert_array_equal, own._model, of_command)
    assert (own.n_iter_, len(own.loss_curve_)) == (4, 4)


def test_columns_of_any_scale_are_standardised():
    own = model().fit(TABLE, PARTLY)
    np.testing.assert_allclose(own.mean_, TABLE.mean(axis=0))
    scaled = (TABLE - TABLE.mean(axis=0)) / TABLE.std(axis=0)
    plain = model(standardize=False).fit(scaled, PARTLY)
    assert plain.mean_ is None
    np.testing.assert_allclose(
        plain.predict_proba(scaled), own.predict_proba(TABLE), rtol=1e-3, atol=1e-3
    )


def test_constant_columns_do_no_harm():
    with_one = TABLE.copy()
    with_one[:, 4] = 7
    own = model().fit(with_one, PARTLY)
    assert np.isfinite(own.loss_curve_).all() and np.isfinite(own.predict_proba(with_one)).all()


def test_a_prediction_does_not_depend_on_the_rows_beside_it():
    own = model().fit(UNIT, PARTLY)
    np.testing.assert_array_equal(own.predict_proba(UNIT)[7:8], own.predict_proba(UNIT[7:8]))
    assert own.predict_proba(UNIT).dtype == np.float32
    np.testing.assert_allclose(own.predict_proba(UNIT.astype(float)).sum(axis=1), 1, rtol=1e-12)
    assert [W.shape for W in own.coefs_] == [(9, 6), (6, 4), (4, 3)]


def test_a_warm_start_begins_with_the_parameters_of_the_fit_before():
    own = model(warm_start=True, learning_rate_init=1e-8).fit(UNIT, PARTLY)
    before = own.params_
    own.fit(UNIT, PARTLY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), own.params_, before)
    cold = model(random_state=1, warm_start=True, learning_rate_init=1e-8).fit(UNIT, PARTLY)
    assert np.abs(cold.params_.W[0] - before.W[0]).max() > 0.1
    assert own.loss_curve_ != model(learning_rate_init=1e-8).fit(UNIT, PARTLY).loss_curve_


def test_early_stopping_keeps_the_best_epoch():
    how = dict(early_stopping=True, validation_fraction=0.25, n_iter_no_change=3)
    labels = np.random.default_rng(7).permutation(TRUTH[:24])  # nothing to learn
    partly = np.concatenate([labels, PARTLY[24:]])
    own = model(**how, max_iter=40, learning_rate_init=0.05).fit(UNIT, partly)
    scores = own.validation_scores_
    assert 3 <= own.n_iter_ == len(scores) < 40
    assert own.best_validation_score_ == max(scores) > scores[-1]
    parts = train_test_split(UNIT[:24], labels, test_size=0.25, random_state=0, stratify=labels)
    assert own.score(parts[1], parts[3]) == pytest.approx(max(scores))


def test_it_is_cloned_pickled_searched_and_part_of_a_pipeline():
    pipeline = make_pipeline(MinMaxScaler(), model())
    grid = {"ladderclassifier__learning_rate_init": [0.001, 0.01]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(TABLE, PARTLY)
    best = search.best_estimator_[1]
    assert clone(best).get_params() == best.get_params()
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict_proba(TABLE), search.predict_proba(TABLE))
    leaves = jax.tree.leaves((best.params_, best._model))
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({f"c{i}": UNIT[:, i] for i in range(9)})
    own = model().fit(frame, frames.Series(PARTLY))
    expected = model().fit(UNIT, PARTLY).predict_proba(UNIT)
    np.testing.assert_array_equal(own.predict_proba(frame), expected)
    if library == "pandas":
        with pytest.raises(ValueError, match="feature names"):
            own.predict(frame.rename(columns={"c0": "other"}))


@pytest.mark.parametrize(
    ("how", "X", "words"),
    [
        (dict(sizes=()), UNIT, "hidden_layer_sizes: expected a whole number of at least 1"),
        (dict(noise=(1.0,)), UNIT, "^noise: expected two numbers"),
        (dict(noise=(1.0, -1)), UNIT, "^noise: expected two numbers of at least 0"),
        (dict(denoising=(1, 1, 1, 1, 1)), UNIT, "^denoising: expected 1 to 4 weights"),
        (dict(batch_size=1), UNIT, "^batch_size: expected a whole number of at least 2"),
        (dict(labelled_batch_size=1), UNIT, "^labelled_batch_size"),
        (dict(max_iter=0), UNIT, "^max_iter: expected a whole number of at least 1"),
        (dict(learning_rate_init=-1), UNIT, "^learning_rate_init: expected a number above 0"),
        ({}, np.full((60, 3), 7.0), "^X: expected values that differ"),
        ({}, np.where(UNIT > 0.9, np.nan, UNIT), "contains NaN"),
    ],
)
def test_bad_input_is_a_value_error(how, X, words):
    with pytest.raises(ValueError, match=words):
        model(**how).fit(X, PARTLY)


@pytest.mark.slow
def test_it_beats_logistic_regression_on_100_labels():
    images, labels, *_ = datasets.load("mnist-sample").train
    images, labels = images[:1000], labels[:1000]
    labelled = evenly(labels, 100, seed=0)
    partly = np.full(1000, -1)
    partly[labelled] = labels[labelled]
    others = partly == -1
    own = LadderClassifier((200, 100), max_iter=100, random_state=0).fit(images, partly)
    rival = LogisticRegression(max_iter=1000).fit(images[labelled] / 255, labels[labelled])
    accuracy = rival.score(images[others] / 255, labels[others])
    assert own.score(images[others], labels[others]) > accuracy + 0.03
