"""Saved models: ``.safetensors`` files whose metadata is a model card.

A dA is saved as ``params.safetensors`` with the tensors `W`, `b`, `b_prime` and, if untied,
`W_prime`; a classifier as ``model.safetensors`` with ``hidden.0.W``, ``hidden.0.b``, ...,
``top.W``, ``top.b``. The card says which images the model takes and how it was made.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from dae_jax import __version__, stacked
from dae_jax.autoencoder import AnyParams, Params, UntiedParams
from dae_jax.datasets import Dataset
from dae_jax.errors import InputError
from dae_jax.files import write_whole
from dae_jax.runs.run import AnySettings, read_settings
from dae_jax.settings import ladder, pretrain, shared, train
from dae_jax.settings.shared import Denoising
from dae_jax.stacked import Classifier, Layer

__all__ = [
    "ACTIVATIONS",
    "CLASSIFIER",
    "DA",
    "Card",
    "Model",
    "above_codes",
    "card",
    "encode",
    "find",
    "load",
    "load_layer",
    "logits",
    "save",
]

CLASSIFIER, DA = "model.safetensors", "params.safetensors"
"""The names of the models in a run directory."""
ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}
"""The activations of hidden layers, by the names in the card."""


@dataclass(frozen=True)
class Card:
    """A model card: the images that a model takes, and how it was trained."""

    kind: Literal["classifier", "autoencoder"]
    dae_jax: str  # version of this package
    data: str  # name of the data set
    image_shape: tuple[int, ...] | None  # (h, w) or (h, w, 3); None if unknown
    pixels: int
    integer_pixels: bool | None  # of the training images; None if unknown
    range: tuple[float, float] | None  # of the training images' pixels; None if unknown
    pixel_scale: float  # divisor of integer pixels
    class_names: tuple[str, ...] | None
    config: dict[str, Any]  # the settings, without the output's
    seed: int | None
    denoising: dict[str, Any] | None = None  # how a dA was trained
    activation: str = "sigmoid"  # of the hidden layers; a name in ACTIVATIONS

    def to_json(self) -> dict[str, Any]:
        """The card as a dictionary that JSON can hold."""
        values = asdict(self)
        if self.denoising is None:
            del values["denoising"]
        return values

    @property
    def source(self) -> Path | None:
        """The name or path of the training images, if it is known."""
        name = self.config.get("data", {}).get("data")
        return None if name is None else Path(name)

    @property
    def grey(self) -> bool:
        """Whether training images that were saved in colour were read as grey."""
        return bool(self.config.get("data", {}).get("grey", False))

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """The range of pixels that the model takes, for ``"integer"`` or ``"float"`` ones or both.

        A classifier takes pixels as in training. A dA takes all values that its output can
        reconstruct: any if it is linear, else [0, 1] after scaling.
        """
        if self.kind == "classifier":
            assert self.range is not None
            low, high = self.range
            if not self.integer_pixels:
                return {"float": (low, high)}
            # every value that a pixel can have, even if no training image had it
            return {"integer": (min(low, 0), max(high, self.pixel_scale))}
        if self.denoising is not None and self.denoising["decoder"] == "linear":
            return {"integer": (-np.inf, np.inf), "float": (-np.inf, np.inf)}
        return {"integer": (0.0, self.pixel_scale), "float": (0.0, 1.0)}


class Model(NamedTuple):
    """A saved model: its parameters and its card."""

    params: AnyParams | Classifier
    card: Card


def card(
    kind: Literal["classifier", "autoencoder"],
    dataset: Dataset,
    settings: AnySettings,
    seed: int,
    denoising: Denoising | None = None,
) -> Card:
    """The card of a model that was trained on a data set's images.

    Args:
        kind: The kind of model.
        dataset: The data set.
        settings: The resolved settings of the run.
        seed: The seed of this member.
        denoising: How a dA was trained.
    """
    images, names = dataset.train.images, None
    if kind == "classifier":
        n_classes = dataset.train.n_classes
        names = dataset.class_names or tuple(str(i) for i in range(n_classes))
    # Equal models are equal files: without the output's settings, wherever they are written; and a
    # layer's without those of the fine-tuning after it, which may be resumed for more epochs.
    others = ("output",) if kind == "classifier" else ("output", "finetuning", "comparison")
    config = {k: v for k, v in shared.to_json(settings).items() if k not in others}
    return Card(
        kind=kind,
        dae_jax=__version__,
        data=dataset.name,
        image_shape=dataset.image_shape,
        pixels=images.shape[1],
        integer_pixels=bool(np.issubdtype(images.dtype, np.integer)),
        range=(float(images.min()), float(images.max())),
        pixel_scale=settings.data.pixel_scale,
        class_names=names,
        config=config,
        seed=seed,
        denoising=None if denoising is None else asdict(denoising),
        activation="relu" if isinstance(settings, ladder.Settings) else "sigmoid",
    )


@cache  # the same object for the same name, since JAX compares functions by identity
def encode(activation: str) -> Callable[..., Any]:
    """`stacked.encode` with the activation of that name in `ACTIVATIONS`."""
    return partial(stacked.encode, activation=ACTIVATIONS[activation])


@cache
def logits(activation: str) -> Callable[..., Any]:
    """`stacked.logits` with the activation of that name in `ACTIVATIONS`."""
    return partial(stacked.logits, activation=ACTIVATIONS[activation])


def above_codes(card: Card, n_inputs: int) -> Card:
    """The card of a layer whose inputs are the codes of the layer below, not images."""
    return replace(
        card,
        image_shape=None,
        pixels=n_inputs,
        integer_pixels=False,
        range=(0.0, 1.0),
        pixel_scale=1.0,
    )


def save(path: Path, params: AnyParams | Classifier, card: Card) -> Path:
    """Write a model and its card as safetensors.

    The card is JSON under one name, since safetensors writes several names in any order, and equal
    models should be equal files.
    """
    from safetensors.numpy import save as to_bytes

    arrays = {name: np.ascontiguousarray(value) for name, value in _tensors(params).items()}
    return write_whole(path, to_bytes(arrays, {"dae_jax": json.dumps(card.to_json())}))


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model that `save` wrote, or an earlier version of this package.

    Raises:
        InputError: No such file, no safetensors, other tensors than a model's, or no card.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    params = _params(tensors, path)
    if "kind" not in metadata and not isinstance(params, Classifier):
        return Model(params, _old_card(path, params))
    try:
        return Model(params, _card(metadata))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"model card of {path}",
            expected="the metadata that a training command writes",
            got=f"no {error}",
            do="use the file as the run wrote it",
        ) from error


def load_layer(path: str | os.PathLike[str]) -> AnyParams:
    """Read the parameters of a dA, such as a pretrained layer; its card is not needed.

    Raises:
        InputError: No such file, no safetensors, or other tensors than a dA's.
    """
    params = _params(_read(Path(path))[0], Path(path))
    if isinstance(params, Classifier):
        raise InputError(path, expected="the tensors of a dA", got="a classifier")
    return params


def _tensors(params: AnyParams | Classifier) -> dict[str, Any]:
    """The tensors of a model by name."""
    if not isinstance(params, Classifier):
        return params._asdict()
    layers = {f"hidden.{k}": layer for k, layer in enumerate(params.hidden)} | {"top": params.top}
    return {
        f"{name}.{field}": value
        for name, layer in layers.items()
        for field, value in layer._asdict().items()
    }


def _params(tensors: Mapping[str, Array], path: Path) -> AnyParams | Classifier:
    """The model that `_tensors` took apart."""
    for kind in (Params, UntiedParams):
        if set(tensors) == set(kind._fields):
            return kind(**tensors)
    names = [f"hidden.{k}" for k in range(len(tensors) // 2 - 1)] + ["top"]
    if set(tensors) != {f"{name}.{field}" for name in names for field in Layer._fields}:
        raise InputError(
            f"tensors in {path}",
            expected="those of a dA (W, b, b_prime, perhaps W_prime) or of a classifier "
            "(hidden.0.W, hidden.0.b, ..., top.W, top.b)",
            got=", ".join(sorted(tensors)) or "none",
        )
    *hidden, top = (Layer(tensors[f"{name}.W"], tensors[f"{name}.b"]) for name in names)
    return Classifier(tuple(hidden), top)


def _card(metadata: Mapping[str, Any]) -> Card:
    def listed(value: Any) -> Any:
        return None if value is None else tuple(value)

    values: dict[str, Any] = dict(metadata)
    for name in ("image_shape", "range", "class_names"):
        values[name] = listed(values[name])
    if values["kind"] == "classifier" and values["range"] is None:
        raise ValueError("range of the training images")
    values["pixel_scale"] = float(values["pixel_scale"])
    if values.get("activation", "sigmoid") not in ACTIVATIONS:
        raise ValueError(f"activation {values['activation']!r}")
    return Card(**values)


def _old_card(path: Path, params: AnyParams) -> Card:
    """The card of a dA from before there were cards, from the ``config.json`` of its run.

    Raises:
        InputError: It is not in its run directory.
    """
    settings = read_settings(path.parent) or read_settings(path.parent.parent)  # that of a sweep
    if not isinstance(settings, train.Settings):
        raise InputError(
            path, expected="config.json of its run beside it", got="none", do="put it there"
        )
    size, n_pixels, shape = settings.data.image_size, len(params.W), None
    if size:
        shape = (*size, 3) if n_pixels == 3 * size[0] * size[1] else tuple(size)
    return Card(
        kind="autoencoder",
        dae_jax="0.1.0",
        data=str(settings.data.data),
        image_shape=shape,
        pixels=n_pixels,
        integer_pixels=None,
        range=None,
        pixel_scale=settings.data.pixel_scale,
        class_names=None,
        config={},
        seed=None,
        denoising=asdict(settings.members[0][0]),
    )


def _read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The tensors and the metadata of a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("dae_jax", "{}"))
            names = list(file.keys())
            return {name: jax.numpy.asarray(file.get_tensor(name)) for name in names}, metadata
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"cannot read a model from {path}: {error}") from error


def find(run: str, *names: str) -> Path:
    """The file of a run's model.

    Args:
        run: A run directory, or the file itself.
        names: Names that the file may have, the preferred one first.

    Raises:
        InputError: There is none, or there are several to choose from.
    """
    folder = Path(run)
    if os.path.isfile(run):
        return folder
    for name in names:
        if os.path.isfile(folder / name):
            return folder / name
    below = sorted(str(path.parent) for name in names for path in folder.glob(f"*/{name}"))
    if below:
        choice = ", ".join(below[:10]) + (", ..." if len(below) > 10 else "")
        got = f"the folder above {len(below)} of them"
        raise InputError(run, expected="one model", got=got, do=f"choose one: {choice}")
    raise _without_model(folder, names)


def _without_model(folder: Path, names: tuple[str, ...]) -> InputError:
    """The error for a folder without a model, with what is there instead."""
    expected = f"a run directory with {' or '.join(names)}, or that file"
    if not folder.is_dir():
        return InputError(folder, expected=expected, got="nothing there", do="check the path")
    home, settings = folder, read_settings(folder)
    if settings is None and next(folder.glob("layer_*.safetensors"), None):
        home, settings = folder.parent, read_settings(folder.parent)  # a member of several seeds
    resume = f"--resume --run-dir {home}"
    if DA not in names and (isinstance(settings, train.Settings) or (folder / DA).is_file()):
        got, do = "a dA, which knows no classes", f"use a run of {pretrain.Settings.prog}"
    elif settings is None:
        got, do = "neither", "check the path"
    elif isinstance(settings, pretrain.Settings) and settings.comparison.compare:
        got, do = "a comparison, which keeps no model", "train one without --compare"
    else:
        got, do = "an unfinished run", f"finish it: {settings.prog} {resume}"
    return InputError(folder, expected=expected, got=got, do=do)
