"""The one training loop: a compiled scan per epoch, and plain Python around it.

A model is a pytree of parameters and a pure ``cost(params, batch, key) -> scalar``. `train` is the
whole of it in one call; `fit`, which yields a report after every epoch, is what everything else is
built on.

Any function can be a cost. The numbers that `bind` gives it (a corruption level, say) are arguments
of the compiled program and not constants in it: a different level recompiles nothing, and a stack
of costs is a sweep.
"""

import difflib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache, partial
from inspect import signature
from typing import Any, Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, Bool, Float, Key

from dae_jax import processes, rows
from dae_jax.errors import InputError

__all__ = [
    "Part",
    "Report",
    "Shuffle",
    "State",
    "Trained",
    "Watch",
    "bind",
    "check_finite",
    "fit",
    "in_parts",
    "logged",
    "member",
    "member_mesh",
    "optimiser",
    "run_epoch",
    "run_sweep_epoch",
    "stack",
    "start_state",
    "sweep",
    "train",
]

PyTree = Any
BLOCKS = 2**31
"""Folded into a key for those of blocks; epochs fold in their number, from 0."""
MEMBER, DATA = PartitionSpec("member"), PartitionSpec("data")
EVERYWHERE = PartitionSpec()
Shuffle = bool | Literal["blocks"]
"""The order of the images: of the file, a new one every epoch, or random blocks; see `fit`."""


class State(NamedTuple):
    """The state that the next step needs; in a sweep, each leaf has a leading axis of members."""

    params: PyTree
    opt_state: PyTree


class Part(NamedTuple):
    """An epoch that was trained in part: some of its blocks."""

    epoch: int  # whole epochs before it
    blocks: int  # that were trained
    total: np.ndarray  # the sum of the costs of their minibatches, float64
    seconds: float = 0.0


class Report(NamedTuple):
    """One epoch, or what was trained of it: its cost, its duration and the state after it.

    `state` is donated to the next epoch: copy what you need of it before asking for the next
    report.
    """

    epoch: int  # counted from 1
    cost: np.ndarray
    """Mean over the epoch's minibatches; () or, in a sweep, (members,), NaN for finished ones."""
    finite: bool  # whether all costs and parameters, of all members, are finite
    seconds: float
    state: State
    part: Part | None = None  # None at the end of the epoch


class Watch:
    """A callback after every epoch; this one does nothing.

    Subclasses look at the report (`early_stopping.Best` computes validation errors), may stop the
    training, and keep what they have to remember in `kept`.
    """

    kept: PyTree = ()
    """A pytree of arrays that checkpoints hold beside the training state."""

    def after(self, report: Report) -> dict[str, Any]:
        """Look at an epoch; returns what to add to its row of metrics."""
        return {}

    def finished(self, epoch: int) -> Bool[np.ndarray, "members"] | None:
        """Members that need no training after this epoch; None, the default, if all do."""
        return None

    def done(self, epoch: int) -> bool:
        """Whether to stop after this epoch, before the last one is reached."""
        finished = self.finished(epoch)
        return finished is not None and bool(finished.all())


def bind(cost: Callable[..., Any], **values: Any) -> jax.tree_util.Partial:
    """A cost with values bound: its numbers are traced, so that other numbers recompile nothing.

    Names, functions and flags select code, and are compiled in. So is everything that was bound
    with `functools.partial`.

    Args:
        cost: ``cost(params, batch, key, **values) -> scalar``, or one from `bind`, which keeps the
            values that it has.
        **values: Numbers, or pytrees of them, which become arrays of JAX's default float type; or
            strings, functions and booleans. None stays None.

    Raises:
        InputError: No function, or a value that is neither.

    >>> square = bind(lambda params, batch, key, scale: scale * (params**2).sum(), scale=2)
    >>> float(square(jnp.ones(3), None, None))
    6.0
    """
    code = {name: v for name, v in values.items() if isinstance(v, str | bool) or callable(v)}
    numbers = {name: _traced(name, v) for name, v in values.items() if name not in code}
    args: tuple[Any, ...] = ()
    if isinstance(cost, jax.tree_util.Partial):
        cost, args, numbers = cost.func, cost.args, cost.keywords | numbers
    if not callable(cost):
        expected = "a function, cost(params, batch, key) -> scalar"
        raise InputError("cost", expected=expected, got=type(cost).__name__)
    if code:
        cost = _with_code(cost, tuple(code.items()))
    return jax.tree_util.Partial(cost, *args, **numbers)


