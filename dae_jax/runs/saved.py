"""Saved models: ``.safetensors`` files whose metadata is a model card.

A dA is saved as ``params.safetensors`` with the tensors `W`, `b`, `b_prime` and, if untied,
`W_prime`; a classifier as ``model.safetensors`` with ``hidden.0.W``, ``hidden.0.b``, ...,
``top.W``, ``top.b``. The card says which images the model takes, what it computes and how it was
made; beside it are the version of the format, the equations and checksums of tensors and card.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped
from numpy.typing import ArrayLike

from dae_jax import __version__, autoencoder, evaluation, records, stacked
from dae_jax.autoencoder import AnyParams, Params, UntiedParams
from dae_jax.datasets import from_array
from dae_jax.errors import InputError
from dae_jax.files import write_whole
from dae_jax.runs.cards import Card, architecture
from dae_jax.runs.checkpoints import checksum
from dae_jax.runs.run import read_settings
from dae_jax.settings import pretrain, train
from dae_jax.stacked import Classifier, Layer

__all__ = [
    "ACTIVATIONS",
    "CLASSIFIER",
    "DA",
    "FORMAT",
    "Model",
    "card_of",
    "described",
    "encode",
    "find",
    "load",
    "load_layer",
    "logits",
    "named_tensors",
    "reconstruct",
    "row_cost",
    "save",
]

_INTACT = "the file is damaged or was changed: copy it from its run again"
# written beside the card, from model and card
_DERIVED = ("format", "architecture", "checksum", "card_checksum")
CLASSIFIER, DA = "model.safetensors", "params.safetensors"
"""The names of the models in a run directory."""
FORMAT = 3
"""The version of the format of these files. Cards without a version are of 1, and are read too."""
ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}
"""The activations of hidden layers, by the names in the card."""


class Model(NamedTuple):
    """A trained model: its parameters and its card.

    Images are those of an array (n, d), (n, h, w) or (n, h, w, 3), like the training images in size
    and range; integers are divided by the card's scale, as in training.
    """

    params: AnyParams | Classifier
    card: Card

    def __repr__(self) -> str:
        """The kind of model and its widths, in words."""
        name = "classifier" if isinstance(self.params, Classifier) else "dA"
        return f"<{name} {'-'.join(map(str, self.widths))}, trained on {self.card.data}>"

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of pixels, of units of each hidden layer and, for a classifier, of classes."""
        top = (self.params.top,) if isinstance(self.params, Classifier) else ()
        return (self.card.pixels, *(layer.W.shape[1] for layer in (*self.layers(), *top)))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of a classifier's classes.

        Raises:
            InputError: The model is a dA.
        """
        if not isinstance(self.params, Classifier) or self.card.class_names is None:
            got = "a dA, which knows no classes"
            raise InputError("model", expected="a classifier", got=got)
        return self.card.class_names

    @property
    def decoder(self) -> str:
        """The output of a dA, ``"sigmoid"`` or ``"linear"``.

        Raises:
            InputError: The model is a classifier.
        """
        if self.card.decoder is None:
            got = "a classifier, which has no decoder"
            raise InputError("model", expected="a dA", got=got)
        return self.card.decoder

    def layers(self, k: int | None = None, what: str = "layer") -> tuple[AnyParams | Layer, ...]:
        """The lowest k hidden layers; all of them if None.

        Args:
            k: Their number, at least 1.
            what: The flag or argument that an error names.

        Raises:
            InputError: There are fewer.
        """
        params = self.params
        layers = params.hidden if isinstance(params, Classifier) else (params,)
        if k is not None and not 1 <= k <= len(layers):
            expected = f"1 to {len(layers)}, the hidden layers of the model"
            raise InputError(what, expected=expected, got=k)
        return layers[:k]

    def predict(self, images: ArrayLike) -> Shaped[np.ndarray, "n"]:
        """The names of the most probable classes, (n,).

        Args:
            images: The images.

        Raises:
            InputError: The model is a dA, or the images are not like the training images.
        """
        return np.array(self.class_names)[self.predict_proba(images).argmax(axis=1)]

    def predict_proba(self, images: ArrayLike) -> Float[np.ndarray, "n classes"]:
        """The probabilities of the classes, in the order of `class_names`.

        Args:
            images: See `predict`.

        Raises:
            InputError: As for `predict`.
        """
        assert self.class_names
        return np.asarray(
            jax.nn.softmax(self._apply(logits(self.card.activation), self.params, images))
        )

    def encode(self, images: ArrayLike, layer: int | None = None) -> Float[np.ndarray, "n units"]:
        """The codes of images in a hidden layer.

        Args:
            images: See `predict`.
            layer: 1 is the first layer above the images; the topmost one if None.

        Raises:
            InputError: There is no such layer, or the images are not like the training images.
        """
        return self._apply(encode(self.card.activation), self.layers(layer), images)

    def reconstruct(self, images: ArrayLike) -> Float[np.ndarray, "n pixels"]:
        """The reconstructions of images by a dA, scaled as the model sees images.

        Args:
            images: See `predict`.

        Raises:
            InputError: The model is a classifier, or the images are not like the training images.
        """
        rows = self._apply(reconstruct(self.decoder), self.params, images)
        return rows if self.card.scaling is None else self.card.scaling.undo(rows)

    def anomaly_scores(self, images: ArrayLike) -> Float[np.ndarray, "n"]:
        """The cost of reconstructing each image by a dA: the higher, the stranger is the image.

        Nothing is corrupted. Missing values are left out, so that rows with gaps cost less.

        Args:
            images: See `predict`.

        Raises:
            InputError: As for `reconstruct`.
        """
        decoder, how = self.decoder, self.card.denoising
        usual = "cross-entropy" if decoder == "sigmoid" else "squared-error"
        cost = row_cost(usual if how is None else how["cost"], decoder)
        return self._apply(cost, self.params, images)

    def _apply(self, network: Callable[..., Any], params: Any, images: ArrayLike) -> np.ndarray:
        """Check images, and apply a network to them in full precision, on any device."""
        x, shape = from_array(images)
        do = "prepare them as the training images were"
        self.card.check_shape("images", x.shape[1], shape, do)
        self.card.check_values("images", x)
        if self.card.scaling is not None:
            with np.errstate(over="ignore"):
                x = self.card.scaling.apply(x)
            if np.isinf(x).any():
                most = np.finfo(np.float32).max
                expected = f"values at most {most:.0e} deviations from the means of training"
                raise InputError("images", expected=expected, got="others", do=do)
        elif (
            self.card.columns is not None
        ):  # a table's numbers are no pixels, even if all are whole
            x = x.astype(np.float32)
        with jax.default_matmul_precision("float32"):
            return evaluation.apply(network, params, x, self.card.pixel_scale)


@cache  # the same object for the same name, since JAX compares functions by identity
def encode(activation: str) -> Callable[..., Any]:
    """`stacked.encode` with the activation of that name in `ACTIVATIONS`, and without gaps."""

    def codes(layers: Any, x: Any) -> Any:
        return stacked.encode(layers, autoencoder.fill(x), ACTIVATIONS[activation])

    return codes


@cache
def logits(activation: str) -> Callable[..., Any]:
    """`stacked.logits` with the activation of that name in `ACTIVATIONS`."""
    return partial(stacked.logits, activation=ACTIVATIONS[activation])


@cache
def reconstruct(decoder: str) -> Callable[..., Any]:
    """`autoencoder.reconstruct` with a decoder of `autoencoder.DECODERS`, and without gaps."""

    def rows(params: AnyParams, x: Any) -> Any:
        codes = autoencoder.encode(params, autoencoder.fill(x))
        return autoencoder.DECODERS[decoder](params, codes)

    return rows


@cache
def row_cost(objective: Any, decoder: Any) -> Callable[..., Any]:
    """`autoencoder.cost` of each row, without noise and without its missing values."""

    def cost(params: AnyParams, x: Any) -> Any:
        def one(row: Any) -> Any:
            clean = autoencoder.fill(row)[None]
            return autoencoder.cost(params, clean, clean, objective, decoder, ~jnp.isnan(row)[None])

        return jax.vmap(one)(x)

    return cost


def save(path: Path, params: AnyParams | Classifier, card: Card) -> Path:
    """Write a model and its card as safetensors.

    The card is JSON under one name, since safetensors writes several names in any order, and equal
    models should be equal files.
    """
    from safetensors.numpy import save as to_bytes

    arrays = {name: np.ascontiguousarray(value) for name, value in named_tensors(params).items()}
    return write_whole(path, to_bytes(arrays, {"dae_jax": json.dumps(described(params, card))}))


def described(params: AnyParams | Classifier, card: Card) -> dict[str, Any]:
    """The card as it stands in a file: with the format, the equations and the checksums."""
    about = {
        "architecture": architecture(params, card),
        "checksum": checksum(named_tensors(params)),
    }
    return signed({"format": FORMAT, **card.to_json(), **about})


def signed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A card's entries with ``card_checksum``; see `records.signed`."""
    return records.signed(metadata, "card_checksum")


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model that `save` wrote, or an earlier version of this package.

    Raises:
        InputError: No such file, no safetensors, a damaged one or one of a newer format, other
            tensors than a model's, or no card.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    params = _params(tensors, path)
    if "kind" not in metadata and not isinstance(params, Classifier):
        card = _old_card(path, params)
    else:
        card = card_of(metadata, f"model card of {path}")
        _check_sizes(params, card, path)
    if "checksum" not in metadata:
        print(f"{path} is of an earlier version, without a checksum: unverified", file=sys.stderr)
    return Model(params, card)


