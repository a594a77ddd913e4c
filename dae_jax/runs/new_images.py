"""A trained model, and images that are fit for it: what predicting and encoding have in common."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro
from tyro.conf import Positional, arg

from dae_jax import datasets
from dae_jax.datasets import checks as inputs
from dae_jax.datasets import image_folder as images
from dae_jax.errors import InputError

if TYPE_CHECKING:  # JAX itself waits until the flags are known to make sense
    from dae_jax.autoencoder import AnyParams
    from dae_jax.stacked import Classifier

STACK, DA = "model.safetensors", "params.safetensors"  # what the two kinds of runs leave behind
CHUNK = 10_000  # images that are put through a network at once
MARGIN = 0.1  # how far floats may lie beyond the training images', in widths of their range


@dataclass(frozen=True)
class Asked:
    """Which model, and which images."""

    run: Positional[Annotated[str, arg(metavar="RUN")]] = tyro.MISSING
    """The run directory of the model, or its .safetensors file."""
    images: Positional[Annotated[str, arg(metavar="IMAGES")]] = tyro.MISSING
    """A folder of images, one image, a file .npz, .npy, IDX or .pkl.gz, a folder of IDX files, or
    mnist, mnist-sample or digits."""
    part: Annotated[
        Literal["train", "valid", "test", "all"] | None,
        arg(metavar="train|valid|test|all", help_behavior_hint="(default: test, if any, else all)"),
    ] = None
    """Which part of IMAGES to take, where they come in several."""
    image_size: Annotated[
        tuple[int, int] | None,
        arg(metavar="HEIGHT WIDTH", help_behavior_hint="(default: the training images', if known)"),
    ] = None
    """Pixels that a folder of images is resized to."""
    debug: bool = False
    """Show the traceback of an error."""


class Expected(NamedTuple):
    """What images a model takes: such as it was trained on."""

    n_pixels: int
    image_shape: tuple[int, ...] | None  # None where it is not known
    pixel_scale: float  # what integer pixels are divided by
    limits: Mapping[str, tuple[float, float]]  # for "integer" or "float" pixels, or for both
    source: Path | None = None  # the name or path of the training images


class NewImages(NamedTuple):
    """Images (n, d), what each is called, their labels (n,), and what 0, 1, ... of those mean.

    The model may have `seen` some of them: they come from where its training images come from.
    """

    images: np.ndarray
    names: list[str]
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    seen: bool


def find(run: str, *files: str) -> Path:
    """The file of a run's model.

    Args:
        run: A run directory, or the file itself.
        files: What the file may be called, the best first.

    Raises:
        InputError: There is none, or there are several to choose from.
    """
    folder = Path(run)
    if os.path.isfile(run):
        return folder
    for name in files:
        if os.path.isfile(folder / name):
            return folder / name
    below = sorted(str(path.parent) for name in files for path in folder.glob(f"*/{name}"))
    if below:
        choice = ", ".join(below[:10]) + (", ..." if len(below) > 10 else "")
        got = f"the folder above {len(below)} of them"
        raise InputError(run, expected="one model", got=got, do=f"choose one: {choice}")
    raise _without_model(folder, files)


def _without_model(folder: Path, files: tuple[str, ...]) -> InputError:
    """Why there is no model in a folder, and what to do about it."""
    expected = f"a run directory with {' or '.join(files)}, or that file"
    if not folder.is_dir():
        return InputError(folder, expected=expected, got="nothing there", do="check the path")
    member = next(folder.glob("layer_*.safetensors"), None) and not _settings(folder)
    home = folder.parent if member else folder
    settings = _settings(home)
    resume = f"--resume --run-dir {home}"
    if DA not in files and ("model" in settings or (folder / DA).is_file()):
        got, do = "a dA, which knows no classes", "take a run of python -m dae_jax.pretrain"
    elif "model" in settings:
        got, do = "an unfinished run", f"finish it: python -m dae_jax.train {resume}"
    elif settings.get("comparison", {}).get("compare"):
        got, do = "a comparison, which keeps no model", "train one without --compare"
    elif "stack" in settings:
        got, do = "an unfinished run", f"finish it: python -m dae_jax.pretrain {resume}"
    else:
        got, do = "neither", "check the path"
    return InputError(folder, expected=expected, got=got, do=do)


def _settings(folder: Path) -> dict[str, Any]:
    """The configuration of the run in a folder; empty, where there is none."""
    try:
        settings = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def load_classifier(path: Path) -> tuple["Classifier", Expected, list[str]]:
    """The classifier in a file, the images it takes, and what its classes are called.

    Raises:
        InputError: The file holds no classifier, or does not say what it was trained on.
    """
    from dae_jax.runs import checkpoints

    model, about = checkpoints.load_classifier(path)
    try:
        shape, (low, high) = about["image_shape"], about["range"]
        scale, names = float(about["pixel_scale"]), about["class_names"]
        kind = "integer" if about["integer_pixels"] else "float"
        source = Path(about["config"]["data"]["data"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"metadata of {path}",
            expected="what python -m dae_jax.pretrain writes there",
            got=f"no {error}",
            do="take a file as the run left it",
        ) from error
    if kind == "integer":  # all pixels that there can be, even if no training image had them
        low, high = min(low, 0), max(high, scale)
    shape = None if shape is None else tuple(shape)
    n_pixels = len(model.hidden[0].W)
    return model, Expected(n_pixels, shape, scale, {kind: (low, high)}, source), names


def load_da(path: Path) -> tuple["AnyParams", Expected]:
    """The dA in a file, and the images it takes as far as the configuration of its run tells.

    Raises:
        InputError: The file holds no dA, or is not in its run directory.
    """
    from dae_jax.runs import checkpoints

    params = checkpoints.load_params(path)
    settings = _settings(path.parent) or _settings(path.parent.parent)  # that of a sweep's member
    try:
        size, scale = settings["data"]["image_size"], float(settings["data"]["pixel_scale"])
        linear = settings["model"]["decoder"] == "linear"
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            path, expected="config.json of its run beside it", got=f"no {error}", do="put it there"
        ) from error
    n_pixels, shape = len(params.W), None
    if size:
        shape = (*size, 3) if n_pixels == 3 * size[0] * size[1] else tuple(size)
    anything = -np.inf, np.inf
    limits = {
        "integer": anything if linear else (0.0, scale),
        "float": anything if linear else (0.0, 1.0),
    }
    return params, Expected(n_pixels, shape, scale, limits)


def load(asked: Asked, expected: Expected) -> NewImages:
    """The images that are asked for, if they are such as the model takes; nothing is rescaled.

    Only images in files of their own are resized, to the size of those that the model has seen.

    Raises:
        InputError: There are none, or they are of another size, kind or range.
    """
    source = asked.images
    files = datasets.holds_image_files(source)
    if files:
        size = asked.image_size
        if size is None and expected.image_shape is not None:
            size = expected.image_shape[0], expected.image_shape[1]
        x, labels, class_names = images.read_image_folder(source, size)
        shape, parts = x.shape[1:], {"train": datasets.Split(x.reshape(len(x), -1), labels)}
    elif asked.image_size is not None:
        raise InputError(
            "--image-size", expected="a folder of images", got=source, do="leave --image-size out"
        )
    else:
        dataset = datasets.load_whole(source)
        shape, class_names = dataset.image_shape, dataset.class_names
        parts = {name: getattr(dataset, name) for name in ("train", "valid", "test")}
    parts = {name: split for name, split in parts.items() if len(split.images)}
    part = asked.part or ("test" if "test" in parts else "all")
    x, labels = _part(parts, part, source)
    _check_shape(source, x, shape, expected, files)
    _check_values(source, x, expected)
    names = images.image_names(source) if files else [str(i) for i in range(len(x))]
    if class_names is None:
        class_names = tuple(map(str, range(datasets.Split(x, labels).n_classes)))
    seen = Path(source) == expected.source and part in ("train", "all")
    return NewImages(x, names, labels, class_names, seen)


def _part(parts: Mapping[str, datasets.Split], name: str, source: str) -> datasets.Split:
    if name == "all":
        labels = [split.labels for split in parts.values() if split.labels is not None]
        return datasets.Split(
            np.concatenate([split.images for split in parts.values()]),
            np.concatenate(labels) if len(labels) == len(parts) else None,
        )
    if name not in parts:
        raise InputError(f"--part {name}", expected=f"{', '.join(parts)} or all of {source}")
    return parts[name]


def _check_shape(
    source: str, x: np.ndarray, shape: tuple[int, ...] | None, expected: Expected, files: bool
) -> None:
    known = expected.image_shape
    if x.shape[1] == expected.n_pixels and (known is None or shape in (None, known)):
        return
    if not files:
        do = "prepare them as the training images were"
    elif known is None:
        do = "pass --image-size, with that of the training images"
    elif len(known) != len(shape or ()):
        do = f"convert them to {'grey' if len(known) == 2 else 'colour'}"
    else:
        do = "leave --image-size out"
    raise InputError(
        f"images of {source}",
        expected=f"{inputs.in_words(known, expected.n_pixels)}, as in training",
        got=inputs.in_words(shape, x.shape[1]),
        do=do,
    )


def _check_values(source: str, x: np.ndarray, expected: Expected) -> None:
    kind = "integer" if np.issubdtype(x.dtype, np.integer) else "float"
    do = "scale them as the training images were, into an .npy file"
    if kind in expected.limits:
        low, high = expected.limits[kind]
        margin = MARGIN * (high - low) if kind == "float" else 0
        if low - margin <= x.min() and x.max() <= high + margin:
            return
        do = "scale them as the training images were, or clip them"
    told = [f"{name}s in {low:g} to {high:g}" for name, (low, high) in expected.limits.items()]
    raise InputError(
        f"images of {source}",
        expected=f"{' or '.join(told)}, as in training",
        got=f"{kind}s in {x.min():g} to {x.max():g}",
        do=do,
    )


def put_through(
    network: Callable[..., Any], model: Any, x: np.ndarray, pixel_scale: float
) -> np.ndarray:
    """What a network makes of images, computed a chunk at a time by one jitted function.

    Args:
        network: A function of a model and images in (n, d), as the model sees them.
        model: Its parameters.
        x: The images as the data set holds them, (n, d).
        pixel_scale: What integer pixels are divided by.

    Returns:
        (n, outputs), float32.
    """
    import jax

    from dae_jax import autoencoder

    @jax.jit
    def of_chunk(model: Any, chunk: Any, scale: Any) -> Any:
        return network(model, autoencoder.pixels(chunk, scale))

    chunks = [x[at : at + CHUNK] for at in range(0, len(x), CHUNK)]
    return np.concatenate([np.asarray(of_chunk(model, c, pixel_scale), np.float32) for c in chunks])
