"""Pictures of trained models, for the declarations in `catalogue`.

A picture is a function of a `measures.Outcome` that returns an array of bytes or a matplotlib
figure. The functions here take the names of models and return pictures that are figures.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np

from dae_jax import figures
from dae_jax.experiments import measures
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
    "regenerated",
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

    def draw(outcome: Outcome) -> "Figure":
        x = getattr(outcome.data, part).x[:n]
        rows = {"original": x} | {name: outcome.models[name].reconstruct(x) for name in names}
        return _rows(outcome, f"Reconstructions of {part} images", rows, part)

    return draw


def restored(name: str, scale: float, n: int = 10) -> Picture:
    """A row of test images, a row of noisy copies, and a row of their reconstructions."""

    def draw(outcome: Outcome) -> "Figure":
        x, seen = noisy(outcome, scale, n)
        rows = {
            "original": x,
            f"corrupted\n(Gaussian, σ = {scale:g})": seen,
            "restored": outcome.models[name].reconstruct(seen),
        }
        return _rows(outcome, f"Test images restored by the model {name}", rows)

    return draw


def _rows(
    outcome: Outcome, title: str, rows: Mapping[str, np.ndarray], part: str = "test"
) -> "Figure":
    """Rows of versions of the first images of a part, with their classes above them."""
    from dae_jax.figures import plots

    n = len(next(iter(rows.values())))
    drawn = _sheet(outcome, np.concatenate(list(rows.values())), (len(rows), n))
    classes = [str(k) for k in getattr(outcome.data, part).labels[:n]]
    title = f"{title}, {outcome.data.name}"
    return plots.labelled_sheet(drawn, title, ("", list(rows)), ("class", classes), "pixel")


def regenerated(name: str, n: int = 9) -> Picture:
    """A test image of each class, and n images drawn from its code; see `measures.regenerated`."""

    def draw(outcome: Outcome) -> "Figure":
        from dae_jax.figures import plots

        test, model = outcome.data.test, outcome.models[name]
        classes = list(range(int(test.labels.max()) + 1))
        x = test.x[[int(np.argmax(test.labels == k)) for k in classes]]
        codes = model.encode(x)
        columns = [x, *(measures.regenerated(model, codes, i) for i in range(n))]
        sheet = _sheet(outcome, np.stack(columns, axis=1).reshape(-1, x.shape[1]), (len(x), n + 1))
        titles = ["original", *map(str, range(1, n + 1))]
        title = f"Test images, and draws from their codes in the model {name}, {outcome.data.name}"
        rows = "class", list(map(str, classes))
        return plots.labelled_sheet(sheet, title, rows, ("draw", titles), "pixel")

    return draw


def sheet(of: str, n: int = 10) -> Picture:
    """A sheet of n x n test images (``"inputs"``), or of a model's reconstructions of them."""

    def draw(outcome: Outcome) -> "Figure":
        x = outcome.data.test.x[: n * n]
        if of == "inputs":
            return _square(outcome, f"Test images, {outcome.data.name}", x)
        title = f"Test images as the model {of} reconstructs them, {outcome.data.name}"
        return _square(outcome, title, outcome.models[of].reconstruct(x))

    return draw


def generated(name: str, n: int = 10) -> Picture:
    """The images of random codes, each unit drawn with its own mean and standard deviation."""

    def draw(outcome: Outcome) -> "Figure":
        model = outcome.models[name]
        h = model.encode(outcome.data.train.x[:POINTS])
        normal = np.asarray(jax.random.normal(jax.random.key(outcome.seed), (n * n, h.shape[1])))
        codes = np.maximum(h.mean(axis=0) + h.std(axis=0) * normal, 0)
        title = f"Images that the model {name} makes of random codes, {outcome.data.name}"
        return _square(outcome, title, model.decode(codes))

    return draw


def _square(outcome: Outcome, title: str, x: np.ndarray) -> "Figure":
    """A sheet of as many rows as columns, with the numbers of its images."""
    from dae_jax.figures import plots

    n = math.isqrt(len(x) - 1) + 1
    rows = [f"{i + 1} to {i + n}" for i in range(0, n * n, n)]
    drawn = _sheet(outcome, x, (n, n))
    return plots.labelled_sheet(drawn, title, ("images", rows), ("", [""] * n), "pixel")


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

    def draw(outcome: Outcome) -> "Figure":
        from dae_jax.figures import plots

        W = outcome.models[name].params.encoder[0].W
        drawn = figures.filter_sheet(W, outcome.data.image_shape, tiles)
        title = f"Filters of the model {name}, {outcome.data.name}"
        return plots.labelled_filters(drawn, title, W.shape[1], tiles)

    return draw


def same_units(*names: str) -> Picture:
    """The same units side by side, one column per model; see `figures.comparison_sheet`."""

    def draw(outcome: Outcome) -> "Figure":
        from dae_jax.figures import plots

        weights = [outcome.models[name].params.encoder[0].W for name in names]
        drawn = figures.comparison_sheet(weights, outcome.data.image_shape)
        units = [str(k + 1) for k in range(min(12, weights[0].shape[1]))]
        title = f"The same units of several models, {outcome.data.name}\n{plots.EACH_ON_ITS_OWN}"
        return plots.labelled_sheet(drawn, title, ("unit", units), ("model", names))

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
        return plots.curves(curves, label, f"Held-out images, {outcome.data.name}", "model")

    return draw


def mistakes(name: str, n: int = 40) -> Picture:
    """The first misclassified test images, each with its true and its predicted class."""

    def draw(outcome: Outcome) -> "Figure":
        from dae_jax.figures import plots

        x, labels = outcome.data.test
        given = outcome.models[name].classify(x)
        at = np.flatnonzero(given != labels)[:n]
        captions = [f"{labels[i]} as {given[i]}" for i in at]
        title = f"Test images that the model {name} misclassifies: true class as predicted class"
        return plots.captioned_images(
            outcome.data.picture(x[at]), outcome.data.image_shape, captions or ["none"], title
        )

    return draw
