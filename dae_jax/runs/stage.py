"""What every training command does around the loop, so that a crash at any point loses nothing."""

import datetime
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from dae_jax import console as command
from dae_jax import training
from dae_jax.errors import InputError
from dae_jax.files import writable_folder, write_whole
from dae_jax.runs import checkpoints
from dae_jax.training import Report, State

PyTree = Any


class Watch:
    """What a command wants of every epoch besides the usual; this one wants nothing."""

    kept: PyTree = ()
    """What it has to remember; checkpoints hold it beside the training state."""

    def after(self, report: Report) -> dict[str, Any]:
        """Look at an epoch; returns what to add to its metrics."""
        return {}

    def done(self, epoch: int) -> bool:
        """Whether to stop after this epoch, before the last one is reached."""
        return False


@dataclass(frozen=True)
class Stage:
    """One training, in a folder of its own: ``metrics.jsonl`` and ``checkpoints/``.

    A dA is one stage; a stack has one for each layer and one for fine-tuning.
    """

    folder: Path
    epochs: int
    images: int  # what an epoch goes through, counted for all members
    learning_rate: str  # as a flag and its value, for the advice when training diverges
    go_on_with: str  # the command that resumes it
    title: str = ""  # what is trained, where a run has several stages

    @property
    def metrics(self) -> Path:
        """Where a line an epoch is written."""
        return self.folder / "metrics.jsonl"


def train(
    stage: Stage,
    cost: Callable[..., Any],
    state: State,
    data: PyTree,
    key: jax.Array,
    *,
    resume: bool,
    watch: Watch | None = None,
    **how: Any,
) -> State | None:
    """`training.fit` with metrics, checkpoints, progress, and an ear for Ctrl-C.

    Args:
        stage: Which one.
        cost: See `training.fit`, as for `state`, `data`, `key` and what `how` holds.
        resume: Whether to go on from the newest checkpoint, if there is one.
        watch: See `Watch`; what it keeps is restored, too.

    Returns:
        The last state, or None after Ctrl-C.

    Raises:
        InputError: Training diverged, or a file cannot be written.
    """
    watch = Watch() if watch is None else watch
    name = f"{stage.title}: " if stage.title else ""
    with checkpoints.Checkpoints(stage.folder / "checkpoints") as saved:
        start = 0
        if resume and (found := saved.restore((state, watch.kept))):
            start, (state, watch.kept) = found
            print(f"{name}going on after epoch {start} of {stage.epochs}")
        checkpoints.write_metrics(
            stage.metrics, checkpoints.read_metrics(stage.metrics, up_to_epoch=start)
        )
        if watch.done(start):
            return state
        last = start
        reports = training.fit(cost, state, data, key, epochs=stage.epochs, start=start, **how)
        with (
            command.Progress(stage.epochs, start, stage.title) as progress,
            command.interruptible() as stop,
        ):
            for told in reports:
                _after_epoch(stage, told, watch, saved, progress)
                state, last = told.state, told.epoch
                if watch.done(last):
                    break
                if stop() and last < stage.epochs:
                    saved.save(last, (state, watch.kept), now=True)
                    where = f"{stage.title}, " if stage.title else ""
                    print(f"stopped after {where}epoch {last}; go on with:  {stage.go_on_with}")
                    return None
        saved.save(last, (state, watch.kept), now=True)
    return state


def _after_epoch(
    stage: Stage,
    told: Report,
    watch: Watch,
    saved: checkpoints.Checkpoints,
    progress: command.Progress,
) -> None:
    """Metrics, checkpoint and progress of one epoch, in an order that survives a crash."""
    costs = told.cost.reshape(-1).tolist()
    if not told.finite:
        kept = saved.latest()
        name = f"{stage.title} " if stage.title else ""
        raise InputError(
            f"{name}training diverged in epoch {told.epoch}: "
            f"the cost is {' '.join(map(str, costs))}"
            + (f" (the checkpoint of epoch {kept} is kept)" if kept else ""),
            do=f"lower {stage.learning_rate}",
        )
    row: dict[str, Any] = {"epoch": told.epoch, "cost": sum(costs) / len(costs)}
    if len(costs) > 1:
        row["costs"] = costs
    seen = watch.after(told)
    checkpoints.append_metrics(stage.metrics, row | seen | {"seconds": told.seconds})
    saved.save(told.epoch, (told.state, watch.kept))
    words = "cost " + " ".join(f"{cost:#.6g}" for cost in costs)
    if "valid_error" in seen:
        words += "  validation error " + " ".join(f"{e:.2%}" for e in seen["valid_error"])
    left = (stage.epochs - told.epoch) * told.seconds
    progress.tell(told.epoch, words, stage.images / told.seconds, left)


def first_command(folder: Path, typed: str, resume: bool) -> str:
    """The command that began a run, which is what its report names however often it was resumed."""
    record = folder / "command.txt"
    if resume and record.exists():
        return record.read_text().rstrip("\n")
    write_whole(record, typed + "\n")
    return typed


def open_folder(asked: str | None, resume: bool, config: dict[str, Any]) -> Path:
    """The run directory, made where it has to be, with its configuration in it.

    Args:
        asked: What the user wants it to be; None for a new one in ``runs/``.
        resume: Whether there may be a run in it.
        config: What to write into ``config.json``.

    Raises:
        InputError: It holds a run already, or cannot be written.
    """
    if asked is None:
        now = datetime.datetime.now().strftime("runs/%Y%m%d-%H%M%S")
        names = itertools.chain([now], (f"{now}-{i}" for i in itertools.count(2)))
        asked = next(name for name in names if not Path(name).exists())
    folder = Path(asked)
    if (folder / "config.json").exists() and not resume:
        raise InputError(
            f"--run-dir: {folder} holds a run already", do="pass --resume, or choose another folder"
        )
    writable_folder(folder)
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")
    return folder
