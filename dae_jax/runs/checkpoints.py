"""Checkpoints and metrics of a training: ``checkpoints/`` (Orbax) and ``metrics.jsonl``."""

import json
import logging
import math
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from dae_jax.errors import InputError
from dae_jax.files import unwritable, writable_folder, write_whole

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager

__all__ = ["Checkpoints", "Metrics", "read_metrics", "write_metrics"]

PyTree = Any


class Checkpoints:
    """The checkpoints of one training, written in the background; the newest two are kept.

    Each is written to a temporary folder, which is then renamed, so that a crash leaves the one
    before it intact. Use as a context manager: leaving it waits until the last one is complete.

    Args:
        folder: Folder of the checkpoints; None to write none.
        every: Least number of seconds between two checkpoints.
    """

    def __init__(self, folder: Path | None, every: float = 1.0):
        self._folder, self._every = folder, every
        self._saved_at = -math.inf

    @cached_property
    def _manager(self) -> "CheckpointManager":
        # Orbax takes a second to import; the first update does not wait for it.
        import orbax.checkpoint as ocp

        assert self._folder is not None
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
        """Write a checkpoint if the last one is old enough, or in any case with `now`.

        Returns:
            Whether there is a checkpoint of this epoch.

        Raises:
            InputError: It cannot be written; the earlier ones are intact.
        """
        if self._folder is None:
            return False
        if not now and time.monotonic() - self._saved_at < self._every:
            return False
        import orbax.checkpoint as ocp

        if epoch == self.latest():
            return True
        # A view keeps the next epoch from writing into an array that is being saved.
        arrays = jax.tree.map(np.asarray, state)
        # Checked first, since Orbax's storage threads print errors of their own if a disk is full.
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
        """The epoch of the newest checkpoint, or None if there is none."""
        return None if self._folder is None else self._manager.latest_step()

    def restore(self, like: PyTree) -> tuple[int, PyTree] | None:
        """Read the newest intact checkpoint, as (epoch, state); None if there is none.

        A checkpoint that cannot be read, because a crash cut it off, is skipped in favour of the
        one before it and then removed, since its epoch will be reached again.

        Args:
            like: A state of the same structure, shapes and dtypes.

        Raises:
            InputError: There are checkpoints, but none can be read; nothing is removed.
        """
        if self._folder is None:
            return None
        import orbax.checkpoint as ocp

        args = ocp.args.StandardRestore(jax.tree.map(np.asarray, like))
        unreadable: list[int] = []
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._manager.restore(epoch, args=args)
            except Exception as error:  # Orbax's storage layers raise many kinds
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
            self.rows = read_metrics(path, up_to_epoch)
            write_metrics(path, self.rows)

    def append(self, row: dict[str, Any]) -> None:
        """Add a row."""
        self.rows.append(row)
        if self._path is None:
            return
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise unwritable(self._path, error) from error


def read_metrics(path: Path, up_to_epoch: float = math.inf) -> list[dict[str, Any]]:
    """Read the rows of a ``metrics.jsonl``, up to a line that a crash cut off."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return [row for row in rows if row["epoch"] <= up_to_epoch]


def write_metrics(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a ``metrics.jsonl``, in place of an older one."""
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
