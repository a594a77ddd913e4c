"""The one training loop: a compiled scan per epoch, and plain Python around it.

A model is a pytree of parameters and a pure ``cost(params, batch, key) -> scalar``. The cost is
passed as a `jax.tree_util.Partial`, whose bound numbers (a corruption level, say) are arguments of
the compiled program and not constants in it: another level compiles nothing anew, and a stack of
costs is a sweep.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Key

from dae_jax.errors import InputError

PyTree = Any
MEMBER = PartitionSpec("member")
EVERYWHERE = PartitionSpec()


class State(NamedTuple):
    """What the next step needs. A sweep's state has a leading axis of members on every leaf."""

    params: PyTree
    opt_state: PyTree


class Report(NamedTuple):
    """What one epoch told.

    `state` is donated to the next epoch: take what you need of it before asking for the next
    report.
    """

    epoch: int  # counted from 1
    cost: np.ndarray  # mean over the epoch's minibatches; () or, in a sweep, (members,)
    finite: bool  # whether every cost and every parameter, of every member, is a finite number
    seconds: float
    state: State


def optimiser(
    name: Literal["sgd", "momentum", "adam"], learning_rate: float
) -> optax.GradientTransformation:
    """The Optax optimiser of that name, its learning rate a number in its state.

    Args:
        name: ``"sgd"`` is the tutorial's ``W -= learning_rate * gradient``; ``"momentum"`` adds .9
            of the step before; ``"adam"`` is Kingma & Ba's.
        learning_rate: Above 0. Traced, not compiled in.
    """
    make: Callable[..., optax.GradientTransformation] = {
        "sgd": optax.sgd,
        "momentum": partial(optax.sgd, momentum=0.9),
        "adam": optax.adam,
    }[name]
    return optax.inject_hyperparams(make)(learning_rate=learning_rate)


def _epoch(
    state: State,
    cost: Callable[..., Array],
    data: PyTree,
    key: Array,
    epoch: Array | int,
    *,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    shuffle: bool,
) -> tuple[State, tuple[Float[Array, ""], Bool[Array, ""]]]:
    """One pass over `data`, the function that everything below compiles.

    Returns:
        The new state; and the mean cost, and whether all that was computed is finite.
    """
    n_images = jax.tree.leaves(data)[0].shape[0]
    n_batches = n_images // batch_size
    epoch_key = jax.random.fold_in(key, epoch)
    if shuffle:
        # Steps use 0 .. n_batches - 1, so this key is no step's key.
        order = jax.random.permutation(jax.random.fold_in(epoch_key, n_batches), n_images)
        chosen = order[: n_batches * batch_size].reshape(n_batches, batch_size)
    else:
        used = jax.tree.map(lambda a: a[: n_batches * batch_size], data)
        chosen = jax.tree.map(lambda a: a.reshape(n_batches, batch_size, *a.shape[1:]), used)

    def step(state: State, xs: tuple[Array, PyTree]) -> tuple[State, Array]:
        i, batch = xs
        batch = jax.tree.map(lambda a: a[batch], data) if shuffle else batch
        value, gradient = jax.value_and_grad(cost)(
            state.params, batch, jax.random.fold_in(epoch_key, i)
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state), value

    state, costs = jax.lax.scan(step, state, (jnp.arange(n_batches), chosen))
    numbers = [costs, *jax.tree.leaves(state.params)]
    finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]))
    return state, (costs.mean(), finite)


_STATIC = ("optimizer", "batch_size", "shuffle")
run_epoch = partial(jax.jit, static_argnames=_STATIC, donate_argnames="state")(_epoch)


@partial(jax.jit, static_argnames=(*_STATIC, "mesh"), donate_argnames="state")
def run_sweep_epoch(
    state: State,
    cost: Callable[..., Array],
    data: PyTree,
    keys: Key[Array, "members"],
    epoch: Array | int,
    *,
    mesh: Mesh,
    **static: Any,
) -> tuple[State, tuple[Float[Array, "members"], Bool[Array, "members"]]]:
    """One epoch of every member of a sweep, the members spread over the devices of `mesh`."""

    def one(member: tuple[State, Any, Array], data: PyTree, epoch: Array) -> PyTree:
        state, cost, key = member
        return _epoch(state, cost, data, key, epoch, **static)

    def local(members: PyTree, data: PyTree, epoch: Array) -> PyTree:
        if _one_after_another(mesh):
            return jax.lax.map(lambda member: one(member, data, epoch), members)
        return jax.vmap(one, in_axes=(0, None, None))(members, data, epoch)

    spread = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(MEMBER, EVERYWHERE, EVERYWHERE),
        out_specs=MEMBER,
        check_vma=False,
    )
    return spread((state, cost, keys), data, jnp.asarray(epoch))


