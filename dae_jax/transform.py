"""``python -m dae_jax.transform``: codes, restored images or anomaly scores, as one file."""

import sys

if __name__ == "__main__":  # first, so that Ctrl-C during the imports is one line, too
    from dae_jax.console import cli

    sys.exit(cli())

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from tyro.conf import arg

from dae_jax import console, files
from dae_jax.errors import InputError, require
from dae_jax.settings import shared
from dae_jax.settings.new_images import ModelAndImages

if TYPE_CHECKING:
    from dae_jax.runs.new_images import NewImages

__all__ = ["Settings", "main"]


@dataclass(frozen=True)
class Settings(ModelAndImages):
    """Encode images with a run of python -m dae_jax.pretrain, or with a dA of dae_jax.train.

    For example:  python -m dae_jax.transform runs/mine new_images/ --layer 2

    A dA also restores them, fills in missing values, or scores how strange they are.
    """

    prog: ClassVar[str] = "python -m dae_jax.transform"
    first_flags: ClassVar[tuple[str, ...]] = (
        *("run", "images", "layer", "reconstruct", "impute", "score", "out", "part"),
    )

    layer: Annotated[int | None, arg(metavar="K", help_behavior_hint="(default: the topmost)")] = (
        None
    )
    """Hidden layer whose codes are computed; 1 is the first above the images."""
    reconstruct: bool = False
    """Write the images as a dA restores them, without missing values; those of a dA that
    standardises, in their own units; pixels divided by the scale of training."""
    impute: bool = False
    """Write the images with their missing values as a dA restores them; all others are unchanged.
    A table keeps its column of classes."""
    score: bool = False
    """Write the cost of reconstructing each image: the higher, the stranger it is. Missing values
    are left out."""
    out: Annotated[
        str,
        arg(
            metavar="PATH",
            help_behavior_hint="(default: codes.npy, reconstructed.npy, imputed.npy or scores.npy)",
        ),
    ] = ""
    """The file: .npy, float32, with one row per image; or .csv, with names for the columns."""

    @property
    def what(self) -> str:
        """The kind of output: the name of its file without an ending."""
        chosen = [
            name
            for name, given in (
                ("codes", self.layer is not None),
                ("reconstructed", self.reconstruct),
                ("imputed", self.impute),
                ("scores", self.score),
            )
            if given
        ]
        if len(chosen) > 1:
            got = " and ".join(chosen)
            expected = "one of --layer, --reconstruct, --impute and --score"
            raise InputError("output", expected=expected, got=got)
        return chosen[0] if chosen else "codes"


def main(argv: Sequence[str]) -> None:
    """Parse, load, compute, write.

    Raises:
        InputError: A mistake that the user can correct.
    """
    settings = shared.parse(Settings, argv)
    what = settings.what
    out = settings.out or f"{what}.npy"
    if not out.endswith((".npy", ".csv")):
        raise InputError("--out", expected="a file name that ends in .npy or .csv", got=out)
    console.set_up_jax("float32", 1)

    from dae_jax.runs import new_images, saved

    names = (saved.CLASSIFIER, saved.DA) if what == "codes" else (saved.DA,)
    model = saved.load(saved.find(settings.run, *names))
    k, card = len(model.layers(settings.layer, "--layer")), model.card
    new = new_images.load(settings.images, card, settings.part, settings.image_size, settings.grey)
    columns = list(new.columns or (str(i) for i in range(card.pixels)))
    if what == "codes":
        rows = model.encode(new.images, k)
        columns = [f"unit_{i}" for i in range(rows.shape[1])]
        words = f"{len(rows):,} images, {rows.shape[1]:,} units of layer {k}"
    elif what == "scores":
        rows, columns = model.anomaly_scores(new.images), ["score"]
        low, middle, high = np.quantile(rows, [0, 0.5, 1])
        words = f"{len(rows):,} scores, {low:.4g} to {high:.4g}, median {middle:.4g}"
    else:
        rows = model.reconstruct(new.images)
        words = f"{len(rows):,} {'images' if new.columns is None else 'rows'} restored"
        if what == "imputed":
            missing = np.isnan(new.images)
            rows = np.where(missing, rows, new.images)
            words = f"{missing.sum():,} missing values of {len(rows):,} rows filled in"
    label = card.label_column if what in ("reconstructed", "imputed") else None
    content = _as_csv(rows, columns, new, label) if out.endswith(".csv") else _as_npy(rows)
    print(f"{files.write_whole(out, content)}  {words}")


def _as_npy(rows: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    return content.getvalue()


def _as_csv(rows: np.ndarray, columns: list[str], new: "NewImages", label: str | None) -> str:
    """The rows as CSV, with their names; those of a table with their classes, as `label`."""
    require("pandas", "tables")
    import pandas

    frame = pandas.DataFrame(rows, columns=columns)
    if label is not None and new.columns is not None:
        if new.labels is not None:
            frame[label] = np.array(new.class_names)[new.labels]
    else:
        frame.insert(0, "image", new.names)
    return frame.to_csv(index=False, lineterminator="\n")
