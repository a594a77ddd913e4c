"""What is measured of fitted models: half of the vocabulary of `experiments`.

A measure is a function of a `Found` (the models of one seed, and the data) that returns numbers by
name. Those here are made by functions that take the names of models, so that a declaration reads
``neighbours("pca", "deep")``. What scikit-learn and scikit-image have is theirs.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dae_jax import evaluation as measures
from dae_jax import objectives
from dae_jax.errors import InputError, require
from dae_jax.experiments.data import Prepared
from dae_jax.experiments.laboratory import Fitted

POINTS = 5_000  # of a scatter plot, and of a silhouette
NEIGHBOURS = 10
PERPLEXITY = 30.0


class Found(NamedTuple):
    """What one seed came to."""

    data: Prepared
    seed: int
    models: Mapping[str, Fitted]


Numbers = dict[str, float]
Measure = Callable[[Found], Numbers]


def pixel_error(*names: str) -> Measure:
    """Mean squared error per pixel: of training images, and of the held-out ones."""

    def measure(found: Found) -> Numbers:
        numbers = {}
        for name in names:
            for part, x in {"training": found.data.train.x, "held-out": found.data.valid.x}.items():
                z = found.models[name].reconstruct(x)
                numbers[f"{name}: {part} error per pixel"] = _mean_square(x - z)
        return numbers

    return measure


def image_error(*names: str) -> Measure:
    """Squared error per test image, summed over its pixels."""

    def measure(found: Found) -> Numbers:
        x = found.data.test.x
        errors = {name: _mean_square(x - found.models[name].reconstruct(x)) for name in names}
        return {f"{name}: error per image": e * found.data.n_pixels for name, e in errors.items()}

    return measure


def _mean_square(a: np.ndarray) -> float:
    return float(np.mean(np.square(a), dtype=np.float64))


def final_cost(*names: str, per: float = 1.0, what: str = "cost") -> Measure:
    """The mean cost of the last epoch, as it was minimised, times `per`."""
    return lambda found: {f"{name}: {what}": found.models[name].costs[-1] * per for name in names}


def held_out_cost(*names: str, per: float = 1.0, what: str = "held-out cost") -> Measure:
    """The cost of clean held-out images after the last epoch, without penalties, times `per`."""
    return lambda found: {f"{name}: {what}": found.models[name].valid[-1] * per for name in names}


def total_cost(name: str, per: float = 1.0) -> Measure:
    """The squared error of all test images together, times `per`."""

    def measure(found: Found) -> Numbers:
        x = found.data.test.x
        error = _mean_square(x - found.models[name].reconstruct(x)) * x.size
        return {f"{name}: total cost on test images": error * per}

    return measure


def block_spread(name: str, batch: int, per: float = 1.0, draws: int = 1000) -> Measure:
    """How far an epoch's average cost varies where its batches are random blocks of the file.

    Such blocks are drawn with replacement, so that an epoch may miss, or meet twice, the few
    images of very large cost. The standard deviation over many draws of an epoch's blocks, of
    what the final model makes of clean images, in the units of the cost of one batch.
    """

    def measure(found: Found) -> Numbers:
        x = found.data.train.x
        each = np.square(x - found.models[name].reconstruct(x)).sum(axis=1, dtype=np.float64)
        up_to = np.concatenate([[0], np.cumsum(each * per)])
        rng = np.random.default_rng(found.seed)
        starts = rng.integers(0, len(x) - batch + 1, (draws, len(x) // batch))
        averages = (up_to[starts + batch] - up_to[starts]).mean(axis=1)
        return {f"{name}: spread of an epoch's average over random blocks": float(averages.std())}

    return measure


def neighbours(*names: str) -> Measure:
    """The share of test codes whose class the 10 nearest training codes tell rightly."""

    def measure(found: Found) -> Numbers:
        from sklearn.neighbors import KNeighborsClassifier

        train, test = found.data.train, found.data.test
        numbers = {}
        for name in names:
            encode = found.models[name].encode
            k = min(NEIGHBOURS, len(train.x))
            knn = KNeighborsClassifier(k, n_jobs=-1).fit(encode(train.x), train.labels)
            score = knn.score(encode(test.x), test.labels)
            numbers[f"{name}: 10-nearest-neighbour accuracy"] = float(score)
        return numbers

    return measure


def silhouette(*names: str) -> Measure:
    """How compact the classes are among the codes of the first 5,000 test images, in [-1, 1]."""

    def measure(found: Found) -> Numbers:
        from sklearn.metrics import silhouette_score

        test = found.data.test
        codes = {name: found.models[name].encode(test.x[:POINTS]) for name in names}
        labels = test.labels[:POINTS]
        return {
            f"{name}: silhouette": float(silhouette_score(c, labels)) for name, c in codes.items()
        }

    return measure


def tsne(found: Found, name: str) -> np.ndarray:
    """The codes of all test images in the plane, by t-SNE (van der Maaten & Hinton 2008).

    Raises:
        InputError: As few images as the perplexity, or fewer.
    """
    from sklearn.manifold import TSNE

    codes = found.models[name].encode(found.data.test.x)
    if len(codes) <= PERPLEXITY:
        raise InputError(
            "t-SNE",
            expected=f"more test images than its perplexity, {PERPLEXITY:g}",
            got=len(codes),
            do="choose data with more of them",
        )
    kept = found.models[name].__dict__.setdefault("_tsne", {})  # it takes a minute: once is enough
    if "plane" not in kept:
        kept["plane"] = TSNE(perplexity=PERPLEXITY, random_state=found.seed).fit_transform(codes)
    return kept["plane"]


def tsne_compactness(name: str) -> Measure:
    """Silhouette and leave-one-out 10-nearest-neighbour accuracy in the plane of t-SNE."""

    def measure(found: Found) -> Numbers:
        from sklearn.metrics import silhouette_score
        from sklearn.neighbors import NearestNeighbors

        plane, labels = tsne(found, name), found.data.test.labels
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


def activity(*names: str) -> Measure:
    """Mean and variance of the code's units over the test images, and how many are ever active."""

    def measure(found: Found) -> Numbers:
        numbers = {}
        for name in names:
            h = found.models[name].encode(found.data.test.x)
            numbers[f"{name}: mean activation"] = float(h.mean())
            numbers[f"{name}: variance of the activation"] = float(h.var())
            numbers[f"{name}: units ever active"] = float((h.max(axis=0) > 1e-6).mean())
        return numbers

    return measure