def _one_after_another(mesh: Mesh) -> bool:
    """How a device goes through its members.

    A GPU is kept busy by all of them at once. A CPU core is busy with one, and products of separate
    matrices run faster there than one batched product.
    """
    return mesh.devices.flat[0].platform == "cpu"


def stack(members: list[PyTree]) -> PyTree:
    """One pytree with a leading axis of members, out of pytrees of the same structure."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def member(tree: PyTree, index: int) -> PyTree:
    """One member of a stacked pytree."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def fit(
    cost: Callable[..., Array],
    state: State,
    data: PyTree,
    key: Array,
    *,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    shuffle: bool = False,
    start: int = 0,
) -> Iterator[Report]:
    """Train, yielding a `Report` after each epoch; everything else is code around this generator.

    Minibatches are taken in the order of the file unless `shuffle` asks for another order every
    epoch. **The remainder is dropped**: of 1,003 images and a batch size of 20, the last 3 (in the
    order of that epoch) are not seen, as in the tutorial. Keys are folded in by (epoch, step), so
    that a run resumed with ``start=k`` repeats to the bit what an uninterrupted one does after
    epoch k.

    Args:
        cost: ``cost(params, batch, key) -> scalar``, a `jax.tree_util.Partial`. In a sweep its
            numbers have a leading axis of members.
        state: From `start_state`, or a checkpoint. Donated: do not use it again.
        data: A pytree of arrays whose leading axis is the images; put on the device once.
        key: A key, or an array of keys, one a member: then this is a sweep.
        optimizer: Any Optax optimiser.
        epochs: The number of the last epoch, at least `start`.
        batch_size: Images a minibatch, 1 to the number of images.
        shuffle: Whether to draw a new order every epoch.
        start: Epochs that `state` has behind it.

    Raises:
        InputError: A batch larger than the data, or a size below 1.
    """
    n_images = jax.tree.leaves(data)[0].shape[0]
    if not 1 <= batch_size <= n_images:
        raise InputError(
            "batch size",
            expected=f"1 to {n_images}, the number of training images",
            got=batch_size,
            do="choose a smaller --batch-size or more images",
        )
    static: dict[str, Any] = dict(optimizer=optimizer, batch_size=batch_size, shuffle=shuffle)
    run = run_epoch
    n_members = 0
    if key.ndim:
        n_members = key.shape[0]
        mesh = member_mesh(n_members)
        cost, state, key = (_spread(tree, mesh) for tree in (cost, state, key))
        data = jax.device_put(data, NamedSharding(mesh, EVERYWHERE))
        run, static = run_sweep_epoch, static | {"mesh": mesh}
    else:
        data = jax.device_put(data)
    return _epochs(run, static, cost, state, data, key, start, epochs, n_members)


def _epochs(
    run: Callable[..., tuple[State, PyTree]],
    static: dict[str, Any],
    cost: Callable[..., Array],
    state: State,
    data: PyTree,
    key: Array,
    start: int,
    epochs: int,
    n_members: int,
) -> Iterator[Report]:
    for epoch in range(start, epochs):
        began = time.perf_counter()
        state, told = run(state, cost, data, key, epoch, **static)
        costs, finite = jax.device_get(told)  # waits for the device
        yield Report(
            epoch + 1,
            costs[:n_members] if n_members else costs,
            bool(np.all(finite)),
            time.perf_counter() - began,
            jax.tree.map(lambda a: a[:n_members], state) if n_members else state,
        )


def start_state(params: PyTree, optimizer: optax.GradientTransformation) -> State:
    """The state before the first step."""
    return State(params, optimizer.init(params))


def member_mesh(n_members: int) -> Mesh:
    """A row of as many devices as there are members, or as there are devices."""
    devices = jax.devices()[:n_members]
    return jax.make_mesh((len(devices),), ("member",), (AxisType.Auto,), devices=devices)


def _spread(tree: PyTree, mesh: Mesh) -> PyTree:
    """Place members on devices; the last member is repeated until they divide evenly."""
    n = jax.tree.leaves(tree)[0].shape[0]
    rows = np.minimum(np.arange(-(-n // mesh.size) * mesh.size), n - 1)
    return jax.device_put(jax.tree.map(lambda leaf: leaf[rows], tree), NamedSharding(mesh, MEMBER))