def _traced(name: str, value: Any) -> Any:
    try:
        return jax.tree.map(lambda v: jnp.asarray(v, float), value)
    except (TypeError, ValueError) as error:
        raise InputError(
            name,
            expected="numbers, or a name, function or flag that selects code",
            got=type(value).__name__,
            do=f"bind it first: functools.partial(cost, {name}=...)",
        ) from error


@lru_cache  # the same object for the same choices, since JAX compares functions by identity
def _with_code(cost: Callable[..., Any], code: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return partial(cost, **dict(code))


def in_parts(
    params: PyTree,
    batch: PyTree,
    key: Array,
    *,
    cost: Callable[..., Any],
    size: int,
    **numbers: Any,
) -> Float[Array, ""]:
    """A cost that is a mean over images, with its gradient, over parts of the minibatch in turn.

    Value and gradient are the same, to rounding, as those of the whole minibatch, while only the
    activations of one part are in memory: those of a convolution fit a CPU's cache then. Random
    numbers are drawn anew for each part. Both are computed in the forward pass; there is no second
    derivative.

    Args:
        params: See `fit`, as for `batch` and `key`.
        batch: A pytree of arrays whose leading axis is a multiple of `size`.
        key: A new key for this minibatch.
        cost: The cost, a mean over images.
        size: Images per part.
        **numbers: Its numbers; see `bind`.
    """

    @jax.custom_vjp
    def whole(params: PyTree, batch: PyTree, key: Array, numbers: PyTree) -> Array:
        return forward(params, batch, key, numbers)[0]

    def forward(params: PyTree, batch: PyTree, key: Array, numbers: PyTree) -> tuple[Array, PyTree]:
        n = jax.tree.leaves(batch)[0].shape[0] // size
        parts = jax.tree.map(lambda a: a.reshape(n, size, *a.shape[1:]), batch)

        def add(total: PyTree, xs: tuple[Array, PyTree]) -> tuple[PyTree, None]:
            i, part = xs
            one = partial(cost, **numbers)
            own = jax.value_and_grad(one)(params, part, jax.random.fold_in(key, i))
            return jax.tree.map(lambda t, a: t + a / n, total, own), None

        zero = jax.tree.map(jnp.zeros_like, params)
        start = jnp.zeros((), jax.tree.leaves(params)[0].dtype), zero
        return jax.lax.scan(add, start, (jnp.arange(n), parts))[0]

    def backward(gradient: PyTree, above: Array) -> tuple[PyTree, None, None, None]:
        return jax.tree.map(lambda g: above * g, gradient), None, None, None

    whole.defvjp(forward, backward)
    return whole(params, batch, key, numbers)


def optimiser(
    name: str,
    learning_rate: float,
    *,
    decay: float = 1.0,
    falling: tuple[float, int] | None = None,
    updates: int = 1,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    r"""The Optax optimiser of that name, with its learning rate in its state.

    Args:
        name: ``"sgd"`` is the tutorial's ``W -= learning_rate * gradient``; ``"momentum"`` adds .9
            of the step before; any other is a function of Optax that takes a ``learning_rate``,
            such as ``"adam"``, ``"adamw"``, ``"rmsprop"`` or ``"lion"``.
        learning_rate: Above 0. Traced, not compiled in.
        decay: Factor on the steps after every epoch, in (0, 1].
        falling: An epoch and the last epoch: between them the rate falls to 0, the same amount
            after every epoch.
        updates: Minibatches per epoch, needed if the rate changes.
        weight_decay: The :math:`\lambda` of `objectives.weight_decay`, at least 0, whose gradient
            is added for every matrix and no bias.

    Raises:
        InputError: Optax has no optimiser of that name.
    """
    steps = _steps(name, decay, falling, updates, weight_decay)

    def init(params: PyTree) -> PyTree:
        rate = jnp.asarray(learning_rate, optax.tree.dtype(params, "highest"))
        return optax.tree.set(steps.init(params), learning_rate=rate)

    return steps._replace(init=init)


@cache  # the same update for every rate, so that another rate recompiles nothing
def _steps(
    name: str,
    decay: float,
    falling: tuple[float, int] | None,
    updates: int,
    weight_decay: float,
) -> optax.GradientTransformation:
    """The optimiser of these settings, whose rate is still to be set."""
    make = _optimiser_of_optax(name)
    others = set(signature(make).parameters) - {"learning_rate"}  # flags, which cannot be traced
    steps = optax.inject_hyperparams(make, static_args=tuple(sorted(others)))(learning_rate=1.0)
    if weight_decay:
        matrices = partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
        steps = optax.chain(optax.add_decayed_weights(weight_decay, matrices), steps)
    if decay != 1:
        later = optax.exponential_decay(1.0, updates, decay, staircase=True)
        steps = optax.chain(steps, optax.scale_by_schedule(later))
    if falling is not None:
        first, last = falling

        def share(count: Any) -> Array:
            return jnp.clip((last - count // updates) / (last - first), 0.0, 1.0)

        steps = optax.chain(steps, optax.scale_by_schedule(share))
    return steps


def _optimiser_of_optax(name: str) -> Callable[..., optax.GradientTransformation]:
    """Optax's function of that name, if its optimiser needs only a gradient and a rate."""
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
    except Exception as error:  # functions of Optax that are no optimisers may raise anything
        near = difflib.get_close_matches(name, ["momentum", *optax.__all__], 1)
        raise InputError(
            "optimiser",
            expected="momentum, or an optimiser of Optax that needs a learning rate only",
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
    labelled: PyTree = None,
    *,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    shuffle: Shuffle,
    updates: int | None = None,
    labelled_batch_size: int | None = None,
    split: Sharding | PartitionSpec | None = None,
) -> tuple[State, tuple[Float[Array, ""], Bool[Array, ""]]]:
    """One pass over `data`: the function that `run_epoch` and `run_sweep_epoch` compile.

    Its twelve parameters are the six that change from call to call and the six that select code;
    `updates` is the number of minibatches of an epoch that is cut short, and `split` says how the
    images of a minibatch are spread over devices. The compiler adds the sums over them.

    Returns:
        The new state, and (mean cost, whether all costs and parameters are finite).
    """
    n_images = jax.tree.leaves(data)[0].shape[0]
    epoch_key = jax.random.fold_in(key, epoch)
    # Steps use 0 .. n_batches - 1, so this key is no step's key.
    order_key = jax.random.fold_in(epoch_key, n_images // batch_size)
    n_batches = n_images // batch_size if updates is None else updates
    if shuffle == "blocks":
        starts = jax.random.randint(order_key, (n_batches, 1), 0, max(n_images - batch_size, 1))
        chosen = starts + jnp.arange(batch_size)
    elif shuffle:
        order = jax.random.permutation(order_key, n_images)
        chosen = order[: n_batches * batch_size].reshape(n_batches, batch_size)
    else:
        used = jax.tree.map(lambda a: a[: n_batches * batch_size], data)
        chosen = jax.tree.map(lambda a: a.reshape(n_batches, batch_size, *a.shape[1:]), used)

    if labelled_batch_size is not None:
        n_labelled = jax.tree.leaves(labelled)[0].shape[0]
        order = jax.random.permutation(jax.random.fold_in(order_key, 0), n_labelled)
        cycle = n_labelled // labelled_batch_size
        chosen_labelled = order[: cycle * labelled_batch_size].reshape(cycle, labelled_batch_size)

    def step(state: State, xs: tuple[Array, PyTree]) -> tuple[State, Array]:
        i, batch = xs
        batch = jax.tree.map(lambda a: a[batch], data) if shuffle else batch
        if split is not None:
            batch = jax.lax.with_sharding_constraint(batch, split)
        if labelled_batch_size is not None:
            batch = batch, jax.tree.map(lambda a: a[chosen_labelled[i % cycle]], labelled)
        value, gradient = jax.value_and_grad(cost)(
            state.params, batch, jax.random.fold_in(epoch_key, i)
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state), value

    state, costs = jax.lax.scan(step, state, (jnp.arange(n_batches), chosen))
    numbers = [costs, *jax.tree.leaves(state.params)]
    finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]))
    return state, (costs.mean(), finite)


_STATIC = ("optimizer", "batch_size", "shuffle", "updates", "labelled_batch_size", "split")
run_epoch = partial(jax.jit, static_argnames=_STATIC, donate_argnames="state")(_epoch)


@partial(jax.jit, static_argnames=(*_STATIC, "mesh", "own_data"), donate_argnames="state")
def run_sweep_epoch(
    state: State,
    cost: Callable[..., Array],
    data: PyTree,
    keys: Key[Array, "members"],
    epoch: Array | int,
    labelled: PyTree = None,
    finished: Bool[Array, "members"] | None = None,
    *,
    mesh: Mesh,
    own_data: bool,
    **static: Any,
) -> tuple[State, tuple[Float[Array, "members"], Bool[Array, "members"]]]:
    """One epoch of every member of a sweep, the members spread over the devices of `mesh`.

    Takes the parameters of `run_epoch`, the layout of the members, and `own_data`; see `fit`.
    Members that are `finished` stay as they are, and take no time where they are trained in turn.
    """

    def local(members: PyTree, own: PyTree, shared: PyTree, epoch: Array) -> PyTree:
        def one(member_and_own: PyTree) -> PyTree:
            (state, cost, key, labelled, finished), own = member_and_own
            images = own if own_data else shared

            def trained(state: State) -> PyTree:
                return _epoch(state, cost, images, key, epoch, labelled, **static)

            def rested(state: State) -> PyTree:
                cost, _ = jax.eval_shape(trained, state)[1]
                return state, (jnp.full(cost.shape, jnp.nan, cost.dtype), jnp.array(True))

            if finished is None:
                return trained(state)
            if static.get("split") is None:
                return jax.lax.cond(finished, rested, trained, state)
            # All devices that share the minibatches of a member have to take part in its sums.
            both = rested(state), trained(state)
            return jax.tree.map(partial(jnp.where, finished), *both)

        if _one_after_another(mesh):
            return jax.lax.map(one, (members, own))
        return jax.vmap(one)((members, own))

    spread = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(MEMBER, MEMBER, EVERYWHERE, EVERYWHERE),
        out_specs=MEMBER,
        axis_names={"member"},
        check_vma=False,
    )
    own, shared = (data, None) if own_data else (None, data)
    return spread((state, cost, keys, labelled, finished), own, shared, jnp.asarray(epoch))


def _one_after_another(mesh: Mesh) -> bool:
    """Whether a device trains its members in turn rather than at once.

    All members together keep a GPU busy. One member keeps a CPU core busy, and products of separate
    matrices run faster there than one batched product.
    """
    return mesh.devices.flat[0].platform == "cpu"


def stack(members: Sequence[PyTree]) -> PyTree:
    """Stack pytrees of the same structure into one with a leading axis of members."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def member(tree: PyTree, index: int) -> PyTree:
    """One member of a stacked pytree; of arrays that are spread over devices, on the host.

    A slice across devices would be a collective operation, which ends the whole process if one of
    the devices is late by 40 seconds, as the cores of a busy machine can be.
    """

    def one(leaf: Any) -> Any:
        spread = isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)
        if not spread or len(leaf.sharding.device_set) == 1:
            return leaf[index]
        for shard in leaf.addressable_shards:
            rows = range(len(leaf))[shard.index[0]]
            if index in rows:
                return jax.device_get(shard.data)[rows.index(index)]
        raise IndexError(index)

    return jax.tree.map(one, tree)


def fit(
    cost: Callable[..., Array],
    state: State,
    data: PyTree,
    key: Array,
    *,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    shuffle: Shuffle = False,
    updates: int | None = None,
    start: int | Part = 0,
    own_data: bool = False,
    labelled: PyTree = None,
    labelled_batch_size: int | None = None,
    block_size: int | None = None,
    devices: int | None = None,
    finished: Callable[[int], Bool[np.ndarray, "members"] | None] | None = None,
) -> Iterator[Report]:
    """Train, yielding a `Report` after each epoch; everything else is code around this generator.

    Minibatches are taken in the order of the file, or in a new order every epoch with `shuffle`.
    **The remainder is dropped**: of 1,003 images and a batch size of 20, the last 3 (in the order
    of that epoch) are not seen, as in the tutorial. Keys are folded in by (epoch, step), so that a
    run resumed with ``start=k`` repeats to the bit what an uninterrupted one does after epoch k.

    With `block_size` the data are trained on in blocks of consecutive rows, of which two are in
    memory at a time: one that is trained on, and the next, which is read meanwhile. With `shuffle`
    the blocks come in a new order every epoch, and the rows within each. Keys are folded in by
    (block, epoch, step). There is a report after each block, whose `Report.part` is not None before
    the epoch is whole; ``start=report.part`` resumes there.

    With `devices` the images of each minibatch are split over several devices; the compiler adds
    the sums over them to the program. Random numbers do not depend on the number of devices, and
    results differ by the rounding of sums in another order. The devices may be those of several
    processes (`jax.distributed`), which then all call this function with the same arguments.

    Four parameters say what is trained; the twelve keywords say how, and only three of them have
    no default.

    Args:
        cost: Any function ``cost(params, batch, key) -> scalar``; from `bind` if it has numbers
            that change. In a sweep they have a leading axis of members; see `sweep`.
        state: From `start_state`, `sweep` or a checkpoint. Donated: do not use it again.
        data: A pytree of arrays whose leading axis is the images, or of `rows.Rows`; put on the
            device once, or block by block.
        key: A key; or, for a sweep, an array of keys, one per member.
        optimizer: Any Optax optimiser.
        epochs: The number of the last epoch, at least `start`.
        batch_size: Images per minibatch, 1 to the number of images.
        shuffle: Whether to draw a new order every epoch; ``"blocks"`` draws each minibatch as a
            block of consecutive images instead, whose first is uniform, with replacement.
        updates: Total number of minibatches, if the last epoch ends before all images were seen.
        start: Number of epochs that `state` has been trained for, or the part of one.
        own_data: In a sweep, whether `data` has the leading axis of members too, so that each
            learns from its own images. Otherwise all share them.
        labelled: A second pytree of arrays, such as images with labels beside many without: each
            minibatch of `data` has one of these beside it, ``cost(params, (batch, labelled),
            key)``. They have a new order every epoch, and are repeated until it ends. In a sweep,
            each member has its own.
        labelled_batch_size: Rows of `labelled` per minibatch; needed with it.
        block_size: Largest number of images of a block, at least `batch_size`. None, or as many as
            there are, to train on all data at once.
        devices: Number of devices to use, which those left by the members of a sweep have to
            divide the batch. None for one device, or those that members keep busy.
        finished: In a sweep, a function of the number of epochs so far: which members need no more,
            or None if all do. They keep their state, and on a CPU they take no time.

    Raises:
        InputError: Something else than a function, a state, a key or arrays; a batch larger than
            the data, a size below 1, or updates that end before the last epoch. While training:
            NaN or infinite values in the data that made the cost so.
    """
    cost = bind(cost)
    _check_state(state)
    _check_key(key)
    axis = 1 if own_data else 0
    n_images = _check_data("data", data, axis)
    if not 1 <= batch_size <= n_images:
        raise InputError(
            "batch size",
            expected=f"1 to {n_images}, the number of training images",
            got=batch_size,
            do="choose a smaller --batch-size or more images",
        )
    whole = n_images // batch_size
    if updates is not None and updates <= (epochs - 1) * whole:
        raise InputError(
            "updates",
            expected=f"more than the {(epochs - 1) * whole} of the epochs before the last",
            got=updates,
            do="choose fewer epochs",
        )
    if block_size is not None and block_size < batch_size:
        raise InputError(
            "block size",
            expected=f"at least {batch_size}, the images of a minibatch",
            got=block_size,
            do="choose a larger --block-size or a smaller batch",
        )
    how: dict[str, Any] = dict(
        # Only the update is compiled in: optimisers that differ in their rate are one program.
        optimizer=optax.GradientTransformation(_no_init, optimizer.update),
        batch_size=batch_size,
        shuffle=shuffle,
        labelled_batch_size=labelled_batch_size,
    )
    if labelled is not None:
        _check_labelled(labelled, labelled_batch_size, axis=key.ndim)
    blocks = rows.blocks(n_images, batch_size, block_size)
    n_members = key.shape[0] if key.ndim else None
    place = each = jax.device_put
    mesh = _mesh(n_members, devices, batch_size)
    if mesh is not None:
        everywhere = partial(processes.place, sharding=NamedSharding(mesh, EVERYWHERE))
        each = everywhere if n_members is None else partial(_spread, mesh=mesh)
        cost, state = each(cost), each(state)
        place = each if own_data else everywhere
        if "data" in mesh.axis_names:
            # members have the mesh of their `shard_map` around them
            how |= {"split": NamedSharding(mesh, DATA) if n_members is None else DATA}
    if n_members is not None:
        how |= {"mesh": mesh, "own_data": own_data}
    labelled = each(labelled)
    key_of_all = each(key) if len(blocks) == 1 else None
    run = run_epoch if n_members is None else run_sweep_epoch

    def plan(epoch: int) -> list[_Turn]:
        left = whole if updates is None else min(whole, updates - epoch * whole)
        return _plan(epoch, blocks, batch_size, left, shuffled=bool(shuffle))

    read = _reader(data, blocks, axis, place, mesh)

    def step(state: State, part: PyTree, turn: _Turn) -> tuple[State, PyTree]:
        short = None if turn.whole else turn.updates
        own_key = each(_block_key(key, turn.block)) if key_of_all is None else key_of_all
        if finished is not None:
            how["finished"] = each(finished(turn.epoch))
        return run(state, cost, part, own_key, turn.epoch, labelled, updates=short, **how)

    begun = start if isinstance(start, Part) else Part(start, 0, np.zeros(()))
    # one epoch at a time: a caller may ask for more than there will be
    turns = itertools.chain.from_iterable(plan(epoch) for epoch in range(begun.epoch, epochs))
    return _reports(step, read, turns, state, begun, n_members, labelled)


def _reader(
    data: PyTree,
    blocks: Sequence[tuple[int, int]],
    axis: int,
    place: Callable[[PyTree], PyTree],
    mesh: Mesh | None,
) -> Callable[[int], PyTree]:
    """A function that puts a block on the devices; each of several processes reads a part of it."""
    if mesh is None or processes.count() == 1:
        leaves, structure = jax.tree.flatten(data)
        reader = rows.Reader(leaves, blocks, axis)
        return lambda block: place(jax.tree.unflatten(structure, reader.read(block)))

    def one(leaf: Any, start: int, stop: int) -> Any:
        if not isinstance(leaf, rows.Rows):
            return place(leaf[:, start:stop] if axis else leaf[start:stop])
        members = _padded(leaf.shape[0], mesh) if axis else None
        return processes.read_apart(leaf, start, stop, mesh, members)

    return lambda block: jax.tree.map(lambda leaf: one(leaf, *blocks[block]), data)


class _Turn(NamedTuple):
    """A block and its place in the training."""

    epoch: int
    before: int  # blocks of the epoch before it
    block: int
    updates: int
    whole: bool  # whether these are all that the block has
    last: bool  # of the epoch


def _plan(
    epoch: int, blocks: Sequence[tuple[int, int]], batch_size: int, left: int, *, shuffled: bool
) -> list[_Turn]:
    """The blocks of an epoch in their order, with the minibatches of each, `left` in all.

    The order is that of the epoch alone, so that the members of a sweep, which share the blocks,
    are the runs alone.
    """
    order = range(len(blocks))
    if shuffled:
        order = np.random.default_rng((BLOCKS, epoch)).permutation(len(blocks)).tolist()
    turns = []
    for before, block in enumerate(order):
        first, last = blocks[block]
        n = (last - first) // batch_size
        turns.append(_Turn(epoch, before, block, min(n, left), left >= n, last=False))
        left -= n
        if left <= 0:
            break
    return [*turns[:-1], turns[-1]._replace(last=True)]


def _block_key(key: Array, block: int) -> Array:
    """The key of a block, or of each member."""

    def one(key: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, BLOCKS), block)

    return jax.vmap(one)(key) if key.ndim else one(key)


def _no_init(params: PyTree) -> PyTree:
    raise NotImplementedError


def _check_state(state: Any) -> None:
    if not isinstance(state, State):
        raise InputError(
            "state",
            expected="a State",
            got=type(state).__name__,
            do="pass start_state(params, optimizer), or call train, which takes parameters",
        )
    _check_there(state, "state")


def _check_there(tree: PyTree, name: str) -> None:
    """Check that no array was given away to an earlier training."""
    if any(isinstance(a, jax.Array) and a.is_deleted() for a in jax.tree.leaves(tree)):
        raise InputError(
            name,
            expected="arrays in memory",
            got="some that were donated to an earlier training",
            do="use report.state of that one, or give it a copy: jax.tree.map(jnp.array, params)",
        )


def _check_key(key: Any) -> None:
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        got = f"{key.dtype} of shape {key.shape}" if hasattr(key, "dtype") else repr(key)
        raise InputError("key", expected="a random key", got=got, do="pass jax.random.key(0)")


def _check_data(name: str, data: PyTree, axis: int) -> int:
    """Check that the data are arrays of one length, and return it."""
    leaves = jax.tree.leaves(data)
    for leaf in leaves:
        if not isinstance(leaf, jax.Array | np.ndarray | rows.Rows) or leaf.dtype.kind in "OSUMm":
            kind = type(leaf).__name__
            raise InputError(
                name,
                expected="arrays of numbers, whose leading axis is the images",
                got=f"{kind} of {leaf.dtype}" if isinstance(leaf, np.ndarray) else kind,
                do="convert them, such as by np.asarray(data, np.float32)",
            )
    lengths = {leaf.shape[axis] if leaf.ndim > axis else 0 for leaf in leaves}
    if len(lengths) != 1 or 0 in lengths:
        got = " and ".join(map(str, sorted(lengths))) or "none"
        raise InputError(name, expected="arrays of one number of images", got=got)
    return lengths.pop()


def _check_labelled(labelled: PyTree, batch_size: int | None, axis: int) -> None:
    n = _check_data("labelled", labelled, axis)
    if batch_size is None or not 1 <= batch_size <= n:
        raise InputError(
            "labelled batch size",
            expected=f"1 to {n}, the number of labelled images",
            got=batch_size,
            do="choose a smaller one or more images",
        )


def _reports(
    step: Callable[[State, PyTree, _Turn], tuple[State, PyTree]],
    read: Callable[[int], PyTree],
    turns: Iterator[_Turn],
    state: State,
    begun: Part,
    n_members: int | None,
    labelled: PyTree,
) -> Iterator[Report]:
    """Run the epochs block by block; the next block is read while the device works on one.

    Of a sweep, the copies that pad its members are left out (see `_spread`).
    """
    done = sum(turn.updates for turn in itertools.islice(turns, begun.blocks))
    total, seconds = begun.total, begun.seconds
    turn = next(turns, None)
    data = None if turn is None else read(turn.block)
    while turn is not None:
        following = next(turns, None)
        began = time.perf_counter()
        state, results = step(state, data, turn)  # returns at once
        upcoming = data
        if following is not None and following.block != turn.block:
            upcoming = read(following.block)
        costs, finite = processes.fetch(results)  # waits for the device
        seconds += time.perf_counter() - began
        padded = n_members is not None and len(costs) > n_members
        # of padded members to the host, too: see `member`
        own = processes.fetch(state) if padded or processes.count() > 1 else state
        if padded:
            costs, own = jax.tree.map(lambda a: a[:n_members], (costs, own))
        if not np.all(finite):
            _check_finite_data((data, labelled))
        cost = costs
        if turn.before or not turn.last:
            total, done = total + costs.astype(float) * turn.updates, done + turn.updates
            cost = (total / done).astype(costs.dtype)
        part = None if turn.last else Part(turn.epoch, turn.before + 1, total, seconds)
        yield Report(turn.epoch + 1, cost, bool(np.all(finite)), seconds, own, part)
        if turn.last:
            total, done, seconds = np.zeros(()), 0, 0.0
        data, turn = upcoming, following


def _check_finite_data(data: PyTree) -> None:
    """Check that it was not the data that made a cost infinite or NaN."""
    for leaf in jax.tree.leaves(data):
        values = np.asarray(leaf)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            at = np.unravel_index(np.isfinite(values).argmin(), values.shape)
            raise InputError(
                "data",
                expected="finite numbers, with this cost",
                got=f"{values[at]} at {', '.join(map(str, at))}",
                do="correct them or leave them out",
            )


def logged(reports: Iterable[Report], log: Callable[..., Any]) -> Iterator[Report]:
    """Pass reports on, each after its cost and its seconds were logged.

    Calls ``log({"cost": 63.5, "seconds": 1.2}, step=epoch)``, as the functions of W&B, MLflow and
    trackio are called. In a sweep there is one entry per member: ``"cost/0"``, ``"cost/1"``, ...

    Args:
        reports: Those of `fit`.
        log: ``log(values, step)``.

    >>> reports = [Report(1, np.array([63.5, 71.0]), True, 1.2, State((), ()))]
    >>> [r.epoch for r in logged(reports, lambda values, step: print(step, values))]
    1 {'cost/0': 63.5, 'cost/1': 71.0, 'seconds': 1.2}
    [1]
    """
    for report in reports:
        if report.part is not None:  # not the end of an epoch yet
            yield report
            continue
        costs = np.asarray(report.cost)
        values = (
            {f"cost/{i}": cost for i, cost in enumerate(costs.tolist())}
            if costs.ndim
            else {"cost": costs.item()}
        )
        log(values | {"seconds": report.seconds}, step=report.epoch)
        yield report


def start_state(params: PyTree, optimizer: optax.GradientTransformation) -> State:
    """The state before the first step; `params` become part of it, and are donated with it."""
    _check_there(params, "params")
    return State(params, optimizer.init(params))


def check_finite(report: Report, do: str) -> None:
    """Check that the costs and the parameters of one model are finite after an epoch.

    Args:
        report: The report of the epoch.
        do: What to do if they are not.

    Raises:
        InputError: They are not.
    """
    if not report.finite:
        what = f"training diverged in epoch {report.epoch}: the cost is {report.cost}"
        raise InputError(what, do=do)


class Trained(NamedTuple):
    """Trained parameters, and the mean cost of each epoch."""

    params: PyTree
    costs: Float[np.ndarray, "epochs"]


def train(
    cost: Callable[..., Any],
    params: PyTree,
    data: PyTree,
    *,
    epochs: int,
    batch_size: int = 20,
    learning_rate: float = 0.1,
    optimizer: str = "sgd",
    shuffle: Shuffle = True,
    seed: int = 0,
    **values: Any,
) -> Trained:
    """Train a model in one call.

    `fit` is the same with everything in your hands: what happens after each epoch, sweeps, resuming
    and optimisers of your own. Its other parameters here have defaults, and those of the cost can
    be given in the same call.

    Args:
        cost: ``cost(params, batch, key, **values) -> scalar``, such as
            `autoencoder.denoising_cost`.
        params: A pytree of parameters; copied, so that they can be used again.
        data: See `fit`, as for `epochs` and `batch_size`.
        learning_rate: Above 0.
        optimizer: A name; see `optimiser`.
        shuffle: See `fit`. The order is new in every epoch by default.
        seed: Of order and noise.
        **values: See `bind`.

    Returns:
        The parameters after the last epoch, in the host's memory, and the costs.

    Raises:
        InputError: As `fit` does, or a training whose cost is not finite.

    >>> data = np.random.default_rng(0).normal(3.0, 1.0, (1000, 1)).astype(np.float32)
    >>> distance = lambda params, batch, key: ((batch - params) ** 2).mean()
    >>> params, costs = train(distance, jnp.zeros(()), data, epochs=2)
    >>> bool(abs(params - 3) < 0.3), bool(costs[0] > costs[1])
    (True, True)
    """
    rule = optimiser(optimizer, learning_rate)
    _check_there(params, "params")
    state = start_state(jax.tree.map(jnp.array, params), rule)
    costs = []
    for report in fit(
        bind(cost, **values),
        state,
        data,
        jax.random.key(seed),
        optimizer=rule,
        epochs=epochs,
        batch_size=batch_size,
        shuffle=shuffle,
    ):
        check_finite(report, f"lower learning_rate, which is {learning_rate:g}")
        costs.append(float(report.cost))
        state = report.state
    return Trained(jax.device_get(state.params), np.array(costs))


def sweep(
    costs: Sequence[Callable[..., Array]],
    params: Sequence[PyTree],
    optimizer: optax.GradientTransformation,
) -> tuple[Callable[..., Array], State]:
    """The cost and the first state of several members, stacked as `fit` takes them.

    Args:
        costs: Each member's cost; they may differ in the numbers of `bind` only.
        params: Each member's first parameters; copied, so that they can be used again.
        optimizer: See `fit`.
    """
    states = [start_state(one, optimizer) for one in params]
    return stack([bind(cost) for cost in costs]), stack(states)


def member_mesh(n_members: int, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of as many devices as the members keep busy, with the one axis ``"member"``.

    Members that do not divide evenly leave devices idle at the end (`_spread` repeats the last
    one). If that would cost more than a tenth, fewer devices take less time, since every device of
    a CPU may use all of its cores; not so on several machines.
    """
    devices = (jax.local_devices() if devices is None else devices)[:n_members]
    sizes = range(len(devices), 0, -1)
    n = next(size for size in sizes if -(-n_members // size) * size <= 1.1 * n_members)
    if devices[0].platform != "cpu" or devices[0].process_index != devices[-1].process_index:
        n = len(devices)
    return jax.make_mesh((n,), ("member",), (AxisType.Auto,), devices=devices[:n])


def _mesh(n_members: int | None, devices: int | None, batch_size: int) -> Mesh | None:
    """The devices of a training; None for one model on the default device.

    Members come first, since they need not wait for each other; the devices that are left split
    the minibatches of each.

    Raises:
        InputError: There are fewer devices, or they do not divide the batch.
    """
    if devices is None:
        return None if n_members is None else member_mesh(n_members)
    there = len(jax.devices())
    if not (devices == there or (1 <= devices <= there and processes.count() == 1)):
        expected = f"1 to {there}, the devices that JAX has"
        do = 'on a CPU, jax.config.update("jax_num_cpu_devices", n) comes before all else'
        raise InputError("devices", expected=expected, got=devices, do=do)
    some = jax.devices()[:devices]
    n = 1 if n_members is None else member_mesh(n_members, some).size
    left = devices // n
    idle = n * left < devices or batch_size % left
    if idle and n_members is not None and processes.count() > 1:
        n, left = devices, 1  # every process has to take part, if only with a copy of a member
    if batch_size % left:
        raise InputError(
            f"batch size of {batch_size}",
            expected=f"a multiple of the {left} devices that a minibatch is split over",
            got=f"a remainder of {batch_size % left}",
            do="choose another batch size, or fewer --devices",
        )
    if left == 1 and n_members is None:
        return None
    members = {} if n_members is None else {"member": n}
    axes = members | ({"data": left} if left > 1 else {})
    types = (AxisType.Auto,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), types, devices=some[: n * left])


def _spread(tree: PyTree, mesh: Mesh) -> PyTree:
    """Place members on devices; the last member is repeated until they divide evenly."""
    if not jax.tree.leaves(tree):
        return tree
    members = _padded(jax.tree.leaves(tree)[0].shape[0], mesh)
    padded = jax.tree.map(lambda leaf: leaf[members], tree)
    return processes.place(padded, NamedSharding(mesh, MEMBER))


def _padded(n_members: int, mesh: Mesh) -> np.ndarray:
    size = mesh.shape["member"]
    return np.minimum(np.arange(-(-n_members // size) * size), n_members - 1)
