"""Diagrams drawn with matplotlib.

Every function imports matplotlib itself, so that importing this module costs nothing.
"""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dae_jax.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "captioned_images",
    "comparison",
    "confusion_matrix",
    "curves",
    "histogram",
    "learning_curves",
    "save",
    "scatter",
]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Colours that colour-blind readers can tell apart (Okabe & Ito 2008)."""


def learning_curves(
    layers: Sequence[Sequence[Mapping[str, Any]]],
    finetuning: Sequence[Mapping[str, Any]],
    best_epoch: int | None,
) -> "Figure":
    """Pretraining costs, one curve per layer, beside the cost and error of fine-tuning.

    Args:
        layers: For each pretrained layer, its metrics: one mapping per epoch, with ``epoch`` and
            ``cost``. If there are none, its panel is left out.
        finetuning: The metrics of fine-tuning, at least one epoch: ``epoch``, ``cost`` in nats,
            and ``valid_error``, a share in [0, 1], if there are validation labels.
        best_epoch: The epoch whose parameters were kept; it is marked.

    Returns:
        The figure, of two panels or, without layers, of one.
    """
    figure = _figure(10 if layers else 5, 3.6)
    *before, right = figure.subplots(1, 2 if layers else 1, squeeze=False)[0]
    for left in before:
        _pretraining(left, layers)
    right.semilogy(_epochs(finetuning), [row["cost"] for row in finetuning], color=COLOURS[0])
    right.set(xlabel="epoch", title="fine-tuning" if layers else "training")
    right.set_ylabel("training cost (nats)", color=COLOURS[0])
    if "valid_error" in finetuning[0]:
        errors = right.twinx()
        percent = [100 * row["valid_error"] for row in finetuning]
        errors.plot(_epochs(finetuning), percent, color=COLOURS[1])
        errors.set_ylabel("validation error (%)", color=COLOURS[1])
        if best_epoch:
            errors.axvline(best_epoch, color="0.6", linewidth=1, linestyle=":")
    return figure


def _pretraining(axes: "Axes", layers: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Draw the relative cost of each layer."""
    for k, rows in enumerate(layers):
        costs = np.array([row["cost"] for row in rows])
        if len(costs):
            # The cost is a sum over a layer's inputs, of which each layer has a different number.
            relative, colour = costs / costs[0], COLOURS[k % len(COLOURS)]
            axes.plot(_epochs(rows), relative, color=colour, label=f"layer {k + 1}")
    axes.set(xlabel="epoch", ylabel="reconstruction cost / that of epoch 1", title="pretraining")
    if any(layers):
        axes.legend(frameon=False)


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
    names = [_drawable(name if len(name) <= 20 else f"{name[:19]}…") for name in class_names]
    how: dict[str, Any] = {"parse_math": False, "fontsize": 10 if n <= 24 else 8}
    axes.set_xticks(range(n), names, rotation=90 if max(map(len, names)) > 2 else 0, **how)
    axes.set_yticks(range(n), names, **how)
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(n), rates, **how)
    beside.set_ylabel("error of the class")