def load_layer(path: str | os.PathLike[str]) -> AnyParams:
    """Read the parameters of a dA, such as a pretrained layer; its card is not needed.

    Raises:
        InputError: No such file, no safetensors, or other tensors than a dA's.
    """
    params = _params(_read(Path(path))[0], Path(path))
    if isinstance(params, Classifier):
        raise InputError(path, expected="the tensors of a dA", got="a classifier")
    return params


def named_tensors(params: AnyParams | Classifier) -> dict[str, Any]:
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
    """The model that `named_tensors` took apart."""
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


def _check_sizes(params: AnyParams | Classifier, card: Card, path: Path) -> None:
    """Check that the tensors fit each other and the card.

    Raises:
        InputError: They do not.
    """
    if isinstance(params, Classifier):
        classes = len(card.class_names or ())
        widths = [card.pixels, *(np.size(layer.b) for layer in params.hidden), classes]
        expected = [((n, m), (m,)) for n, m in pairwise(widths)]
        shapes = [tuple(map(np.shape, layer)) for layer in (*params.hidden, params.top)]
    else:
        n, m = card.pixels, np.size(params.b)
        expected = [(n, m), (m,), (n,), (m, n)][: len(params)]
        shapes = [np.shape(part) for part in params]
    if shapes != expected or (card.kind == "classifier") != isinstance(params, Classifier):
        got = f"{card.pixels} pixels and tensors of {shapes}"
        raise InputError(path, expected="tensors that fit each other and the card", got=got)


