"""``python -m dae_jax.transform``: codes of new images in a hidden layer, as an .npy file."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from tyro.conf import arg

from dae_jax import console, files
from dae_jax.errors import InputError
from dae_jax.settings import shared
from dae_jax.settings.new_images import ModelAndImages

__all__ = ["Settings", "cli", "main"]


@dataclass(frozen=True)
class Settings(ModelAndImages):
    """Encode images with a run of python -m dae_jax.pretrain, or with a dA of dae_jax.train.

    For example:  python -m dae_jax.transform runs/mine new_images/ --layer 2
    """

    prog: ClassVar[str] = "python -m dae_jax.transform"
    first_flags: ClassVar[tuple[str, ...]] = ("run", "images", "layer", "out", "part")

    layer: Annotated[int | None, arg(metavar="K", help_behavior_hint="(default: the topmost)")] = (
        None
    )
    """Hidden layer whose codes are computed; 1 is the first above the images."""
    out: Annotated[str, arg(metavar="PATH")] = "codes.npy"
    """The .npy file of the codes: float32, one row per image."""


def main(argv: Sequence[str]) -> None:
    """Parse, load, encode, write.

    Raises:
        InputError: A mistake that the user can correct.
    """
    settings = shared.parse(Settings, argv)
    if not settings.out.endswith(".npy"):
        raise InputError("--out", expected="a file name that ends in .npy", got=settings.out)
    console.set_up_jax("float32", 1)

    from dae_jax.runs import new_images, saved

    model = saved.load(saved.find(settings.run, saved.CLASSIFIER, saved.DA))
    k, card = len(model.layers(settings.layer, "--layer")), model.card
    new = new_images.load(settings.images, card, settings.part, settings.image_size, settings.grey)
    codes = model.encode(new.images, k)
    content = io.BytesIO()
    np.save(content, codes, allow_pickle=False)
    print(
        f"{files.write_whole(settings.out, content.getvalue())}  "
        f"{len(codes):,} images, {codes.shape[1]:,} units of layer {k}"
    )


def cli() -> int:
    """The console script ``dae-jax-transform``."""
    return console.run(main)


if __name__ == "__main__":
    sys.exit(cli())
