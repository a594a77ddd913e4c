"""The diagrams show the numbers that they are given."""

import json

import numpy as np
import pytest
from PIL import Image

from dae_jax.figures import plots

RNG = np.random.default_rng(0)


def line_data(axes):
    return [np.asarray(line.get_xydata()) for line in axes.get_lines()]


def test_learning_curves_are_relative_costs_and_errors_in_per_cent():
    layers = [[{"epoch": 1, "cost": 4.0}, {"epoch": 2, "cost": 3.0}], []]
    finetuning = [
        {"epoch": 1, "cost": 0.5, "valid_error": 0.25},
        {"epoch": 2, "cost": 0.1, "valid_error": 0.125},
    ]
    left, right, errors = plots.learning_curves(layers, finetuning, best_epoch=2).axes
    np.testing.assert_array_equal(line_data(left)[0], [[1, 1], [2, 0.75]])
    np.testing.assert_array_equal(line_data(right)[0], [[1, 0.5], [2, 0.1]])
    curve, best = line_data(errors)
    np.testing.assert_array_equal(curve, [[1, 25], [2, 12.5]])
    assert best[0, 0] == 2


def test_learning_curves_without_validation_labels_or_pretraining():
    figure = plots.learning_curves([[]], [{"epoch": 1, "cost": 0.5}], best_epoch=None)
    assert [axes.get_title() for axes in figure.axes] == ["pretraining", "fine-tuning"]
    figure = plots.learning_curves([], [{"epoch": 1, "cost": 0.5}], best_epoch=None)
    assert [axes.get_title() for axes in figure.axes] == ["training"]


def test_the_confusion_matrix_counts_images_and_errors():
    figure = plots.confusion_matrix([0, 0, 1, 2], [0, 1, 1, 2], ["a", "b", "c"])
    (axes,) = figure.axes
    assert axes.get_title() == "1 of 4 wrong"
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (2, 2): "1"}
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("image_shape", [(2, 3), (1, 2, 3), None])
def test_each_image_has_its_caption(image_shape):
    images = RNG.uniform(-1, 2, (3, 6))
    figure = plots.captioned_images(images, image_shape, ["a", "b", "c"], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", ""]
    for axes, image in zip(figure.axes, images, strict=False):
        np.testing.assert_array_equal(np.ravel(axes.images[0].get_array()), image.clip(0, 1))


def test_the_comparison_shows_means_and_half_widths_in_per_cent():
    arms = {"pretrained": [(0.2, 0.01), (0.1, 0.02)], "random": [(0.4, 0.03), (0.3, 0.04)]}
    (axes,) = plots.comparison(["100", "all"], arms).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "all"]
    assert axes.get_yscale() == "log"
    for bars, (name, intervals) in zip(axes.containers, arms.items(), strict=True):
        assert bars.get_label() == name
        curve, _, (errorbars,) = bars
        means, half_widths = 100 * np.array(intervals).T
        np.testing.assert_allclose(curve.get_ydata(), means)
        ends = np.array([segment[:, 1] for segment in errorbars.get_segments()])
        np.testing.assert_allclose(ends, np.stack([means - half_widths, means + half_widths], 1))


def test_scatter_leaves_out_points_far_away_and_has_one_legend():
    points = RNG.uniform(size=(1000, 2))
    points[0] = 1e6
    labels = np.arange(1000) % 3
    figure = plots.scatter({"a": points, "b": points + 1}, labels)
    for i, axes in enumerate(figure.axes):
        assert i - 0.1 < axes.get_xlim()[0] < axes.get_xlim()[1] < i + 1.1
        assert i - 0.1 < axes.get_ylim()[0] < axes.get_ylim()[1] < i + 1.1
        of_class_1 = axes.collections[1].get_offsets()
        np.testing.assert_array_equal(of_class_1, (points + i)[labels == 1])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]


def test_histograms_share_their_bins_and_name_their_means():
    figure = plots.histogram({"a": np.full(10, 0.5), "b": np.linspace(0, 2, 5)})
    assert [axes.get_title() for axes in figure.axes] == ["a: mean 0.50", "b: mean 1.00"]
    for axes, n in zip(figure.axes, (10, 5), strict=True):
        assert sum(bar.get_height() for bar in axes.patches) == n
        last = axes.patches[-1]
        np.testing.assert_allclose(last.get_x() + last.get_width(), 2)


def test_curves_begin_at_epoch_1():
    (axes,) = plots.curves({"a": [3.0, 2.0], "b": [1.0]}, "cost").axes
    a, b = line_data(axes)
    np.testing.assert_array_equal(a, [[1, 3], [2, 2]])
    np.testing.assert_array_equal(b, [[1, 1]])
    assert axes.get_ylabel() == "cost"


def test_a_saved_diagram_holds_its_settings(tmp_path):
    figure = plots.curves({"a": [1.0]}, "cost")
    path = plots.save(tmp_path / "new" / "a.png", figure, {"level": 0.3})
    with Image.open(path) as image:
        assert json.loads(image.text["dae_jax"]) == {"level": 0.3}
