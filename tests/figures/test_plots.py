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


def matrix(counts, class_names):
    """The axes of a confusion matrix, and its cells: text by (predicted, true)."""
    axes = plots.confusion_matrix(counts, class_names).axes[0]
    return axes, {text.get_position(): text.get_text() for text in axes.texts}


def written(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_the_confusion_matrix_shows_counts_and_rates_of_the_true_class():
    counts = [[3, 1, 0], [0, 0, 2], [0, 0, 0]]
    axes, cells = matrix(counts, ["a", "b$1$", "c" * 30])
    assert axes.get_title() == "3 of 6 wrong (50.00 %)"
    assert cells == {
        (0, 0): "3\n75.0 %",
        (1, 0): "1\n25.0 %",
        (1, 1): "0\n0.0 %",  # on the diagonal, none are written out, too
        (2, 1): "2\n100.0 %",
    }
    errors, correct = (image.get_array() for image in axes.images)
    np.testing.assert_array_equal(errors.filled(-1), [[-1, 0.25, 0], [0, -1, 1], [-1, -1, -1]])
    np.testing.assert_array_equal(correct.filled(-1), [[0.75, -1, -1], [-1, 0, -1], [-1, -1, -1]])
    assert written(axes.yaxis) == written(axes.xaxis) == ["a", "b$1$", "c" * 19 + "…"]
    # a class without images has no error of 0 %
    rates = written(axes.child_axes[0].yaxis)
    assert rates == ["25.0 % of 4", "100.0 % of 2", "no images"]


def test_the_diagonal_has_a_colour_of_its_own():
    axes, _ = matrix([[1, 1], [1, 1]], ["a", "b"])
    errors, correct = axes.images
    red, _, blue, _ = errors.to_rgba(0.5)
    assert red > blue + 0.4
    red, _, blue, _ = correct.to_rgba(0.5)
    assert blue > red + 0.4


@pytest.mark.parametrize(
    ("n", "cell", "names"),
    [(2, "9\n90.0 %", 2), (12, "9\n90.0 %", 12), (24, "90 %", 24), (40, None, 40), (99, None, 0)],
)
def test_what_does_not_fit_is_left_out(n, cell, names, tmp_path):
    counts = 9 * np.eye(n, dtype=int) + np.roll(np.eye(n, dtype=int), 1, axis=1)
    axes, cells = matrix(counts, [f"class {i}" for i in range(n)])
    assert cells.get((0, 0)) == cell
    named = [name for name in written(axes.yaxis) if name.startswith("class")]
    assert len(named) == names
    assert len(axes.figure.axes) == (1 if cell else 2)  # a scale of colours instead of numbers
    with Image.open(plots.save(tmp_path / "a.png", axes.figure, {})) as image:
        assert max(image.size) < 2000


def test_names_that_are_no_text_or_no_letters_of_the_font_are_drawn(tmp_path):
    names = ["caf\udce9", "\u732b"]  # of a file name that is not UTF-8; of a cat
    plots.save(tmp_path / "a.png", plots.confusion_matrix(np.eye(2, dtype=int), names), {})
    plots.save(tmp_path / "b.png", plots.captioned_images(np.ones((2, 4)), (2, 2), names), {})
    assert (tmp_path / "a.png").stat().st_size > 1000 < (tmp_path / "b.png").stat().st_size


@pytest.mark.parametrize("image_shape", [(2, 3), (1, 2, 3), None])
def test_each_image_has_its_caption(image_shape):
    images = RNG.uniform(-1, 2, (3, 6))
    figure = plots.captioned_images(images, image_shape, ["a", "b", "c"], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", ""]
    for axes, image in zip(figure.axes, images, strict=False):
        np.testing.assert_array_equal(np.ravel(axes.images[0].get_array()), image.clip(0, 1))


PANELS = {
    "100 labels": {
        "pretrained": {"by all": (0.2, 0.01), "by few": (0.22, 0.02)},
        "svm": {"by none": (0.4, 0.03)},
    },
    "all labels": {
        "pretrained": {"by all": (0.1, 0.02)},
        "svm": {"by none": (0.3, 0.4)},
    },
}
WAYS = ("by all", "by few", "by none")


def test_the_comparison_shows_means_and_half_widths_in_per_cent():
    figure = plots.comparison(PANELS, WAYS, "Test error")
    assert figure.get_suptitle() == "Test error"
    assert [axes.get_title() for axes in figure.axes] == list(PANELS)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["pretrained", "svm"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(WAYS)
    for axes, rows in zip(figure.axes, PANELS.values(), strict=True):
        assert axes.get_xscale() == "log" and axes.get_xlabel() == "test error (%)"
        estimates = [estimate for own in rows.values() for estimate in own.values()]
        assert [text.get_text() for text in axes.texts] == [f"{100 * m:.2f}" for m, _ in estimates]
        for bars, (mean, half) in zip(axes.containers, estimates, strict=True):
            point, _, (errorbar,) = bars
            np.testing.assert_allclose(point.get_xdata(orig=False), 100 * mean)
            ends = errorbar.get_segments()[0][:, 0]
            np.testing.assert_allclose(ends, [100 * (mean - half), 100 * (mean + half)])
    fills = [bars[0].get_markerfacecolor() for bars in figure.axes[0].containers]
    assert fills[1] == "white" and len(set(fills)) == 3
    marks = [bars[0].get_marker() for bars in figure.axes[0].containers]
    assert marks == ["o", "o", "D"]


def test_a_comparison_without_any_error_is_drawn_without_a_warning(tmp_path):
    panels = {"9 labels": {"random": {"by all": (0.0, 0.0)}, "svm": {"by none": (0.1, 0.0)}}}
    figure = plots.comparison(panels, WAYS, "Test error")
    assert figure.axes[0].get_xscale() == "linear"
    plots.save(tmp_path / "a.png", figure, {})
    panels["9 labels"]["random"]["by all"] = (0.01, 0.02)  # whose interval reaches below 0
    plots.save(tmp_path / "a.png", plots.comparison(panels, WAYS, "Test error"), {})


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
