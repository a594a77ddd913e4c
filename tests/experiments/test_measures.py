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
from dae_jax.stacked import Layer
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


def test_error_rates_name_validation_images_only_if_there_are_some(outcome):
    always_1 = Fitted(None, logits=lambda x: np.tile([0.0, 1.0], (len(x), 1)))
    outcome = replace(outcome, models={"one": always_1})
    errors = measures.errors("one")(outcome)
    share = np.mean(outcome.data.test.labels != 1)
    assert set(errors) == {"one: validation error", "one: test error"}
    assert errors["one: test error"] == pytest.approx(share)
    without = replace(outcome, data=replace(outcome.data, valid=outcome.data.test))
    assert measures.errors("one")(without) == {"one: test error": errors["one: test error"]}


def test_errors_per_image_and_per_pixel_are_of_the_reconstructions(outcome):
    model, x = outcome.models["deep"], outcome.data.test.x
    z = np.asarray(deep.reconstruct(model.params, x, Architecture((784, 20, 3), "elu", "linear")))
    numbers = measures.image_error("deep")(outcome)
    expected = ((x - z) ** 2).sum(axis=1).mean()
    assert numbers["deep: error per image"] == pytest.approx(expected, rel=1e-4)
    assert measures.total_cost("deep", per=0.5)(outcome)[
        "deep: total cost on test images"
    ] == pytest.approx(expected * len(x) / 2, rel=1e-4)


def test_the_total_cost_may_be_that_of_images_with_one_vector_of_noise(outcome):
    """An identity reconstructs the noise too: the total is that of one vector for each image."""
    seen = []
    identity = Fitted((), encode=lambda x: seen.append(x) or x, decode=lambda h: h)
    x, name = outcome.data.test.x, "net: total cost on test images"

    def total(seed, **how):
        measure = measures.total_cost("net", **how)
        return measure(Outcome(outcome.data, seed, {"net": identity}))[name]

    assert total(1) == total(1, noise=0.0) == 0
    assert total(1, noise=0.5) == total(1, noise=0.5) != total(2, noise=0.5)
    noise = seen[-1] - x
    assert np.abs(noise - noise[0]).max() < 1e-6
    # 784 draws: the standard deviation of their mean square is .05 of it
    assert np.square(noise[0]).mean() == pytest.approx(0.25, rel=0.2)
    expected = len(x) * np.square(noise[0], dtype=float).sum()
    assert total(2, noise=0.5) == pytest.approx(expected, rel=1e-4)
    assert total(2, noise=0.5, per=0.5) == pytest.approx(expected / 2, rel=1e-4)


def test_costs_are_those_of_the_last_epoch(outcome):
    model = outcome.models["deep"]
    assert measures.final_cost("deep", per=2.0)(outcome) == {"deep: cost": 2 * model.costs[-1]}
    held_out = measures.held_out_cost("deep", per=0.5, what="it")(outcome)
    assert held_out == {"deep: it": model.valid[-1] / 2}


def test_the_curve_of_held_out_costs_has_a_number_for_every_epoch(outcome):
    model = outcome.models["deep"]
    numbers = measures.held_out_curve("deep", per=0.5, what="it")(outcome)
    assert numbers == {f"deep: it, epoch {i}": model.valid[i - 1] / 2 for i in (1, 2, 3)}


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


def test_error_rates_are_of_validation_and_test_images(outcome):
    model = outcome.models["one fine-tuned"]
    numbers = measures.errors("one fine-tuned")(outcome)
    for part, (x, labels) in (("validation", outcome.data.valid), ("test", outcome.data.test)):
        wrong = sum(int(k != label) for k, label in zip(model.classify(x), labels, strict=True))
        assert numbers[f"one fine-tuned: {part} error"] == wrong / 100


def test_local_filters_are_a_share_of_units(outcome):
    (share,) = measures.local_filters("one")(outcome).values()
    assert 0 <= share <= 1 and round(12 * share, 9).is_integer()


def test_saturation_is_the_share_of_outputs_at_the_clip(outcome):
    x = outcome.data.test.x
    z = np.full_like(x, 0.5)
    z[:, :100], z[:, 100:150], z[:, 150:200], z[:, 200:250] = 1, 0, 2e-7, 1 - 3e-7
    net = Fitted((), encode=lambda x: x, decode=lambda h: z)
    standardised = replace(outcome.data, test=outcome.data.test._replace(x=4 * x - 1))
    numbers = measures.saturation("net")(Outcome(standardised, 1, {"net": net}))
    assert numbers["net: outputs clipped"] == pytest.approx(150 / 784)
    outside = sum(int(value < 0 or value > 1) for value in (4 * x - 1).ravel().tolist())
    assert numbers["net: targets outside [0, 1]"] == outside / x.size > 0.5


