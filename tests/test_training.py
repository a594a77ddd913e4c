"""The loop: what a scan must share with a plain loop, and a sweep with its members alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dae_jax import autoencoder as ae
from dae_jax import corruption, training
from dae_jax.errors import InputError

V, H = 16, 6
DATA = np.random.default_rng(0).integers(0, 256, (43, V), np.uint8)


def dae(level=0.3, cost=ae.denoising_cost):
    return jax.tree_util.Partial(cost, level=jnp.float32(level), pixel_scale=jnp.float32(255))


def begin(optimizer, seed=1):
    return training.start_state(ae.init_tutorial(seed, V, H), optimizer)


def train(level=0.3, *, data=DATA, optimizer=None, epochs=3, batch_size=10, **how):
    optimizer = optimizer or training.optimiser("sgd", 0.1)
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
    params = ae.init_tutorial(1, V, H)
    costs = []
    for epoch in range(2):
        for i in range(4):
            x = jnp.asarray(DATA[10 * i : 10 * i + 10] / np.float32(255))
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), epoch), i)
            x_tilde = corruption.mask(key, x, 0.3)
            value, grads = jax.value_and_grad(ae.cost)(params, x, x_tilde)
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


def test_nothing_is_compiled_after_the_first_epoch_nor_for_another_level_or_rate():
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
    optimizer = training.optimiser("sgd", 0.1)
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


@pytest.fixture
def _lenient_dtypes():
    """Optax's own Adam mixes its integer step count with floats, which is its business."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("_lenient_dtypes")
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_every_optimiser_lowers_the_cost(name):
    rate = 0.01 if name == "adam" else 0.05
    told, _ = train(optimizer=training.optimiser(name, rate), epochs=20)
    assert told[-1][1] < told[0][1]


def test_any_optax_optimiser_does():
    told, _ = train(optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.lion(1e-3)))
    assert np.isfinite(told[-1][1])


def test_optimisers_are_the_textbooks():
    told, state = train(optimizer=training.optimiser("sgd", 0.2))
    again, plain = train(optimizer=optax.sgd(0.2))
    assert told == again
    assert_same(state.params, plain.params)


def test_noise_differs_from_step_to_step_and_epoch_to_epoch():
    seen = []

    def spy(params, batch, key, *, level, pixel_scale):
        jax.debug.callback(lambda k: seen.append(tuple(k.tolist())), jax.random.key_data(key))
        return ae.denoising_cost(params, batch, key, level=level, pixel_scale=pixel_scale)

    optimizer = training.optimiser("sgd", 0.1)
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


def test_shuffling_visits_every_image_once_an_epoch_in_another_order():
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


@pytest.mark.usefixtures("_lenient_dtypes")
@pytest.mark.parametrize("how", [{}, {"shuffle": True}])
@pytest.mark.parametrize("name", ["sgd", "adam"])
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


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_sweeps_members_are_the_runs_alone(n):
    # 3 members on the two devices that conftest.py asks for need padding
    assert len(jax.devices()) == 2
    levels = [0.0, 0.3, 0.5, 0.9][:n]
    optimizer = training.optimiser("sgd", 0.1)
    states = training.stack([begin(optimizer) for _ in levels])
    keys = jnp.stack([jax.random.key(0) for _ in levels])
    costs = training.stack([dae(level) for level in levels])
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


def test_members_at_once_as_on_a_gpu_do_what_members_in_turn_do(monkeypatch):
    monkeypatch.setattr(training, "_one_after_another", lambda mesh: False)
    optimizer = training.optimiser("sgd", 0.1)
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


def test_a_sweep_compiles_once():
    traces = []

    def counted(*args, **kwargs):
        traces.append(1)
        return ae.denoising_cost(*args, **kwargs)

    optimizer = training.optimiser("sgd", 0.1)
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
def test_a_report_knows_when_costs_or_parameters_are_not_finite(rate, finite):
    """One step: its cost is that of the first parameters, and good; its outcome is not."""
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
