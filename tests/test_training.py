"""The loop: a scan equals a plain loop, and a sweep its members alone."""

import itertools
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dae_jax import autoencoder as ae
from dae_jax import corruption, training
from dae_jax.errors import InputError
from helpers import SLOW, refused

V, H = 16, 6
DATA = np.random.default_rng(0).integers(0, 256, (43, V), np.uint8)
SGD = training.optimiser("sgd", 0.1)  # one object: the same program in many tests


def dae(level=0.3, cost=ae.denoising_cost):
    return training.bind(cost, level=level, pixel_scale=255)


def begin(optimizer, seed=1):
    return training.start_state(ae.init_tutorial(seed, V, H), optimizer)


def train(level=0.3, *, data=DATA, optimizer=None, epochs=3, batch_size=10, **how):
    optimizer = optimizer or SGD
    reports = training.fit(
        dae(level),
        begin(optimizer),
        data,
        jax.random.key(0),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        **how,
    )
    told = [(r.epoch, float(r.cost), jax.device_get(r.state)) for r in reports]
    return [t[:2] for t in told], told[-1][2]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_scan_equals_a_plain_loop():
    told, state = train(epochs=2)
    params, graded = ae.init_tutorial(1, V, H), jax.jit(jax.value_and_grad(ae.cost))
    costs = []
    for epoch in range(2):
        for i in range(4):
            x = jnp.asarray(DATA[10 * i : 10 * i + 10] / np.float32(255))
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), epoch), i)
            x_tilde = corruption.mask(key, x, 0.3)
            value, grads = graded(params, x, x_tilde)
            params = jax.tree.map(lambda p, g: p - jnp.float32(0.1) * g, params, grads)
            costs.append(float(value))
    assert [epoch for epoch, _ in told] == [1, 2]
    np.testing.assert_allclose([c for _, c in told], np.reshape(costs, (2, 4)).mean(1), rtol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), state.params, params)


def test_the_remainder_is_dropped_and_no_row_is_read_twice():
    whole, state = train()
    cut, cut_state = train(data=DATA[:40])
    assert whole == cut
    assert_same(state, cut_state)


def test_another_epoch_level_or_rate_recompiles_nothing():
    traces = []

    def counted(*args, **kwargs):
        traces.append(1)
        return ae.denoising_cost(*args, **kwargs)

    optimizer = training.optimiser("momentum", 0.1)
    for level, rate in ((0.0, 0.1), (0.3, 0.2), (0.5, 0.3)):
        state = begin(optimizer)
        state.opt_state.hyperparams["learning_rate"] = jnp.float32(rate)
        fit = training.fit(
            dae(level, counted),
            state,
            DATA,
            jax.random.key(0),
            optimizer=optimizer,
            epochs=3,
            batch_size=10,
        )
        for report in fit:
            assert len(traces) == 1, f"traced again at level {level}, epoch {report.epoch}"


def test_the_state_is_donated():
    optimizer = SGD
    state = begin(optimizer)
    W = state.params.W
    next(
        iter(
            training.fit(
                dae(), state, DATA, jax.random.key(0), optimizer=optimizer, epochs=1, batch_size=10
            )
        )
    )
    assert W.is_deleted()


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", ["sgd", "momentum", pytest.param("adam", marks=SLOW)])
def test_every_optimiser_lowers_the_cost(name):
    rate = 0.01 if name == "adam" else 0.05
    told, _ = train(optimizer=training.optimiser(name, rate), epochs=20)
    assert told[-1][1] < told[0][1]


@pytest.mark.slow
def test_any_optimiser_of_optax_can_be_used():
    told, _ = train(optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.lion(1e-3)))
    assert np.isfinite(told[-1][1])


def test_sgd_is_that_of_optax():
    told, state = train(optimizer=training.optimiser("sgd", 0.2))
    again, plain = train(optimizer=optax.sgd(0.2))
    assert told == again
    assert_same(state.params, plain.params)


def test_noise_differs_from_step_to_step_and_epoch_to_epoch():
    seen = []

    def spy(params, batch, key, *, level, pixel_scale):
        jax.debug.callback(lambda k: seen.append(tuple(k.tolist())), jax.random.key_data(key))
        return ae.denoising_cost(params, batch, key, level=level, pixel_scale=pixel_scale)

    optimizer = SGD
    for _ in training.fit(
        dae(0.3, spy),
        begin(optimizer),
        DATA,
        jax.random.key(0),
        optimizer=optimizer,
        epochs=3,
        batch_size=10,
    ):
        jax.effects_barrier()
    assert len(seen) == len(set(seen)) == 12


def test_shuffling_visits_every_image_once_per_epoch_in_a_new_order():
    orders = []

    def spy(params, batch, key):
        jax.debug.callback(lambda b: orders.append(b.ravel().tolist()), batch, ordered=True)
        return jnp.sum(params) * 0.0

    data = np.arange(40, dtype=np.float32)[:, None]
    optimizer = optax.sgd(0.1)
    state = training.start_state(jnp.zeros(1), optimizer)
    for _ in training.fit(
        jax.tree_util.Partial(spy),
        state,
        data,
        jax.random.key(0),
        optimizer=optimizer,
        epochs=2,
        batch_size=10,
        shuffle=True,
    ):
        jax.effects_barrier()
    first, second = np.array(orders).reshape(2, 40)
    for order in (first, second):
        assert sorted(order) == list(range(40))
        assert list(order) != list(range(40))
    assert list(first) != list(second)