def jacobian_norm(*names: str) -> Measure:
    """The mean Frobenius norm of the code's Jacobian on the test images, for one sigmoid layer."""

    def measure(found: Found) -> Numbers:
        numbers = {}
        for name in names:
            model = found.models[name]
            h, W = model.encode(found.data.test.x), model.params.encoder[0].W
            norms = np.sqrt(np.square(h * (1 - h)) @ np.square(W).sum(axis=0))
            numbers[f"{name}: Jacobian norm"] = float(norms.mean())
        return numbers

    return measure


def local_filters(*names: str) -> Measure:
    """The share of local filters; see `measures.locality`."""

    def measure(found: Found) -> Numbers:
        shape = found.data.image_shape
        assert shape is not None
        weights = {name: found.models[name].params.encoder[0].W for name in names}
        local = {name: measures.locality(W, shape) > 0.5 for name, W in weights.items()}
        return {f"{name}: local filters": float(share.mean()) for name, share in local.items()}

    return measure


def principal_angle(name: str, pca: str) -> Measure:
    """The largest angle, in degrees, between what a linear decoder spans and the components."""

    def measure(found: Found) -> Numbers:
        from scipy.linalg import subspace_angles

        spans = reduce(np.matmul, [layer.W for layer in found.models[name].params.decoder])
        angles = subspace_angles(spans.T, found.models[pca].params.T)
        return {f"{name}: largest principal angle": float(np.degrees(angles.max()))}

    return measure


def ratio(number: Measure, of: str, to: str, called: str) -> Measure:
    """How many times one of a measure's numbers the other is."""
    return _beside(number, lambda numbers: {called: numbers[of] / numbers[to]})


def difference(number: Measure, of: str, to: str, called: str) -> Measure:
    """By how much one of a measure's numbers is above the other."""
    return _beside(number, lambda numbers: {called: numbers[of] - numbers[to]})


def _beside(number: Measure, more: Callable[[Numbers], Numbers]) -> Measure:
    def measure(found: Found) -> Numbers:
        numbers = number(found)
        return numbers | more(numbers)

    return measure


def errors(*names: str, first: int | None = None) -> Measure:
    """The share of validation and test images that are given a wrong class.

    Args:
        *names: The models.
        first: Count the first so many alone, where the original left a remainder out.
    """

    def measure(found: Found) -> Numbers:
        numbers = {}
        for name in names:
            for part, (x, labels) in {
                "validation": found.data.valid,
                "test": found.data.test,
            }.items():
                wrong = found.models[name].classify(x[:first]) != labels[:first]
                numbers[f"{name}: {part} error"] = float(wrong.mean())
        return numbers

    return measure


def standardised_targets(found: Found) -> Numbers:
    """What standardised images do to a sigmoid output under the cross-entropy.

    A target outside [0, 1] has no best logit: the further out, the lower the cost, without end.
    """
    x, shown = found.data.train.x, found.data.test.x[:1000]
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    targets = (shown - mean) / np.where(deviation > 0, deviation, 1)
    numbers = {
        "standardised: share of targets outside [0, 1]": float(
            ((targets < 0) | (targets > 1)).mean()
        )
    }
    for far in (1.0, 10.0, 100.0):
        logits = np.where(targets > 0.5, far, -far).astype(np.float32)
        cost = objectives.cross_entropy(jnp.asarray(logits), jnp.asarray(targets))
        numbers[f"standardised: cost at logits of {far:g}"] = float(cost)
    return numbers


def noisy(found: Found, scale: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first test images, and what Gaussian noise makes of them; nothing is cut off."""
    x = found.data.test.x[:n]
    noise = jax.random.normal(jax.random.key(found.seed), x.shape)
    return x, x + scale * np.asarray(noise)


def restoration(name: str, scale: float, n: int = 1000) -> Measure:
    """PSNR (in decibels) and SSIM of noisy and of restored images, beside three classic filters.

    The filters' own parameters are the best of a few on the very same images: the network has no
    such help.
    """

    def measure(found: Found) -> Numbers:
        require("skimage.metrics", "experiments")
        from scipy import ndimage
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity
        from skimage.restoration import denoise_nl_means

        clean, seen = noisy(found, scale, n)
        shape = found.data.image_shape
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
            name: [found.models[name].reconstruct(seen)],
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
