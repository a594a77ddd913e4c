"""Checkpoints and metrics of a training: ``checkpoints/`` (Orbax) and ``metrics.jsonl``.

A checkpoint carries the SHA-256 of its arrays, and a row of metrics that of its numbers; both are
verified when they are read. What earlier versions wrote has none, and is read without.
"""

import hashlib
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

from dae_jax import records
from dae_jax.errors import InputError
from dae_jax.files import unwritable, writable_folder, write_whole

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager

__all__ = ["Checkpoints", "Metrics", "read_metrics", "write_metrics"]

PyTree = Any


ARRAYS, DIGEST = "default", "sha256"
"""The names of the parts of a checkpoint. Orbax calls the only part of one so by default."""
SHARE = 0.02
"""The largest share of the time of a training that writing checkpoints may take."""


def checksum(tensors: Mapping[str, Any]) -> str:
    """The SHA-256 of the tensors in the order of their names: of name, type, shape and bytes.

    >>> checksum({"b": np.zeros(2, np.float32)})[:8]
    '428f095c'
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def digest(state: PyTree) -> str:
    """The `checksum` of a state, its leaves named by their places in it."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return checksum({jax.tree_util.keystr(place): np.asarray(leaf) for place, leaf in leaves})


class Checkpoints:
    """The checkpoints of one training, written in the background; the newest two are kept.

    Each is written to a temporary folder, which is then renamed, so that a crash leaves the one
    before it intact. Use as a context manager: leaving it waits until the last one is complete.

    Args:
        folder: Folder of the checkpoints; None to write none.
        every: Least number of seconds between two checkpoints; more if one takes the training
            longer than `SHARE` of that.
        blocks: The blocks of an epoch. If there are several, checkpoints are numbered by them.
    """

    def __init__(self, folder: Path | None, every: float = 1.0, *, blocks: int = 1):
        self._folder, self._every, self._blocks = folder, every, blocks
        self._next = -math.inf

    @cached_property
    def _manager(self) -> "CheckpointManager":
        # Orbax takes a second to import; the first update does not wait for it.
        import orbax.checkpoint as ocp

        assert self._folder is not None
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        # Of several processes, Orbax runs in the first one alone, which has the state of all.
        alone = ocp.options.MultiprocessingOptions(active_processes={0})
        try:
            os.makedirs(self._folder, exist_ok=True)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=2, create=False, multiprocessing_options=alone
            )
            arrays = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
            digest = ocp.JsonCheckpointHandler(multiprocessing_options=alone)
            handlers = {ARRAYS: arrays, DIGEST: digest}
            return ocp.CheckpointManager(
                self._folder.absolute(), options=options, item_handlers=handlers
            )
        except OSError as error:
            raise unwritable(self._folder, error) from error
        except Exception as error:  # of many kinds, of damaged descriptions of checkpoints
            raise InputError(
                f"checkpoints in {self._folder} cannot be read ({type(error).__name__}: {error})",
                do="start again in another --run-dir",
            ) from error

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

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another one."""
        return self._folder is not None and time.monotonic() >= self._next

    def save(self, epoch: int, state: PyTree, *, now: bool = False) -> bool:
        """Write a checkpoint if the last one is old enough, or in any case with `now`.

        Returns:
            Whether there is a checkpoint of this epoch.

        Raises:
            InputError: It cannot be written; the earlier ones are intact.
        """
        if self._folder is None:
            return False
        if not (now or self.due()):
            return False
        began = time.monotonic()
        import orbax.checkpoint as ocp

        if epoch == self.latest():
            return True
        # A view keeps the next epoch from writing into an array that is being saved.
        arrays = jax.tree.map(np.asarray, state)
        # Checked first, since Orbax's storage threads print errors of their own if a disk is full.
        writable_folder(self._folder, sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)))
        parts = {
            ARRAYS: ocp.args.StandardSave(arrays),
            DIGEST: ocp.args.JsonSave({DIGEST: digest(arrays)}),
        }
        try:
            self._manager.save(epoch, args=ocp.args.Composite(**parts))
            if now:
                self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise self._unsaved(error) from error
        ended = time.monotonic()
        self._next = ended + max(self._every, (ended - began) / SHARE if self._every else 0.0)
        return True

    def latest(self) -> int | None:
        """The epoch of the newest checkpoint, or None if there is none."""
        return None if self._folder is None else self._manager.latest_step()

    def in_words(self, number: int) -> str:
        """The moment of a checkpoint, ``epoch 3`` or ``epoch 3 and 5 of 76 blocks``."""
        epoch, block = divmod(number, self._blocks)
        return f"epoch {epoch}" + (f" and {block} of {self._blocks} blocks" if block else "")

    def restore(self, like: PyTree, up_to: float = math.inf) -> tuple[int, PyTree] | None:
        """Read the newest intact checkpoint, as (epoch, state); None if there is none.

        A checkpoint that is damaged is skipped in favour of the one before it, which is printed,
        and then removed, since its epoch will be reached again. So are those of epochs above
        `up_to`.

        Args:
            like: A state of the same structure, shapes and dtypes.
            up_to: The newest epoch that is of use.

        Raises:
            InputError: There are checkpoints, but all are damaged; nothing is removed.
        """
        if self._folder is None:
            return None
        like = jax.tree.map(np.asarray, like)
        skipped: list[int] = []
        problem, found = "", None
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            if epoch > up_to:
                skipped.append(epoch)
                continue
            try:
                state = self._read(epoch, like)
            except Exception as error:  # Orbax's storage layers raise many kinds
                skipped.append(epoch)
                problem = f"{type(error).__name__}: {error}"
                continue
            found = epoch, state
            break
        if problem and found is None:
            raise InputError(
                f"no checkpoint in {self._folder} can be read ({problem})",
                do="start again in another --run-dir",
            )
        if problem and found is not None:
            damaged, used = self.in_words(max(skipped)), self.in_words(found[0])
            used = used.removeprefix("epoch ")
            print(f"the checkpoint of {damaged} is damaged: that of {used} is used")
        for epoch in skipped:
            self._manager.delete(epoch)
        return found

    def _read(self, epoch: int, like: PyTree) -> PyTree:
        """The state of a checkpoint, verified unless an earlier version wrote it.

        Raises:
            Exception: It is damaged.
        """
        import orbax.checkpoint as ocp

        assert self._folder is not None
        parts: dict[str, Any] = {ARRAYS: ocp.args.StandardRestore(like)}
        verified = (self._folder / str(epoch) / DIGEST).exists()
        if verified:
            parts[DIGEST] = ocp.args.JsonRestore()
        restored = self._manager.restore(epoch, args=ocp.args.Composite(**parts))
        state = restored[ARRAYS]
        if not verified:
            words = self.in_words(epoch)
            print(f"the checkpoint of {words} has no checksum, so it is used unverified")
        elif restored[DIGEST] != {DIGEST: digest(state)}:
            raise ValueError("its arrays are not those of its checksum")
        return state

    def _unsaved(self, error: Exception) -> InputError:
        assert self._folder is not None
        if isinstance(error, OSError):
            return unwritable(self._folder, error)
        return InputError(
            f"cannot write a checkpoint into {self._folder}: {str(error)[:200]}", do="make room"
        )


class Metrics:
    """The metrics of one training, one row per epoch.

    Args:
        path: The ``metrics.jsonl``, written as rows are added; None to keep them in memory only.
        up_to_epoch: Rows of the file up to this epoch are kept; later ones, written after the
            checkpoint from which the training resumes, are removed.
    """

    def __init__(self, path: Path | None, up_to_epoch: int = 0):
        self._path = path
        self.rows: list[dict[str, Any]] = []
        if path is not None:
            self.rows = [row for row in read_metrics(path) if row["epoch"] <= up_to_epoch]
            write_metrics(path, self.rows)

    def append(self, row: dict[str, Any]) -> None:
        """Add a row."""
        self.rows.append(row)
        if self._path is None:
            return
        try:
            with self._path.open("a") as file:
                file.write(_line(row))
        except OSError as error:
            raise unwritable(self._path, error) from error

    def sync(self) -> None:
        """Put the rows on the disk, so that a checkpoint that follows is never ahead of them."""
        if self._path is None:
            return
        try:
            with self._path.open("a") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a ``metrics.jsonl`` up to the first one that is damaged or cut off.

    Returns:
        The rows of the epochs 1, 2, ...; without their checksums.

    Raises:
        InputError: The file cannot be read.
    """
    rows: list[dict[str, Any]] = []
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    # All rows have one, or none from before there were checksums.
    signed = f'"{records.CHECKSUM}"'.encode() in content
    for line in content.split(b"\n"):
        try:
            whole = records.parse(line, dict[str, Any], str(path))
            row = records.verified(whole, str(path))
            records.checked(row, dict[str, int | float | list[int | float]], str(path))
        except InputError:
            break
        if row.get("epoch") != len(rows) + 1 or (signed and len(row) == len(whole)):
            break
        rows.append(row)
    return rows


def write_metrics(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a ``metrics.jsonl``, in place of an older one."""
    write_whole(path, "".join(map(_line, rows)))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(records.signed(row)) + "\n"