def captioned_images(
    images: ArrayLike, image_shape: Sequence[int] | None, captions: Sequence[str], columns: int = 10
) -> "Figure":
    """Images on a grid, each with a caption above it.

    Args:
        images: Flattened images, (n, d), in [0, 1].
        image_shape: (height, width), (height, width, 3), or None for vectors, drawn as strips.
        captions: One per image.
        columns: Images per row of the grid.

    Returns:
        The figure.
    """
    rows = -(-len(captions) // columns)
    figure = _figure(0.85 * columns, 1.0 * rows + 0.1)
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in grid:
        axes.axis("off")
    for axes, image, caption in zip(grid, np.asarray(images), captions, strict=False):
        picture = image.reshape(image_shape or (1, -1))
        axes.imshow(picture.clip(0, 1), cmap="gray", vmin=0, vmax=1, aspect="auto")
        axes.set_title(_drawable(caption), fontsize=8, pad=2, parse_math=False)
    return figure


def comparison(
    panels: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]],
    ways: Sequence[str],
    title: str,
) -> "Figure":
    """Test errors of several classifiers: one panel beside the other, one row per classifier.

    Args:
        panels: By the title of the panel, the name of the classifier and the way that it was
            chosen: the mean and the half-width of its interval, as shares in [0, 1]; the figure
            shows per cent. All panels have the same classifiers.
        ways: The ways, as the legend names them: filled points, hollow points and diamonds.
        title: The title of the figure.

    Returns:
        The figure; its axis is logarithmic if no mean is 0.
    """
    names = list(next(iter(panels.values())))
    figure = _figure(2 + 2.9 * len(panels), 1.9 + 0.42 * len(names))
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    blue, orange = COLOURS[:2]
    looks = (("o", blue, blue), ("o", blue, "white"), ("D", orange, orange))
    styles = dict(zip(ways, looks, strict=True))
    handles: dict[str, Any] = {}
    for axes, (name, rows) in zip(grid, panels.items(), strict=True):
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
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                )
        shown = [estimate for own in rows.values() for estimate in own.values()]
        least = 100 * min(mean for mean, _ in shown)
        most = 100 * max(min(mean + half, 1) for mean, half in shown)
        if least > 0:
            axes.set_xscale("log", nonpositive="clip")
            axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
            axes.set_xticks([], minor=True)
            axes.set_xlim(least / 1.6, 2 * most)  # room for the numbers
        else:
            axes.set_xlim(0, 1.3 * max(most, 1))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(title=name, xlabel="test error (%)")
        axes.grid(axis="x", alpha=0.3)
    grid[0].set_yticks(range(len(names)), names)
    grid[0].invert_yaxis()
    figure.suptitle(title)
    drawn = [way for way in ways if way in handles]
    bars = [handles[way] for way in drawn]
    figure.legend(bars, drawn, loc="outside lower center", frameon=False)
    return figure


def scatter(codes: Mapping[str, ArrayLike], labels: ArrayLike) -> "Figure":
    """Two-dimensional codes as points, coloured by class, one panel per model.

    Args:
        codes: Codes, (n, 2), by the title of their panel.
        labels: The class of each point, (n,), 0 .. K-1.

    Returns:
        The figure, with one legend for all panels.
    """
    from matplotlib import colormaps

    labels = np.asarray(labels)
    classes = np.unique(labels)
    palette = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    colours = palette.colors  # type: ignore[attr-defined]
    figure = _figure(5.2 * len(codes) + 0.8, 5)
    grid = figure.subplots(1, len(codes), squeeze=False)[0]
    for axes, (title, points) in zip(grid, codes.items(), strict=True):
        points = np.asarray(points)
        for k in classes:
            x, y = points[labels == k].T
            colour = colours[int(k) % len(colours)]
            axes.scatter(x, y, s=4, color=colour, label=str(k), linewidths=0)
        _limit_to_most(axes, points)
        axes.set_title(title)
    handles, names = grid[-1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", markerscale=4, frameon=False)
    return figure


def histogram(values: Mapping[str, ArrayLike]) -> "Figure":
    """Histograms of activations, one panel per model, all with the same axes.

    Args:
        values: Activations, (n,), at least 0, by the title of their panel.

    Returns:
        The figure, with logarithmic counts.
    """
    figure = _figure(4.6 * len(values), 3.4)
    grid = figure.subplots(1, len(values), squeeze=False, sharey=True)[0]
    arrays = {name: np.asarray(activations) for name, activations in values.items()}
    high = max(float(activations.max()) for activations in arrays.values())
    for axes, (name, activations) in zip(grid, arrays.items(), strict=True):
        axes.hist(activations, bins=np.linspace(0, high, 60), color=COLOURS[0])
        title = f"{name}: mean {activations.mean():.2f}"
        axes.set(title=title, xlabel="activation", yscale="log")
    grid[0].set_ylabel("units x images")
    return figure


def curves(values: Mapping[str, ArrayLike], label: str) -> "Figure":
    """A quantity after each epoch, one curve per model.

    Args:
        values: The values after epochs 1, 2, ..., (epochs,), by name.
        label: The quantity, as written on the vertical axis.

    Returns:
        The figure.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _figure(6, 3.6)
    axes = figure.subplots()
    for i, (name, curve) in enumerate(values.items()):
        epochs = np.arange(1, len(np.asarray(curve)) + 1)
        axes.plot(epochs, curve, "o-", color=COLOURS[i % len(COLOURS)], label=name)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


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
    with warnings.catch_warnings():  # a box instead of a letter that the font lacks will do
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=120, metadata={"dae_jax": json.dumps(about)})
    return write_whole(path, buffer.getvalue())


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _drawable(name: str) -> str:
    """A name without the bytes of a file name that are no text, which matplotlib refuses."""
    return name.encode(errors="replace").decode()


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
