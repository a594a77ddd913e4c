"""One model on several devices, and members beside them: the same costs as on one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import autoencoder, console, train, training
from helpers import assert_one_line, read_json, refused

V, H, N = 36, 8, 205
DATA = np.random.default_rng(0).integers(0, 256, (N, V), np.uint8)
ROUNDING = 1e-6  # relative; sums over a minibatch are taken in another order


def cost(noise):
    return training.bind(
        autoencoder.denoising_cost,
        level=0.3,
        pixel_scale=255.0,
        noise=noise,
        objective="cross-entropy",
        decoder="sigmoid",
    )


def fit(members=None, noise="masking", name="sgd", **how):
    """The reports of three epochs of one model, or of several members."""
    optimizer = training.optimiser(name, 0.1)
    params = [autoencoder.init_tutorial(seed, V, H) for seed in range(members or 1)]
    if members is None:
        own, state, key = cost(noise), training.start_state(params[0], optimizer), jax.random.key(0)
    else:
        own, state = training.sweep([cost(noise)] * members, params, optimizer)
        key = jnp.stack([jax.random.key(seed) for seed in range(members)])
    usual = {"optimizer": optimizer, "epochs": 3, "batch_size": 10, "shuffle": True}
    return [
        r._replace(state=jax.device_get(r.state))
        for r in training.fit(own, state, DATA, key, **usual | how)
    ]


def assert_close(one, other):
    for a, b in zip(one, other, strict=True):
        assert (a.epoch, a.part is None) == (b.epoch, b.part is None)
        np.testing.assert_allclose(a.cost, b.cost, rtol=ROUNDING)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        one[-1].state.params,
        other[-1].state.params,
    )


@pytest.mark.parametrize("noise", ["masking", "gaussian", "salt-and-pepper", "swap"])
def test_two_devices_give_the_costs_of_one(noise):
    assert len(jax.devices()) == 2
    assert_close(fit(noise=noise), fit(noise=noise, devices=2))


@pytest.mark.parametrize(
    "how", [{"shuffle": False}, {"shuffle": "blocks"}, {"block_size": 50}, {"name": "momentum"}]
)
def test_so_they_do_in_every_order_in_blocks_and_with_another_optimiser(how):
    assert_close(fit(**how), fit(**how, devices=2))


def test_one_device_changes_nothing():
    for one, other in zip(fit(), fit(devices=1), strict=True):
        np.testing.assert_array_equal(one.cost, other.cost)


@pytest.mark.parametrize("members", [1, 2, 3])
def test_members_come_first_and_split_their_batches_on_the_devices_that_are_left(members):
    # one member is split over both; of three, two at a time would leave one device idle
    mesh = training._mesh(members, 2, 10)
    assert dict(mesh.shape) == {1: {"member": 1, "data": 2}, 2: {"member": 2}}.get(
        members, {"member": 1, "data": 2}
    )
    assert_close(fit(members), fit(members, devices=2))


def test_devices_that_do_not_exist_or_do_not_divide_the_batch_are_refused():
    refused(lambda: fit(devices=3), "devices: expected 1 to 2", "got 3")
    refused(lambda: fit(devices=0), "devices: expected 1 to 2", "got 0")
    refused(
        lambda: fit(devices=2, batch_size=5), "batch size of 5", "the 2 devices", "remainder of 1"
    )


def test_a_run_on_two_devices_has_the_costs_of_one(train_small, call, monkeypatch):
    monkeypatch.setattr(console, "cores", lambda: 2)
    train_small("--run-dir", "one", "--batch-size", "10")
    status, _, err = train_small("--run-dir", "two", "--batch-size", "10", "--devices", "all")
    assert (status, err) == (0, "")
    one, two = (read_json(f"{run}/results.json") for run in ("one", "two"))
    np.testing.assert_allclose(one["cost"], two["cost"], rtol=ROUNDING)
    # resumed on one device: the same run
    status, _, err = call(train.main, "--resume", "--run-dir", "two", "--epochs", "4")
    assert (status, err) == (0, "")
    for number in ("0", "-1"):
        status, _, err = train_small("--run-dir", "none", f"--devices={number}")
        assert status == 2
        assert_one_line(err, "--devices", "at least 1", f"got {number}")