# ---- an epoch that is cut short, and random blocks -------------------------------------------


def counting(params, batch, key):
    """A cost whose gradient is -1: with a rate of 1, the parameter counts the updates."""
    return -params + 0 * batch.astype(jnp.float32).sum()


def counted(n_images, batch_size, updates, epochs, **how):
    """The number of updates after each epoch."""
    optimizer = optax.sgd(1.0)
    fit = training.fit(
        jax.tree_util.Partial(counting),
        training.start_state(jnp.float32(0), optimizer),
        np.zeros((n_images, 1), np.uint8),
        jax.random.key(0),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        updates=updates,
        **how,
    )
    return [int(report.state.params) for report in fit]


@pytest.mark.parametrize("shuffle", [False, True, "blocks"])
def test_a_thousand_steps_end_within_an_epoch_exactly(shuffle):
    assert counted(55_000, 100, 1000, 2, shuffle=shuffle) == [550, 1000]


@pytest.mark.parametrize(
    ("updates", "after"),
    [(None, [4, 8, 12]), (12, [4, 8, 12]), (11, [4, 8, 11]), (9, [4, 8, 9])],
)
def test_only_the_last_epoch_is_cut_short(updates, after):
    assert counted(43, 10, updates, 3) == after


def test_a_single_epoch_may_be_cut_short_too():
    assert counted(43, 10, 3, 1) == [3]


@pytest.mark.parametrize("shuffle", [pytest.param(False, marks=SLOW), True])
def test_the_short_epoch_is_the_beginning_of_a_whole_one(shuffle):
    batches = seen(DATA[:, :1], 10, 2, shuffle=shuffle)
    cut = seen(DATA[:, :1], 10, 2, shuffle=shuffle, updates=6)
    assert len(batches) == 8 and len(cut) == 6
    np.testing.assert_array_equal(cut, batches[:6])


def seen(data, batch_size, epochs, seed=0, **how):
    """The minibatches in the order in which they are seen."""
    batches = []

    def spy(params, batch, key):
        jax.debug.callback(lambda b: batches.append(np.array(b)), batch, ordered=True)
        return params * 0

    optimizer = optax.sgd(1.0)
    for _ in training.fit(
        jax.tree_util.Partial(spy),
        training.start_state(jnp.float32(0), optimizer),
        data,
        jax.random.key(seed),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        **how,
    ):
        jax.effects_barrier()
    return batches


def test_blocks_are_consecutive_images_drawn_with_replacement():
    data = np.arange(43, dtype=np.int32)[:, None]
    blocks = np.array(seen(data, 10, 50, shuffle="blocks"))[..., 0]
    assert blocks.shape == (200, 10)
    np.testing.assert_array_equal(blocks - blocks[:, :1], [range(10)] * 200)
    starts = blocks[:, 0].reshape(50, 4)
    assert len({tuple(row) for row in starts.tolist()}) == 50  # new ones in each epoch
    # with replacement: blocks of an epoch overlap, some are drawn twice, some images are not seen
    assert any(len(set(row)) < 4 for row in starts.tolist())
    covered = [len(set(epoch.ravel().tolist())) for epoch in blocks.reshape(50, 4, 10)]
    assert max(covered) <= 40 and np.mean(covered) < 36
    other = np.array(seen(data, 10, 1, seed=1, shuffle="blocks"))[:, 0, 0]
    assert other.tolist() != starts[0].tolist()


