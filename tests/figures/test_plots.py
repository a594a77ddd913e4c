"""The diagrams show the numbers that they are given."""

import json
import re

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from dae_jax import figures
from dae_jax.figures import plots

RNG = np.random.default_rng(0)


def line_data(axes):
    return [np.asarray(line.get_xydata()) for line in axes.get_lines()]


def test_learning_curves_are_relative_costs_and_errors_in_per_cent_each_in_its_panel():
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
    # the colours are those of layers, so that no other curve has one
    assert left.get_lines()[0].get_color() == plots.COLOURS[0]
    assert {axes.get_lines()[0].get_color() for axes in (right, errors)} == {"black"}


def test_epochs_are_whole_numbers():
    for n in (1, 3, 5, 1000):
        rows = [{"epoch": i, "cost": 1 / i, "valid_error": 0.5} for i in range(1, n + 1)]
        drawn = [plots.learning_curves([rows], rows, 1), plots.curves({"a": [1.0] * n}, "c", "t")]
        for axes in (axes for figure in drawn for axes in figure.axes):
            low, high = axes.get_xlim()
            ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
            assert ticks and all(float(tick).is_integer() for tick in ticks)


def test_learning_curves_without_validation_labels_or_pretraining():
    figure = plots.learning_curves([[]], [{"epoch": 1, "cost": 0.5}], best_epoch=None)
    titles = ["no pretraining", "fine-tuning: training cost"]
    assert [axes.get_title() for axes in figure.axes] == titles
    figure = plots.learning_curves([], [{"epoch": 1, "cost": 0.5}], best_epoch=None)
    assert [axes.get_title() for axes in figure.axes] == ["training cost"]


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
    plots.save(tmp_path / "b.png", plots.captioned_images(np.ones((2, 4)), (2, 2), names, "$"), {})
    assert (tmp_path / "a.png").stat().st_size > 1000 < (tmp_path / "b.png").stat().st_size


@pytest.mark.parametrize("image_shape", [(2, 3), (1, 2, 3), None])
def test_each_image_has_its_caption(image_shape):
    images = RNG.uniform(-1, 2, (3, 6))
    figure = plots.captioned_images(images, image_shape, ["a", "b", "c"], "true", columns=2)
    assert figure.get_suptitle() == "true"
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


def test_panels_have_one_scale_if_it_is_asked_for():
    own, same = (
        [axes.get_xlim() for axes in plots.comparison(PANELS, WAYS, "", same_scale=one).axes]
        for one in (False, True)
    )
    assert own[0] != own[1]
    assert same == [(min(own[0][0], own[1][0]), max(own[0][1], own[1][1]))] * 2


def test_five_panels_are_in_two_rows():
    panels = {f"set {i}": PANELS["all labels"] for i in range(5)}
    figure = plots.comparison(panels, WAYS, "Test error")
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    figure.draw_without_rendering()
    (x, y) = zip(*(axes.get_position().p0 for axes in figure.axes), strict=True)
    assert y[0] == y[1] == y[2] > y[3] == y[4]
    assert x[0] == x[3] < x[1] == x[4] < x[2]


def test_the_legend_of_a_single_panel_is_inside_the_figure():
    chosen = "rate and epoch chosen by as many of them as there are labels to learn from"
    ways = [chosen, "b", "c"]
    panel = dict.fromkeys(PANELS["100 labels"], dict.fromkeys(ways, (0.1, 0.01)))
    figure = plots.comparison({"100 labels": panel}, ways, "Test error")
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1


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
        assert axes.get_xlabel() and axes.get_ylabel()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]


def test_the_points_of_a_class_have_its_colour_and_classes_are_mixed():
    points, labels = RNG.uniform(size=(300, 2)), np.repeat([0, 1, 2], 100)
    figure = plots.scatter({"a": points}, labels)
    (drawn,) = figure.axes[0].collections
    order = [int(np.flatnonzero((points == p).all(axis=1))[0]) for p in drawn.get_offsets()]
    assert sorted(order) == list(range(300))
    handles = [handle.get_color() for handle in figure.legends[0].get_lines()]
    colours = np.array(drawn.get_facecolors())[:, :3]
    np.testing.assert_allclose(colours, np.array(handles)[labels[order]])
    assert all(50 < labels[order][-150:].tolist().count(k) * 3 / 1.5 < 150 for k in range(3))


