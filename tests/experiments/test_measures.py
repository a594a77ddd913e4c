"""Measures of experiments against plain recomputation."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from dae_jax import deep
from dae_jax.deep import Architecture
from dae_jax.experiments import measures
from dae_jax.experiments.measures import Outcome
from dae_jax.experiments.models import Fitted
from helpers import refused


def test_the_error_of_pca_is_the_variance_of_the_other_components(outcome):
    x = outcome.data.train.x.astype(np.float64)
    centred = x - x.mean(axis=0)
    left = np.linalg.svd(centred, compute_uv=False)[3:] ** 2
    numbers = measures.pixel_error("pca")(outcome)
    assert numbers["pca: training error per pixel"] == pytest.approx(left.sum() / x.size, rel=1e-4)


def test_ratios_and_differences_are_added_to_their_numbers(outcome):
    def two(outcome):
        return {"a": 6.0, "b": 4.0}

    assert measures.ratio(two, "a", "b", "times")(outcome) == {"a": 6, "b": 4, "times": 1.5}
    assert measures.difference(two, "a", "b", "above")(outcome) == {"a": 6, "b": 4, "above": 2}


def test_errors_per_image_and_per_pixel_are_of_the_reconstructions(outcome):
    model, x = outcome.models["deep"], outcome.data.test.x
    z = np.asarray(deep.reconstruct(model.params, x, Architecture((784, 20, 3), "elu", "linear")))
    numbers = measures.image_error("deep")(outcome)
    expected = ((x - z) ** 2).sum(axis=1).mean()
    assert numbers["deep: error per image"] == pytest.approx(expected, rel=1e-4)
    assert measures.total_cost("deep", per=0.5)(outcome)[
        "deep: total cost on test images"
    ] == pytest.approx(expected * len(x) / 2, rel=1e-4)


def test_costs_are_those_of_the_last_epoch(outcome):
    model = outcome.models["deep"]
    assert measures.final_cost("deep", per=2.0)(outcome) == {"deep: cost": 2 * model.costs[-1]}
    held_out = measures.held_out_cost("deep", per=0.5, what="it")(outcome)
    assert held_out == {"deep: it": model.valid[-1] / 2}


def test_neighbours_are_counted_as_a_plain_loop_counts_them(outcome):
    model, (x, y), test = outcome.models["pca"], outcome.data.train, outcome.data.test
    codes = model.encode(x)
    right = 0
    for code, label in zip(model.encode(test.x), test.labels, strict=True):
        nearest = y[np.argsort(((codes - code) ** 2).sum(axis=1), kind="stable")[:10]]
        right += int(np.bincount(nearest).argmax() == label)
    measured = measures.neighbours("pca")(outcome)["pca: 10-nearest-neighbour accuracy"]
    assert measured == pytest.approx(right / len(test.x), abs=0.02)  # ties at equal distances


def silhouettes(points, labels):
    """The mean silhouette by the definition of Rousseeuw (1987)."""
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    values = []
    for i, label in enumerate(labels):
        own = (labels == label) & (np.arange(len(labels)) != i)
        a = distances[i][own].mean()
        b = min(distances[i][labels == k].mean() for k in set(labels.tolist()) - {label})
        values.append((b - a) / max(a, b))
    return np.mean(values)


def test_the_silhouette_is_that_of_its_definition(outcome):
    test = outcome.data.test
    codes = outcome.models["pca"].encode(test.x).astype(float)
    numbers = measures.silhouette("pca")(outcome)
    assert numbers["pca: silhouette"] == pytest.approx(silhouettes(codes, test.labels), abs=1e-4)


@pytest.mark.slow
def test_tsne_is_computed_once_for_each_model_and_measured_in_the_plane(outcome, monkeypatch):
    from sklearn.manifold import TSNE

    fits = []
    real = TSNE.fit_transform
    monkeypatch.setattr(TSNE, "fit_transform", lambda self, x: fits.append(1) or real(self, x))
    fresh = replace(outcome)  # nothing is computed yet
    numbers = measures.tsne_compactness("pca")(fresh)
    plane, labels = fresh.tsne["pca"], outcome.data.test.labels
    assert plane.shape == (100, 2) and len(fits) == 1
    distances = ((plane[:, None] - plane[None]).astype(float) ** 2).sum(axis=2)
    nearest = np.argsort(distances, axis=1)[:, 1:11]
    right = [np.bincount(labels[row]).argmax() == labels[i] for i, row in enumerate(nearest)]
    accuracy = numbers["pca: 10-nearest-neighbour accuracy after t-SNE"]
    assert accuracy == pytest.approx(np.mean(right))
    silhouette = numbers["pca: silhouette after t-SNE"]
    assert silhouette == pytest.approx(silhouettes(plane.astype(float), labels), abs=1e-4)


def test_tsne_of_too_few_images_is_one_line(outcome):
    test = outcome.data.test
    few = test._replace(x=test.x[:30], labels=test.labels[:30])
    small = replace(outcome, data=replace(outcome.data, test=few))
    refused(lambda: small.tsne["pca"], "t-SNE", "perplexity", "got 30")


def test_the_jacobian_norm_is_that_of_autodiff(outcome):
    model = outcome.models["one"]
    encode = partial(deep.encode, architecture=Architecture((784, 12), tied=True))
    jacobians = jax.vmap(jax.jacrev(lambda x: encode(model.params, x)))(outcome.data.test.x)
    expected = np.sqrt(np.square(jacobians).sum(axis=(1, 2))).mean()
    numbers = measures.jacobian_norm("one")(outcome)
    assert numbers["one: Jacobian norm"] == pytest.approx(expected, rel=1e-4)


def test_error_rates_are_of_validation_and_test_images_or_the_first_of_them(outcome):
    model = outcome.models["one fine-tuned"]
    for first in (None, 60):
        numbers = measures.errors("one fine-tuned", first=first)(outcome)
        for part, (x, labels) in (
            ("validation", outcome.data.valid),
            ("test", outcome.data.test),
        ):
            expected = np.mean(model.classify(x)[:first] != labels[:first])
            assert numbers[f"one fine-tuned: {part} error"] == expected


def test_local_filters_are_a_share_of_units(outcome):
    (share,) = measures.local_filters("one")(outcome).values()
    assert 0 <= share <= 1 and round(12 * share, 9).is_integer()


def test_standardised_targets_have_no_best_logit(outcome):
    numbers = measures.standardised_targets(outcome)
    costs = [numbers[f"standardised: cost at logits of {far}"] for far in (1, 10, 100)]
    assert costs[2] < costs[1] < costs[0]
    assert numbers["standardised: share of targets outside [0, 1]"] > 0.5


def test_restoration_is_measured_against_the_clean_images(outcome):
    numbers = measures.restoration("pca", 0.5, n=20)(outcome)
    clean, seen = measures.noisy(outcome, 0.5, 20)
    assert np.std(seen - clean) == pytest.approx(0.5, rel=0.02)  # 15,680 draws: 3 sigma is .017

    def psnr(z):
        return np.mean(-10 * np.log10(np.square(np.clip(z, 0, 1) - clean).mean(axis=1)))

    assert numbers["noisy: PSNR"] == pytest.approx(psnr(seen), rel=1e-5)
    z = outcome.models["pca"].reconstruct(seen)
    assert numbers["pca: PSNR"] == pytest.approx(psnr(z), rel=1e-5)
    best = max(
        numbers[f"{who}: PSNR"] for who in ("median filter", "Gaussian blur", "non-local means")
    )
    above = numbers["pca: decibels above the best filter"]
    assert above == pytest.approx(numbers["pca: PSNR"] - best)


def test_the_spread_of_random_blocks_is_that_of_drawing_them(outcome):
    x = outcome.data.train.x
    each = ((x - outcome.models["pca"].reconstruct(x)) ** 2).sum(axis=1)
    rng = np.random.default_rng(5)
    averages = [
        np.mean([each[s : s + 50].sum() for s in rng.integers(0, len(x) - 49, len(x) // 50)])
        for _ in range(1000)
    ]
    (spread,) = measures.block_spread("pca", 50)(outcome).values()
    assert spread == pytest.approx(np.std(averages), rel=0.1)  # 1,000 draws each: 3 sigma is .1


def test_activity_is_that_of_the_codes_of_the_test_images(outcome):
    h = outcome.models["one"].encode(outcome.data.test.x)
    numbers = measures.activity("one")(outcome)
    assert numbers["one: mean activation"] == pytest.approx(h.mean(), rel=1e-5)
    assert numbers["one: variance of the activation"] == pytest.approx(h.var(), rel=1e-4)
    assert numbers["one: units ever active"] == 1


def test_the_principal_angle_is_0_for_the_components_and_90_across_them(outcome):
    components = outcome.models["pca"].params
    W = np.random.default_rng(0).normal(size=(3, 3))
    same = deep.Layer(W @ components, np.zeros(784))
    # one direction turned away from all components
    turned = (W @ components).copy()
    turned[0] = np.linalg.svd(components)[2][-1] * 10
    identity = deep.Layer(np.eye(784), same.b)
    for decoder, angle in (
        ((same, identity), 0),
        ((deep.Layer(turned, same.b),), 90),
    ):
        linear = Fitted(deep.Untied((same,), decoder))
        both = Outcome(outcome.data, 1, {"linear": linear, "pca": outcome.models["pca"]})
        numbers = measures.principal_angle("linear", "pca")(both)
        assert numbers["linear: largest principal angle"] == pytest.approx(angle, abs=0.1)