def test_the_first_images_of_blocks_are_uniform_and_blocks_stay_within_the_images():
    """As in the source, ``randint(0, n - batch_size)``: the last start of all is left out."""
    n, batch_size, epochs = 50, 10, 400
    strange = n  # counts blocks that are not consecutive: an index beyond the images is clamped

    def histogram(params, batch, key):
        first = batch[0, 0]
        whole = (batch[:, 0] == first + jnp.arange(batch_size)).all()
        return -params[jnp.where(whole, first, strange)]

    optimizer = optax.sgd(1.0)
    fit = training.fit(
        jax.tree_util.Partial(histogram),
        training.start_state(jnp.zeros(n + 1), optimizer),
        np.arange(n, dtype=np.int32)[:, None],
        jax.random.key(0),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        shuffle="blocks",
    )
    for report in fit:
        counts = report.state.params
    counts = np.array(counts)
    assert counts.sum() == epochs * (n // batch_size) and counts[strange] == 0
    drawn = counts[: n - batch_size]
    assert drawn.sum() == counts.sum()
    # chi-square with 39 degrees of freedom: 72.05 is exceeded once in a thousand times
    expected = counts.sum() / len(drawn)
    assert 15 < (np.square(drawn - expected) / expected).sum() < 72.05


@pytest.mark.parametrize("batch_size", [43, 42])
def test_a_block_of_all_or_almost_all_images_begins_with_the_first(batch_size):
    data = np.arange(43, dtype=np.int32)[:, None]
    for block in seen(data, batch_size, 3, shuffle="blocks"):
        np.testing.assert_array_equal(block, data[:batch_size])


def test_pairs_of_arrays_are_cut_into_the_same_blocks():
    data = np.arange(43, dtype=np.int32)[:, None]
    rows = []

    def spy(params, batch, key):
        jax.debug.callback(lambda a, b: rows.append((a[:, 0], b)), *batch, ordered=True)
        return params * 0

    optimizer = optax.sgd(1.0)
    for _ in training.fit(
        jax.tree_util.Partial(spy),
        training.start_state(jnp.float32(0), optimizer),
        (data, 2 * data[:, 0]),
        jax.random.key(0),
        optimizer=optimizer,
        epochs=2,
        batch_size=10,
        shuffle="blocks",
    ):
        jax.effects_barrier()
    assert len(rows) == 8
    for images, labels in rows:
        np.testing.assert_array_equal(2 * np.array(images), labels)


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"shuffle": "blocks"}, {"updates": 6}])
def test_members_of_a_sweep_draw_their_own_blocks_and_stop_together(how):
    levels = [0.1, 0.5]
    fit = training.fit(
        training.stack([dae(level) for level in levels]),
        training.stack([begin(SGD) for _ in levels]),
        DATA,
        jnp.stack([jax.random.key(0), jax.random.key(1)]),
        optimizer=SGD,
        epochs=2,
        batch_size=10,
        **how,
    )
    together = [(report.cost, jax.device_get(report.state)) for report in fit]
    for i, level in enumerate(levels):
        alone = training.fit(
            dae(level),
            begin(SGD),
            DATA,
            jax.random.key(i),
            optimizer=SGD,
            epochs=2,
            batch_size=10,
            **how,
        )
        costs = [(float(report.cost), jax.device_get(report.state)) for report in alone]
        assert [float(cost[i]) for cost, _ in together] == [cost for cost, _ in costs]
        assert_same(training.member(together[-1][1], i), costs[-1][1])


# ---- resuming --------------------------------------------------------------------------------


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("how", [{}, {"shuffle": True}, {"shuffle": "blocks"}, {"updates": 14}])
@pytest.mark.parametrize("name", ["sgd", pytest.param("adam", marks=SLOW)])
def test_a_resumed_run_repeats_the_uninterrupted_one_to_the_bit(how, name):
    optimizer = training.optimiser(name, 0.01)
    whole, state = train(optimizer=optimizer, epochs=4, **how)
    _, half = train(optimizer=optimizer, epochs=2, **how)
    rest = list(
        training.fit(
            dae(),
            jax.tree.map(jnp.asarray, half),
            DATA,
            jax.random.key(0),
            optimizer=optimizer,
            epochs=4,
            batch_size=10,
            start=2,
            **how,
        )
    )
    assert [(r.epoch, float(r.cost)) for r in rest] == whole[2:]
    assert_same(state, jax.device_get(rest[-1].state))


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, *(pytest.param(n, marks=SLOW) for n in (2, 11))])
def test_a_sweeps_members_are_the_runs_alone(n):
    # of the two devices of conftest.py, 3 members take one, and 11 need padding
    assert len(jax.devices()) == 2
    assert training.member_mesh(n).size == {2: 2, 3: 1, 11: 2}[n]
    levels = np.linspace(0, 1, n).tolist()
    optimizer = SGD
    params = [ae.init_tutorial(1, V, H) for _ in levels]
    costs, states = training.sweep([dae(level) for level in levels], params, optimizer)
    keys = jnp.stack([jax.random.key(0) for _ in levels])
    reports = [
        (r.cost, jax.device_get(r.state))
        for r in training.fit(
            costs, states, DATA, keys, optimizer=optimizer, epochs=3, batch_size=10
        )
    ]
    assert reports[-1][0].shape == (n,)
    for i, level in enumerate(levels):
        told, state = train(level)
        np.testing.assert_array_equal([c[i] for c, _ in reports], np.float32([c for _, c in told]))
        assert_same(training.member(reports[-1][1], i), state)


def test_a_member_of_arrays_on_two_devices_is_taken_from_its_own():
    """A slice across devices is a collective operation, which a busy machine can end with."""
    assert len(jax.devices()) == 2
    members = jnp.arange(12.0).reshape(4, 3)
    spread = training._spread(members, training.member_mesh(4))
    assert len(spread.sharding.device_set) == 2
    for i in range(4):
        own = training.member({"W": spread}, i)["W"]
        assert isinstance(own, np.ndarray)
        np.testing.assert_array_equal(own, members[i])
    with pytest.raises(IndexError):
        training.member(spread, 4)
    assert isinstance(training.member(members, 1), jax.Array)


@pytest.mark.slow
def test_members_trained_at_once_as_on_a_gpu_equal_members_trained_in_turn(monkeypatch):
    monkeypatch.setattr(training, "_one_after_another", lambda mesh: False)
    optimizer = SGD
    levels = [0.0, 0.3, 0.5]
    fit = training.fit(
        training.stack([dae(level) for level in levels]),
        training.stack([begin(optimizer) for _ in levels]),
        DATA,
        jnp.stack([jax.random.key(0) for _ in levels]),
        optimizer=optimizer,
        epochs=2,
        batch_size=10,
    )
    costs = np.array([report.cost for report in fit]).T
    for level, together in zip(levels, costs, strict=True):
        alone = [cost for _, cost in train(level, epochs=2)[0]]
        # the same masks; a batched product may round otherwise
        np.testing.assert_allclose(together, alone, rtol=1e-5)


