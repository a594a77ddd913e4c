"""Diagrams, drawn by matplotlib, which is imported only where one is drawn."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from dae_jax.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe & Ito 2008


def learning_curves(
    layers: Sequence[Sequence[Mapping[str, Any]]],
    finetuning: Sequence[Mapping[str, Any]],
    best_epoch: int | None,
) -> "Figure":
    """Costs of pretraining, a curve a layer, beside cost and validation error of fine-tuning.

    Args:
        layers: The metrics of each layer.
        finetuning: Those of fine-tuning.
        best_epoch: The epoch whose parameters were kept, to be marked.
    """
    figure = _figure(10, 3.6)
    left, right = figure.subplots(1, 2)
    for k, rows in enumerate(layers):
        costs = np.array([row["cost"] for row in rows])
        if len(costs):
            # The layers' costs are sums over different numbers of inputs: each beside its first.
            left.plot(_epochs(rows), costs / costs[0], color=COLOURS[k % 6], label=f"layer {k + 1}")
    left.set(xlabel="epoch", ylabel="reconstruction cost / that of epoch 1", title="pretraining")
    if any(layers):
        left.legend(frameon=False)
    right.semilogy(_epochs(finetuning), [row["cost"] for row in finetuning], color=COLOURS[0])
    right.set(xlabel="epoch", title="fine-tuning")
    right.set_ylabel("training cost (nats)", color=COLOURS[0])
    if "valid_error" in finetuning[0]:
        errors = right.twinx()
        percent = [100 * row["valid_error"] for row in finetuning]
        errors.plot(_epochs(finetuning), percent, color=COLOURS[1])
        errors.set_ylabel("validation error (%)", color=COLOURS[1])
        if best_epoch:
            errors.axvline(best_epoch, color="0.6", linewidth=1, linestyle=":")
    return figure


def confusion_matrix(
    labels: ArrayLike, predicted: ArrayLike, class_names: Sequence[str]
) -> "Figure":
    """How many images of each class (row) were given each class (column)."""
    from sklearn.metrics import confusion_matrix

    n = len(class_names)
    counts = confusion_matrix(labels, predicted, labels=range(n))
    side = max(4.0, 0.42 * n)
    figure = _figure(side + 0.6, side)
    axes = figure.subplots()
    # The diagonal would drown the errors, which are what one looks for.
    errors = counts * (1 - np.eye(n, dtype=int))
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(1, errors.max()) * 1.6)
    if n <= 30:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                axes.text(
                    j,
                    i,
                    count,
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="0.45" if i == j else "black",
                )
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
    """Images in [0, 1] on a grid, each with a few words above it.

    Args:
        images: One flattened image a row.
        image_shape: (height, width), (height, width, 3), or None for vectors, drawn as strips.
        captions: As many as there are images.
        columns: Images a row.
    """
    rows = -(-len(captions) // columns)
    figure = _figure(0.85 * columns, 1.0 * rows + 0.1)
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in grid:
        axes.axis("off")
    for axes, image, words in zip(grid, np.asarray(images), captions, strict=False):
        picture = image.reshape(image_shape or (1, -1))
        axes.imshow(picture.clip(0, 1), cmap="gray", vmin=0, vmax=1, aspect="auto")
        axes.set_title(words, fontsize=8, pad=2)
    return figure


def comparison(budgets: Sequence[str], arms: Mapping[str, Sequence[Sequence[float]]]) -> "Figure":
    """Test error over the number of labels, a curve an arm: mean, and its interval over the seeds.

    Args:
        budgets: What the numbers of labels are called.
        arms: For each arm, the test errors of all seeds at each budget, shares in [0, 1].
    """
    from dae_jax.evaluation import mean_interval

    figure = _figure(6.4, 4)
    axes = figure.subplots()
    at = np.arange(len(budgets))
    for i, (name, errors) in enumerate(arms.items()):
        means, halves = np.array([mean_interval(seeds) for seeds in errors]).T * 100
        axes.errorbar(
            at + 0.06 * (i - 1), means, halves, fmt="o-", capsize=4, color=COLOURS[i], label=name
        )
    axes.set_xticks(at, budgets)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set(xlabel="labelled images", ylabel="test error (%)")
    axes.legend(frameon=False)
    return figure


def scatter(codes: Mapping[str, ArrayLike], labels: ArrayLike) -> "Figure":
    """Codes in the plane, a colour a class, side by side.

    Args:
        codes: For each title, codes (n, 2).
        labels: The class of each, (n,), 0 .. K-1.
    """
    from matplotlib import colormaps

    figure = _figure(5.2 * len(codes) + 0.8, 5)
    grid = figure.subplots(1, len(codes), squeeze=False)[0]
    classes = np.unique(labels)
    colours = colormaps["tab10"].colors if len(classes) <= 10 else colormaps["tab20"].colors  # type: ignore[attr-defined]
    for axes, (title, points) in zip(grid, codes.items(), strict=True):
        x, y = np.asarray(points).T
        for k in classes:
            mine = np.asarray(labels) == k
            colour = colours[int(k) % len(colours)]
            axes.scatter(x[mine], y[mine], s=4, color=colour, label=str(k), linewidths=0)
        # A few far points would squeeze all others into a corner.
        for of, set_limits in ((x, axes.set_xlim), (y, axes.set_ylim)):
            low, high = np.quantile(of, [0.002, 0.998])
            margin = 0.05 * (high - low) or 1.0
            set_limits(low - margin, high + margin)
        axes.set_title(title)
    handles, names = grid[-1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", markerscale=4, frameon=False)
    return figure


def histogram(values: Mapping[str, ArrayLike]) -> "Figure":
    """How often which value occurs, a panel a name, all on the same axes."""
    figure = _figure(4.6 * len(values), 3.4)
    grid = figure.subplots(1, len(values), squeeze=False, sharey=True)[0]
    arrays = {name: np.asarray(v) for name, v in values.items()}
    high = max(float(v.max()) for v in arrays.values())
    for axes, (name, v) in zip(grid, arrays.items(), strict=True):
        axes.hist(v, bins=np.linspace(0, high, 60), color=COLOURS[0])
        axes.set(title=f"{name}: mean {v.mean():.2f}", xlabel="activation", yscale="log")
    grid[0].set_ylabel("units x images")
    return figure


def curves(values: Mapping[str, ArrayLike], label: str) -> "Figure":
    """One number after each epoch, a curve a name."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(6, 3.6)
    axes = figure.subplots()
    for i, (name, v) in enumerate(values.items()):
        axes.plot(np.arange(1, len(np.asarray(v)) + 1), v, "o-", color=COLOURS[i % 6], label=name)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def save(path: Path, figure: "Figure", about: Mapping[str, Any]) -> Path:
    """Save a diagram as a PNG that says, in its text chunk ``dae_jax``, how it was made."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"dae_jax": json.dumps(about)})
    return write_whole(path, buffer.getvalue())


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _epochs(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return [row["epoch"] for row in rows]
