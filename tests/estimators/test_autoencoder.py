"""The transformer: scikit-learn's checks, and that it is the model and the loop of the package."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from dae_jax import autoencoder, train
from dae_jax.estimators import DenoisingAutoencoder
from dae_jax.runs import saved

pytestmark = pytest.mark.usefixtures("standard_promotion")

RNG = np.random.default_rng(0)
FACTORS = RNG.normal(size=(300, 2))
TABLE = FACTORS @ RNG.normal(size=(2, 6)) * [1, 10, 100, 1, 1, 1] + [0, 50, 0, -3, 0, 0]
UNIT = RNG.random((60, 9)).astype(np.float32)


def model(n=4, **how):
    return DenoisingAutoencoder(n, **dict(max_iter=3, random_state=0) | how)


@pytest.fixture(scope="module")
def of_table():
    """A model of the table, which has two factors."""
    with jax.numpy_dtype_promotion("standard"):
        return model(20, max_iter=300, corruption=0.2, learning_rate_init=0.01).fit(TABLE)


@parametrize_with_checks([DenoisingAutoencoder(5, max_iter=5)])
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


def test_it_trains_the_parameters_that_the_command_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("data.npy", UNIT)
    flags = "--data data.npy --valid-fraction 0 --n-hidden 4 --epochs 3 --batch-size 20 --shuffle"
    assert train.main([*flags.split(), "--init", "jax", "--seed", "5", "--run-dir", "run"]) == 0
    of_command = saved.load("run/params.safetensors").params
    own = model(solver="sgd", learning_rate_init=0.1, random_state=5).fit(UNIT)
    jax.tree.map(np.testing.assert_array_equal, own.params_, of_command)


def test_its_outputs_are_those_of_the_pure_functions():
    own = model().fit(UNIT)
    params = autoencoder.Params(own.components_.T, own.intercept_hidden_, own.intercept_visible_)
    close = dict(rtol=1e-6, atol=1e-6)
    codes = autoencoder.encode(params, UNIT)
    np.testing.assert_allclose(own.transform(UNIT), codes, **close)
    np.testing.assert_allclose(own.inverse_transform(codes), own.denoise(UNIT), **close)
    np.testing.assert_allclose(own.denoise(UNIT), autoencoder.reconstruct(params, UNIT), **close)
    cost = autoencoder.cost(params, jnp.asarray(UNIT), jnp.asarray(UNIT))
    assert own.score(UNIT) == pytest.approx(-float(cost), rel=1e-5)


def test_the_decoder_follows_the_values():
    unit, pixels, table = (model().fit(X) for X in (UNIT, np.uint8(255 * UNIT), TABLE))
    assert (unit.decoder_, unit.loss_, unit.mean_) == ("sigmoid", "cross-entropy", None)
    assert pixels.decoder_ == "sigmoid"
    assert (table.decoder_, table.loss_) == ("linear", "squared-error")
    np.testing.assert_allclose(table.mean_, TABLE.mean(axis=0))
    np.testing.assert_allclose(table.scale_, TABLE.std(axis=0))


def test_standardised_columns_are_restored_in_their_units(of_table):
    error = np.mean((of_table.denoise(TABLE) - TABLE) ** 2, axis=0)
    assert (error < 0.2 * TABLE.var(axis=0)).all()


def test_missing_values_are_filled_in_better_than_by_the_mean_of_their_column(of_table):
    gaps = np.random.default_rng(1).random(TABLE.shape) < 0.15
    with_gaps = np.where(gaps, np.nan, TABLE)
    restored = of_table.denoise(with_gaps)
    assert np.isfinite(restored).all()
    scaled = ((restored - TABLE) / TABLE.std(axis=0))[gaps]
    by_mean = ((TABLE.mean(axis=0) - TABLE) / TABLE.std(axis=0))[gaps]
    assert np.mean(scaled**2) < 0.5 * np.mean(by_mean**2)
    trained = model(max_iter=20).fit(with_gaps)  # with gaps in training, too
    assert np.isfinite([*trained.loss_curve_, trained.score(with_gaps)]).all()


def test_a_row_that_breaks_the_pattern_has_a_lower_score(of_table):
    shuffled = np.random.default_rng(2).permuted(TABLE, axis=0)
    median = np.median(of_table.score_samples(TABLE))
    assert (of_table.score_samples(shuffled) < median).mean() > 0.8


def test_partial_fit_and_warm_start_go_on_where_they_were():
    whole = model(shuffle=False).fit(UNIT)
    parts = model(shuffle=False)
    for _ in range(3):
        parts.partial_fit(UNIT)
    again = model(shuffle=False, max_iter=1, warm_start=True)
    for _ in range(3):
        again.fit(UNIT)
    for other in (parts, again):
        jax.tree.map(np.testing.assert_array_equal, other.params_, whole.params_)
    assert (whole.n_iter_, len(whole.loss_curve_), again.n_iter_) == (3, 3, 1)


def test_early_stopping_keeps_the_best_epoch():
    how = dict(early_stopping=True, n_iter_no_change=2, max_iter=500, learning_rate_init=0.1)
    noise = np.random.default_rng(3).random((40, 9))  # nothing to learn
    stopped = model(40, **how, corruption=0.0).fit(noise)
    assert 2 <= stopped.n_iter_ < 500
    rows, held_out = train_test_split(noise, test_size=0.1, random_state=0)
    epochs = range(1, stopped.n_iter_ + 1)
    plain = how | dict(early_stopping=False, corruption=0.0)
    scores = [model(40, **plain | dict(max_iter=n)).fit(rows).score(held_out) for n in epochs]
    assert stopped.score(held_out) == pytest.approx(max(scores), rel=1e-5)
    assert max(scores) > scores[-1]  # the last epoch is not the best
    longer = model(40, **how | dict(early_stopping=False, max_iter=stopped.n_iter_)).fit(noise)
    assert longer.n_iter_ == stopped.n_iter_


def test_a_noise_of_your_own():
    nothing = lambda key, x, level: x  # noqa: E731
    own, clean = (model(noise=nothing).fit(UNIT), model(corruption=0.0).fit(UNIT))
    np.testing.assert_array_equal(own.components_, clean.components_)


def test_it_is_cloned_pickled_searched_and_part_of_a_pipeline():
    labels = (UNIT[:, 0] > 0.5).astype(int)
    pipeline = make_pipeline(model(), LogisticRegression())
    grid = {"denoisingautoencoder__corruption": [0.0, 0.3]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(UNIT, labels)
    best = search.best_estimator_[0]
    assert best.corruption in (0.0, 0.3)
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.transform(UNIT), best.transform(UNIT))
    assert clone(best).get_params() == best.get_params()


def test_data_frames_in_and_out():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(UNIT, columns=[f"c{i}" for i in range(9)])
    own = model().set_output(transform="pandas").fit(frame)
    codes = own.transform(frame)
    assert list(codes.columns) == [f"denoisingautoencoder{i}" for i in range(4)]
    with pytest.raises(ValueError, match="feature names"):
        own.transform(frame.rename(columns={"c0": "other"}))


@pytest.mark.parametrize(
    ("how", "X", "words"),
    [
        (dict(decoder="sigmoid"), TABLE, "a sigmoid decoder"),
        (dict(loss="cross-entropy", decoder="linear"), TABLE, "sigmoid output"),
        (dict(noise="salt"), UNIT, "noise"),
        (dict(solver="adm"), UNIT, "adam"),
        (dict(solver="sgd", learning_rate_init=1e9), TABLE, "lower learning_rate_init"),
        ({}, np.where(np.arange(6) == 2, np.nan, TABLE), "column 2 of X: expected at least one"),
        ({}, np.where(TABLE > 0, np.inf, TABLE), "infinity"),
    ],
)
def test_bad_input_is_a_value_error(how, X, words):
    with pytest.raises(ValueError, match=words):
        model(**how).fit(X)


def test_more_components_than_pca_can_have():
    assert model(30).fit(UNIT).transform(UNIT).shape[1] > PCA().fit(UNIT).n_components_
