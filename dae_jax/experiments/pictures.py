"""What is drawn of fitted models: the other half of the vocabulary of `experiments`.

A drawing is a function of a `findings.Found` that returns a picture: bytes, or a matplotlib figure.
Those here are made by functions that take the names of models.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np

from dae_jax import figures
from dae_jax.experiments.measures import POINTS, Found, noisy, tsne

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawing = Callable[[Found], "np.ndarray | Figure"]


def scatter(titles: Mapping[str, str]) -> Drawing:
    """The codes of 5,000 test images in the plane, a colour a class, a plot a model."""

    def draw(found: Found) -> "Figure":
        from dae_jax.figures import plots

        test = found.data.test
        codes = {
            title: found.models[name].encode(test.x[:POINTS]) for name, title in titles.items()
        }
        return plots.scatter(codes, test.labels[:POINTS])

    return draw


def tsne_scatter(name: str, title: str) -> Drawing:
    """The codes of all test images after t-SNE."""

    def draw(found: Found) -> "Figure":
        from dae_jax.figures import plots

        return plots.scatter({title: tsne(found, name)}, found.data.test.labels)

    return draw


def reconstructions(*names: str, n: int = 10) -> Drawing:
    """A row of test images, then a row a model of what comes back of them."""

    def draw(found: Found) -> np.ndarray:
        x = found.data.test.x[:n]
        rows = [x, *(found.models[name].reconstruct(x) for name in names)]
        return _sheet(found, np.concatenate(rows), (len(rows), n))

    return draw


def restored(name: str, scale: float, n: int = 10) -> Drawing:
    """Two rows: noisy images, and what the model makes of them."""

    def draw(found: Found) -> np.ndarray:
        _, seen = noisy(found, scale, n)
        both = np.concatenate([seen, found.models[name].reconstruct(seen)])
        return _sheet(found, both, (2, n))

    return draw


def sheet(of: str, n: int = 10) -> Drawing:
    """N x n test images; or, with the name of a model, what comes back of them."""

    def draw(found: Found) -> np.ndarray:
        x = found.data.test.x[: n * n]
        return _sheet(found, x if of == "inputs" else found.models[of].reconstruct(x), (n, n))

    return draw


def generated(name: str, n: int = 10) -> Drawing:
    """What the decoder makes of random codes, each unit drawn with its own mean and deviation."""

    def draw(found: Found) -> np.ndarray:
        model = found.models[name]
        h = model.encode(found.data.train.x[:POINTS])
        normal = np.asarray(jax.random.normal(jax.random.key(found.seed), (n * n, h.shape[1])))
        codes = np.maximum(h.mean(axis=0) + h.std(axis=0) * normal, 0)
        return _sheet(found, model.decode(codes), (n, n))

    return draw


def _sheet(found: Found, x: np.ndarray, tiles: tuple[int, int]) -> np.ndarray:
    picture = found.data.picture(x)
    return figures.tile(
        picture,
        found.data.image_shape,
        tiles,
        tile_spacing=(1, 1),
        scale_rows_to_unit_interval=False,
    )


def filters(name: str, tiles: tuple[int, int] = (10, 10)) -> Drawing:
    """The first layer's filters, strongest weights at each one's own black and white."""

    def draw(found: Found) -> np.ndarray:
        W = found.models[name].params.encoder[0].W
        return figures.filter_sheet(W, found.data.image_shape, tiles)

    return draw


def same_units(*names: str) -> Drawing:
    """The same units side by side, a column a model; see `figures.comparison_sheet`."""

    def draw(found: Found) -> np.ndarray:
        weights = [found.models[name].params.encoder[0].W for name in names]
        return figures.comparison_sheet(weights, found.data.image_shape)

    return draw


def activity_histogram(titles: Mapping[str, str]) -> Drawing:
    """How often the units of the codes have which activation on the test images."""

    def draw(found: Found) -> "Figure":
        from dae_jax.figures import plots

        x = found.data.test.x
        return plots.histogram({t: found.models[n].encode(x).ravel() for n, t in titles.items()})

    return draw


def loss_curves(*names: str, per: float = 1.0, label: str) -> Drawing:
    """What the held-out images said after each epoch."""

    def draw(found: Found) -> "Figure":
        from dae_jax.figures import plots

        curves = {name: np.array(found.models[name].valid) * per for name in names}
        return plots.curves(curves, label)

    return draw


def mistakes(name: str, n: int = 40) -> Drawing:
    """The first misclassified test images, each with its class and the one it was given."""

    def draw(found: Found) -> "Figure":
        from dae_jax.figures import plots

        x, labels = found.data.test
        given = found.models[name].classify(x)
        at = np.flatnonzero(given != labels)[:n]
        captions = [f"{labels[i]} as {given[i]}" for i in at]
        return plots.captioned_images(
            found.data.picture(x[at]), found.data.image_shape, captions or ["none"]
        )

    return draw
