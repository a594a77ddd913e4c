"""Measures of trained models, for the declarations in `catalogue`.

A measure is a function of an `Outcome` (the models of one seed, and the data) that returns numbers
by name. The functions here take the names of models and return measures, so that a declaration
reads ``neighbours("pca", "deep")``. Classic measures are those of scikit-learn and scikit-image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce, wraps
from inspect import Parameter, signature
from typing import ParamSpec

import jax
import numpy as np

from dae_jax import deep, evaluation
from dae_jax.errors import InputError, require
from dae_jax.experiments.data import Prepared
from dae_jax.experiments.models import Fitted

__all__ = [
    "Measure",
    "Outcome",
    "activity",
    "difference",
    "errors",
    "final_cost",
    "held_out_cost",
    "held_out_curve",
    "image_error",
    "jacobian_norm",
    "local_filters",
    "localised_filters",
    "neighbours",
    "noisy",
    "pixel_error",
    "principal_angle",
    "ratio",
    "regenerated",
    "regenerations",
    "restoration",
    "saturation",
    "silhouette",
    "total_cost",
    "tsne_compactness",
]

POINTS = 5_000  # of a scatter plot, and of a silhouette
NEIGHBOURS = 10
PERPLEXITY = 30.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """The trained models of one seed, and the data."""

    data: Prepared
    seed: int
    models: Mapping[str, Fitted]

    @cached_property
    def tsne(self) -> "Planes":
        """For each model, the codes of all test images in the plane, by t-SNE."""
        return Planes(self)


class Planes(dict[str, np.ndarray]):
    """Codes of all test images in the plane, by t-SNE (van der Maaten & Hinton 2008).

    Computed when first used, and then kept, since a plane takes a minute.

    Raises:
        InputError: No more test images than the perplexity.
    """

    def __init__(self, outcome: Outcome):
        super().__init__()
        self._outcome = outcome

    def __missing__(self, name: str) -> np.ndarray:
        from sklearn.manifold import TSNE

        outcome = self._outcome
        codes = outcome.models[name].encode(outcome.data.test.x)
        if len(codes) <= PERPLEXITY:
            raise InputError(
                "t-SNE",
                expected=f"more test images than its perplexity, {PERPLEXITY:g}",
                got=len(codes),
                do="choose data with more of them",
            )
        plane = TSNE(perplexity=PERPLEXITY, random_state=outcome.seed).fit_transform(codes)
        self[name] = plane
        return plane


P = ParamSpec("P")
Numbers = dict[str, float]
Measure = Callable[[Outcome], Numbers]
"""A function of a seed's models and data that returns numbers by name."""


def _named(make: Callable[P, Measure]) -> Callable[P, Measure]:
    """Name the measures that a function makes by the call that made them, for a declaration."""

    @wraps(make)
    def making(*args: P.args, **kwargs: P.kwargs) -> Measure:
        measure = make(*args, **kwargs)
        given = signature(make).bind(*args, **kwargs)
        given.apply_defaults()
        words = [
            ", ".join(map(repr, value))
            if given.signature.parameters[name].kind is Parameter.VAR_POSITIONAL
            else f"{name}={getattr(value, '__name__', repr(value))}"
            for name, value in given.arguments.items()
        ]
        measure.__name__ = f"{make.__name__}({', '.join(words)})"  # type: ignore[attr-defined]
        return measure

    return making


@_named
def pixel_error(*names: str) -> Measure:
    """Mean squared error per pixel of the training images and of the held-out images."""

    def measure(outcome: Outcome) -> Numbers:
        numbers = {}
        for name in names:
            for part, x in {
                "training": outcome.data.train.x,
                "held-out": outcome.data.valid.x,
            }.items():
                z = outcome.models[name].reconstruct(x)
                numbers[f"{name}: {part} error per pixel"] = _mean_square(x - z)
        return numbers

    return measure


@_named
def image_error(*names: str) -> Measure:
    """Squared error per test image, summed over its pixels."""

    def measure(outcome: Outcome) -> Numbers:
        x = outcome.data.test.x
        errors = {name: _mean_square(x - outcome.models[name].reconstruct(x)) for name in names}
        return {f"{name}: error per image": e * outcome.data.n_pixels for name, e in errors.items()}

    return measure


