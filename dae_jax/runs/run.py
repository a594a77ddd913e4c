"""A run directory: the settings, the data and the members of one call of a training command.

It holds ``config.json`` (the settings), ``command.txt`` (the command that began the run),
``metrics.jsonl`` and ``checkpoints/`` of each stage, and at the end the models
(``.safetensors``), ``results.json`` of each member and the figures. One process owns it at a time:
``.lock`` is locked while it runs, and ``.owner`` names it.
"""

import contextlib
import datetime
import itertools
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

from dae_jax import __version__, datasets, memory, processes, records
from dae_jax.datasets import Dataset
from dae_jax.datasets.loading import LARGE
from dae_jax.errors import InputError
from dae_jax.files import sweep, unwritable, writable_folder, write_whole
from dae_jax.rows import AnyRows, sha256
from dae_jax.runs.checkpoints import read_metrics
from dae_jax.runs.stage import Place, Resources
from dae_jax.settings import ladder, pretrain, shared, train

__all__ = [
    "AnySettings",
    "Claim",
    "Member",
    "Run",
    "claim",
    "fingerprint",
    "in_blocks",
    "load_data",
    "open_run",
    "read_settings",
]

AnySettings = train.Settings | pretrain.Settings | ladder.Settings
BLOCK = 1 << 27
"""The bytes of a block of images, by default."""
Settings = TypeVar("Settings", train.Settings, pretrain.Settings, ladder.Settings)


def fingerprint(dataset: Dataset) -> str:
    """The SHA-256 of the bytes of the training images, (n, d), and of those without labels."""
    more = () if dataset.unlabelled is None else (dataset.unlabelled,)
    return sha256(dataset.train.images, *more)


class Member(NamedTuple):
    """One of the models that a run trains together."""

    name: str  # of its folder, if there are several
    seed: int


@dataclass(frozen=True)
class Run(Generic[Settings]):
    """One call of a training command: one model, or the members of a sweep.

    As a context manager it gives its folder back at the end.
    """

    settings: Settings  # resolved: with all defaults filled in
    dataset: Dataset
    folder: Path
    members: Sequence[Member]
    command: str  # that began the run, as it was typed
    instead_of_mnist: bool = False  # whether this is the sample because MNIST is unavailable
    claim: "Claim | None" = None  # on the folder

    def __enter__(self) -> "Run[Settings]":
        return self

    def __exit__(self, *_: object) -> None:
        if self.claim is not None:
            self.claim.give_back()
        if not processes.first():
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pixel_scale(self) -> float:
        """Divisor of integer pixels."""
        return self.settings.data.pixel_scale

    @cached_property
    def sha256(self) -> str:
        """The `fingerprint` of its data, which takes a while if they are large."""
        return fingerprint(self.dataset)

    @property
    def resources(self) -> Resources:
        """How much of the machine its trainings use."""
        devices = self.settings.machine.devices
        n = len(jax.devices()) if devices == "all" or processes.count() > 1 else devices
        return Resources(self.settings.data.block_size, n)

    @property
    def about(self) -> dict[str, Any]:
        """The metadata of every figure."""
        name = {"dae_jax": __version__, "dataset": self.dataset.name}
        return name | shared.to_json(self.settings)

    def member_folder(self, i: int) -> Path:
        """The folder of a member's files: the run directory itself if it is the only one."""
        return self.folder if len(self.members) == 1 else self.folder / self.members[i].name

    def finished(self, *files: Path) -> bool:
        """Whether these files were all written by the call that this one resumes.

        Other processes than the first, which do not see its folder, get copies of them.
        """
        if not self.settings.output.resume:
            return False
        found = all(file.exists() for file in files)
        if processes.count() > 1 and (found := processes.decided(found)):
            for file in files:
                own = processes.told_bytes(file.read_bytes() if processes.first() else None)
                if not processes.first() and own is not None:
                    write_whole(file, own)
        return found

    def has_metrics(self, place: Place, epochs: int) -> bool:
        """Whether the metrics of a finished stage are intact; else it is trained again for them."""
        if epochs == 0:
            return True
        path = place.metrics
        assert path is not None
        return self.finished(path) and len(read_metrics(path)) >= epochs

    def place(self, title: str, folder: Path) -> Place:
        """The place of one stage, in a folder of this run."""
        resume = f"{self.settings.prog} --resume --run-dir {self.folder}"
        return Place(title, folder, self.settings.output.resume, resume)


