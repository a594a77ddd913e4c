"""Pictures of experiments: sheets of the right tiles, and diagrams that can be saved."""

import numpy as np
import pytest

from dae_jax import figures
from dae_jax.experiments import measures, pictures
from dae_jax.experiments.measures import Outcome
from dae_jax.experiments.models import Fitted
from dae_jax.figures import plots


def drawn(figure):
    """The sheet in a figure."""
    return np.asarray(figure.axes[0].images[0].get_array())


def labels(figure):
    """The labels of the rows and of the columns."""
    axes = figure.axes[0]
    return [[t.get_text() for t in axis.get_ticklabels()] for axis in (axes.yaxis, axes.xaxis)]


def tile(sheet, row, column):
    """One 28 x 28 tile of a sheet with gaps of 1 pixel."""
    return sheet[29 * row : 29 * row + 28, 29 * column : 29 * column + 28]


def as_bytes(x):
    return (x.reshape(28, 28) * 255).astype(np.uint8)


def test_reconstructions_stand_below_their_images(outcome):
    figure = pictures.reconstructions("deep", "pca", n=4)(outcome)
    sheet, classes = drawn(figure), [str(k) for k in outcome.data.test.labels[:4]]
    assert labels(figure) == [["original", "deep", "pca"], classes]
    assert sheet.shape == (3 * 29 - 1, 4 * 29 - 1)
    x = outcome.data.test.x[:4]
    rows = [x, *(np.clip(outcome.models[name].reconstruct(x), 0, 1) for name in ("deep", "pca"))]
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            np.testing.assert_array_equal(tile(sheet, i, j), as_bytes(image))


def test_the_noisy_and_the_restored_images_stand_below_the_clean_ones(outcome):
    figure = pictures.restored("pca", 0.5, n=3)(outcome)
    sheet = drawn(figure)
    assert labels(figure)[0] == ["original", "corrupted\n(Gaussian, σ = 0.5)", "restored"]
    assert sheet.shape == (3 * 29 - 1, 3 * 29 - 1)
    clean, seen = measures.noisy(outcome, 0.5, 3)
    z = np.clip(outcome.models["pca"].reconstruct(seen), 0, 1)
    for i, row in enumerate((clean, seen, z)):
        for j, image in enumerate(row):
            np.testing.assert_array_equal(tile(sheet, i, j), as_bytes(image))


def test_the_images_may_be_those_of_another_part(outcome):
    for part in ("train", "valid"):
        sheet = drawn(pictures.reconstructions("pca", n=2, part=part)(outcome))
        x = getattr(outcome.data, part).x[:2]
        np.testing.assert_array_equal(tile(sheet, 0, 1), as_bytes(x[1]))
        z = np.clip(outcome.models["pca"].reconstruct(x), 0, 1)
        np.testing.assert_array_equal(tile(sheet, 1, 1), as_bytes(z[1]))


def test_sheets_are_of_the_inputs_or_of_their_reconstructions(outcome):
    inputs, outputs = (drawn(pictures.sheet(of, n=3)(outcome)) for of in ("inputs", "deep"))
    assert inputs.shape == outputs.shape == (86, 86)
    x = outcome.data.test.x[:9]
    np.testing.assert_array_equal(tile(inputs, 1, 2), as_bytes(x[5]))
    z = np.clip(outcome.models["deep"].reconstruct(x), 0, 1)
    np.testing.assert_array_equal(tile(outputs, 1, 2), as_bytes(z[5]))


def test_filters_are_those_of_the_first_layer(outcome):
    W = outcome.models["one"].params.encoder[0].W
    sheet = drawn(pictures.filters("one", (2, 3))(outcome))
    np.testing.assert_array_equal(sheet, figures.filter_sheet(W, (28, 28), (2, 3)))
    pair = drawn(pictures.same_units("one", "deep")(outcome))
    assert pair.shape == (12 * 29 - 1, 2 * 29 - 1)


def test_generated_images_are_decoded_codes_and_the_seed_decides(outcome):
    first, again = (drawn(pictures.generated("deep", n=2)(outcome)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (57, 57) and len({tile(first, 0, j).tobytes() for j in (0, 1)}) == 2


@pytest.mark.parametrize("part", ["test", "train"])
def test_a_scatter_plot_has_one_panel_per_model_and_one_point_per_image(outcome, part):
    plane = Fitted((), encode=lambda x: x[:, 400:402])
    two = Outcome(outcome.data, 1, {"a": plane, "b": plane})
    how = {} if part == "test" else {"part": part}
    figure = pictures.scatter({"a": "first", "b": "second"}, **how)(two)
    assert [axes.get_title() for axes in figure.axes] == ["first", "second"]
    points = np.concatenate([part.get_offsets() for part in figure.axes[0].collections])
    expected = getattr(outcome.data, part).x[:, 400:402]
    assert len(points) == len(expected)
    np.testing.assert_allclose(np.sort(points, axis=0), np.sort(expected, axis=0))


@pytest.mark.parametrize(
    "picture",
    [
        pictures.activity_histogram({"one": "plain"}),
        pictures.loss_curves("deep", per=0.5, label="cost"),
        pictures.mistakes("one fine-tuned"),
    ],
    ids=["histogram", "curves", "mistakes"],
)
def test_diagrams_can_be_saved(outcome, tmp_path, picture):
    path = plots.save(tmp_path / "it.png", picture(outcome), {"experiment": "it"})
    assert path.stat().st_size > 2000


@pytest.mark.slow
def test_the_plane_of_tsne_is_the_measured_one(outcome):
    axes = pictures.tsne_scatter("pca", "title")(outcome).axes[0]
    points = np.concatenate([part.get_offsets() for part in axes.collections])
    # the same points, class by class
    expected = outcome.tsne["pca"]
    assert points.shape == expected.shape
    np.testing.assert_allclose(np.sort(points, axis=0), np.sort(expected, axis=0), rtol=1e-6)


def test_regenerated_digits_stand_beside_an_image_of_each_class(outcome):
    from matplotlib.figure import Figure

    drawn = pictures.regenerated("one", n=3)(outcome)
    assert isinstance(drawn, Figure)
