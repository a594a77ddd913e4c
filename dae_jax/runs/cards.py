"""Model cards: which images a model takes, what it computes of them, and how it was trained."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dae_jax import __version__, rows
from dae_jax.autoencoder import AnyParams, Params
from dae_jax.datasets import Dataset, checks, tables
from dae_jax.datasets.scaling import Scaling
from dae_jax.errors import InputError
from dae_jax.runs.run import AnySettings, fingerprint
from dae_jax.settings import ladder, pretrain, shared, train
from dae_jax.settings.shared import Denoising
from dae_jax.stacked import Classifier

__all__ = ["Card", "above_codes", "architecture", "card", "of_images"]

_FOR_SOME = ("denoising", "means", "deviations", "columns")  # left out of other models' files
MARGIN = 0.1  # how far floats may lie outside the training images' range, in widths of it


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
    activation: str = "sigmoid"  # of the hidden layers; "sigmoid" or "relu"
    data_sha256: str | None = None  # see `fingerprint`
    command: str | None = None  # that trains it again
    licence: str | None = None  # of the weights, if their owner has said so
    means: tuple[float, ...] | None = None  # of the columns that a dA standardises; None if not
    deviations: tuple[float, ...] | None = None  # the same, by which they are divided
    columns: tuple[str, ...] | None = None  # the names of a table's columns

    def to_json(self) -> dict[str, Any]:
        """The card as a dictionary that JSON can hold."""
        left_out = {name for name in _FOR_SOME if getattr(self, name) is None}
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    @property
    def scaling(self) -> Scaling | None:
        """How columns are standardised; None if they are not."""
        if self.means is None or self.deviations is None:
            return None
        return Scaling(np.array(self.means), np.array(self.deviations))

    @property
    def source(self) -> Path | None:
        """The name or path of the training images, if it is known."""
        name = self.config.get("data", {}).get("data")
        return None if name is None else Path(name)

    @property
    def label_column(self) -> str:
        """The column of the training table that held its classes, if there was one."""
        return self.config.get("data", {}).get("label_column") or tables.LABEL

    @property
    def grey(self) -> bool:
        """Whether training images that were saved in colour were read as grey."""
        return bool(self.config.get("data", {}).get("grey", False))

    @property
    def decoder(self) -> Literal["sigmoid", "linear"] | None:
        """The output of a dA; None for a classifier, which has no decoder."""
        if self.kind == "classifier":
            return None
        return self.denoising["decoder"] if self.denoising is not None else "sigmoid"

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """The range of pixels that the model takes, for ``"integer"`` or ``"float"`` ones or both.

        A classifier takes pixels as in training, and any rows of a table, whose columns have no
        range in common. A dA takes all values that its output can reconstruct: any if it is linear,
        else [0, 1] after scaling.
        """
        if self.decoder == "linear" or (self.decoder is None and self.columns is not None):
            return {"integer": (-np.inf, np.inf), "float": (-np.inf, np.inf)}
        if self.kind == "classifier":
            assert self.range is not None
            low, high = self.range
            if not self.integer_pixels:
                return {"float": (low, high)}
            # every value that a pixel can have, even if no training image had it
            return {"integer": (min(low, 0), max(high, self.pixel_scale))}
        return {"integer": (0.0, self.pixel_scale), "float": (0.0, 1.0)}

    def check_shape(self, what: str, n_values: int, shape: tuple[int, ...] | None, do: str) -> None:
        """Check that images have the size of those that the model was trained on.

        Args:
            what: The images, for the error.
            n_values: The number of values of each.
            shape: (h, w) or (h, w, 3); None if it is unknown.
            do: What to do if not.

        Raises:
            InputError: They have not.
        """
        known = self.image_shape
        if n_values == self.pixels and (known is None or shape in (None, known)):
            return
        expected = f"{checks.in_words(known, self.pixels)}, as in training"
        raise InputError(what, expected=expected, got=checks.in_words(shape, n_values), do=do)

    def check_values(self, what: str, x: np.ndarray) -> None:
        """Check that pixels are in the `limits`; floats may lie a little outside.

        Args:
            what: The images, for the error.
            x: The images, at least one.

        Raises:
            InputError: They are not.
        """
        if self.kind == "classifier":
            checks.check_complete(what, x)
        kind = "integer" if np.issubdtype(x.dtype, np.integer) else "float"
        do = "scale them as the training images were, into an .npy file"
        if kind in self.limits:
            low, high = self.limits[kind]
            margin = MARGIN * (high - low) if kind == "float" else 0
            # fmin and fmax pass over NaN, which are missing values
            # compared as float64, in which a card's limits are
            least, most = (float(f.reduce(x, axis=None)) for f in (np.fmin, np.fmax))
            if not (least < low - margin or most > high + margin):
                return
            do = "scale them as the training images were, or clip them"
        accepted = [f"{name}s in {low:g} to {high:g}" for name, (low, high) in self.limits.items()]
        expected = f"{' or '.join(accepted)}, as in training"
        raise InputError(
            what, expected=expected, got=f"{kind}s in {np.nanmin(x):g} to {np.nanmax(x):g}", do=do
        )


def card(
    kind: Literal["classifier", "autoencoder"],
    dataset: Dataset,
    settings: AnySettings,
    seed: int,
    denoising: Denoising | None = None,
    scaling: Scaling | None = None,
    sha256: str | None = None,
) -> Card:
    """The card of a model that was trained on a data set's images.

    Args:
        kind: The kind of model.
        dataset: The data set.
        settings: The resolved settings of the run.
        seed: The seed of this member.
        denoising: How a dA was trained.
        scaling: How its columns were standardised.
        sha256: The `fingerprint` of the data set, if it is known.
    """
    # Equal models are equal files: without the output's settings, wherever they are written; and a
    # layer's without those of the fine-tuning after it, which may be resumed for more epochs.
    others = shared.ELSEWHERE
    if kind != "classifier":
        others += ("finetuning", "comparison")
    config = {k: v for k, v in shared.to_json(settings).items() if k not in others}
    return of_images(
        kind,
        dataset,
        settings.data.pixel_scale,
        config=config,
        seed=seed,
        denoising=None if denoising is None else asdict(denoising),
        activation="relu" if isinstance(settings, ladder.Settings) else "sigmoid",
        data_sha256=sha256 or fingerprint(dataset),
        command=shared.command(settings, _usual(settings), without=others),
        means=None if scaling is None else tuple(scaling.mean.tolist()),
        deviations=None if scaling is None else tuple(scaling.deviation.tolist()),
    )


def of_images(
    kind: Literal["classifier", "autoencoder"], dataset: Dataset, pixel_scale: float, **how: Any
) -> Card:
    """The card of a model that takes images like those of a data set.

    Args:
        kind: The kind of model.
        dataset: The data set.
        pixel_scale: The divisor of its integer pixels.
        how: The entries about the training.
    """
    images, names = dataset.train.images, None
    low, high = rows.bounds(images)
    if kind == "classifier":
        n_classes = dataset.train.n_classes
        names = dataset.class_names or tuple(str(i) for i in range(n_classes))
    return Card(
        kind=kind,
        dae_jax=__version__,
        data=dataset.name,
        image_shape=dataset.image_shape,
        pixels=images.shape[1],
        integer_pixels=bool(np.issubdtype(images.dtype, np.integer)),
        range=(float(low), float(high)),
        pixel_scale=pixel_scale,
        class_names=names,
        columns=dataset.columns,
        **how,
    )


def _usual(settings: AnySettings) -> AnySettings:
    """The settings that the command has without flags, but for its preset."""
    if isinstance(settings, pretrain.Settings):
        return pretrain.PRESETS[settings.preset]
    if isinstance(settings, ladder.Settings):
        return ladder.Settings()
    linear = settings.model.decoder == "linear"
    resolved = train.Settings().resolved("", 1, unit=not linear, table=linear)
    return replace(resolved, data=train.Data(), training=replace(resolved.training, epochs=None))


def above_codes(card: Card, n_inputs: int) -> Card:
    """The card of a layer whose inputs are the codes of the layer below, not images."""
    return replace(
        card,
        image_shape=None,
        pixels=n_inputs,
        integer_pixels=False,
        range=(0.0, 1.0),
        pixel_scale=1.0,
        columns=None,
    )


def architecture(params: AnyParams | Classifier, card: Card) -> list[str]:
    """The equations of a model with the names of its tensors, for readers without this package.

    Args:
        params: The model; only the shapes of its tensors are used.
        card: Its card.
    """
    s, shape = card.activation, card.image_shape
    if card.scaling is None:
        scaled = f"as float32, divided by {card.pixel_scale:g} if they are integers"
    else:
        scaled = "minus means, divided by deviations"
    lines = [f"x = images (n, {card.pixels}) {scaled}"]
    if shape is not None:
        size, mode = checks.in_words(shape[:2], 0), "L" if len(shape) == 2 else "RGB"
        lines.append(
            f"images are {checks.in_words(shape, 0)}, row by row; files are read in Pillow's mode "
            f"{mode} and resized to {size} by its BOX filter"
        )
    if isinstance(params, Classifier):
        y = "x"
        for k, layer in enumerate(params.hidden):
            units = layer.W.shape[1]
            lines.append(f"y{k + 1} = {s}({y} @ hidden.{k}.W + hidden.{k}.b), (n, {units})")
            y = f"y{k + 1}"
        lines.append(f"probabilities = softmax({y} @ top.W + top.b), (n, {len(params.top.b)})")
    else:
        a = f"y @ {'W.T' if isinstance(params, Params) else 'W_prime'} + b_prime"
        lines.append(f"y = {s}(x @ W + b), (n, {len(params.b)})")
        lines.append(
            f"z = {a if card.decoder == 'linear' else f'sigmoid({a})'}, (n, {card.pixels})"
        )
        if card.scaling is not None:
            lines.append("rows restored = z * deviations + means")
    return [*lines, "each W is (inputs, outputs)"]