def resting(stops, how):
    """The reports of a sweep whose members stop after so many epochs, of four."""
    n = len(stops)
    fit = training.fit(
        training.stack([dae()] * n),
        training.stack([begin(SGD)] * n),
        DATA,
        jnp.stack([jax.random.key(0)] * n),
        optimizer=SGD,
        epochs=4,
        batch_size=10,
        finished=lambda epoch: np.array(stops) <= epoch,
        **how,
    )
    return [report._replace(state=jax.device_get(report.state)) for report in fit]


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("how", [{}, {"devices": 2}, {"block_size": 20}])
def test_finished_members_stay_as_they_are_and_the_others_are_the_runs_alone(
    how, at_once, monkeypatch
):
    # with two devices, three members have the minibatches of each split over both
    if at_once:
        monkeypatch.setattr(training, "_one_after_another", lambda mesh: False)
    stops = [2, 4, 3]
    reports = resting(stops, how)
    whole = [report for report in reports if report.part is None]
    assert all(report.finite for report in reports)
    alone = [report for report in resting([4], how) if report.part is None]
    for i, stop in enumerate(stops):
        own = [report.cost[i] for report in whole]
        assert np.isnan(own[stop:]).all()
        np.testing.assert_allclose(own[:stop], [r.cost[0] for r in alone[:stop]], rtol=1e-6)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
            training.member(whole[-1].state, i),
            training.member(alone[stop - 1].state, 0),
        )
        assert_same(training.member(whole[-1].state, i), training.member(whole[stop - 1].state, i))


def test_finished_members_compute_nothing_where_they_are_trained_in_turn():
    seen = []

    def told(params, batch, key, *, member):
        jax.debug.callback(lambda i: seen.append(int(i)), member)
        return (batch * params).mean()

    fit = training.fit(
        training.stack([training.bind(told, member=i) for i in range(3)]),
        training.stack([training.start_state(jnp.zeros(()), SGD)] * 3),
        np.ones((4, 1), np.float32),
        jnp.stack([jax.random.key(0)] * 3),
        optimizer=SGD,
        epochs=2,
        batch_size=2,
        finished=lambda epoch: np.array([epoch == 1, False, epoch == 1]),
    )
    for _ in fit:
        jax.effects_barrier()
    assert sorted(seen) == [0, 0, 1, 1, 1, 1, 2, 2]


def test_a_sweep_compiles_once():
    traces = []

    def counted(*args, **kwargs):
        traces.append(1)
        return ae.denoising_cost(*args, **kwargs)

    optimizer = SGD
    costs = training.stack([dae(level, counted) for level in (0.0, 0.2, 0.4)])
    fit = training.fit(
        costs,
        training.stack([begin(optimizer)] * 3),
        DATA,
        jnp.stack([jax.random.key(0)] * 3),
        optimizer=optimizer,
        epochs=3,
        batch_size=10,
    )
    for _ in fit:
        assert len(traces) == 1


@pytest.mark.parametrize("batch_size", [0, -1, 44])
def test_an_impossible_batch_size_is_refused_before_anything_runs(batch_size):
    with pytest.raises(InputError, match=f"expected 1 to 43.*got {batch_size}"):
        train(batch_size=batch_size)


@pytest.mark.parametrize(("rate", "finite"), [(0.1, True), (np.inf, False)])
def test_a_report_says_whether_costs_and_parameters_are_finite(rate, finite):
    """One step: its cost is that of the first parameters and finite; its result is not."""
    optimizer = training.optimiser("sgd", rate)
    (report,) = training.fit(
        dae(),
        begin(optimizer),
        DATA,
        jax.random.key(0),
        optimizer=optimizer,
        epochs=1,
        batch_size=43,
    )
    assert np.isfinite(report.cost)
    assert report.finite is finite


# ---- a minibatch in parts --------------------------------------------------------------------


def squares(params, batch, key, *, scale, decay=None):
    """A mean over images of pairs, with a penalty."""
    images, targets = batch
    z = jnp.tanh(images.astype(jnp.float32) / scale @ params["W"]) + params["b"]
    value = jnp.square(z - targets).sum(axis=1).mean()
    return value if decay is None else value + decay * jnp.square(params["W"]).sum()


def pairs(n=12):
    rng = np.random.default_rng(0)
    params = {"W": rng.normal(size=(5, 3)), "b": rng.normal(size=3)}
    batch = rng.integers(0, 256, (n, 5), np.uint8), rng.normal(size=(n, 3)).astype(np.float32)
    return jax.tree.map(jnp.float32, params), batch


def graded(cost, params, batch, seed=0):
    return jax.jit(jax.value_and_grad(cost))(params, batch, jax.random.key(seed))


