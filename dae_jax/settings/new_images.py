"""Settings that ``predict`` and ``transform`` share: which model, and which images."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import tyro
from tyro.conf import Positional, arg

__all__ = ["ModelAndImages"]


@dataclass(frozen=True)
class ModelAndImages:
    """A trained model, and images to apply it to."""

    first_flags: ClassVar[tuple[str, ...]] = ("run", "images", "out", "part")

    run: Positional[Annotated[str, arg(metavar="RUN")]] = tyro.MISSING
    """The run directory of the model, or its .safetensors file."""
    images: Positional[Annotated[str, arg(metavar="IMAGES")]] = tyro.MISSING
    """A folder of images, one image, a .csv file with the columns file and label, a file .npz,
    .npy, IDX or .pkl.gz, a folder of IDX files, or mnist, mnist-sample or digits."""
    part: Annotated[
        Literal["train", "valid", "test", "all"] | None,
        arg(
            metavar="train|valid|test|all",
            help_behavior_hint="(default: test if there is one, else all)",
        ),
    ] = None
    """Part of IMAGES to use, if it has several."""
    image_size: Annotated[
        tuple[int, int] | None,
        arg(metavar="HEIGHT WIDTH", help_behavior_hint="(default: the training images' size)"),
    ] = None
    """Size in pixels that image files are resized to."""
    grey: bool = False
    """Read image files that are saved in colour as grey, as for a model trained with --grey."""
    debug: bool = False
    """Show the traceback of an error."""
