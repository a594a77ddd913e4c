"""``python -m dae_jax.transform``: the codes of new images in a hidden layer, as an .npy file."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from tyro.conf import arg

from dae_jax import console as command
from dae_jax import files
from dae_jax.errors import InputError
from dae_jax.runs import new_images
from dae_jax.runs.new_images import Asked

PROG = "python -m dae_jax.transform"


@dataclass(frozen=True)
class Config(Asked):
    """Encode images with a run of python -m dae_jax.pretrain, or with a dA of dae_jax.train.

    For example:  python -m dae_jax.transform runs/mine new_images/ --layer 2
    """

    layer: Annotated[int | None, arg(metavar="K", help_behavior_hint="(default: the topmost)")] = (
        None
    )
    """The hidden layer whose codes are wanted, from 1, the first above the images."""
    out: Annotated[str, arg(metavar="PATH")] = "codes.npy"
    """Where the codes go: an .npy file of float32, a row an image."""


def main(argv: Sequence[str]) -> None:
    """Parse, load, encode, write.

    Raises:
        InputError: Whatever the user can mend.
    """
    asked = command.parse(Config, argv, PROG)
    if not asked.out.endswith(".npy"):
        raise InputError("--out", expected="a file name that ends in .npy", got=asked.out)
    path = new_images.find(asked.run, new_images.STACK, new_images.DA)
    command.set_up_jax("float32", 1)

    from dae_jax import stacked

    if path.name == new_images.DA:
        da, expected = new_images.load_da(path)
        layers = [da]
    else:
        model, expected, _ = new_images.load_classifier(path)
        layers = model.hidden
    k = len(layers) if asked.layer is None else asked.layer
    if not 1 <= k <= len(layers):
        wanted = f"1 to {len(layers)}, the hidden layers of {path}"
        raise InputError("--layer", expected=wanted, got=k)
    new = new_images.load(asked, expected)
    codes = new_images.put_through(stacked.encode, layers[:k], new.images, expected.pixel_scale)
    content = io.BytesIO()
    np.save(content, codes, allow_pickle=False)
    print(
        f"{files.write_whole(asked.out, content.getvalue())}  "
        f"{len(codes):,} images, {codes.shape[1]:,} units of layer {k}"
    )


def cli() -> int:
    """The console script ``dae-jax-transform``."""
    return command.run(main)


if __name__ == "__main__":
    sys.exit(cli())