@pytest.mark.parametrize("size", [1, 3, 12])
@pytest.mark.parametrize("numbers", [{"scale": 255}, {"scale": 100, "decay": 0.3}])
def test_a_cost_in_parts_and_its_gradient_are_those_of_the_whole_minibatch(size, numbers):
    params, batch = pairs()
    parts = partial(training.in_parts, cost=squares, size=size)
    value, gradient = graded(training.bind(parts, **numbers), params, batch)
    wanted, expected = graded(training.bind(squares, **numbers), params, batch)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), gradient, expected)
    # the chain rule goes through it
    parts = training.bind(parts, **numbers)
    _, threefold = graded(lambda *args: 3 * parts(*args), params, batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, 3 * b, rtol=1e-5, atol=1e-6), threefold, gradient
    )


def test_without_a_gradient_a_cost_in_parts_is_the_same():
    params, batch = pairs()
    cost = training.bind(partial(training.in_parts, cost=squares, size=4), scale=255)
    value, _ = graded(cost, params, batch)
    assert float(jax.jit(cost)(params, batch, jax.random.key(0))) == pytest.approx(float(value))


def test_each_part_draws_its_own_random_numbers():
    drawn = []

    def spy(params, batch, key):
        jax.debug.callback(lambda k: drawn.append(tuple(k.tolist())), jax.random.key_data(key))
        return jnp.square(params).sum() + 0 * batch.astype(jnp.float32).sum()

    cost = training.bind(partial(training.in_parts, cost=spy, size=3))
    for seed in (0, 1):
        graded(cost, jnp.ones(2), np.zeros((12, 1), np.uint8), seed)
        jax.effects_barrier()
    assert len(set(drawn)) == 8


@pytest.mark.slow
def test_a_network_trained_in_parts_is_trained_as_a_whole():
    def learn(cost):
        params, (images, targets) = pairs(40)
        keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
        sgd = training.optimiser("sgd", 0.05)
        costs, state = training.sweep([cost, cost], [params, params], sgd)
        for report in training.fit(
            costs, state, (images, targets), keys, optimizer=sgd, epochs=5, batch_size=20
        ):
            last = report.cost, jax.device_get(report.state.params)
        return last

    whole = learn(training.bind(squares, scale=255))
    parts = learn(training.bind(partial(training.in_parts, cost=squares, size=5), scale=255))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), parts, whole)


# ---- a sweep whose members have their own images ---------------------------------------------


def test_updates_that_end_before_the_last_epoch_are_refused():
    words = ("updates", "more than the 4", "got 4", "fewer epochs")
    refused(lambda: train(epochs=2, updates=4), *words)


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, {"shuffle": True}])
def test_members_with_images_of_their_own_are_the_runs_alone(how):
    # 5 members on 2 devices: the last one is repeated
    data = np.random.default_rng(1).integers(0, 256, (5, 43, V), np.uint8)
    levels, optimizer = [0.0, 0.1, 0.2, 0.3, 0.5], SGD
    fit = training.fit(
        training.stack([dae(level) for level in levels]),
        training.stack([begin(optimizer) for _ in levels]),
        data,
        jnp.stack([jax.random.key(0) for _ in levels]),
        optimizer=optimizer,
        epochs=2,
        batch_size=10,
        own_data=True,
        **how,
    )
    reports = [(report.cost, jax.device_get(report.state)) for report in fit]
    assert len(reports) == 2
    for i, level in enumerate(levels):
        told, state = train(level, data=data[i], optimizer=optimizer, epochs=2, **how)
        np.testing.assert_array_equal([c[i] for c, _ in reports], np.float32([c for _, c in told]))
        assert_same(training.member(reports[-1][1], i), state)


def test_the_batch_size_is_compared_with_the_images_of_one_member():
    with pytest.raises(InputError, match=r"expected 1 to 5.*got 6"):
        training.fit(
            dae(),
            begin(optax.sgd(0.1)),
            np.zeros((9, 5, V), np.uint8),
            jnp.stack([jax.random.key(0)] * 9),
            optimizer=optax.sgd(0.1),
            epochs=1,
            batch_size=6,
            own_data=True,
        )


# ---- the optimisers by name ------------------------------------------------------------------

WEIGHTS = ae.init_tutorial(1, V, H, b=np.arange(H), b_prime=np.ones(V))


def steps(optimizer, n):
    """The n updates of `WEIGHTS` if every gradient is 1."""
    params, state, update = WEIGHTS, optimizer.init(WEIGHTS), jax.jit(optimizer.update)
    ones = jax.tree.map(jnp.ones_like, WEIGHTS)
    for _ in range(n):
        updates, state = update(ones, state, params)
        params = optax.apply_updates(params, updates)
        yield updates


def test_weight_decay_applies_to_matrices_and_not_to_biases():
    optimizer = training.optimiser("sgd", 0.1, weight_decay=0.01)
    W = np.asarray(WEIGHTS.W, float)
    for updates in steps(optimizer, 3):
        expected = -0.1 * (1 + 0.01 * W)
        # float32 numbers near .1
        np.testing.assert_allclose(updates.W, expected, rtol=1e-5)
        W += expected
        np.testing.assert_allclose(updates.b, -0.1, rtol=1e-6)
        np.testing.assert_allclose(updates.b_prime, -0.1, rtol=1e-6)