def _mean_square(a: np.ndarray) -> float:
    return float(np.mean(np.square(a), dtype=np.float64))


@_named
def final_cost(*names: str, per: float = 1.0, what: str = "cost") -> Measure:
    """The mean training cost of the last epoch, times `per`."""
    return lambda outcome: {
        f"{name}: {what}": outcome.models[name].costs[-1] * per for name in names
    }


@_named
def held_out_cost(*names: str, per: float = 1.0, what: str = "held-out cost") -> Measure:
    """The cost of clean held-out images after the last epoch, without penalties, times `per`."""
    return lambda outcome: {
        f"{name}: {what}": outcome.models[name].valid[-1] * per for name in names
    }


@_named
def held_out_curve(name: str, per: float = 1.0, what: str = "held-out cost") -> Measure:
    """The cost of clean held-out images after each epoch, times `per`."""
    return lambda outcome: {
        f"{name}: {what}, epoch {epoch}": cost * per
        for epoch, cost in enumerate(outcome.models[name].valid, 1)
    }


@_named
def total_cost(name: str, per: float = 1.0, noise: float = 0.0) -> Measure:
    """The squared error summed over all test images, times `per`.

    Args:
        name: The model.
        per: Factor on the squared error.
        noise: Standard deviation of one vector of Gaussian noise, added to all images that are
            reconstructed.
    """

    def measure(outcome: Outcome) -> Numbers:
        x = outcome.data.test.x
        vector = np.random.default_rng(outcome.seed).normal(size=x.shape[1]).astype(x.dtype)
        z = outcome.models[name].reconstruct(x + noise * vector)
        return {f"{name}: total cost on test images": _mean_square(x - z) * x.size * per}

    return measure


@_named
def neighbours(*names: str) -> Measure:
    """The accuracy on test codes of a 10-nearest-neighbour classifier of the training codes."""

    def measure(outcome: Outcome) -> Numbers:
        from sklearn.neighbors import KNeighborsClassifier

        train, test = outcome.data.train, outcome.data.test
        numbers = {}
        for name in names:
            encode = outcome.models[name].encode
            k = min(NEIGHBOURS, len(train.x))
            knn = KNeighborsClassifier(k, n_jobs=-1).fit(encode(train.x), train.labels)
            score = knn.score(encode(test.x), test.labels)
            numbers[f"{name}: 10-nearest-neighbour accuracy"] = float(score)
        return numbers

    return measure


@_named
def silhouette(*names: str) -> Measure:
    """The silhouette, in [-1, 1], of the classes among the codes of the first 5,000 test images."""

    def measure(outcome: Outcome) -> Numbers:
        from sklearn.metrics import silhouette_score

        test = outcome.data.test
        codes = {name: outcome.models[name].encode(test.x[:POINTS]) for name in names}
        labels = test.labels[:POINTS]
        return {
            f"{name}: silhouette": float(silhouette_score(c, labels)) for name, c in codes.items()
        }

    return measure


@_named
def tsne_compactness(name: str) -> Measure:
    """Silhouette and leave-one-out 10-nearest-neighbour accuracy in the plane of t-SNE."""

    def measure(outcome: Outcome) -> Numbers:
        from sklearn.metrics import silhouette_score
        from sklearn.neighbors import NearestNeighbors

        plane, labels = outcome.tsne[name], outcome.data.test.labels
        _, nearest = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(plane).kneighbors(plane)
        votes = np.stack([np.bincount(row, minlength=10) for row in labels[nearest[:, 1:]]])
        return {
            f"{name}: silhouette after t-SNE": float(
                silhouette_score(plane[:POINTS], labels[:POINTS])
            ),
            f"{name}: 10-nearest-neighbour accuracy after t-SNE": float(
                np.mean(votes.argmax(1) == labels)
            ),
        }

    return measure


@_named
def activity(*names: str) -> Measure:
    """Mean and variance of the code's units on the test images, and the share ever active."""

    def measure(outcome: Outcome) -> Numbers:
        numbers = {}
        for name in names:
            h = outcome.models[name].encode(outcome.data.test.x)
            numbers[f"{name}: mean activation"] = float(h.mean())
            numbers[f"{name}: variance of the activation"] = float(h.var())
            numbers[f"{name}: units ever active"] = float((h.max(axis=0) > 1e-6).mean())
        return numbers

    return measure


