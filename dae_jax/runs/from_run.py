"""The pretrained layers of another run, for ``pretrain --from-run``.

They are checked before anything is written, and copied, so that the new run is whole without the
other. Its ``from_run.json`` says where they are from; the checksums there are compared on resuming.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dae_jax import datasets, records
from dae_jax.datasets import Dataset, checks
from dae_jax.errors import InputError
from dae_jax.files import write_whole
from dae_jax.runs import saved
from dae_jax.runs.run import Run
from dae_jax.settings import from_run
from dae_jax.settings.pretrain import Data, Settings

__all__ = ["Pretrained", "check_images", "origin", "read", "sized", "write"]

RECORD = "from_run.json"


class Pretrained(NamedTuple):
    """The files of the pretrained layers, and the images that they take."""

    files: dict[str, bytes]  # by their names in the new run directory
    record: dict[str, Any]  # where they are from, and a checksum of each file
    pixels: int
    image_shape: tuple[int, ...] | None  # None if unknown


def read(settings: Settings) -> Pretrained:
    """Read and check the layers that a run takes: its copies, if it is resumed and has them all.

    Raises:
        InputError: A layer is missing or damaged, or is not the one that the run began with.
    """
    hidden, own = settings.stack.hidden, Path(str(settings.output.run_dir))
    record = _record(own) if settings.output.resume else None
    names = [
        name
        for seed in settings.seeds
        for name in _names(seed, several=settings.running.seeds > 1, n=len(hidden))
    ]
    paths = [own / name for name in names]
    if record is None or not all(path.exists() for path in paths):
        paths = _in_the_other_run(settings)
    files = {name: _bytes(path) for name, path in zip(names, paths, strict=True)}
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    if record is not None and record["sha256"] != checksums:
        raise InputError(
            f"pretrained layers in {paths[0].parent}",
            expected=f"those that the run in {own} began with ({RECORD})",
            got="others",
            do="start again in another --run-dir",
        )
    folder = Path(str(settings.pretraining.from_run))
    pixels = _check_layers(paths, hidden, folder)
    shape, data = _images(paths[0])
    print(f"pretrained layers: those of {folder}" + (f", trained on {data}" if data else ""))
    record = record or {"run": str(folder.resolve()), "data": data, "sha256": checksums}
    return Pretrained(files, record, pixels, shape)


def sized(data: Data, pretrained: Pretrained) -> Data:
    """The data with the image size of the layers, if they are images that can be resized."""
    shape = pretrained.image_shape
    if data.image_size or shape is None or not datasets.holds_image_files(str(data.data)):
        return data
    return replace(data, image_size=(shape[0], shape[1]))


def check_images(dataset: Dataset, pretrained: Pretrained, settings: Settings) -> None:
    """Check that the layers take these images.

    Raises:
        InputError: Images of another size, or pixels outside the range that was pretrained on.
    """
    d, p = settings.data, settings.pretraining
    images, shape, known = dataset.train.images, dataset.image_shape, pretrained.image_shape
    if images.shape[1] != pretrained.pixels or (None not in (shape, known) and shape != known):
        do = "prepare them alike, or leave out --from-run to pretrain again"
        if d.image_size and known and len(known) == len(shape or ()):
            do = "leave --image-size out"
        raise InputError(
            f"--data {d.data or dataset.name}",
            expected=f"images of {checks.in_words(known, pretrained.pixels)}, those that "
            f"{p.from_run} was pretrained on",
            got=checks.in_words(shape, images.shape[1]),
            do=do,
        )
    linear = p.decoder[0] == "linear"
    do = f"scale them to [0, 1], as {p.from_run} was pretrained, into an .npz file"
    checks.check_range(dataset.name, images, d.pixel_scale, p.cost[0], linear=linear, do=do)


def write(folder: Path, pretrained: Pretrained) -> None:
    """Write the record, and then the layers, into a run directory."""
    write_whole(folder / RECORD, json.dumps(pretrained.record, indent=2) + "\n")
    for name, content in pretrained.files.items():
        write_whole(folder / name, content)


def origin(run: Run[Settings]) -> dict[str, Any]:
    """The entry of a report that says where the layers are from; none if the run pretrained."""
    if run.settings.pretraining.from_run is None:
        return {}
    return {"from_run": _record(run.folder)}


def _record(folder: Path) -> dict[str, Any] | None:
    """The record of a run; None if it has not written one yet."""
    path = folder / RECORD
    if not path.exists():
        return None
    return records.load(path, dict[str, Any], "start again in another one")


def _names(seed: int, *, several: bool, n: int) -> list[str]:
    """The names of the files of n layers in a run directory."""
    member = f"seed_{seed}/" if several else ""
    return [f"{member}layer_{k + 1}.safetensors" for k in range(n)]


def _in_the_other_run(settings: Settings) -> list[Path]:
    """The files of the other run's layers, for each of this run's seeds.

    Raises:
        InputError: Some are missing.
    """
    folder = Path(str(settings.pretraining.from_run))
    there, paths = from_run.read(folder), []
    several = there.running.seeds > 1
    for seed in settings.seeds:
        names = _names(seed, several=several, n=len(settings.stack.hidden))
        paths += [folder / name for name in names]
    missing = next((path for path in paths if not path.exists()), None)
    if missing:
        raise InputError(
            f"--from-run {folder}",
            expected="a run that has finished pretraining",
            got=f"none of its {missing.relative_to(folder)}",
            do=f"finish it: {settings.prog} --resume --run-dir {folder}",
        )
    return paths


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"--from-run: cannot read {path}: {error.strerror}") from error


def _check_layers(paths: Sequence[Path], hidden: Sequence[int], folder: object) -> int:
    """Check that the files are layers of stacks of these widths, one stack after the other.

    Returns:
        The number of pixels that the first layers take.
    """
    do = f"remove it and pretrain it again: {Settings.prog} --resume --run-dir {folder}"
    layers = []
    for path in paths:
        try:
            layers.append(saved.load_layer(path))
        except InputError as error:
            raise InputError(f"--from-run: {error}", do=do) from error
    pixels = np.size(layers[0].b_prime)
    widths = itertools.cycle(zip((pixels, *hidden[:-1]), hidden, strict=True))
    for path, layer, (n, m) in zip(paths, layers, widths, strict=False):
        shapes = [np.shape(part) for part in layer]
        if shapes != [(n, m), (m,), (n,)] or not all(np.isfinite(part).all() for part in layer):
            expected = f"finite weights of {n} inputs and {m} units"
            raise InputError(f"--from-run: {path}", expected=expected, got="others", do=do)
    return pixels


def _images(path: Path) -> tuple[tuple[int, ...] | None, str | None]:
    """The shape of the images of a first layer, and the name of the data set; None if unknown."""
    try:
        card = saved.load(path).card
    except InputError:  # from before layers had cards
        return None, None
    return card.image_shape, card.data