def test_weight_decay_is_the_gradient_of_half_the_squared_norm():
    plain = training.optimiser("momentum", 0.1)
    decayed = training.optimiser("momentum", 0.1, weight_decay=0.02)

    def penalty(params):
        return 0.01 * jnp.sum(params.W**2) + sum(leaf.sum() for leaf in params)

    params, state = WEIGHTS, plain.init(WEIGHTS)
    for updates in steps(decayed, 3):
        by_hand, state = plain.update(jax.grad(penalty)(params), state, params)
        params = optax.apply_updates(params, by_hand)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), updates, by_hand)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_decay_multiplies_the_steps_after_every_epoch(name):
    decayed = training.optimiser(name, 0.1, decay=0.5, updates=3)
    plain = training.optimiser(name, 0.1)
    both = zip(steps(decayed, 9), steps(plain, 9), strict=True)
    for n, (slow, full) in enumerate(both):
        rate = 0.5 ** (n // 3)
        # the gradient is always 1, so that adam's steps do not depend on those before, either
        jax.tree.map(
            lambda a, b, r=rate: np.testing.assert_allclose(a, r * b, rtol=1e-5), slow, full
        )


@pytest.mark.usefixtures("standard_promotion")
def test_decay_counts_the_epochs_of_fit():
    gradient = jnp.float32(2)
    optimizer = training.optimiser("sgd", 0.1, decay=0.5, updates=4)
    fit = training.fit(
        jax.tree_util.Partial(lambda w, batch, key: jnp.sum(w * batch.astype(float)) * 0 + 2 * w),
        training.start_state(jnp.float32(1), optimizer),
        DATA,
        jax.random.key(0),
        optimizer=optimizer,
        epochs=3,
        batch_size=10,
    )
    w = [float(report.state.params) for report in fit]
    per_epoch = 4 * 0.1 * gradient * np.array([1, 0.5, 0.25])
    np.testing.assert_allclose(w, 1 - np.cumsum(per_epoch), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    "name",
    ["adamw", *(pytest.param(n, marks=SLOW) for n in ("rmsprop", "lion", "adagrad", "adafactor"))],
)
def test_any_optimiser_of_optax_has_its_own_name(name):
    mine = steps(training.optimiser(name, 0.01), 3)
    optaxs = steps(getattr(optax, name)(0.01), 3)
    for ours, theirs in zip(mine, optaxs, strict=True):
        # the learning rate is a float32 here, a Python number there
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-8), ours, theirs)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("admw", "did you mean adamw?"),
        ("momentun", "did you mean momentum?"),
        ("Adam", "did you mean adam?"),
        ("newton", "sgd, momentum or adam"),
        ("", "sgd, momentum or adam"),
        ("global_norm", "expected momentum, or an optimiser of Optax"),
        ("__name__", "expected momentum, or an optimiser of Optax"),
    ],
)
def test_an_unknown_optimiser_is_one_line_with_what_to_try(name, told):
    refused(lambda: training.optimiser(name, 0.1), "optimiser", f"got {name}", told)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Optax's, of dpsgd
@pytest.mark.parametrize("name", ["lbfgs", "dpsgd", "Schedule"])
def test_optimisers_that_need_more_than_a_learning_rate_are_refused_too(name):
    """Line searches need the cost itself, private descent its noise: `fit` passes neither."""
    refused(lambda: training.optimiser(name, 0.1), "optimiser", name)


# ---- costs with their numbers, and sweeps of them --------------------------------------------


def test_bound_numbers_are_traced_arrays_and_none_stays_none():
    def cost(params, batch, key, a, b, c):
        return a * params + b[0] - b[1] if c is None else jnp.float32(0)

    bound = training.bind(cost, a=2, b=(0.5, 3), c=None)
    assert float(bound(jnp.float32(4), None, None)) == 5.5
    assert [leaf.dtype for leaf in jax.tree.leaves(bound)] == [jnp.float32] * 3
    other = training.bind(cost, a=1, b=(0, 0), c=None)
    assert jax.tree.structure(other) == jax.tree.structure(bound)


def test_a_sweep_stacks_costs_and_states_and_its_members_are_those_alone():
    optimizer = training.optimiser("momentum", 0.1)
    params = [ae.init_tutorial(seed, V, H) for seed in (1, 2)]
    cost, state = training.sweep([dae(0.1), dae(0.2)], params, optimizer)
    assert [leaf.shape for leaf in jax.tree.leaves(cost)] == [(2,), (2,)]
    for i, one in enumerate(params):
        alone = training.start_state(one, optimizer)
        assert_same(training.member(state, i), alone)
    assert not params[0].W.is_deleted()


def test_logged_reports_are_the_same_and_each_is_logged_before_it_is_passed_on():
    entries = []
    how = dict(optimizer=SGD, epochs=3, batch_size=10)
    reports = training.fit(dae(), begin(SGD), DATA, jax.random.key(0), **how)
    passed = []
    for report in training.logged(reports, lambda values, step: entries.append((step, values))):
        assert entries[-1] == (report.epoch, {"cost": report.cost, "seconds": report.seconds})
        assert type(entries[-1][1]["cost"]) is float
        passed.append(report.epoch)
        if report.epoch == 2:
            break
    assert passed == [step for step, _ in entries] == [1, 2]