@_named
def jacobian_norm(*names: str) -> Measure:
    """The mean Frobenius norm of the code's Jacobian on the test images, for one sigmoid layer."""

    def measure(outcome: Outcome) -> Numbers:
        numbers = {}
        for name in names:
            model = outcome.models[name]
            h, W = model.encode(outcome.data.test.x), model.params.encoder[0].W
            norms = np.sqrt(np.square(h * (1 - h)) @ np.square(W).sum(axis=0))
            numbers[f"{name}: Jacobian norm"] = float(norms.mean())
        return numbers

    return measure


@_named
def local_filters(*names: str) -> Measure:
    """The share of local filters; see `evaluation.locality`."""
    return lambda outcome: {
        f"{name}: local filters": float((_locality(outcome, name) > 0.5).mean()) for name in names
    }


def _locality(outcome: Outcome, name: str, window: float = 1 / 3) -> np.ndarray:
    """The locality of the first layer's filters; see `evaluation.locality`."""
    shape = outcome.data.image_shape
    assert shape is not None
    return evaluation.locality(outcome.models[name].params.encoder[0].W, shape, window)


def regenerated(model: Fitted, codes: np.ndarray, seed: int) -> np.ndarray:
    r"""Images drawn from the top-layer codes of an unrolled stack, (images, pixels), in [0, 1].

    The units of a code in (0, 1) are drawn as :math:`\mathrm{Bernoulli}(h)`, and so are those of
    each layer below, from the activations that the layer above gives; the pixels are the last
    activations (as Vincent et al. regenerate digits, JMLR 2010, section 6).

    Args:
        model: An autoencoder of sigmoid units.
        codes: (images, units).
        seed: Of the draws.
    """
    from scipy.special import expit

    rng, y = np.random.default_rng(seed), codes
    for layer in deep.decoder_layers(model.params):
        drawn = (rng.uniform(size=y.shape) < y).astype(np.float32)
        y = expit(drawn @ np.asarray(layer.W) + np.asarray(layer.b))
    return y


@_named
def localised_filters(*names: str) -> Measure:
    """The share of filters with 70 % of their energy in a window of half the image's side.

    For patches, which show edges as long as themselves; see `evaluation.locality`.
    """
    return lambda outcome: {
        f"{name}: localised filters": float((_locality(outcome, name, 0.5) > 0.7).mean())
        for name in names
    }


@_named
def regenerations(*names: str, n: int = 1000) -> Measure:
    """Test images regenerated from their codes: how many keep their class, and how they vary.

    The class is that of 10 nearest neighbours among the training images; the variation is the root
    mean squared difference of the pixels between two regenerations of an image.
    """

    def measure(outcome: Outcome) -> Numbers:
        from sklearn.neighbors import KNeighborsClassifier

        train, test = outcome.data.train, outcome.data.test
        knn = KNeighborsClassifier(NEIGHBOURS, n_jobs=-1).fit(train.x, train.labels)
        numbers = {}
        for name in names:
            model = outcome.models[name]
            codes = model.encode(test.x[:n])
            one, other = (regenerated(model, codes, 2 * outcome.seed + i) for i in range(2))
            same = np.mean(knn.predict(one) == test.labels[:n])
            numbers[f"{name}: regenerated digits of the same class"] = float(same)
            numbers[f"{name}: variation of regenerated digits"] = _mean_square(one - other) ** 0.5
        return numbers

    return measure


@_named
def principal_angle(name: str, pca: str) -> Measure:
    """The largest principal angle, in degrees, between a linear decoder's span and PCA's."""

    def measure(outcome: Outcome) -> Numbers:
        from scipy.linalg import subspace_angles

        spans = reduce(np.matmul, [layer.W for layer in outcome.models[name].params.decoder])
        angles = subspace_angles(spans.T, outcome.models[pca].params.T)
        return {f"{name}: largest principal angle": float(np.degrees(angles.max()))}

    return measure


@_named
def ratio(number: Measure, of: str, to: str, called: str) -> Measure:
    """A measure, and the ratio of two of its numbers.

    Args:
        number: The measure.
        of: The name of the numerator.
        to: The name of the denominator.
        called: The name of the ratio.
    """
    return _beside(number, lambda numbers: {called: numbers[of] / numbers[to]})


