"""Several processes that train together, on one machine or on many, by JAX's own runtime.

All run the same command, and JAX compiles one program for all of their devices. The first process
owns the run directory: it alone writes the records, and what is decided by files, clocks or early
stopping is decided by it and told to the others. With a single process, all of this does nothing.
"""

import atexit
import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from dae_jax import console
from dae_jax.errors import InputError
from dae_jax.rows import Rows, crc32, joined_crc32

__all__ = [
    "agreed",
    "any_of",
    "check_equal",
    "count",
    "decided",
    "fetch",
    "first",
    "place",
    "read_apart",
    "together",
    "told",
    "told_bytes",
]

if TYPE_CHECKING:
    from dae_jax.settings.shared import Machine

PyTree = Any
Tree = TypeVar("Tree")
GRACE = 30
"""Seconds by which JAX's own patience is longer than ours, so that it is we who say what failed."""
PATIENCE = 24 * 3600
"""Seconds for which the other processes wait while the first one draws and writes."""
_OF_OTHERS = ("gloo", "nccl", "coordination", "connection", "socket", "peer", "barrier")


def count() -> int:
    """The number of processes."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def first() -> bool:
    """Whether this is the process that writes the records."""
    return count() == 1 or jax.process_index() == 0


@contextlib.contextmanager
def together(machine: "Machine") -> Iterator[None]:
    """Join the other processes, until the end of the block; nothing if this one is alone.

    Within it, only the first process prints.

    Args:
        machine: How many they are, and where to find them.

    Raises:
        InputError: They cannot be found, or another process has ended.
    """
    if machine.started == 1:
        yield
        return
    last_words = "another process has ended, or cannot be reached; see its last line, and --resume"
    with console.only_ours(f"error: {last_words}"):
        _join(machine.started, machine.coordinator, machine.process, machine.connect_timeout)
        try:
            with contextlib.ExitStack() as stack:
                if not first():
                    nowhere = stack.enter_context(open(os.devnull, "w"))
                    stack.enter_context(contextlib.redirect_stdout(nowhere))
                yield
        except BaseException as error:
            # JAX would wait for the others at the exit, while they wait for this one
            atexit.register(_leave, 2)
            words = str(error).lower()
            known = isinstance(error, InputError | KeyboardInterrupt | SystemExit)
            if known or not any(word in words for word in _OF_OTHERS):
                raise
            raise InputError(last_words.split(";")[0], do=last_words.split("; ")[1]) from error
        jax.distributed.shutdown()  # waits for the others


def _join(n: int | None, coordinator: str | None, index: int | None, seconds: int) -> None:
    where = f"process {index}: " if index is not None else ""
    what = f"{where}the {n or 'other'} processes have not met in {seconds} seconds"
    do = "start all of them, and check --coordinator, which has to reach the first one from each"
    timer = threading.Timer(seconds, partial(console.give_up, f"error: {InputError(what, do=do)}"))
    timer.daemon = True
    timer.start()
    # JAX would take SIGTERM from us, which ends an epoch early (`console.interruptible`).
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            n,
            index,
            initialization_timeout=seconds + GRACE,
            shutdown_timeout_seconds=PATIENCE,
        )
        _check_devices()
        agreed(np.zeros(()))  # the first word between them
    except ValueError as error:  # of what is missing, and no cluster tells
        raise InputError(
            "--processes",
            expected="--coordinator and --process beside it, or a cluster that JAX knows",
            got=str(error).splitlines()[0].rstrip("."),
        ) from error
    except RuntimeError as error:
        what = f"{where}the processes cannot meet: {str(error).splitlines()[0]}"
        raise InputError(what, do="check --coordinator") from error
    finally:
        timer.cancel()


def _check_devices() -> None:
    """Check that every process has the same number of devices."""
    numbers = Counter(device.process_index for device in jax.devices())
    if len(set(numbers.values())) > 1:
        got = " and ".join(map(str, sorted(set(numbers.values()))))
        raise InputError("--devices", expected="as many in each process", got=got)


def _leave(status: int) -> NoReturn:
    sys.stdout.flush()
    os._exit(status)


def place(tree: Tree, sharding: Sharding) -> Tree:
    """Arrays that all processes have, on the devices of a sharding, of which each fills its own."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def one(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            placed = one(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(leaf))
        own = np.asarray(leaf)
        own = own.astype(jax.dtypes.canonicalize_dtype(own.dtype), copy=False)
        return jax.make_array_from_callback(own.shape, sharding, own.__getitem__)

    return jax.tree.map(one, tree)