def load_data(data: shared.Data) -> tuple[Dataset, bool]:
    """Load the data set of the settings; without a name, MNIST or, failing that, its sample.

    Returns:
        The data set, and whether it is the sample because MNIST is unavailable, which is printed.
    """
    options: dict[str, Any] = dict(
        valid_fraction=data.valid_fraction, image_size=data.image_size, grey=data.grey
    )
    if data.data is not None:
        options |= {"label_column": data.label_column, "leave": left_in_files(data)}
        return datasets.load(data.data, **options), False
    dataset = datasets.load_default(**options)
    unavailable = dataset.name != "mnist"
    if unavailable:
        print(f"*** MNIST is unavailable: training on {dataset.name} ({dataset.source}) ***")
    return dataset, unavailable


def left_in_files(data: shared.Data) -> float:
    """The bytes of images from which on they stay in their files; see `datasets.load`."""
    return LARGE if data.block_size is None else 0


Datas = TypeVar("Datas", bound=shared.Data)


def in_blocks(data: Datas, batch_size: int, images: AnyRows) -> Datas:
    """The settings with the number of images of a block, if all at once would be too many.

    Args:
        data: The settings.
        batch_size: Images of a minibatch.
        images: The images to train on.

    Raises:
        InputError: A block is smaller than a minibatch.
    """
    if (size := data.block_size) is not None:
        if size < batch_size:
            raise InputError(
                "--block-size",
                expected=f"at least {batch_size}, the images of a minibatch",
                got=size,
                do="choose a larger one, or a smaller --batch-size",
            )
        return data
    if images.nbytes <= LARGE:
        return data
    size = max(batch_size, BLOCK // (images.nbytes // len(images)))
    print(
        f"{memory.in_words(images.nbytes)} of images: trained on in blocks of {size:,} "
        f"(--block-size), {memory.in_words(BLOCK)} each"
    )
    return replace(data, block_size=size)


def open_run(
    settings: Settings,
    dataset: Dataset,
    members: Sequence[Member],
    command: str,
    *,
    instead_of_mnist: bool = False,
) -> Run[Settings]:
    """Open the run directory of these settings and write its configuration.

    What there is to say about image files is printed. Of several processes, the first opens it; the
    others write into a temporary folder, which vanishes with them.

    Args:
        settings: The resolved settings. Without ``run_dir``, a new folder in ``runs/`` is made.
        dataset: The data set.
        members: The models to train.
        command: This call as it was typed. A resumed run keeps the command that began it.
        instead_of_mnist: See `load_data`.

    Raises:
        InputError: The folder holds a run already, and this is no resume; or it cannot be written.
            Or another process has other settings or data.
    """
    _check_same(settings, dataset)
    if not processes.first():
        return Run(settings, dataset, Path(tempfile.mkdtemp()), members, command, instead_of_mnist)
    output = settings.output
    folder = Path(_new_folder() if output.run_dir is None else output.run_dir)
    if not output.resume:
        _check_unused(folder)  # before its owner is noted in it
    own = claim(folder)
    try:
        if not output.resume:
            _check_unused(folder)  # another process may have been faster
    except InputError:
        own.give_back()
        raise
    sweep(folder)
    config = json.dumps(records.signed(shared.to_json(settings)), indent=2)
    write_whole(folder / shared.CONFIG, config + "\n")
    record = folder / shared.RECORD
    if output.resume and record.exists():
        command = _text(record)
    else:  # a run that was killed in its first write is begun by --resume, too
        command = command.replace(" --resume", "")
        write_whole(record, command + "\n")
    for notice in dataset.notices:
        print(notice)
    if processes.count() > 1:
        _say_how_spread(len(members))
    return Run(settings, dataset, folder, members, command, instead_of_mnist, own)


def _check_unused(folder: Path) -> None:
    if os.path.exists(folder / shared.CONFIG):
        raise InputError(
            f"--run-dir: {folder} holds a run already", do="pass --resume, or choose another folder"
        )


def _say_how_spread(n_members: int) -> None:
    n, devices = processes.count(), len(jax.devices())
    how = "seeds and levels are spread over them"
    if n_members < n:
        how = "minibatches are split over them, so that every step waits for the network"
    print(f"{n} processes with {devices} devices: {how}")


def _check_same(settings: AnySettings, dataset: Dataset) -> None:
    """Check that all processes have the same versions, settings and data."""
    if processes.count() == 1:
        return
    images = dataset.pretraining_images
    given = shared.flat(settings) | {"resume": settings.output.resume}
    own = {
        "Python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "dae_jax": __version__,
        **{f"--{name.replace('_', '-')}": shared.in_words(value) for name, value in given.items()},
        "images": f"{images.dtype} {images.shape}",
        "data": sha256(images) if images.nbytes <= LARGE else "not compared",
    }

    def differences(content: bytes) -> str:
        theirs = json.loads(content)
        differing = [name for name in own if own[name] != theirs.get(name)]
        return "; ".join(
            f"{name} is {theirs.get(name)} there, {own[name]} here" for name in differing
        )

    processes.check_equal(json.dumps(own, default=str).encode(), differences)


@dataclass(frozen=True)
class Claim:
    """A folder that this process owns; without a reference to it, it is given back."""

    folder: Path
    lock: BaseFileLock
    made: tuple[Path, ...]
    """The folders that were made for it, the innermost first."""

    def give_back(self) -> None:
        """Release the lock; if nothing was written, remove the folder and all that were made."""
        self.lock.release()
        with contextlib.suppress(OSError):  # the folder has vanished, or others use it
            own = {".lock", ".owner"}
            if {path.name for path in self.folder.iterdir()} <= own:
                for name in own:
                    (self.folder / name).unlink(missing_ok=True)
                for folder in self.made or (self.folder,):
                    folder.rmdir()


def claim(folder: Path) -> Claim:
    """Lock a folder for this process; the lock ends with it, however it ends.

    Args:
        folder: A run directory, or one of a report; it is made if needed.

    Returns:
        The claim, to be given back.

    Raises:
        InputError: Another process owns the folder; it is named.
    """
    made = tuple(path for path in (folder, *folder.parents) if not os.path.exists(path))
    writable_folder(folder)
    lock, owner = FileLock(folder / ".lock", timeout=0), folder / ".owner"
    try:
        lock.acquire()
    except Timeout as error:
        do = "wait until it has ended, or choose another folder"
        raise InputError(f"{folder} is in use by {_name(owner)}", do=do) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    write_whole(owner, f"process {os.getpid()} on {platform.node()}\n")
    return Claim(folder, lock, made)


def _name(owner: Path) -> str:
    """The name of the process that owns a folder, which notes it just after it has locked it."""
    for _ in range(20):
        try:
            return owner.read_text().strip()[:100]
        except (OSError, ValueError):
            time.sleep(0.05)
    return "another process"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape").rstrip("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}", do="remove it, and resume") from error


def _new_folder() -> str:
    now = datetime.datetime.now().strftime("runs/%Y%m%d-%H%M%S")
    names = itertools.chain([now], (f"{now}-{i}" for i in itertools.count(2)))
    return next(name for name in names if not Path(name).exists())


def read_settings(folder: Path) -> AnySettings | None:
    """The settings of the run in a folder; None if there are none, or none that can be read."""
    try:
        saved = shared.read_record(folder)
    except InputError:
        return None
    for kind in (train.Settings, pretrain.Settings, ladder.Settings):
        try:
            return shared.from_json(kind, saved)
        except InputError:
            continue
    return None
