"""``python -m dae_jax.export``: a trained model as a program for other runtimes, in one file."""

import sys

if __name__ == "__main__":  # first, so that Ctrl-C during the imports is one line, too
    from dae_jax.console import cli

    sys.exit(cli())

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import tyro
from tyro.conf import Positional, arg

from dae_jax import console, files
from dae_jax.settings import shared

__all__ = ["Settings", "main"]


@dataclass(frozen=True)
class Settings:
    """Export a model of python -m dae_jax.pretrain, or a dA of dae_jax.train, to another runtime.

    For example:  python -m dae_jax.export runs/mine --to onnx --out model.onnx
    """

    prog: ClassVar[str] = "python -m dae_jax.export"

    run: Positional[Annotated[str, arg(metavar="RUN")]] = tyro.MISSING
    """The run directory of the model, or its .safetensors file."""
    to: Annotated[
        Literal["onnx", "stablehlo", "torch", "web"], arg(metavar="onnx|stablehlo|torch|web")
    ] = tyro.MISSING
    """ONNX, for onnxruntime and others; StableHLO, for jax.export; or a program of torch.export.
    Images (n, pixels) go in, as in training; the probabilities of a classifier come out, or the
    codes and reconstructions of a dA. Web: a dA's weights in 10 bits, for a page."""
    out: Annotated[str, arg(metavar="FILE")] = tyro.MISSING
    """The file."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: Sequence[str]) -> None:
    """Parse, load, export, write.

    Raises:
        InputError: A mistake that the user can correct.
    """
    settings = shared.parse(Settings, argv)
    console.set_up_jax("float32", 1)

    from dae_jax.runs import exporting, saved

    model = saved.load(saved.find(settings.run, saved.CLASSIFIER, saved.DA))
    path = files.write_whole(settings.out, exporting.FORMATS[settings.to](model))
    if settings.to == "web":
        print(f"{path}  {path.stat().st_size / 1e3:,.0f} kB: weights of 10 bits")
        return
    images = f"images (n, {model.card.pixels}) of {exporting.input_type(model)}"
    outputs = " and ".join(exporting.outputs(model))
    print(f"{path}  {path.stat().st_size / 1e3:,.0f} kB: {images} to {outputs}")
