"""Diagrams drawn with matplotlib.

Every function imports matplotlib itself, so that importing this module costs nothing.
"""

import functools
import io
import json
import math
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dae_jax.errors import printable
from dae_jax.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "EACH_ON_ITS_OWN",
    "Labels",
    "captioned_images",
    "comparison",
    "confusion_matrix",
    "curves",
    "histogram",
    "labelled_filters",
    "labelled_sheet",
    "learning_curves",
    "lines",
    "save",
    "scatter",
]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Colours that colour-blind readers can tell apart (Okabe & Ito 2008)."""
EACH_ON_ITS_OWN = "each filter scaled on its own: black is its smallest weight, white its largest"
DPI = 120
MOST_NAMES, LETTERS = 40, 64  # in the legend and in a line of the title of `curves`
_P = ParamSpec("_P")


def _plainly(draw: "Callable[_P, Figure]") -> "Callable[_P, Figure]":
    """A function that draws a figure, with all words as they are.

    No dollar begins a formula, and what cannot be drawn is escaped, whatever the name of a class or
    a folder holds.
    """

    @functools.wraps(draw)
    def plainly(*args: _P.args, **how: _P.kwargs) -> "Figure":
        from matplotlib.text import Text

        with _no_formulas():
            figure = draw(*args, **how)
            for text in figure.findobj(Text):
                text.set_text(_drawable(text.get_text()))  # type: ignore[attr-defined]
        return figure

    return plainly


def _no_formulas() -> AbstractContextManager[None]:
    from matplotlib import rc_context

    return rc_context({"text.parse_math": False})


@_plainly
def learning_curves(
    layers: Sequence[Sequence[Mapping[str, Any]]],
    finetuning: Sequence[Mapping[str, Any]],
    best_epoch: int | None,
) -> "Figure":
    """Pretraining costs, one curve per layer; beside them the cost and the error of fine-tuning.

    Args:
        layers: For each pretrained layer, its metrics: one mapping per epoch, with ``epoch`` and
            ``cost``. If there are none, its panel is left out.
        finetuning: The metrics of fine-tuning, at least one epoch: ``epoch``, ``cost`` in nats,
            and ``valid_error``, a share in [0, 1], if there are validation labels.
        best_epoch: The epoch whose parameters were kept; it is marked.

    Returns:
        The figure, with one panel for each quantity. Colours are layers.
    """
    errors = "valid_error" in finetuning[0]
    stage = "fine-tuning: " if layers else ""
    panels = bool(layers) + 1 + errors
    figure = _figure(4.4 * panels, 3.6)
    grid = list(figure.subplots(1, panels, squeeze=False)[0])
    if layers:
        _pretraining(grid.pop(0), layers)
    for axes, name, factor, label in (
        (grid[0], "cost", 1, "training cost (nats per image)"),
        *((axes, "valid_error", 100, "validation error (%)") for axes in grid[1:]),
    ):
        values = [factor * row[name] for row in finetuning]
        axes.plot(_epochs(finetuning), values, color="black", **_marks(finetuning))
        axes.set(xlabel="epoch", ylabel=label, title=f"{stage}{label.partition(' (')[0]}")
        if name == "cost":
            axes.set_yscale("log")
            _plain_numbers(axes)
        elif best_epoch:
            axes.axvline(best_epoch, color="0.5", linestyle=":", label=f"epoch kept: {best_epoch}")
            axes.legend(frameon=False)
        _whole_epochs(axes)
    return figure


def _pretraining(axes: "Axes", layers: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Draw the relative cost of each layer."""
    for k, rows in enumerate(layers):
        costs = np.array([row["cost"] for row in rows])
        if len(costs):
            # The cost is a sum over a layer's inputs, of which each layer has a different number.
            how = _look(k) | _marks(rows)
            axes.plot(_epochs(rows), costs / costs[0], label=f"layer {k + 1}", **how)
    axes.set(
        xlabel="epoch",
        ylabel="reconstruction cost / that of epoch 1",
        title="pretraining" if any(layers) else "no pretraining",
    )
    _whole_epochs(axes)
    if any(layers):
        axes.legend(frameon=False)


