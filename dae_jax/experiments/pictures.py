"""Pictures of trained models, for the declarations in `catalogue`.

A picture is a function of a `measures.Outcome` that returns an array of bytes or a matplotlib
figure. The functions here take the names of models and return pictures.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np

from dae_jax import figures
from dae_jax.experiments.measures import POINTS, Outcome, noisy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Picture",
    "activity_histogram",
    "filters",
    "generated",
    "loss_curves",
    "mistakes",
    "reconstructions",
    "restored",
    "same_units",
    "scatter",
    "sheet",
    "tsne_scatter",
]

Picture = Callable[[Outcome], "np.ndarray | Figure"]
"""A function of a seed's models and data that returns a sheet of bytes or a diagram."""


def scatter(titles: Mapping[str, str], part: str = "test") -> Picture:
    """The codes of 5,000 images of a part in the plane: a colour per class, a plot per model."""

    def draw(outcome: Outcome) -> "Figure":
        from dae_jax.figures import plots

        x, labels = getattr(outcome.data, part)
        codes = {title: outcome.models[name].encode(x[:POINTS]) for name, title in titles.items()}
        return plots.scatter(codes, labels[:POINTS])

    return draw


def tsne_scatter(name: str, title: str) -> Picture:
    """The codes of all test images in the plane, by t-SNE."""

    def draw(outcome: Outcome) -> "Figure":
        from dae_jax.figures import plots

        return plots.scatter({title: outcome.tsne[name]}, outcome.data.test.labels)

    return draw


def reconstructions(*names: str, n: int = 10, part: str = "test") -> Picture:
    """A row of images of a part, then one row of their reconstructions per model."""

    def draw(outcome: Outcome) -> np.ndarray:
        x = getattr(outcome.data, part).x[:n]
        rows = [x, *(outcome.models[name].reconstruct(x) for name in names)]
        return _sheet(outcome, np.concatenate(rows), (len(rows), n))

    return draw


def restored(name: str, scale: float, n: int = 10) -> Picture:
    """A row of test images, a row of noisy copies, and a row of their reconstructions."""

    def draw(outcome: Outcome) -> np.ndarray:
        x, seen = noisy(outcome, scale, n)
        rows = np.concatenate([x, seen, outcome.models[name].reconstruct(seen)])
        return _sheet(outcome, rows, (3, n))

    return draw


def sheet(of: str, n: int = 10) -> Picture:
    """A sheet of n x n test images (``"inputs"``), or of a model's reconstructions of them."""

    def draw(outcome: Outcome) -> np.ndarray:
        x = outcome.data.test.x[: n * n]
        return _sheet(outcome, x if of == "inputs" else outcome.models[of].reconstruct(x), (n, n))

    return draw


def generated(name: str, n: int = 10) -> Picture:
    """The images of random codes, each unit drawn with its own mean and standard deviation."""

    def draw(outcome: Outcome) -> np.ndarray:
        model = outcome.models[name]
        h = model.encode(outcome.data.train.x[:POINTS])
        normal = np.asarray(jax.random.normal(jax.random.key(outcome.seed), (n * n, h.shape[1])))
        codes = np.maximum(h.mean(axis=0) + h.std(axis=0) * normal, 0)
        return _sheet(outcome, model.decode(codes), (n, n))

    return draw


def _sheet(outcome: Outcome, x: np.ndarray, tiles: tuple[int, int]) -> np.ndarray:
    picture = outcome.data.picture(x)
    return figures.tile(
        picture,
        outcome.data.image_shape,
        tiles,
        tile_spacing=(1, 1),
        scale_rows_to_unit_interval=False,
    )


def filters(name: str, tiles: tuple[int, int] = (10, 10)) -> Picture:
    """The first layer's filters, each scaled to its own range."""

    def draw(outcome: Outcome) -> np.ndarray:
        W = outcome.models[name].params.encoder[0].W
        return figures.filter_sheet(W, outcome.data.image_shape, tiles)

    return draw


def same_units(*names: str) -> Picture:
    """The same units side by side, one column per model; see `figures.comparison_sheet`."""

    def draw(outcome: Outcome) -> np.ndarray:
        weights = [outcome.models[name].params.encoder[0].W for name in names]
        return figures.comparison_sheet(weights, outcome.data.image_shape)

    return draw


def activity_histogram(titles: Mapping[str, str]) -> Picture:
    """Histograms of the code's activations on the test images."""

    def draw(outcome: Outcome) -> "Figure":
        from dae_jax.figures import plots

        x = outcome.data.test.x
        return plots.histogram({t: outcome.models[n].encode(x).ravel() for n, t in titles.items()})

    return draw


def loss_curves(*names: str, per: float = 1.0, label: str) -> Picture:
    """The cost of the held-out images after each epoch."""

    def draw(outcome: Outcome) -> "Figure":
        from dae_jax.figures import plots

        curves = {name: np.array(outcome.models[name].valid) * per for name in names}
        return plots.curves(curves, label)

    return draw


def mistakes(name: str, n: int = 40) -> Picture:
    """The first misclassified test images, each with its true and its predicted class."""

    def draw(outcome: Outcome) -> "Figure":
        from dae_jax.figures import plots

        x, labels = outcome.data.test
        given = outcome.models[name].classify(x)
        at = np.flatnonzero(given != labels)[:n]
        captions = [f"{labels[i]} as {given[i]}" for i in at]
        return plots.captioned_images(
            outcome.data.picture(x[at]), outcome.data.image_shape, captions or ["none"]
        )

    return draw