def test_a_sweep_is_logged_with_one_entry_per_member():
    reports = [training.Report(4, np.float32([2.0, 0.5]), True, 1.5, training.State((), ()))]
    entries = []
    (report,) = training.logged(reports, lambda values, step: entries.append((step, values)))
    assert report is reports[0]
    assert entries == [(4, {"cost/0": 2.0, "cost/1": 0.5, "seconds": 1.5})]


def test_a_plain_watch_does_nothing():
    watch = training.Watch()
    report = training.Report(1, np.zeros(()), True, 0.1, training.State((), ()))
    assert watch.after(report) == {} and not watch.done(1) and watch.kept == ()


# ---- a second set of rows beside each minibatch ----------------------------------------------


def counts(params, batch, key):
    """A cost whose gradient says how often each labelled row, and each pair, was seen."""
    rows, labelled = batch
    seen = jnp.zeros_like(params["seen"]).at[labelled].add(1.0)
    return (params["seen"] * seen).sum() + params["together"] * (labelled.std() + rows.mean())


COUNTED = training.bind(counts)


def seen_after(epochs, n_labelled, size, n=12, batch_size=3, start=0, state=None):
    """How often each of the labelled rows was seen."""
    plain = training.optimiser("sgd", 1.0)
    state = state or training.start_state(
        {"seen": jnp.zeros(n_labelled), "together": jnp.zeros(())}, plain
    )
    rows = np.arange(n, dtype=np.float32)
    reports = training.fit(
        COUNTED,
        state,
        rows,
        jax.random.key(3),
        optimizer=plain,
        epochs=epochs,
        batch_size=batch_size,
        shuffle=True,
        start=start,
        labelled=np.arange(n_labelled, dtype=np.int32),
        labelled_batch_size=size,
    )
    return [jax.device_get(report.state.params) for report in reports]


@pytest.mark.parametrize(
    ("n_labelled", "size", "each"),
    [(2, 2, 4), (4, 2, 2), (8, 2, 1)],  # of 4 minibatches of 2 in an epoch
)
def test_labelled_rows_are_repeated_until_the_epoch_ends(n_labelled, size, each):
    (params,) = seen_after(1, n_labelled, size)
    np.testing.assert_array_equal(-params["seen"], each)


def test_of_labelled_rows_that_do_not_divide_others_are_left_out_in_each_epoch():
    epochs = seen_after(20, 5, 4)
    once = np.diff([0 * epochs[0]["seen"], *(-epoch["seen"] for epoch in epochs)], axis=0)
    assert (np.sort(once, axis=1) == [0, 4, 4, 4, 4]).all()  # one is left out
    assert (once == 0).any(axis=0).all()  # in the end, each was


def test_more_labelled_rows_than_an_epoch_needs_are_not_all_seen_in_it():
    (params,) = seen_after(1, 30, 2)
    assert (-params["seen"]).sum() == 8 and set(-params["seen"]) == {0.0, 1.0}


def test_with_labelled_rows_a_resumed_run_is_the_uninterrupted_one():
    whole = seen_after(4, 5, 2)
    plain = training.optimiser("sgd", 1.0)
    after_two = training.start_state(jax.tree.map(jnp.asarray, whole[1]), plain)
    resumed = seen_after(4, 5, 2, start=2, state=after_two)
    jax.tree.map(np.testing.assert_array_equal, resumed[-1], whole[-1])


def test_each_member_of_a_sweep_has_labelled_rows_of_its_own():
    plain = training.optimiser("sgd", 1.0)
    begin = {"seen": jnp.zeros(6), "together": jnp.zeros(())}
    cost, state = training.sweep([COUNTED] * 2, [begin] * 2, plain)
    (report,) = training.fit(
        cost,
        state,
        np.arange(12, dtype=np.float32),
        jnp.stack([jax.random.key(3), jax.random.key(4)]),
        optimizer=plain,
        epochs=1,
        batch_size=3,
        labelled=np.array([[0, 1, 2], [3, 4, 5]], np.int32),
        labelled_batch_size=3,
    )
    expected = [[4, 4, 4, 0, 0, 0], [0, 0, 0, 4, 4, 4]]
    np.testing.assert_array_equal(-np.asarray(report.state.params["seen"]), expected)


@pytest.mark.parametrize("size", [None, 0, 3])
def test_an_impossible_number_of_labelled_rows_is_refused(size):
    refused(lambda: seen_after(1, 2, size), "labelled batch size", "1 to 2")


def test_a_rate_falls_to_zero_the_same_amount_after_every_epoch():
    steps = training.optimiser("sgd", 1.0, falling=(2, 6), updates=3)
    state, sizes = steps.init(jnp.zeros(())), []
    for _ in range(18):
        step, state = steps.update(jnp.ones(()), state)
        sizes.append(-float(step))
    expected = np.repeat([1.0, 1.0, 1.0, 0.75, 0.5, 0.25], 3)
    np.testing.assert_allclose(sizes, expected, rtol=1e-6)


# ---- any cost, in one call ------------------------------------------------------------------


def mean_distance(params, batch, key, power=2.0, inner=None):
    distance = batch.astype(float) / 255 - params
    return jnp.mean(jnp.abs(distance if inner is None else inner(distance)) ** power)


def fitted(*args, **how):
    return list(reports(*args, **how))


