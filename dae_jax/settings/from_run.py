"""``pretrain --from-run``: the settings of a run that fine-tunes another run's pretrained layers.

The network and its pretraining are those of the other run. So are the data, the seeds and the
precision, unless flags say otherwise. Each seed takes the layers of the same seed; if the other run
has a single seed, all take its.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dae_jax.errors import InputError
from dae_jax.settings import ladder, pretrain, shared, train
from dae_jax.settings.pretrain import PRESETS, Settings

__all__ = ["inherited", "read"]


def read(folder: Path) -> Settings:
    """The settings of the run of a stack in a folder.

    Raises:
        InputError: There is none.
    """
    path, what = folder / "config.json", f"--from-run {folder}"
    expected = f"the run directory of a stack of {Settings.prog}"
    if not folder.is_dir():
        raise InputError(what, expected=expected, got="no folder", do="check the path")
    if not os.path.isfile(path):  # `Path.exists` raises where the folder may not be entered
        do = "give the folder that --run-dir named"
        raise InputError(what, expected=expected, got="no config.json in it", do=do)
    saved = shared.read_record(folder)
    if not shared.is_of(Settings, str(folder)):
        got = "other settings"
        if shared.is_of(train.Settings, str(folder)):
            got = f"a run of {train.Settings.prog}"
        if shared.is_of(ladder.Settings, str(folder)):
            got = "a ladder network, which is not pretrained"
        do = "pretrain a stack, or leave --from-run out"
        raise InputError(what, expected=expected, got=got, do=do)
    do = "take another run"
    return shared.from_json(Settings, saved, f"--from-run {path}", do)


def inherited(requested: Settings, argv: Sequence[str]) -> Settings:
    """The settings with those of the layers, and with those of the other run for flags not given.

    Args:
        requested: The settings from the flags alone.
        argv: The flags.

    Raises:
        InputError: There is no such run, or a flag contradicts it.
    """
    folder = Path(str(requested.pretraining.from_run))
    there = read(folder)
    data = there.data
    if requested.data.data is not None:
        data = replace(pretrain.Data(), pixel_scale=data.pixel_scale, grey=data.grey)
    settings = shared.parse(
        Settings,
        argv,
        default=replace(
            PRESETS[requested.preset],
            data=data,
            stack=there.stack,
            pretraining=there.pretraining,
            running=there.running,
        ),
    )
    _check_layers(settings, there, folder)
    _check_running(settings, there, folder)
    return settings


def _check_layers(settings: Settings, there: Settings, folder: Path) -> None:
    """Check that no flag contradicts the network and its pretraining."""
    data = replace(settings.data, pixel_scale=there.data.pixel_scale)
    if data.unlabelled is not None:
        data = replace(data, unlabelled=there.data.unlabelled)
    from_run = settings.pretraining.from_run
    fixed = replace(
        settings,
        data=data,
        stack=there.stack,
        pretraining=replace(there.pretraining, from_run=from_run),
    )
    differing = shared.differences(fixed, settings, may_grow="")
    if differing:
        raise InputError(
            f"--from-run: the layers in {folder} are others ({'; '.join(differing)})",
            do="leave these flags out, or leave out --from-run to pretrain again",
        )


def _check_running(settings: Settings, there: Settings, folder: Path) -> None:
    """Check that there are layers of each seed, and of this precision."""
    ours, theirs = settings.running, there.running
    last, last_there = (part.seed + part.seeds - 1 for part in (ours, theirs))
    if theirs.seeds > 1 and not theirs.seed <= ours.seed <= last <= last_there:
        raise InputError(
            "--seed and --seeds",
            expected=f"seeds from {theirs.seed} to {last_there}, those of {folder}",
            got=f"{ours.seed} to {last}" if ours.seeds > 1 else ours.seed,
            do=f"for one of them, pass --seed {theirs.seed} --seeds 1",
        )
    if ours.precision != theirs.precision and "float64" in (ours.precision, theirs.precision):
        raise InputError(
            "--precision",
            expected=f"{theirs.precision}, as in {folder}",
            got=ours.precision,
            do="leave it out",
        )