def _look(i: int) -> dict[str, Any]:
    """The look of the i-th curve: a colour and, when all are used up, another line style."""
    n = len(COLOURS)
    return {"color": COLOURS[i % n], "linestyle": ("-", "--", ":", "-.")[i // n % 4]}


def _marks(values: Sequence[Any]) -> dict[str, Any]:
    """Points at the epochs of a short curve; one of a single epoch would not be seen otherwise."""
    return {"marker": "o", "markersize": 4} if len(values) <= 20 else {}


def _whole_epochs(axes: "Axes") -> None:
    """Set ticks at whole epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _plain_numbers(axes: "Axes") -> None:
    """Write 0.2 instead of a power of ten at a logarithmic axis, and few enough to be read."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


@_plainly
def confusion_matrix(counts: ArrayLike, class_names: Sequence[str]) -> "Figure":
    """The confusion matrix: images of each true class (row) by predicted class (column).

    The diagonal is blue and errors are orange, by their share of the row. The right side says each
    class's error rate.

    Args:
        counts: Numbers of images, (K, K).
        class_names: The K names. They and the error rates are written out for at most 60 classes;
            in the cells, counts and rates for at most 12 and rates alone for at most 24.

    Returns:
        The figure; its title gives the number of errors.
    """
    from matplotlib.colors import PowerNorm

    counts = np.asarray(counts)
    n, tested, right = len(counts), counts.sum(axis=1), np.eye(len(counts), dtype=bool)
    shares = np.divide(counts, tested[:, None], out=np.zeros((n, n)), where=tested[:, None] > 0)
    side = max(3.2, n * (0.6 if n <= 12 else 0.4 if n <= 24 else 0.22 if n <= 60 else 0.1))
    figure = _figure(side + 2.6, side + 1.2)
    axes = figure.subplots()
    axes.set_facecolor("0.85")  # of the rows of classes without images
    unseen = np.broadcast_to(tested[:, None] == 0, (n, n))
    # The square root, since an error of a few per cent would not be seen beside one of 50.
    errors = axes.imshow(
        np.ma.masked_array(shares, right | unseen), cmap="Oranges", norm=PowerNorm(0.5, 0, 1)
    )
    correct = axes.imshow(np.ma.masked_array(shares, ~right | unseen), cmap="Blues", vmin=0, vmax=1)
    if n <= 24:
        for i, j in np.argwhere((counts > 0) | (right & ~unseen)):
            image = correct if i == j else errors
            red, green, blue, _ = image.to_rgba(shares[i, j])
            dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
            percent = 100 * shares[i, j]
            words = f"{counts[i, j]:,}\n{percent:.1f} %" if n <= 12 else f"{percent:.0f} %"
            how: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
            axes.text(j, i, words, color="white" if dark else "black", **how)
    else:
        label = "errors, as a share of the true class"
        figure.colorbar(errors, ax=axes, shrink=0.5, label=label, format=lambda x, _: f"{x:.0%}")
    _name_classes(axes, class_names, tested, tested - counts.diagonal())
    wrong, total = int(counts[~right].sum()), int(counts.sum())
    axes.set(
        xlabel="predicted class",
        ylabel="true class",
        title=f"{wrong:,} of {total:,} wrong ({100 * wrong / max(1, total):.2f} %)",
    )
    return figure


def _name_classes(
    axes: "Axes", class_names: Sequence[str], tested: np.ndarray, wrong: np.ndarray
) -> None:
    """Write the names of the classes beside a matrix, and their error rates on the right."""
    n = len(class_names)
    if n > 60:
        return
    rates = [
        f"{100 * w / m:.1f} % of {m:,}" if m else "no images"
        for w, m in zip(wrong, tested, strict=True)
    ]
    # A long name would leave no room for the matrix.
    names = [_shortened(name) for name in class_names]
    how: dict[str, Any] = {"fontsize": 10 if n <= 24 else 8}
    axes.set_xticks(range(n), names, rotation=90 if max(map(len, names)) > 2 else 0, **how)
    axes.set_yticks(range(n), names, **how)
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(n), rates, **how)
    beside.set_ylabel("error of the class")


@_plainly
def captioned_images(
    images: ArrayLike,
    image_shape: Sequence[int] | None,
    captions: Sequence[str],
    title: str,
    columns: int = 10,
) -> "Figure":
    """Images on a grid, each with a caption above it.

    Args:
        images: Flattened images, (n, d), in [0, 1].
        image_shape: (height, width), (height, width, 3), or None for vectors, drawn as strips.
        captions: One per image.
        title: The title of the figure, which says what the captions mean.
        columns: Images per row of the grid.

    Returns:
        The figure.
    """
    rows = -(-len(captions) // columns)
    figure = _figure(0.85 * columns, 1.0 * rows + 0.4)
    figure.suptitle(title, fontsize=10)
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False))
    aspect = "auto" if image_shape is None else "equal"  # a strip would be a line
    for axes in grid:
        axes.axis("off")
    for axes, image, caption in zip(grid, np.asarray(images), captions, strict=False):
        picture = image.reshape(image_shape or (1, -1))
        axes.imshow(picture.clip(0, 1), cmap="gray", vmin=0, vmax=1, aspect=aspect)
        axes.set_title(_in_a_line(caption), fontsize=8, pad=2)
    return figure