def card_of(metadata: Mapping[str, Any], what: str) -> Card:
    """The card in a file's metadata.

    Args:
        metadata: Its entries; those that `save` adds are left out.
        what: The card's name, for the error.

    Raises:
        InputError: A value is missing, of another type or out of its range.
    """
    values = {name: value for name, value in metadata.items() if name not in _DERIVED}
    card = records.checked(values, Card, what, _INTACT)
    shape = card.image_shape
    means, deviations = card.means or (), card.deviations or ()
    limits = card.range or (0.0, 1.0)
    undescribed = card.range is None and card.kind == "classifier"
    wrong = {
        "activation": card.activation not in ACTIVATIONS,
        "denoising": card.denoising is not None and not _known(card.denoising),
        "pixel_scale": not (np.isfinite(card.pixel_scale) and card.pixel_scale > 0),
        "pixels": card.pixels < 1,
        "image_shape": shape is not None and math.prod(shape) != card.pixels,
        "range": not (_finite(limits, 2) and limits[0] <= limits[1]) or undescribed,
        "class_names": card.class_names is None and card.kind == "classifier",
        "means": not _finite(means, len(means) and card.pixels),
        "deviations": not _finite(deviations, len(means)) or not all(d > 0 for d in deviations),
        "columns": card.columns is not None and len(card.columns) != card.pixels,
    }
    for name in wrong:
        if wrong[name]:
            got = metadata.get(name)
            raise InputError(f"{name} in {what}", expected="one that fits", got=got, do=_INTACT)
    return card


