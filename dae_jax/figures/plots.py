"""Diagrams drawn with matplotlib.

Every function imports matplotlib itself, so that importing this module costs nothing.
"""

import io
import json
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


def confusion_matrix(
    labels: ArrayLike, predicted: ArrayLike, class_names: Sequence[str]
) -> "Figure":
    """The confusion matrix: number of images of each true class (row) and predicted class (column).

    Args:
        labels: True classes, (n,), 0 .. K-1.
        predicted: Predicted classes, (n,), 0 .. K-1.
        class_names: The K names. Counts and names are written out for at most 30 classes.

    Returns:
        The figure; its title gives the number of errors.
    """
    from sklearn.metrics import confusion_matrix

    n = len(class_names)
    counts = confusion_matrix(labels, predicted, labels=range(n))
    side = max(4.0, 0.42 * n)
    figure = _figure(side + 0.6, side)
    axes = figure.subplots()
    # Only errors are coloured: the counts on the diagonal are so much larger that they would hide
    # the differences between the others.
    errors = counts * (1 - np.eye(n, dtype=int))
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(1, errors.max()) * 1.6)
    if n <= 30:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                colour = "0.45" if i == j else "black"
                axes.text(j, i, count, ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(n), class_names, rotation=90 if max(map(len, class_names)) > 2 else 0)
        axes.set_yticks(range(n), class_names)
    axes.set(
        xlabel="predicted class",
        ylabel="true class",
        title=f"{errors.sum():,} of {counts.sum():,} wrong",
    )
    return figure


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
        axes.set_title(caption, fontsize=8, pad=2)
    return figure


def comparison(
    budgets: Sequence[str], arms: Mapping[str, Sequence[tuple[float, float]]]
) -> "Figure":
    """Test error against the number of labels: means with error bars, one curve per arm.

    Args:
        budgets: The numbers of labels, as they are written on the axis.
        arms: For each arm, one pair (mean, half-width of its interval) per budget, both as shares
            in [0, 1]; the figure shows per cent.

    Returns:
        The figure.
    """
    figure = _figure(6.4, 4)
    axes = figure.subplots()
    positions = np.arange(len(budgets))
    for i, (name, intervals) in enumerate(arms.items()):
        means, half_widths = 100 * np.array(intervals).T
        # Curves are moved apart a little, so that their error bars do not overlap.
        x, colour = positions + 0.06 * (i - 1), COLOURS[i]
        axes.errorbar(x, means, half_widths, fmt="o-", capsize=4, color=colour, label=name)
    axes.set_xticks(positions, budgets)
    if any(mean > 0 for intervals in arms.values() for mean, _ in intervals):
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set(xlabel="labelled images", ylabel="test error (%)")
    axes.legend(frameon=False)
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
    figure.savefig(buffer, format="png", dpi=120, metadata={"dae_jax": json.dumps(about)})
    return write_whole(path, buffer.getvalue())


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


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
