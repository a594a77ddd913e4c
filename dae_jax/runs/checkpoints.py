"""What a run leaves behind: its configuration, its metrics, its checkpoints and its parameters.

A run directory holds ``config.json``, ``metrics.jsonl`` (an object an epoch), ``checkpoints/``
(Orbax, to go on from) and, at the end, ``params.safetensors`` (to use elsewhere) and
``results.json``.
"""

import json
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array

from dae_jax.autoencoder import AnyParams, Params, UntiedParams
from dae_jax.errors import InputError
from dae_jax.files import unwritable, writable_folder, write_whole
from dae_jax.stacked import Classifier, Layer

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager

PyTree = Any


class Checkpoints:
    """The checkpoints of one run, written in the background, the newest two kept.

    Each is written to a temporary folder that takes its place in one step, so that a crash leaves
    the one before it. Use as a context manager: leaving it waits for the last one to be whole.

    Args:
        folder: Where they live.
        every: Seconds that must have passed since the last one for `save` to write another.
    """

    def __init__(self, folder: Path, every: float = 1.0):
        self._folder, self._every = folder, every
        self._saved_at = -math.inf

    @cached_property
    def _manager(self) -> "CheckpointManager":
        # Orbax takes a second to import, which the first update need not wait for.
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.CRITICAL)
        try:
            options = ocp.CheckpointManagerOptions(max_to_keep=2)
            return ocp.CheckpointManager(self._folder.absolute(), options=options)
        except OSError as error:
            raise unwritable(self._folder, error) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if "_manager" not in self.__dict__:
            return
        try:
            self._manager.close()
        except (OSError, ValueError) as failed:
            if error is None:
                raise self._unsaved(failed) from failed

    def save(self, epoch: int, state: PyTree, *, now: bool = False) -> bool:
        """Write a checkpoint, if the last one is old enough or if it must be `now`.

        Returns:
            Whether one was written.

        Raises:
            InputError: It cannot be written; the ones before it are still there.
        """
        if not now and time.monotonic() - self._saved_at < self._every:
            return False
        import orbax.checkpoint as ocp

        if epoch == self.latest():
            return True
        # Views, which keep the next epoch from writing into the arrays that are being saved.
        arrays = jax.tree.map(np.asarray, state)
        # Asked first, since Orbax's storage threads cry out by themselves where a disk is full.
        writable_folder(self._folder, sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)))
        try:
            self._manager.save(epoch, args=ocp.args.StandardSave(arrays))
            if now:
                self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise self._unsaved(error) from error
        self._saved_at = time.monotonic()
        return True

    def latest(self) -> int | None:
        """The epoch of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def restore(self, like: PyTree) -> tuple[int, PyTree] | None:
        """The newest checkpoint that can be read, as (epoch, state), or None if there is none.

        One that cannot be read, because a crash or a disk cut it off, is passed over for the one
        before it, and then removed, for its epoch will be reached again.

        Args:
            like: A state of the same structure, shapes and dtypes.

        Raises:
            InputError: There are checkpoints, but none that can be read; nothing is removed.
        """
        import orbax.checkpoint as ocp

        args = ocp.args.StandardRestore(jax.tree.map(np.asarray, like))
        unreadable: list[int] = []
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._manager.restore(epoch, args=args)
            except Exception as error:  # Orbax's storage layers raise whatever they like
                unreadable.append(epoch)
                problem = f"{type(error).__name__}: {error}"[:200]
                continue
            for step in unreadable:
                self._manager.delete(step)
            return epoch, state
        if unreadable:
            raise InputError(
                f"no checkpoint in {self._folder} can be read ({problem})",
                do="start again in another --run-dir",
            )
        return None

    def _unsaved(self, error: Exception) -> InputError:
        if isinstance(error, OSError):
            return unwritable(self._folder, error)
        return InputError(
            f"cannot write a checkpoint into {self._folder}: {str(error)[:200]}", do="make room"
        )


def append_metrics(path: Path, row: Mapping[str, Any]) -> None:
    """Add one object to a ``metrics.jsonl``."""
    try:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise unwritable(path, error) from error


def read_metrics(path: Path, up_to_epoch: float = math.inf) -> list[dict[str, Any]]:
    """The objects of a ``metrics.jsonl``; a line that a crash cut off is not one."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return [row for row in rows if row["epoch"] <= up_to_epoch]


def write_metrics(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a whole ``metrics.jsonl``, in place of the one there.

    A resumed run does so first, to forget what was told of epochs after its checkpoint.
    """
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))


def save_params(path: Path, params: AnyParams, about: Mapping[str, Any] | None = None) -> Path:
    """Write parameters as safetensors, a tensor a field: `W`, `b`, `b_prime`, perhaps `W_prime`.

    Args:
        path: Where to.
        params: The model.
        about: What the file's metadata says of it, as JSON under one name: safetensors writes
            several names in any order, and equal models are to be equal files.
    """
    return _save_tensors(path, params._asdict(), about or {})


def load_params(path: str | os.PathLike[str]) -> AnyParams:
    """Read what `save_params` wrote.

    Raises:
        InputError: No such file, not safetensors, or other tensors than a dA's.
    """
    tensors, _ = _load_tensors(path)
    for kind in (Params, UntiedParams):
        if set(tensors) == set(kind._fields):
            return kind(**tensors)
    raise InputError(
        f"tensors in {path}", expected="W, b, b_prime and perhaps W_prime", got=sorted(tensors)
    )


def save_classifier(path: Path, model: Classifier, about: Mapping[str, Any]) -> Path:
    """Write a classifier as safetensors: ``hidden.0.W``, ``hidden.0.b``, ..., ``top.W``, ``top.b``.

    Args:
        path: Where to.
        model: The classifier.
        about: What the file's metadata says of it, as JSON.
    """
    layers = {f"hidden.{k}": layer for k, layer in enumerate(model.hidden)} | {"top": model.top}
    tensors = {
        f"{name}.{field}": value
        for name, layer in layers.items()
        for field, value in layer._asdict().items()
    }
    return _save_tensors(path, tensors, about)


def load_classifier(path: str | os.PathLike[str]) -> tuple[Classifier, dict[str, Any]]:
    """Read what `save_classifier` wrote: the model, and what was said of it.

    Raises:
        InputError: No such file, not safetensors, or other tensors than a classifier's.
    """
    tensors, about = _load_tensors(path)
    names = [f"hidden.{k}" for k in range(len(tensors) // 2 - 1)] + ["top"]
    if set(tensors) != {f"{name}.{field}" for name in names for field in Layer._fields}:
        raise InputError(
            f"tensors in {path}",
            expected="hidden.0.W, hidden.0.b, ..., top.W, top.b of a classifier",
            got=", ".join(sorted(tensors)) or "none",
        )
    layers = [Layer(tensors[f"{name}.W"], tensors[f"{name}.b"]) for name in names]
    return Classifier(tuple(layers[:-1]), layers[-1]), about


def _save_tensors(path: Path, tensors: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    return write_whole(path, save(arrays, {"dae_jax": json.dumps(about)}))


def _load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get("dae_jax", "{}"))
            return {name: jax.numpy.asarray(file.get_tensor(name)) for name in file.keys()}, about  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"cannot read parameters from {path}: {error}") from error
