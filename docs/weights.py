"""The weights of the tutorial's models as downloads, written when the site is built.

The dAs of page 4 come from the files of 10 bits of the demonstration, see
`dae_jax.runs.exporting.to_web`, written out as the float32 tensors that `dae_jax.runs.saved.load`
reads. Other pages save what they have trained by `dae_jax.tutorial.offer`, beside their outputs in
the cache.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
from safetensors import safe_open
from sphinx.application import Sphinx

from dae_jax.autoencoder import Params
from dae_jax.runs import saved

__all__ = ["setup", "unpacked", "write"]

MODELS = Path(__file__).parent / "_static" / "demo" / "models"


def unpacked(path: Path) -> saved.Model:
    """The model in a file of 10 bits."""
    with safe_open(path, "numpy") as file:
        W, low, scale, b, b_prime = map(file.get_tensor, ("W", "W_low", "W_scale", "b", "b_prime"))
        entries = json.loads(file.metadata()["dae_jax"])
    bits = (low[:, None] >> np.arange(0, 8, 2, dtype=np.uint8)) & 3
    q = 4 * W.astype(np.float32) + bits.ravel()[: W.size].reshape(W.shape)
    W = np.sign(q) * scale * np.square(q / np.float32(511))
    return saved.Model(Params(W.astype(np.float32), b, b_prime), saved.card_of(entries, str(path)))


def write(folder: Path) -> list[Path]:
    """Write a file per model of the demonstration."""
    folder.mkdir(exist_ok=True)
    return [saved.save(folder / path.name, *unpacked(path)) for path in sorted(MODELS.iterdir())]


def _write(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.format == "html":
        folder = Path(app.outdir, "weights")
        write(folder)
        for path in sorted(Path(os.environ["DAE_JAX_DOWNLOADS"]).glob("*.safetensors")):
            shutil.copy(path, folder)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the weights when a site is finished."""
    cache = Path(app.config.nb_execution_cache_path).resolve()
    os.environ["DAE_JAX_DOWNLOADS"] = str(cache / "weights")
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
