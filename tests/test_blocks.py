"""Training in blocks: each image once an epoch, resuming within one, members, memory."""

import os
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import autoencoder, rows, training
from dae_jax.datasets.arrays import read_npy
from dae_jax.rows import Computed
from dae_jax.runs import stage
from dae_jax.runs.stage import Place, Resources, Stage
from helpers import refused

V, H, N = 9, 4, 64
DATA = np.random.default_rng(0).integers(0, 256, (N, V), np.uint8)
SGD = training.optimiser("sgd", 0.1)
COST = training.bind(
    autoencoder.denoising_cost,
    level=0.3,
    pixel_scale=255.0,
    noise="masking",
    objective="cross-entropy",
    decoder="sigmoid",
)


def state(seed=1):
    return training.start_state(autoencoder.init_tutorial(seed, V, H), SGD)


def fit(data=DATA, begun=None, key=None, cost=COST, **how):
    """Train for three epochs in minibatches of five, in blocks of at most twenty."""
    usual = {"optimizer": SGD, "epochs": 3, "batch_size": 5, "block_size": 20, "shuffle": True}
    key = jax.random.key(0) if key is None else key
    begun = state() if begun is None else begun
    return [
        r._replace(state=jax.device_get(r.state))
        for r in training.fit(cost, begun, data, key, **usual | how)
    ]


def assert_same(one, other):
    assert [(r.epoch, r.cost.tolist()) for r in one] == [(r.epoch, r.cost.tolist()) for r in other]
    jax.tree.map(np.testing.assert_array_equal, one[-1].state, other[-1].state)


def test_a_block_that_holds_all_images_changes_nothing():
    assert_same(fit(block_size=None), fit(block_size=N))


def visits(**how):
    """How often each image was trained on after each report."""
    count = training.bind(lambda params, batch, key: -(params * batch.sum(axis=0)).sum())
    one = training.optimiser("sgd", 1.0)
    begun = training.start_state(jnp.zeros(N), one)
    reports = fit(np.eye(N, dtype=np.float32), begun, cost=count, optimizer=one, **how)
    return [(r.epoch, r.part is None, r.state.params) for r in reports]


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_image_is_seen_once_an_epoch_but_for_the_remainder(shuffle):
    after = {epoch: seen for epoch, whole, seen in visits(shuffle=shuffle) if whole}
    for epoch, seen in after.items():
        own = seen - after.get(epoch - 1, 0)
        assert own.sum() == 60 and set(own[:48]) == {1} and own.max() == 1
    if not shuffle:
        np.testing.assert_array_equal(after[3][60:], 0)


def test_blocks_come_in_a_new_order_every_epoch():
    orders = set()
    for epoch in range(20):
        turns = training._plan(epoch, [(0, 5), (5, 10), (10, 15)], 5, 3, shuffled=True)
        assert [turn.last for turn in turns] == [False, False, True]
        orders.add(tuple(turn.block for turn in turns))
    assert len(orders) > 3 and all(sorted(order) == [0, 1, 2] for order in orders)


def test_an_epoch_can_be_resumed_after_any_of_its_blocks():
    whole = fit()
    assert [r.part is None for r in whole] == [False, False, True] * 3
    for i, report in enumerate(whole[:-1]):
        start = report.epoch if report.part is None else report.part
        rest = fit(begun=jax.tree.map(jnp.array, report.state), start=start)
        assert_same(rest, whole[i + 1 :])


def test_the_cost_of_an_epoch_is_the_mean_over_its_minibatches():
    reports = fit(epochs=1, shuffle=False)
    means, blocks = [], [(0, 20), (20, 40), (40, 60), (60, 64)]
    begun = state()
    for i, (first, last) in enumerate(blocks[:3]):
        key = training._block_key(jax.random.key(0), i)
        own = fit(DATA[first:last], begun, key, block_size=None, epochs=1, shuffle=False)[0]
        begun = jax.tree.map(jnp.array, own.state)
        means.append(float(own.cost))
        np.testing.assert_allclose(reports[i].cost, np.mean(means), rtol=1e-6)