@_plainly
def comparison(
    panels: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]],
    ways: Sequence[str],
    title: str,
    *,
    same_scale: bool = False,
) -> "Figure":
    """Test errors of several classifiers: panels in rows of three, one line per classifier.

    Args:
        panels: By the title of the panel, the name of the classifier and the way that it was
            chosen: the mean and the half-width of its interval, as shares in [0, 1]; the figure
            shows per cent. All panels have the same classifiers.
        ways: The ways, as the legend names them: filled points, hollow points and diamonds.
        title: The title of the figure.
        same_scale: Whether all panels have the same axis.

    Returns:
        The figure; an axis is logarithmic if no mean on it is 0.
    """
    names = list(next(iter(panels.values())))
    shown = [[e for own in rows.values() for e in own.values()] for rows in panels.values()]
    if same_scale:
        shown = [[e for own in shown for e in own]] * len(panels)
    n_columns = min(len(panels), 3)
    n_rows = -(-len(panels) // n_columns)
    width = max(2 + 2.9 * n_columns, 6.6)  # room for the legend
    figure = _figure(width, 0.7 + n_rows * (1.2 + 0.42 * len(names)))
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
    blue, orange = COLOURS[:2]
    looks = (("o", blue, blue), ("o", blue, "white"), ("D", orange, orange))
    styles = dict(zip(ways, looks, strict=True))
    handles: dict[str, Any] = {}
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes, (name, rows), on_axis in zip(grid[: len(panels)], panels.items(), shown, strict=True):
        for at, estimates in enumerate(rows.values()):
            for i, (way, (mean, half)) in enumerate(estimates.items()):
                y = at + 0.36 * (i - (len(estimates) - 1) / 2)  # one below the other
                mark, colour, fill = styles[way]
                bar = axes.errorbar(
                    100 * mean,
                    y,
                    xerr=100 * half,
                    fmt=mark,
                    color=colour,
                    markerfacecolor=fill,
                    markersize=5,
                    capsize=2,
                )
                handles.setdefault(way, bar)
                axes.annotate(
                    f"{100 * mean:.2f}",
                    (100 * min(mean + half, 1), y),
                    xytext=(6, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                )
        least = 100 * min(mean for mean, _ in on_axis)
        most = 100 * max(min(mean + half, 1) for mean, half in on_axis)
        if least > 0:
            axes.set_xscale("log", nonpositive="clip")
            axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
            axes.set_xticks([], minor=True)
            axes.set_xlim(least / 1.6, 2.4 * most)  # room for the numbers
        else:
            axes.set_xlim(0, 1.3 * max(most, 1))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(title=name, xlabel="test error (%)")
        axes.grid(axis="x", alpha=0.3)
    grid[0].set_yticks(range(len(names)), [_in_a_line(name) for name in names])
    grid[0].invert_yaxis()
    figure.suptitle(title)
    drawn = [way for way in ways if way in handles]
    bars = [handles[way] for way in drawn]
    figure.legend(bars, drawn, loc="outside lower center", frameon=False)
    return figure


@_plainly
def scatter(codes: Mapping[str, ArrayLike], labels: ArrayLike) -> "Figure":
    """Two-dimensional codes as points, coloured by class, one panel per model.

    The points are drawn in a random order, so that no class hides another.

    Args:
        codes: Codes, (n, 2), by the title of their panel.
        labels: The class of each point, (n,), 0 .. K-1.

    Returns:
        The figure, with one legend for all panels.
    """
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    labels = np.asarray(labels)
    classes = np.unique(labels)
    palette = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    colours = np.array(palette.colors)  # type: ignore[attr-defined]
    order = np.random.default_rng(0).permutation(len(labels))
    figure = _figure(5.2 * len(codes) + 0.8, 5)
    grid = figure.subplots(1, len(codes), squeeze=False)[0]
    for axes, (title, points) in zip(grid, codes.items(), strict=True):
        points = np.asarray(points)
        x, y = points[order].T
        axes.scatter(x, y, s=6, color=colours[labels[order] % len(colours)], linewidths=0)
        _limit_to_most(axes, points)
        axes.set(title=title, xlabel="first coordinate", ylabel="second coordinate")
    handles = [
        Line2D([], [], linestyle="", marker="o", color=tuple(colours[k % len(colours)]))
        for k in classes
    ]
    names = [str(k) for k in classes]
    columns = -(-len(names) // 25)
    where: dict[str, Any] = {"loc": "outside right center", "ncols": columns}
    figure.legend(handles, names, title="class", frameon=False, **where)
    return figure


@_plainly
def histogram(values: Mapping[str, ArrayLike]) -> "Figure":
    """Histograms of activations, one panel per model, all with the same axes.

    Args:
        values: Activations, (n,), at least 0, by the title of their panel.

    Returns:
        The figure, with logarithmic counts.
    """
    from matplotlib.ticker import NullFormatter

    figure = _figure(4.6 * len(values), 3.4)
    grid = figure.subplots(1, len(values), squeeze=False, sharey=True)[0]
    arrays = {name: np.asarray(activations) for name, activations in values.items()}
    high = max(float(activations.max()) for activations in arrays.values())
    for axes, (name, activations) in zip(grid, arrays.items(), strict=True):
        axes.hist(activations, bins=np.linspace(0, high, 60), color=COLOURS[0])
        title = f"{name}: mean {activations.mean():.2f}"
        axes.set(title=title, xlabel="activation", yscale="log")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    grid[0].set_ylabel("number of activations")
    return figure


@_plainly
def curves(values: Mapping[str, ArrayLike], label: str, title: str, legend: str = "") -> "Figure":
    """A quantity after each epoch, one curve per name.

    Args:
        values: The values after epochs 1, 2, ..., by name: (epochs,), or (epochs, n) for n curves
            of the same look, such as those of several seeds.
        label: The quantity and its unit, as written on the vertical axis.
        title: The title of the figure.
        legend: What the names are, as the title of the legend. Of a single name there is none.

    Returns:
        The figure.
    """
    figure = _figure(6.4, 4)
    axes = figure.subplots()
    for i, (name, curve) in enumerate(values.items()):
        array = np.asarray(curve)
        epochs = range(1, len(array) + 1)
        lines = axes.plot(epochs, array, **_look(i), **_marks(epochs))
        if i < MOST_NAMES:
            lines[0].set_label(name)
    parts = [
        textwrap.wrap(part, LETTERS, max_lines=3, placeholder=" …") for part in title.split("\n")
    ]
    axes.set(xlabel="epoch", ylabel=label, title="\n".join(line for part in parts for line in part))
    _whole_epochs(axes)
    if (n := len(values)) > 1:
        some = f"the first {MOST_NAMES} of {n}" if n > MOST_NAMES else ""
        words = ", ".join(filter(None, (legend, some)))
        axes.legend(title=words, frameon=False, ncols=-(-min(n, MOST_NAMES) // 10))
    return figure


@_plainly
def lines(
    values: Mapping[str, Mapping[float, float]], across: str, label: str, title: str
) -> "Figure":
    """A quantity over another one, one line per name.

    Args:
        values: By name, the quantity at each value of the other one.
        across: The other one and its unit, as written on the horizontal axis.
        label: The quantity and its unit, as written on the vertical axis.
        title: The title of the figure.
    """
    figure = _figure(7.6, 4)
    axes = figure.subplots()
    for i, (name, points) in enumerate(values.items()):
        at = sorted(points)
        axes.plot(at, [points[x] for x in at], label=name, **_look(i), **_marks(at))
    axes.set(xlabel=across, ylabel=label, title=title)
    axes.set_xticks(sorted({x for points in values.values() for x in points}))
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


Labels = tuple[str, Sequence[str]]
"""The labels of the rows or columns of a sheet, and what they are, as the axis says it."""


@_plainly
def labelled_sheet(
    sheet: NDArray[np.uint8], title: str, rows: Labels, columns: Labels, scale: str = ""
) -> "Figure":
    """A sheet of tiles, enlarged without smoothing, with labels of its rows and columns.

    Args:
        sheet: Bytes with gaps of 1 pixel between the tiles, as `figures.tile` makes it.
        title: The title, of one or several lines.
        rows: What the rows are, and a label for each of them.
        columns: The same for the columns.
        scale: What grey means, for a colour bar from 0 (black) to 1 (white); none if empty, or for
            colour images.

    Returns:
        The figure. Each pixel of the sheet becomes a square of at least 3 x 3.
    """
    height, width = sheet.shape[:2]
    names = [_shortened(name) for name in columns[1]]
    beside = [_drawable(name) for name in rows[1]]
    pitches = (height + 1) / len(beside), (width + 1) / len(names)
    lines = 1 + max(name.count("\n") for name in beside)
    zoom = max(3, 720 // max(height, width), math.ceil(26 * lines / pitches[0]))
    down, across = zoom * height, zoom * width
    size = min(max(10, across / 110), 16)  # of the letters, in points
    line = round(1.4 * size * DPI / 72)  # in pixels, as all lengths here
    widest = max(_length(name, size) for name in names)
    turned = widest > 0.9 * zoom * pitches[1]
    left = max(_length(name, size) for name in beside) + line * (2 if rows[0] else 1)
    right = 5 * line if scale and sheet.ndim == 2 else line
    whole = max(left + across + right, 20 * line)
    title = _drawable(title)
    letters = int((whole - line) / (0.53 * size * DPI / 72))
    title = "\n".join(part for text in title.split("\n") for part in textwrap.wrap(text, letters))
    above = (widest if turned else line) if any(names) else 0
    tall = line * (title.count("\n") + 3 + bool(columns[0])) + above + down
    figure = _figure(whole / DPI, tall / DPI)
    figure.set_layout_engine("none")  # every pixel has its place
    bottom, part = line / tall, down / tall
    axes = figure.add_axes((left / whole, bottom, across / whole, part))
    image = axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, aspect="auto")
    image.set_interpolation("nearest")
    how: dict[str, Any] = {"fontsize": size}
    at_columns, at_rows = (
        np.arange(n) * pitch + pitch / 2 - 1
        for n, pitch in zip((len(names), len(beside)), pitches[::-1], strict=True)
    )
    axes.set_xticks(at_columns, names, rotation=90 if turned else 0, **how)
    axes.set_yticks(at_rows, beside, **how)
    axes.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False, left=False)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(columns[0], fontsize=size)
    axes.set_ylabel(rows[0], fontsize=size)
    corner = 0.5 * line / whole, 1 - 0.4 * line / tall
    figure.text(*corner, title, va="top", linespacing=1.3, **how)
    if scale and sheet.ndim == 2:
        place = (left + across + 0.6 * line) / whole, bottom, 0.5 * line / whole, part
        bar = figure.colorbar(image, cax=figure.add_axes(place), ticks=[0, 127.5, 255])
        bar.ax.set_yticklabels(["0", "0.5", "1"], fontsize=size)
        bar.set_label(scale, fontsize=size)
    return figure


def labelled_filters(
    sheet: NDArray[np.uint8], title: str, n_units: int, tiles: tuple[int, int] = (10, 10)
) -> "Figure":
    """A sheet of filters, enlarged without smoothing, with the numbers of the units.

    Args:
        sheet: The sheet, as `figures.filter_sheet` makes it.
        title: The title. What grey means is added to it.
        n_units: The number of units of the layer.
        tiles: (rows, columns) of the sheet.

    Returns:
        The figure; see `labelled_sheet`.
    """
    n_rows, n = tiles
    rows = [
        f"{i + 1} to {min(i + n, n_units)}" if i < n_units else "" for i in range(0, n_rows * n, n)
    ]
    return labelled_sheet(sheet, f"{title}\n{EACH_ON_ITS_OWN}", ("units", rows), ("", [""] * n))


def _length(text: str, size: float) -> int:
    """The length of a text in pixels, about, for letters of that size in points."""
    return math.ceil(0.62 * size * DPI / 72 * max(map(len, text.split("\n"))))


def save(path: Path, figure: "Figure", about: Mapping[str, Any]) -> Path:
    """Save a diagram as a PNG, with its settings as JSON in the text chunk ``dae_jax``.

    Args:
        path: The file; its folder is made if needed.
        figure: The diagram.
        about: How it was made: anything that JSON can hold.

    Returns:
        The path.

    Raises:
        InputError: The file cannot be written.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings(), _no_formulas():
        # A box instead of a letter that the font lacks will do, as will words that overlap.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied")
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"dae_jax": json.dumps(about)})
    return write_whole(path, buffer.getvalue())


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _drawable(text: str) -> str:
    r"""Words without what cannot be drawn.

    >>> _drawable("a\x1b[31m"), _drawable("two\nlines"), _drawable("a\ttab")
    ('a\\x1b[31m', 'two\nlines', 'a\\ttab')
    """
    return printable(text).replace("\t", "\\t")


def _in_a_line(name: str) -> str:
    """A name with its line breaks escaped, too."""
    return _drawable(name.replace("\n", "\\n"))


def _shortened(name: str) -> str:
    """A name of at most 20 letters, in a line."""
    return _in_a_line(name if len(name) <= 20 else f"{name[:19]}…")


def _epochs(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return [row["epoch"] for row in rows]


def _limit_to_most(axes: "Axes", points: NDArray[Any]) -> None:
    """Set limits that leave out the outermost 0.2 % of the points on each side.

    A few points far away would otherwise squeeze all others into a corner.
    """
    for values, set_limits in zip(points.T, (axes.set_xlim, axes.set_ylim), strict=True):
        low, high = np.quantile(values, [0.002, 0.998])
        margin = 0.05 * (high - low) or 1.0
        set_limits(low - margin, high + margin)
