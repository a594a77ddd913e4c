"""The stack for scikit-learn: its checks, and that it is the stack of the command."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from dae_jax import autoencoder, stacked
from dae_jax.estimators import StackedDenoisingAutoencoder, StackedDenoisingClassifier
from dae_jax.runs import saved
from small_rows import PARTLY, TABLE, TRUTH, UNIT

pytestmark = pytest.mark.usefixtures("standard_promotion")


def transformer(sizes=(6, 4), **how):
    return StackedDenoisingAutoencoder(sizes, **dict(max_iter=3, random_state=0) | how)


def classifier(sizes=(6, 4), **how):
    few = dict(pretrain_max_iter=3, max_iter=4, random_state=0)
    return StackedDenoisingClassifier(sizes, **few | how)


def small(unlabelled):
    # without pretraining, which is that of the transformer: most of the time goes into compiling
    how = dict(pretrain_max_iter=0, max_iter=5, learning_rate_init=0.05)
    return StackedDenoisingClassifier((8,), unlabelled=unlabelled, **how)


def expected_failures(estimator):
    """The checks that take -1 for a class."""
    if getattr(estimator, "unlabelled", None) is None:
        return {}
    return {"check_classifiers_classes": "-1 marks rows without a label"}


@parametrize_with_checks(
    [StackedDenoisingAutoencoder((4,), max_iter=2), small(-1), small(None)],
    expected_failed_checks=expected_failures,
)
def test_they_are_estimators_of_scikit_learn(estimator, check):
    check(estimator)


def test_they_train_the_parameters_that_the_command_trains(pretrain_call):
    np.savez("data.npz", x_train=UNIT[:24], y_train=TRUTH[:24], x_test=UNIT, y_test=TRUTH)
    np.save("more.npy", UNIT[24:])
    flags = (
        "--preset large-rate --data data.npz --unlabelled more.npy --valid-fraction 0 --init jax "
        "--hidden 6 4 --corruption 0.2 0.3 --pretrain-epochs 3 --finetune-epochs 4 --batch-size 20 "
        "--finetune-batch-size 20 --shuffle --finetune-shuffle --seed 5 --run-dir run"
    )
    assert pretrain_call(*flags.split()).status == 0
    how = dict(corruption=(0.2, 0.3), solver="sgd", random_state=5)
    own = classifier(**how).fit(UNIT, PARTLY)
    of_command = saved.load("run/model.safetensors").params
    jax.tree.map(np.testing.assert_array_equal, own.params_, of_command)
    layers = transformer(**how).fit(UNIT).layers_
    for k, layer in enumerate(layers, 1):
        of_command = saved.load_layer(f"run/layer_{k}.safetensors")
        jax.tree.map(np.testing.assert_array_equal, layer, of_command)


def test_its_outputs_are_those_of_the_pure_functions():
    own = transformer().fit(UNIT)
    close = dict(rtol=1e-5, atol=1e-6)
    codes = stacked.encode(own.layers_, jnp.asarray(UNIT))
    np.testing.assert_allclose(own.transform(UNIT), codes, **close)
    first, second = own.layers_
    rows = autoencoder.decode(first, autoencoder.decode(second, codes))
    np.testing.assert_allclose(own.inverse_transform(codes), rows, **close)
    np.testing.assert_allclose(own.denoise(UNIT), rows, **close)


def test_probabilities_are_those_of_the_pure_functions_and_sum_to_1():
    own = classifier().fit(UNIT, PARTLY)
    logits = stacked.logits(own.params_, jnp.asarray(UNIT))
    expected = jax.nn.softmax(logits, axis=1)
    np.testing.assert_allclose(own.predict_proba(UNIT), expected, rtol=1e-5)
    np.testing.assert_allclose(own.predict_proba(UNIT.astype(float)).sum(axis=1), 1, rtol=1e-12)
    assert own.predict_proba(UNIT).dtype == np.float32
    assert [W.shape for W in own.coefs_] == [(9, 6), (6, 4), (4, 3)]
    assert [b.shape for b in own.intercepts_] == [(6,), (4,), (3,)]


def test_scaled_columns_are_restored_in_their_units():
    how = dict(max_iter=150, corruption=0.1, learning_rate_init=0.01)
    own = transformer((20, 20), **how).fit(TABLE)
    error = np.mean((own.denoise(TABLE) - TABLE) ** 2, axis=0)
    assert error.mean() < 0.6 * TABLE.var(axis=0).mean()
    assert error[2] < 0.6 * TABLE[:, 2].var()  # not in the units of the network


def test_missing_values_are_masked_and_filled_in():
    gaps = np.where(np.random.default_rng(1).random(UNIT.shape) < 0.2, np.nan, UNIT)
    own, zeros = transformer().fit(gaps), np.nan_to_num(gaps)
    assert np.isfinite(own.denoise(gaps)).all() and np.isfinite(own.loss_curves_).all()
    np.testing.assert_array_equal(own.transform(gaps), own.transform(zeros))
    one = classifier().fit(gaps, PARTLY)
    assert np.isfinite([*one.loss_curve_, *one.pretrain_loss_curves_[0]]).all()
    np.testing.assert_array_equal(one.predict_proba(gaps), one.predict_proba(zeros))


def test_it_learns_from_rows_without_labels_too():
    """Pretraining on the 60 rows is another one than that on the 24 with labels."""
    how = dict(random_state=0, max_iter=60, learning_rate_init=0.05)
    own = classifier(**how).fit(UNIT, PARTLY)
    alone = classifier(**how).fit(UNIT[:24], PARTLY[:24])
    assert own.score(UNIT, TRUTH) > 0.9
    assert [len(curve) for curve in own.pretrain_loss_curves_] == [3, 3]
    assert own.pretrain_loss_curves_ != alone.pretrain_loss_curves_
    untrained = classifier(pretrain_max_iter=0).fit(UNIT, PARTLY)
    assert untrained.pretrain_loss_curves_ == [[], []]


def test_a_warm_start_goes_on_to_fine_tune():
    how = dict(shuffle=False)
    whole = classifier(**how).fit(UNIT, PARTLY)
    parts = classifier(**how, warm_start=True, max_iter=2).fit(UNIT, PARTLY)
    curves = parts.pretrain_loss_curves_
    parts.fit(UNIT, PARTLY)
    jax.tree.map(np.testing.assert_array_equal, parts.params_, whole.params_)
    assert parts.pretrain_loss_curves_ is curves and parts.n_iter_ == 2
    with pytest.raises(ValueError, match="classes of the fit before"):
        parts.fit(UNIT, PARTLY + 5)


def test_early_stopping_keeps_the_best_epoch():
    how = dict(early_stopping=True, validation_fraction=0.25, n_iter_no_change=3)
    own = classifier(**how, max_iter=200, learning_rate_init=0.05).fit(UNIT, PARTLY)
    scores = own.validation_scores_
    assert 3 <= own.n_iter_ == len(scores) < 200
    assert own.best_validation_score_ == max(scores) > scores[0]
    last = classifier(**how, max_iter=1 + int(np.argmax(scores)), learning_rate_init=0.05)
    last.fit(UNIT, PARTLY)  # trained to the best epoch
    jax.tree.map(np.testing.assert_array_equal, own.params_, last.params_)


def test_they_are_cloned_pickled_searched_and_part_of_a_pipeline():
    pipeline = make_pipeline(transformer(), LogisticRegression()).fit(UNIT, TRUTH)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict(UNIT), pipeline.predict(UNIT))
    search = GridSearchCV(classifier(), {"learning_rate_init": [0.001, 0.01]}, cv=2).fit(
        UNIT, PARTLY
    )
    best = search.best_estimator_
    assert clone(best).get_params() == best.get_params()
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.predict_proba(UNIT), best.predict_proba(UNIT))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(best.params_))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_in_and_out(library):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({f"c{i}": UNIT[:, i] for i in range(9)})
    own = transformer().set_output(transform=library).fit(frame)
    codes = own.transform(frame)
    assert list(codes.columns) == [f"stackeddenoisingautoencoder{i}" for i in range(4)]
    if library == "pandas":
        with pytest.raises(ValueError, match="feature names"):
            own.transform(frame.rename(columns={"c0": "other"}))
    one = classifier().fit(frame, frames.Series(PARTLY))
    np.testing.assert_array_equal(
        one.predict_proba(frame), classifier().fit(UNIT, PARTLY).predict_proba(UNIT)
    )


def test_pixels_of_bytes_are_those_between_0_and_1():
    pixels = np.uint8(255 * UNIT)
    own = transformer().fit(pixels)
    assert own.mean_ is None
    np.testing.assert_array_equal(own.transform(pixels), own.transform(pixels / np.float32(255)))


def test_the_lines_that_it_prints(capsys):
    classifier(verbose=True, pretrain_max_iter=1, max_iter=1).fit(UNIT, PARTLY)
    lines = capsys.readouterr().out.splitlines()
    titles = ["layer 1, epoch 1", "layer 2, epoch 1", "epoch 1"]
    assert [line.partition(", cost ")[0] for line in lines] == titles


@pytest.mark.parametrize(
    ("how", "X", "words"),
    [
        (dict(sizes=()), UNIT, "hidden_layer_sizes: expected a whole number of at least 1"),
        (dict(sizes=(5, 0)), UNIT, "hidden_layer_sizes"),
        (dict(sizes=(5.5,)), UNIT, "hidden_layer_sizes"),
        (dict(corruption=(0.1, 0.2, 0.3)), UNIT, "corruption: expected one value, or 2"),
        (dict(corruption=1.5), UNIT, r"corruption: expected levels in \[0, 1\]"),
        (dict(corruption=-1, noise="gaussian"), UNIT, "corruption: expected at least 0"),
        (dict(noise="salt"), UNIT, "noise"),
        (dict(solver="adm"), UNIT, "adam"),
        (dict(max_iter=0), UNIT, "max_iter: expected a whole number of at least 1"),
        (dict(batch_size=0), UNIT, "batch_size"),
        (dict(learning_rate_init=0), UNIT, "learning_rate_init: expected a number above 0"),
        (dict(solver="sgd", learning_rate_init=1e9), TABLE, "lower learning_rate_init"),
        ({}, np.where(np.arange(9) == 2, np.nan, TABLE), "column 2 of X: expected at least one"),
        ({}, np.where(TABLE > 0, np.inf, TABLE), "infinity"),
        ({}, UNIT[:0], "0 sample"),
        ({}, np.array([["a", "b"], ["c", "d"]], object), "convert"),
    ],
)
def test_bad_input_is_a_value_error(how, X, words):
    with pytest.raises(ValueError, match=words):
        transformer(**how).fit(X)


def test_gaussian_noise_of_standardised_columns_may_be_large():
    assert np.isfinite(transformer(noise="gaussian", corruption=1.5).fit(TABLE).loss_curves_).all()
