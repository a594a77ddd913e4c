"""The one training loop: a compiled scan per epoch, and plain Python around it.

A model is a pytree of parameters and a pure ``cost(params, batch, key) -> scalar``. The cost is
passed as a `jax.tree_util.Partial`, whose bound numbers (a corruption level, say) are arguments of
the compiled program and not constants in it: another level compiles nothing anew, and a stack of
costs is a sweep.
"""

import difflib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

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
    name: str,
    learning_rate: float,
    *,
    decay: float = 1.0,
    updates: int = 1,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    r"""The Optax optimiser of that name, its learning rate a number in its state.

    Args:
        name: ``"sgd"`` is the tutorial's ``W -= learning_rate * gradient``; ``"momentum"`` adds .9
            of the step before; any other is a function of Optax that takes a ``learning_rate``,
            such as ``"adam"``, ``"adamw"``, ``"rmsprop"`` or ``"lion"``.
        learning_rate: Above 0. Traced, not compiled in.
        decay: What the steps are multiplied by after every epoch, in (0, 1].
        updates: Minibatches an epoch, where there is a decay.
        weight_decay: The :math:`\lambda` of :math:`\frac{\lambda}{2} \|W\|^2`, at least 0, added
            to the cost for every matrix and no bias.

    Raises:
        InputError: Optax has no optimiser of that name.
    """
    make = _optimiser_of_optax(name)
    others = set(signature(make).parameters) - {"learning_rate"}  # flags, which cannot be traced
    steps = optax.inject_hyperparams(make, static_args=tuple(sorted(others)))(
        learning_rate=learning_rate
    )
    if weight_decay:
        matrices = partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
        steps = optax.chain(optax.add_decayed_weights(weight_decay, matrices), steps)
    if decay != 1:
        later = optax.exponential_decay(1.0, updates, decay, staircase=True)
        steps = optax.chain(steps, optax.scale_by_schedule(later))
    return steps


def _optimiser_of_optax(name: str) -> Callable[..., optax.GradientTransformation]:
    """The function that makes it, if what it makes needs no more than a gradient and a rate."""
    if name in ("sgd", "adam"):
        return getattr(optax, name)
    if name == "momentum":
        return partial(optax.sgd, momentum=0.9)

    def one_step(make: Callable[..., Any]) -> Any:
        weights = {"W": jnp.ones((2, 2)), "b": jnp.ones(2)}
        rule = make(learning_rate=0.1)
        return rule.update(weights, rule.init(weights), weights)

    try:
        make = getattr(optax, name)
        with jax.numpy_dtype_promotion("standard"):
            _, state = jax.eval_shape(partial(one_step, make))
        if any(jnp.issubdtype(a.dtype, jax.dtypes.prng_key) for a in jax.tree.leaves(state)):
            raise TypeError("it draws random numbers of its own")
    except Exception as error:  # whatever the functions of Optax that are no optimisers raise
        near = difflib.get_close_matches(name, ["momentum", *optax.__all__], 1)
        raise InputError(
            "optimiser",
            expected="momentum, or an optimiser of Optax that needs a learning rate and no more",
            got=name,
            do=f"did you mean {near[0]}?"
            if near and near[0] != name
            else "try sgd, momentum or adam",
        ) from error
    return make


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


@partial(jax.jit, static_argnames=(*_STATIC, "mesh", "own_data"), donate_argnames="state")
def run_sweep_epoch(
    state: State,
    cost: Callable[..., Array],
    data: PyTree,
    keys: Key[Array, "members"],
    epoch: Array | int,
    *,
    mesh: Mesh,
    own_data: bool,
    **static: Any,
) -> tuple[State, tuple[Float[Array, "members"], Bool[Array, "members"]]]:
    """One epoch of every member of a sweep, the members spread over the devices of `mesh`."""

    def local(members: PyTree, own: PyTree, shared: PyTree, epoch: Array) -> PyTree:
        def one(member_and_own: PyTree) -> PyTree:
            (state, cost, key), own = member_and_own
            return _epoch(state, cost, own if own_data else shared, key, epoch, **static)

        if _one_after_another(mesh):
            return jax.lax.map(one, (members, own))
        return jax.vmap(one)((members, own))

    spread = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(MEMBER, MEMBER, EVERYWHERE, EVERYWHERE),
        out_specs=MEMBER,
        check_vma=False,
    )
    own, shared = (data, None) if own_data else (None, data)
    return spread((state, cost, keys), own, shared, jnp.asarray(epoch))


def _one_after_another(mesh: Mesh) -> bool:
    """How a device goes through its members.

    A GPU is kept busy by all of them at once. A CPU core is busy with one, and products of separate
    matrices run faster there than one batched product.
    """
    return mesh.devices.flat[0].platform == "cpu"


def stack(members: Sequence[PyTree]) -> PyTree:
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
    own_data: bool = False,
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
        own_data: Whether, in a sweep, `data` has the leading axis of members, too: each learns
            from its own images. Otherwise all share them.

    Raises:
        InputError: A batch larger than the data, or a size below 1.
    """
    n_images = jax.tree.leaves(data)[0].shape[1 if own_data else 0]
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
        place = partial(jax.device_put, device=NamedSharding(mesh, EVERYWHERE))
        data = _spread(data, mesh) if own_data else place(data)
        run, static = run_sweep_epoch, static | {"mesh": mesh, "own_data": own_data}
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
    """The state before the first step; `params` become part of it, and are donated with it."""
    return State(params, optimizer.init(params))


def member_mesh(n_members: int) -> Mesh:
    """A row of devices for the members: as many as are kept busy by them.

    Members that do not divide evenly leave devices idle at the end (`_spread` repeats the last
    one). Where that would cost more than a tenth, fewer devices do it in less time, since every
    device of a CPU may use all of its cores.
    """
    devices = jax.devices()[:n_members]
    sizes = range(len(devices), 0, -1)
    n = next(size for size in sizes if -(-n_members // size) * size <= 1.1 * n_members)
    if devices[0].platform != "cpu":
        n = len(devices)
    return jax.make_mesh((n,), ("member",), (AxisType.Auto,), devices=devices[:n])


def _spread(tree: PyTree, mesh: Mesh) -> PyTree:
    """Place members on devices; the last member is repeated until they divide evenly."""
    n = jax.tree.leaves(tree)[0].shape[0]
    rows = np.minimum(np.arange(-(-n // mesh.size) * mesh.size), n - 1)
    return jax.device_put(jax.tree.map(lambda leaf: leaf[rows], tree), NamedSharding(mesh, MEMBER))