def test_histograms_share_their_bins_and_name_their_means():
    figure = plots.histogram({"a": np.full(10, 0.5), "b": np.linspace(0, 2, 5)})
    assert [axes.get_title() for axes in figure.axes] == ["a: mean 0.50", "b: mean 1.00"]
    for axes, n in zip(figure.axes, (10, 5), strict=True):
        assert sum(bar.get_height() for bar in axes.patches) == n
        last = axes.patches[-1]
        np.testing.assert_allclose(last.get_x() + last.get_width(), 2)


def test_curves_begin_at_epoch_1():
    (axes,) = plots.curves({"a": [3.0, 2.0], "b": [1.0]}, "cost", "costs", "model").axes
    a, b = line_data(axes)
    np.testing.assert_array_equal(a, [[1, 3], [2, 2]])
    np.testing.assert_array_equal(b, [[1, 1]])
    assert (axes.get_ylabel(), axes.get_title()) == ("cost", "costs")
    assert axes.get_legend().get_title().get_text() == "model"


def test_several_seeds_are_curves_of_one_colour_and_one_entry_of_the_legend():
    costs = np.arange(12.0).reshape(3, 2, 2)
    (axes,) = plots.curves({"0 %": costs[:, 0], "30 %": costs[:, 1]}, "cost", "costs").axes
    assert [line.get_color() for line in axes.get_lines()] == [
        colour for colour in plots.COLOURS[:2] for _ in range(2)
    ]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0 %", "30 %"]
    (axes,) = plots.curves({"30 %": costs[:, 1]}, "cost", "costs").axes
    assert axes.get_legend() is None


def test_curves_beyond_the_colours_have_other_line_styles():
    (axes,) = plots.curves({str(i): [1.0, 2.0] for i in range(14)}, "cost", "costs").axes
    looks = [(line.get_color(), line.get_linestyle()) for line in axes.get_lines()]
    assert len(set(looks)) == 14


# ---- sheets with labels ----------------------------------------------------------------------

SHEET = figures.tile(
    RNG.random((6, 64)), (8, 8), (2, 3), tile_spacing=(1, 1), scale_rows_to_unit_interval=False
)


def test_a_labelled_sheet_is_the_sheet_enlarged_without_smoothing(tmp_path):
    labels = ("", ["original", "corrupted\n(masking, 30 %)"]), ("class", ["0", "1", "b$1$"])
    figure = plots.labelled_sheet(SHEET, "title", *labels, "pixel")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), SHEET)
    assert written(figure.axes[0].yaxis) == labels[0][1]
    assert written(figure.axes[0].xaxis) == labels[1][1]
    with Image.open(plots.save(tmp_path / "a.png", figure, {})) as image:
        pixels = np.asarray(image.convert("L"))
    zoom, box = 27, figure.axes[0].get_position()
    left, top = round(box.x0 * pixels.shape[1]), round((1 - box.y1) * pixels.shape[0])
    inside = slice(3, -3)  # within the frame
    enlarged = SHEET.repeat(zoom, axis=0).repeat(zoom, axis=1)
    shown = pixels[top : top + len(enlarged), left : left + enlarged.shape[1]].astype(int)
    # a grey level is off by one where matplotlib's colours are rounded
    np.testing.assert_allclose(shown[inside, inside], enlarged[inside, inside], atol=1)


@pytest.mark.parametrize("shape", [(17, 2999), (2999, 17), (89, 89, 4), (5, 5)])
def test_every_pixel_of_a_sheet_is_at_least_three(tmp_path, shape):
    sheet = np.full(shape, 255, np.uint8)
    figure = plots.labelled_sheet(sheet, "a long title " * 30, ("", ["a"]), ("", ["b"]), "grey")
    with Image.open(plots.save(tmp_path / "a.png", figure, {})) as image:
        box = figure.axes[0].get_position()
        assert box.width * image.width >= 3 * shape[1] - 1
        assert box.height * image.height >= 3 * shape[0] - 1
    # a colour bar where grey is a number
    assert len(figure.axes) == (1 if len(shape) == 3 else 2)