@pytest.mark.parametrize("updates", [27, 33])
def test_the_last_epoch_may_be_cut_short_within_a_block(updates):
    whole, short = fit(), fit(updates=updates)
    assert short[-1].epoch == 3 and short[-1].part is None
    n = len(short) - 1
    assert_same(whole[:n], short[:n])
    steps = [seen.sum() // 5 for _, _, seen in visits(updates=updates)]
    assert steps[-1] == updates and steps[-2] < updates


def test_members_of_a_sweep_are_the_runs_alone():
    def keys():
        return [jax.random.key(seed) for seed in range(3)]

    costs, states = training.sweep(
        [COST] * 3, [autoencoder.init_tutorial(seed, V, H) for seed in range(3)], SGD
    )
    together = fit(begun=states, key=jnp.stack(keys()), cost=costs)
    own = np.stack([DATA, 255 - DATA, DATA // 2])
    costs, states = training.sweep(
        [COST] * 3, [autoencoder.init_tutorial(seed, V, H) for seed in range(3)], SGD
    )
    apart = fit(own, states, jnp.stack(keys()), costs, own_data=True)
    for i in range(3):
        for reports, data in ((together, DATA), (apart, own[i])):
            alone = fit(data, state(i), jax.random.key(i))
            assert [float(r.cost[i]) for r in reports] == [float(r.cost) for r in alone]
            jax.tree.map(
                np.testing.assert_array_equal,
                training.member(reports[-1].state, i),
                alone[-1].state,
            )


def test_another_block_recompiles_nothing():
    before = training.run_epoch._cache_size()
    fit(np.zeros((67, V), np.uint8), batch_size=3, block_size=30)
    assert training.run_epoch._cache_size() - before == 2  # the last one is shorter


def test_no_more_than_the_next_block_is_read_ahead():
    reads = []

    def read(x):
        reads.append(len(x))
        return x

    data = Computed(DATA, read, DATA.shape, np.uint8)
    for i, _ in enumerate(
        training.fit(
            COST,
            state(),
            data,
            jax.random.key(0),
            optimizer=SGD,
            epochs=2,
            batch_size=5,
            block_size=20,
        )
    ):
        assert len(reads) <= i + 2


def test_a_block_smaller_than_a_minibatch_is_refused():
    refused(lambda: fit(block_size=4), "block size", "at least 5", "got 4", "--block-size")


# ---- with files ------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """The data in a file."""
    np.save(tmp_path / "x.npy", DATA)
    return read_npy(tmp_path / "x.npy", leave=0).flat(np.uint8)


def staged(data, folder, resume=False, **how):
    """Train a stage in blocks."""
    place = Place("", folder, resume, "the command", quiet=True)
    settings = Stage(
        SGD, epochs=3, batch_size=5, shuffle=True, place=place, resources=Resources(20)
    )
    return stage.train(replace(settings, **how), COST, state(), data, jax.random.key(0))


class KilledError(Exception):
    """Instead of the end of the process."""


@pytest.mark.parametrize("reports", [1, 2, 4, 6])
def test_a_killed_run_resumes_within_an_epoch_to_the_bit(stored, tmp_path, monkeypatch, reports):
    every = stage.Checkpoints.__init__
    monkeypatch.setattr(
        stage.Checkpoints,
        "__init__",
        lambda self, folder, **how: every(self, folder, every=0.0, **how),
    )
    whole = staged(stored, tmp_path / "whole")
    shown = []

    def show(*_):
        shown.append(1)
        if len(shown) > reports:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(stage, "_show", show)
        with pytest.raises(KilledError):
            staged(stored, tmp_path / "killed")
    again = read_npy(tmp_path / "x.npy", leave=0).flat(np.uint8)
    resumed = staged(again, tmp_path / "killed", resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.state, resumed.state)
    assert [row["cost"] for row in whole.rows] == [row["cost"] for row in resumed.rows]


def test_data_that_changed_before_a_resume_are_refused(stored, tmp_path):
    staged(stored, tmp_path / "r", epochs=1)
    changed = DATA.copy()
    changed[25] = 255 - changed[25]
    np.save(tmp_path / "x.npy", changed)
    again = read_npy(tmp_path / "x.npy", leave=0).flat(np.uint8)
    refused(
        lambda: staged(again, tmp_path / "r", resume=True), "rows 20 to 40", "x.npy", "and resume"
    )
    np.save(tmp_path / "x.npy", DATA)
    again = read_npy(tmp_path / "x.npy", leave=0).flat(np.uint8)
    resumed = staged(again, tmp_path / "r", resume=True)
    whole = staged(DATA, tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, whole.state, resumed.state)


def test_rows_of_codes_are_trained_on_as_codes_that_are_stored(stored):
    codes = DATA.astype(np.float32) / 255
    computed = Computed(stored, lambda x: x.astype(np.float32) / 255, DATA.shape)
    assert_same(fit(codes), fit(computed))
    assert os.path.exists(stored.path) and rows.missing(computed) == 0