def _finite(values: Sequence[float], n: int) -> bool:
    """Whether values are n, and finite."""
    return len(values) == n and bool(np.isfinite(values).all())


def _known(denoising: Mapping[str, Any]) -> bool:
    """Whether the cost and the decoder of a dA are known."""
    costs, decoders = ("cross-entropy", "squared-error"), tuple(autoencoder.DECODERS)
    return denoising.get("cost") in costs and denoising.get("decoder") in decoders


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
            text = (file.metadata() or {}).get("dae_jax", "{}")
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise InputError(f"cannot read a model from {path}: {error}") from error
    metadata = records.parse(text, dict[str, Any], f"model card of {path}", _INTACT)
    version = metadata.get("format", 1)
    if not isinstance(version, int) or version > FORMAT:
        raise InputError(
            f"format of {path}",
            expected=f"at most {FORMAT}, the newest that dae_jax {__version__} knows",
            got=repr(version),
            do="upgrade dae_jax",
        )
    own = {"checksum": checksum(tensors), "card_checksum": signed(metadata)["card_checksum"]}
    required = own if version >= 3 else own.keys() & metadata.keys()  # older ones have fewer
    for name, what in (("checksum", "tensors in"), ("card_checksum", "model card of")):
        if name in required and metadata.get(name) != own[name]:
            raise InputError(
                f"{what} {path}",
                expected=f"what its {name} is of",
                got="something else",
                do=_INTACT,
            )
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
            expected, got = "finite floats", "others"
            raise InputError(f"{name} in {path}", expected=expected, got=got, do=_INTACT)
    return {name: jax.numpy.asarray(tensor) for name, tensor in tensors.items()}, metadata


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
    places = [folder.glob(f"*/{name}") for name in names] if os.path.isdir(folder) else []
    below = sorted(str(path.parent) for place in places for path in place)
    if below:
        choice = ", ".join(below[:10]) + (", ..." if len(below) > 10 else "")
        got = f"the folder above {len(below)} of them"
        raise InputError(run, expected="one model", got=got, do=f"choose one: {choice}")
    raise _without_model(folder, names)


def _without_model(folder: Path, names: tuple[str, ...]) -> InputError:
    """The error for a folder without a model, with what is there instead."""
    expected = f"a run directory with {' or '.join(names)}, or that file"
    if not os.path.isdir(folder):
        return InputError(folder, expected=expected, got="nothing there", do="check the path")
    home, settings = folder, read_settings(folder)
    if settings is None and next(folder.glob("layer_*.safetensors"), None):
        home, settings = folder.parent, read_settings(folder.parent)  # a member of several seeds
    resume = f"--resume --run-dir {home}"
    if DA not in names and (isinstance(settings, train.Settings) or os.path.isfile(folder / DA)):
        got, do = "a dA, which knows no classes", f"use a run of {pretrain.Settings.prog}"
    elif settings is None:
        got, do = "neither", "check the path"
    elif isinstance(settings, pretrain.Settings) and settings.comparison.compare:
        got, do = "a comparison, which keeps no model", "train one without --compare"
    else:
        got, do = "an unfinished run", f"finish it: {settings.prog} {resume}"
    return InputError(folder, expected=expected, got=got, do=do)