def test_labelled_filters_number_the_units_and_say_what_grey_means():
    sheet = figures.filter_sheet(RNG.random((64, 7)), (8, 8), (3, 4))
    figure = plots.labelled_filters(sheet, "title", 7, (3, 4))
    assert written(figure.axes[0].yaxis) == ["1 to 4", "5 to 7", ""]
    assert "black is its smallest weight" in figure.texts[0].get_text()
    assert len(figure.axes) == 1  # no colour bar, since each tile has its own scale


def test_a_saved_diagram_holds_its_settings(tmp_path):
    figure = plots.curves({"a": [1.0]}, "cost", "costs")
    path = plots.save(tmp_path / "new" / "a.png", figure, {"level": 0.3})
    with Image.open(path) as image:
        assert json.loads(image.text["dae_jax"]) == {"level": 0.3}


# ---- names of any kind -----------------------------------------------------------------------

NAMES = [
    "$x^{$",
    "$\\frac$ $",
    "a\x1b[31m\x00b",
    "b\udcff\ud800",
    "two\nlines\x85",
    "中文",
    "\\",
    "",
]
SHOWN = ["$x^{$", "$\\frac$ $", "a\\x1b[31m\\x00b", "b\\xff\\ud800", "two\\nlines\\x85"]


def drawings(names):
    """Every kind of diagram with these names wherever a name can stand."""
    n, rng = len(names), np.random.default_rng(0)
    rows = [{"epoch": 1, "cost": 0.5, "valid_error": 0.5}]
    yield plots.learning_curves([rows], rows, best_epoch=1)
    yield plots.confusion_matrix(np.eye(n, dtype=int), names)
    yield plots.captioned_images(rng.random((n, 4)), (2, 2), names, names[0])
    for name in names:
        estimates = {name: {"first": (0.1, 0.05)}}
        yield plots.comparison({name: estimates}, ["first", "second", "third"], name)
        yield plots.histogram({name: rng.random(20)})
        yield plots.scatter({name: rng.random((5, 2))}, [0, 1, 0, 1, 0])
        yield plots.labelled_filters(np.zeros((89, 89), np.uint8), name, 100)
    yield plots.curves({name: [1.0, 2.0] for name in names}, names[0], names[1], names[2])
    sheet = np.zeros((3 * n - 1, 3 * n - 1), np.uint8)
    yield plots.labelled_sheet(sheet, names[0], (names[1], names), (names[2], names), names[3])


def test_names_of_any_kind_are_drawn_as_they_are_with_escapes_and_without_warnings(tmp_path):
    for figure in drawings(NAMES):
        plots.save(tmp_path / "a.png", figure, {"name": NAMES})
        for text in figure.findobj(Text):
            assert not text.get_parse_math() or not text.get_text()
            assert not re.search("[\x1b\x00\x85\ud800-\udfff]", text.get_text())
    axes = plots.confusion_matrix(np.eye(8, dtype=int), NAMES).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()][:5] == SHOWN


def test_counts_of_a_histogram_are_numbers_without_formulas(tmp_path):
    figure = plots.histogram({"a": np.r_[np.zeros(20_000), np.ones(3)]})
    plots.save(tmp_path / "a.png", figure, {})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "1,000" in labels and not any("$" in label for label in labels)


def test_a_hundred_curves_and_a_title_without_an_end_leave_room_for_the_curves(tmp_path):
    values = {f"{i} %": [1.0, 2.0] for i in range(100)}
    figure = plots.curves(values, "cost", f"Learning curve\n{', '.join(values)}", "noise")
    plots.save(tmp_path / "a.png", figure, {})
    axes = figure.axes[0]
    assert axes.get_legend().get_title().get_text() == "noise, the first 40 of 100"
    assert len(axes.get_legend().get_texts()) == 40 and len(axes.get_lines()) == 100
    assert axes.get_title().count("\n") == 3 and axes.get_title().endswith("…")
    assert axes.get_window_extent().height > 150  # of 400 pixels