def test_noisy_images_are_clipped_and_the_seed_decides(outcome):
    clean, seen = measures.noisy(outcome, 0.5, 60)
    np.testing.assert_array_equal(clean, outcome.data.test.x[:60])
    assert 0 == seen.min() < seen.max() == 1
    dark = seen[clean == 0]
    # Half of the noise is negative, and 2.28 % of it above two standard deviations.
    for share, expected in (((dark == 0).mean(), 0.5), ((dark == 1).mean(), 0.02275)):
        assert share == pytest.approx(expected, abs=4 * np.sqrt(expected / dark.size))
    np.testing.assert_array_equal(measures.noisy(outcome, 0.5, 60)[1], seen)
    assert (measures.noisy(replace(outcome, seed=2), 0.5, 60)[1] != seen).mean() > 0.4


def test_restoration_is_measured_against_the_clean_images(outcome):
    numbers = measures.restoration("pca", 0.5, n=20)(outcome)
    clean, seen = measures.noisy(outcome, 0.5, 20)

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


# ---- names -----------------------------------------------------------------------------------

NAMED = {
    'errors("a", "b")': "errors('a', 'b')",
    "errors()": "errors()",
    'final_cost("a", per=0.5)': "final_cost('a', per=0.5, what='cost')",
    'total_cost("a", 0.5)': "total_cost(name='a', per=0.5, noise=0.0)",
    'ratio(errors("a"), "x", "y", called="z")': (
        "ratio(number=errors('a'), of='x', to='y', called='z')"
    ),
}


@pytest.mark.parametrize("call", NAMED)
def test_a_measure_is_named_by_the_call_that_made_it_with_its_defaults(call):
    assert eval(call, vars(measures)).__name__ == NAMED[call]


HELPERS = ("noisy", "regenerated")


@pytest.mark.parametrize(
    "name", [name for name in measures.__all__ if name[0].islower() and name not in HELPERS]
)
def test_every_measure_is_named_with_its_arguments(name):
    """Otherwise a declaration would not change with them."""
    make = getattr(measures, name)
    beside = {
        "principal_angle": ("b",),
        "ratio": ("b", "c", "d"),
        "difference": ("b", "c", "d"),
        "restoration": (0.5,),
    }.get(name, ())

    def named(model):
        first = measures.errors(model) if name in ("ratio", "difference") else model
        return make(first, *beside).__name__

    assert named("a").startswith(f"{name}(") and "'a'" in named("a")
    assert named("a") != named("other")
    assert all(repr(argument) in named("a") for argument in beside)


def test_regenerated_images_are_drawn_layer_by_layer_from_the_code():
    rng = np.random.default_rng(0)
    layers = [
        Layer(rng.normal(size=shape), rng.normal(size=shape[1])) for shape in ((3, 4), (4, 2))
    ]
    model = Fitted(deep.Untied((), tuple(layers)))
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    # a code of 0 and 1 leaves nothing to draw in the top layer, and the mean below is known
    code = np.array([[1.0, 0.0, 1.0]])
    below = sigmoid(code @ layers[0].W + layers[0].b)[0]
    expected = np.zeros(2)
    for units in np.ndindex(*[2] * 4):
        probability = np.prod(np.where(units, below, 1 - below))
        expected += probability * sigmoid(np.array(units) @ layers[1].W + layers[1].b)
    drawn = measures.regenerated(model, np.repeat(code, 20_000, axis=0), seed=1)
    assert drawn.shape == (20_000, 2)
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=5 * 0.5 / np.sqrt(20_000))
    again = measures.regenerated(model, np.repeat(code, 20_000, axis=0), seed=1)
    np.testing.assert_array_equal(drawn, again)


def test_regenerations_that_copy_their_image_keep_its_class_and_do_not_vary(outcome, monkeypatch):
    copy = Fitted(None, encode=lambda x: x)
    monkeypatch.setattr(measures, "regenerated", lambda model, codes, seed: codes)
    found = measures.regenerations("copy")(replace(outcome, models={"copy": copy}))
    assert found["copy: regenerated digits of the same class"] > 0.5  # of nearest neighbours
    assert found["copy: variation of regenerated digits"] == 0


def test_a_filter_in_one_corner_is_localised_and_noise_is_not(outcome):
    corner, rng = np.zeros((12, 12)), np.random.default_rng(0)
    corner[:5, :5] = rng.normal(size=(5, 5))
    W = np.stack([corner.ravel(), rng.normal(size=144)], axis=1)
    model = Fitted(deep.Tied((Layer(W, np.zeros(2)),), ()))
    data = replace(outcome.data, image_shape=(12, 12))
    found = measures.localised_filters("it")(replace(outcome, data=data, models={"it": model}))
    assert found == {"it: localised filters": 0.5}