@_named
def difference(number: Measure, of: str, to: str, called: str) -> Measure:
    """A measure, and the difference of two of its numbers; see `ratio`."""
    return _beside(number, lambda numbers: {called: numbers[of] - numbers[to]})


def _beside(number: Measure, more: Callable[[Numbers], Numbers]) -> Measure:
    def measure(outcome: Outcome) -> Numbers:
        numbers = number(outcome)
        return numbers | more(numbers)

    return measure


@_named
def errors(*names: str) -> Measure:
    """Error rates on the test images and, if there are any, on the validation images."""

    def measure(outcome: Outcome) -> Numbers:
        data, numbers = outcome.data, {}
        parts = {"validation": data.valid, "test": data.test}
        if data.valid is data.test:
            del parts["validation"]
        for name in names:
            for part, (x, labels) in parts.items():
                wrong = outcome.models[name].classify(x) != labels
                numbers[f"{name}: {part} error"] = float(wrong.mean())
        return numbers

    return measure


@_named
def saturation(name: str) -> Measure:
    """The share of outputs for test images at the clip of `models.clipped_cross_entropy`.

    Beside it, the share of targets outside [0, 1].
    """

    def measure(outcome: Outcome) -> Numbers:
        x = outcome.data.test.x
        z = outcome.models[name].reconstruct(x)
        return {
            f"{name}: outputs clipped": float(((z <= 1e-7) | (z >= 1 - 1e-7)).mean()),
            f"{name}: targets outside [0, 1]": float(((x < 0) | (x > 1)).mean()),
        }

    return measure


def noisy(outcome: Outcome, scale: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n test images, and copies with Gaussian noise, clipped to [0, 1]."""
    x = outcome.data.test.x[:n]
    noise = jax.random.normal(jax.random.key(outcome.seed), x.shape)
    return x, np.clip(x + scale * np.asarray(noise), 0, 1)


@_named
def restoration(name: str, scale: float, n: int = 1000) -> Measure:
    """PSNR (in decibels) and SSIM of noisy and restored images, and of three classic filters.

    The parameters of the filters are the best of a few on the same images, unlike the network's.

    Args:
        name: The model.
        scale: Standard deviation of the noise.
        n: Number of test images.
    """

    def measure(outcome: Outcome) -> Numbers:
        require("skimage.metrics", "experiments")
        from scipy import ndimage
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity
        from skimage.restoration import denoise_nl_means

        clean, seen = noisy(outcome, scale, n)
        shape = outcome.data.image_shape
        pictures = seen.reshape(-1, *shape)  # type: ignore[misc]

        def each(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
            return np.stack([function(picture) for picture in pictures])

        def psnr(restored: np.ndarray) -> float:
            pairs = zip(clean, restored.reshape(len(clean), -1), strict=True)
            return float(np.mean([peak_signal_noise_ratio(x, z, data_range=1) for x, z in pairs]))

        def ssim(restored: np.ndarray) -> float:
            pairs = zip(
                clean.reshape(pictures.shape), restored.reshape(pictures.shape), strict=True
            )
            return float(np.mean([structural_similarity(x, z, data_range=1) for x, z in pairs]))

        candidates = {
            "noisy": [pictures],
            name: [outcome.models[name].reconstruct(seen)],
            "median filter": [ndimage.median_filter(pictures, (1, size, size)) for size in (3, 5)],
            "Gaussian blur": [
                ndimage.gaussian_filter(pictures, (0, sigma, sigma)) for sigma in (0.6, 0.8, 1.0)
            ],
            "non-local means": [
                each(lambda p, h=h: denoise_nl_means(p, 5, 7, h=h, sigma=scale)) for h in (0.4, 0.7)
            ],
        }
        numbers = {}
        for who, tried in candidates.items():
            best = max((np.clip(one, 0, 1) for one in tried), key=psnr)
            numbers[f"{who}: PSNR"], numbers[f"{who}: SSIM"] = psnr(best), ssim(best)
        filters = [numbers[f"{who}: PSNR"] for who in candidates if who not in ("noisy", name)]
        numbers[f"{name}: decibels above the best filter"] = numbers[f"{name}: PSNR"] - max(filters)
        return numbers

    return measure