def reports(cost=mean_distance, state=None, data=DATA, key=None, **how):
    state = training.start_state(jnp.zeros(V), SGD) if state is None else state
    key = jax.random.key(0) if key is None else key
    how = dict(optimizer=SGD, epochs=2, batch_size=10) | how
    return training.fit(cost, state, data, key, **how)


@pytest.mark.parametrize("block_size", [None, 20])
def test_training_can_be_broken_off_by_whoever_asks_for_the_reports(block_size):
    begun = itertools.islice(reports(epochs=sys.maxsize, block_size=block_size), 2)
    assert [r.cost for r in begun] == [r.cost for r in fitted(block_size=block_size)[:2]]


def test_a_cost_is_any_function():
    bound = training.bind(mean_distance)
    assert [r.cost for r in fitted()] == [r.cost for r in fitted(bound)]
    assert [r.cost for r in fitted(partial(mean_distance, power=2.0))] == [r.cost for r in fitted()]


def test_bound_numbers_are_traced_and_names_functions_and_flags_are_code():
    traces = []

    def inner(distance):
        traces.append(1)
        return 2 * distance

    costs = []
    for power in (2.0, 3.0):
        cost = training.bind(training.bind(mean_distance, inner=inner), power=power)
        costs += [fitted(cost)[0].cost]
    assert costs[0] != costs[1]
    assert len(traces) == 1  # neither the number nor a cost that is bound anew recompiles


@pytest.mark.usefixtures("standard_promotion")
def test_another_learning_rate_recompiles_nothing():
    traces = []

    def counting(params, batch, key):
        traces.append(1)
        return mean_distance(params, batch, key)

    ends = []
    for rate in (0.001, 0.002):
        rule = training.optimiser("adam", rate)
        state = training.start_state(jnp.zeros(V), rule)
        ends += [np.asarray(fitted(counting, state, optimizer=rule)[-1].state.params)]
    assert len(traces) == 1
    assert np.abs(ends[1]).max() > 1.5 * np.abs(ends[0]).max()  # and yet the rate is another


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(state=jnp.zeros(V)), ("state", "State", "start_state(params, optimizer)")),
        (dict(key=0), ("key", "a random key", "got 0", "jax.random.key(0)")),
        (dict(key=np.zeros(2, np.uint32)), ("key", "uint32", "jax.random.key(0)")),
        (dict(cost=0.5), ("cost", "a function", "float")),
        (dict(data=[[1.0, 2.0]]), ("data", "arrays of numbers", "float")),
        (dict(data=np.array([["a"]], object)), ("data", "arrays of numbers", "object")),
        (dict(data=(DATA, DATA[:9])), ("data", "one number of images", "9 and 43")),
        (dict(data=DATA[:0]), ("data", "one number of images", "0")),
    ],
)
def test_a_wrong_argument_is_one_line(given, words, monkeypatch):
    for name in ("fit", "bind"):  # without the tests' type checks
        monkeypatch.setattr(training, name, getattr(training, name).__wrapped__)
    refused(lambda: fitted(**given), *words)


def test_a_data_frame_is_one_line_whose_advice_works():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(DATA.astype(np.float32))
    refused(lambda: fitted(data=frame), "data", "DataFrame", "np.asarray(data, np.float32)")
    assert fitted(data=np.asarray(frame, np.float32))[0].finite


def test_donated_parameters_are_one_line_whose_advice_works():
    params = jnp.zeros(V)
    state = training.start_state(params, SGD)
    report = fitted(state=state)[-1]
    refused(lambda: fitted(state=state), "state", "donated", "report.state")
    refused(lambda: training.start_state(params, SGD), "params", "donated")
    assert fitted(state=report.state)[0].finite


def test_data_that_make_the_cost_nan_are_named_and_a_cost_that_knows_nan_is_trained():
    data = DATA.astype(np.float32)
    data[7, 3] = np.nan
    refused(lambda: fitted(data=data), "data", "finite", "nan at 7, 3")
    cost = training.bind(ae.denoising_cost, level=0.3, pixel_scale=255, missing=True)
    state = begin(SGD)
    assert all(report.finite for report in fitted(cost, state, data / 255))


def test_a_bound_value_that_is_neither_a_number_nor_code_is_one_line():
    refused(lambda: training.bind(mean_distance, power=object()), "power", "numbers", "partial")


def test_train_is_fit_with_its_costs_and_keeps_the_parameters_that_it_was_given():
    params = jnp.zeros(V)
    how = dict(epochs=3, batch_size=10, learning_rate=0.1, seed=4, shuffle=False)
    trained, costs = training.train(mean_distance, params, DATA, power=3.0, **how)
    rule = training.optimiser("sgd", 0.1)
    state = training.start_state(jnp.zeros(V), rule)
    bound = training.bind(mean_distance, power=3.0)
    reports = fitted(bound, state, key=jax.random.key(4), optimizer=rule, epochs=3)
    np.testing.assert_array_equal(costs, [r.cost for r in reports])
    np.testing.assert_array_equal(trained, reports[-1].state.params)
    assert not params.is_deleted()


def test_a_training_that_diverges_is_one_line():
    refused(
        lambda: training.train(mean_distance, jnp.ones(V), DATA, epochs=99, learning_rate=1e30),
        "diverged in epoch",
        "lower learning_rate, which is 1e+30",
    )
