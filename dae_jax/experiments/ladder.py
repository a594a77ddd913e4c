"""The ladder network as a model of an experiment: many images, of which few have labels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from dae_jax import autoencoder, evaluation, ladder, stacked, training
from dae_jax.datasets.labels import evenly
from dae_jax.experiments.models import Fitted, Recipe, Setup, fit

__all__ = ["Ladder"]


@dataclass(frozen=True)
class Ladder:
    """A ladder network; see `dae_jax.ladder`."""

    hidden: tuple[int, ...]
    labels: int | None
    """The number of images with labels, drawn anew for each seed, evenly over the classes; None for
    all. All images are used without their labels too."""
    weights: tuple[float, ...]
    """Of the denoising costs, from the pixels up to the classes."""
    noise: tuple[float, float]
    """Its standard deviation at the pixels, and at every layer above."""
    recipe: Recipe
    labelled_batch_size: int = 100

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Train, and keep the last weights; predictions normalise as the labelled images do."""
        data = setup.data
        n = self.labels or len(data.images)
        draws = [evenly(data.train.labels, n, seed) for seed in setup.seeds]
        widths = [data.n_pixels, *self.hidden, data.n_classes]
        stage = setup.recipe(self.recipe).stage(len(data.images), setup.place(name))
        history = fit(
            replace(stage, labelled_batch_size=min(self.labelled_batch_size, n)),
            self.cost(data.pixel_scale),
            list(map(partial(ladder.init, widths=widths), setup.keys())),
            data.images,
            setup.keys(1),
            labelled=(
                np.stack([data.images[draw] for draw in draws]),
                np.stack([data.train.labels[draw] for draw in draws]),
            ),
        )
        models = [
            _predictor(params, data.images[draw], data.pixel_scale)
            for params, draw in zip(history.params, draws, strict=True)
        ]
        logits = partial(stacked.logits, activation=jax.nn.relu)
        return [
            Fitted(model, logits=partial(evaluation.apply, logits, model), costs=costs)
            for model, costs in zip(models, history.costs, strict=True)
        ]

    def cost(self, pixel_scale: float) -> Callable[..., Any]:
        """The cost, with the weights and the noise of this model."""
        at_pixels, above = self.noise
        noise = np.array([at_pixels, *[above] * (len(self.weights) - 1)])
        cost = partial(ladder.cost, weights=self.weights)
        return training.bind(cost, noise=noise, pixel_scale=pixel_scale)


@jax.jit
def _predictor(
    params: ladder.Params, labelled: jax.Array, pixel_scale: jax.Array
) -> stacked.Classifier:
    x = autoencoder.pixels(labelled, pixel_scale)
    return ladder.classifier(params, ladder.statistics(params, x))