def read_apart(
    some: Rows, start: int, stop: int, mesh: Mesh, members: np.ndarray | None = None
) -> jax.Array:
    """Consecutive rows for the devices of a mesh, of which each process reads or computes a part.

    The devices exchange the parts, so that all processes together read a file once.

    Args:
        some: The rows.
        start: The first of them.
        stop: The one after the last.
        mesh: The devices of all processes.
        members: If the rows are (members, n, d): which of the members are spread over the axis
            ``"member"``. Otherwise every device gets all rows.

    Raises:
        InputError: They cannot be read, or are not what they were before; see `rows.Rows.block`.
    """
    axis, n = some.axis, stop - start
    each = -(-n // mesh.size)  # rows of a part; the last ones may have fewer
    ends = [min(start + each * i, stop) for i in range(mesh.size + 1)]
    checksums = np.zeros(mesh.size, np.uint32)

    def part(index: Any) -> np.ndarray:
        i = (index[axis].start or 0) // each
        found = np.zeros(some.shape_of(each), some.dtype)
        if ends[i] < ends[i + 1]:
            own = found[(*[slice(None)] * axis, slice(ends[i + 1] - ends[i]))]
            some.read_into(own, ends[i])
            checksums[i] = crc32(own) if some.stored else 0
        return found.astype(jax.dtypes.canonicalize_dtype(found.dtype), copy=False)

    apart = NamedSharding(mesh, PartitionSpec(*[None] * axis, mesh.axis_names))
    parts = jax.make_array_from_callback(some.shape_of(each * mesh.size), apart, part)
    if some.stored:
        if count() > 1:
            checksums = multihost_utils.process_allgather(checksums).sum(0)
        n_bytes = np.diff(ends) * (some.nbytes // len(some))
        pairs = zip(checksums.tolist(), n_bytes.tolist(), strict=True)
        some.check(start, stop, joined_crc32(pairs))
    to = PartitionSpec() if members is None else PartitionSpec("member")
    return _exchanged(parts, members, n, axis, NamedSharding(mesh, to))


@partial(jax.jit, static_argnames=("n", "axis", "to"))
def _exchanged(
    parts: jax.Array, members: jax.Array | np.ndarray | None, n: int, axis: int, to: Sharding
) -> jax.Array:
    found = jax.lax.slice_in_dim(parts, 0, n, axis=axis)
    found = found if members is None else found[members]
    return jax.lax.with_sharding_constraint(found, to)


@partial(jax.jit, static_argnames="everywhere")
def _copies(leaves: PyTree, everywhere: Sharding) -> PyTree:
    return jax.lax.with_sharding_constraint(leaves, everywhere)


def fetch(tree: Tree) -> Tree:
    """Arrays in the memory of this process, those of all processes' devices, too."""
    leaves, structure = jax.tree.flatten(tree)
    away = [
        k for k, a in enumerate(leaves) if not (a.is_fully_addressable or a.is_fully_replicated)
    ]
    if away:
        mesh = leaves[away[0]].sharding.mesh
        everywhere = NamedSharding(mesh, PartitionSpec())
        copies = _copies([leaves[k] for k in away], everywhere)
        for k, copy in zip(away, copies, strict=True):
            leaves[k] = copy
    # a copy, since the next epoch may be given the memory of an array that is on all devices
    own = [
        jax.device_get(a) if a.is_fully_addressable else np.array(a.addressable_data(0))
        for a in leaves
    ]
    return jax.tree.unflatten(structure, own)


def agreed(tree: Tree) -> Tree:
    """The first process's arrays, as NumPy's; those of the others have the same shapes."""
    if count() == 1 or not jax.tree.leaves(tree):
        return tree
    # as bytes, since JAX would turn doubles into floats
    leaves, structure = jax.tree.flatten(jax.tree.map(np.ascontiguousarray, tree))
    content = b"".join(leaf.tobytes() for leaf in leaves)
    told = multihost_utils.broadcast_one_to_all(np.frombuffer(content, np.uint8)).tobytes()
    own, start = [], 0
    for leaf, like in zip(leaves, jax.tree.leaves(tree), strict=True):
        part = np.frombuffer(told, leaf.dtype, leaf.size, start)
        own.append(part.reshape(np.shape(like)).copy())
        start += leaf.nbytes
    return jax.tree.unflatten(structure, own)


def decided(flag: bool) -> bool:
    """Whether the first process says so."""
    return bool(agreed(np.array(flag)))


def told(value: PyTree | None, like: PyTree) -> PyTree | None:
    """The value of the first process, None if it has none; that of the others is not looked at.

    Args:
        value: A pytree, or None.
        like: One of the same structure, shapes and types.
    """
    if count() == 1:
        return value
    if not decided(value is not None):
        return None
    return agreed(jax.tree.map(np.asarray, like if value is None else value))


def told_bytes(content: bytes | None) -> bytes | None:
    """The bytes of the first process; None if it has none."""
    if count() == 1:
        return content
    size = int(agreed(np.array(-1 if content is None or not first() else len(content))))
    if size < 0:
        return None
    own = content if content is not None and first() else bytes(size)
    return agreed(np.frombuffer(own, np.uint8)).tobytes()


def any_of(flag: bool) -> bool:
    """Whether it is so in any process."""
    return flag if count() == 1 else bool(multihost_utils.process_allgather(np.array(flag)).any())


def check_equal(own: bytes, differences: Callable[[bytes], str]) -> None:
    """Check that all processes have the same bytes, such as their settings.

    Args:
        own: Those of this one.
        differences: From what the first one has: what is different here, in words.

    Raises:
        InputError: Another process has others; it is named by each.
    """
    if count() == 1:
        return
    theirs = told_bytes(own)
    assert theirs is not None
    equal = multihost_utils.process_allgather(np.array(theirs == own)).reshape(-1)
    if equal.all():
        return
    do = "start all processes with the same command, version and data"
    if theirs != own:
        index = jax.process_index()
        raise InputError(f"process {index} differs from the first: {differences(theirs)}", do=do)
    others = ", ".join(map(str, np.flatnonzero(~equal)))
    raise InputError(f"process {others} differs from the first, and says in what", do=do)
