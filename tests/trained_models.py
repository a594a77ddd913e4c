"""Models for the tests of ``predict`` and ``transform``: trained ones, and some made by hand."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from helpers import sigmoid

STACK = ("--hidden", "12", "8", "--pretrain-epochs", "0", "--finetune-epochs", "2")


def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a stack and a dA on ``own.npz``; save a stack for the folder ``pets`` beside them.

    Returns:
        The folder of the runs `stack`, `da` and `pets_run`, and of their data.
    """
    from dae_jax import console, datasets, pretrain
    from dae_jax import train as dae_train
    from dae_jax.runs import cards, saved, stack_report
    from dae_jax.settings import pretrain as settings

    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.chdir(folder)
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, 100)
        x = rng.integers(0, 256, (100, 8, 6), np.uint8)
        x[np.arange(100), labels] = 255
        np.savez("own.npz", x_train=x[:70], y_train=labels[:70], x_test=x[70:], y_test=labels[70:])
        for i, name in enumerate(["cat", "dog, wet"] * 20):
            picture(Path("pets", name, f"{i}.png"), rng.integers(0, 128, (4, 5)) + 127 * (i % 2))
        patch.setattr(stack_report, "_save", lambda *_: [])  # pictures take most of the time
        for main, run, *flags in (
            (pretrain.main, "stack", *STACK),
            (dae_train.main, "da", "--n-hidden", "7", "--epochs", "1"),
        ):
            assert console.run(main, ["--data", "own.npz", "--run-dir", run, *flags]) == 0
        card = cards.card("classifier", datasets.load("pets"), settings.Settings(), 1)
        saved.save(Path("pets_run", saved.CLASSIFIER), classifier(20, 12, 8, 2), card)
    return folder


def train_on_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a stack and a dA on a few of MNIST's digits.

    Returns:
        The folder of the runs ``runs/mine`` and ``runs/da`` and of ``new_images.npy``.
    """
    from dae_jax import console, datasets, pretrain
    from dae_jax import train as dae_train
    from dae_jax.runs import stack_report

    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.chdir(folder)
        patch.setattr(stack_report, "_save", lambda *_: [])
        patch.setattr(stack_report, "_baselines", lambda *_: [])
        digits = datasets.load("mnist-sample")
        images, labels = digits.train
        np.savez("few.npz", x=images[:500].reshape(-1, 28, 28), y=labels[:500])
        np.save("new_images.npy", digits.test.images[:60].reshape(-1, 28, 28))
        for main, run, *flags in (
            (pretrain.main, "runs/mine", *STACK),
            (dae_train.main, "runs/da", "--n-hidden", "7", "--epochs", "1"),
        ):
            assert console.run(main, ["--data", "few.npz", "--run-dir", run, *flags]) == 0
    return folder


def picture(path: Path, values: np.ndarray) -> None:
    """Write an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def own(part: str) -> np.ndarray:
    """An array of ``own.npz``."""
    with np.load("own.npz") as arrays:
        return arrays[part]


def numpy_codes(run: str, x: np.ndarray, n_layers: int = 2) -> np.ndarray:
    """The codes of images by a run's classifier, in float64."""
    tensors = load_file(Path(run, "model.safetensors"))
    y = x.reshape(len(x), -1) / 255
    for k in range(n_layers):
        W, b = (tensors[f"hidden.{k}.{name}"].astype(np.float64) for name in "Wb")
        y = sigmoid(y @ W + b)
    return y


def numpy_probabilities(run: str, x: np.ndarray) -> np.ndarray:
    """The probabilities of classes by a run's classifier, in float64."""
    tensors = load_file(Path(run, "model.safetensors"))
    W, b = (tensors[f"top.{name}"].astype(np.float64) for name in "Wb")
    e = np.exp(numpy_codes(run, x) @ W + b)
    return e / e.sum(axis=1, keepdims=True)


def written(folder: Path) -> set[str]:
    """The names in a folder that are no links, as those of the trained models are."""
    return {path.name for path in folder.iterdir() if not path.is_symlink()}


def floats_card(**other: Any) -> Any:
    """The card of a classifier of 2 x 2 floats in [0, 1], with other values of some fields."""
    from dae_jax.runs.cards import Card

    values: dict[str, Any] = {
        "kind": "classifier",
        "dae_jax": "0.1.0",
        "data": "elsewhere",
        "image_shape": (2, 2),
        "pixels": 4,
        "integer_pixels": False,
        "range": (0.0, 1.0),
        "pixel_scale": 255.0,
        "class_names": ("a", "b"),
        "config": {"data": {"data": "elsewhere"}},
        "seed": 1,
    }
    return Card(**values | other)


def classifier(*sizes: int) -> Any:
    """A classifier of random weights, from the pixels up."""
    from dae_jax.stacked import Classifier, Layer

    rng = np.random.default_rng(1)
    *hidden, top = (
        Layer(rng.normal(size=pair).astype(np.float32), np.zeros(pair[1], np.float32))
        for pair in pairwise(sizes)
    )
    return Classifier(tuple(hidden), top)


def save_classifier(path: str | Path, **other: Any) -> None:
    """Save a classifier of random weights with a `floats_card`."""
    from dae_jax.runs import saved

    card = floats_card(**other)
    saved.save(Path(path), classifier(card.pixels, 5, len(card.class_names)), card)


def write_sweep() -> None:
    """Write the run directory of a sweep of untied dAs, as version 0.1.0 did: without cards."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(2)
    for level in (0, 30):
        W, W_prime = rng.normal(size=(2, 48, 7)).astype(np.float32)
        folder = Path(f"sweep/corruption_{level}")
        folder.mkdir(parents=True)
        tensors = {"W": W, "b": W[0].copy(), "b_prime": W[:, 0].copy()}
        tensors["W_prime"] = np.ascontiguousarray(W_prime.T)
        save_file(tensors, folder / "params.safetensors")
    shutil.copy("da/config.json", "sweep")


def copy_run(source: str, name: str, *without: str) -> None:
    """Copy a run directory without its checkpoints and some other files."""
    shutil.copytree(source, name, ignore=shutil.ignore_patterns("checkpoints", *without))
