"""Helpers of the tutorial pages: their size, their data and models, how to show images and code.

With ``DAE_JAX_TUTORIAL=quick`` the same cells run on fewer images for fewer epochs. The tests
execute every page in this way.
"""

import ast
import copy
import inspect
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dae_jax import datasets
from dae_jax.datasets import Dataset, Split

if TYPE_CHECKING:
    from PIL.Image import Image

    from dae_jax.stacked import Classifier

__all__ = ["QUICK_IMAGES", "Source", "full", "mnist", "offer", "quick", "show", "size", "source"]

QUICK_IMAGES = 1_000
"""Training images at the reduced size."""
WIDTH = 80  # of a line that `source` breaks


def quick() -> bool:
    """Whether the pages run at their reduced size."""
    return os.environ.get("DAE_JAX_TUTORIAL", "full") == "quick"


def size(full: int, reduced: int) -> int:
    """A number of epochs, images or units: `reduced` if the pages run at their reduced size.

    Args:
        full: The number otherwise.
        reduced: The number at the reduced size.

    Returns:
        One of the two.
    """
    return reduced if quick() else full


def mnist() -> Dataset:
    """MNIST, or its sample of 5,000 digits if MNIST is not available.

    Returns:
        The data set; at the reduced size, the sample with its first `QUICK_IMAGES` training images.

    Raises:
        InputError: MNIST is found but wrong, or the sample is not installed either.
    """
    if not quick():
        return datasets.load_default()
    sample = datasets.load("mnist-sample")
    images, labels = sample.train
    assert labels is not None
    return sample._replace(train=Split(images[:QUICK_IMAGES], labels[:QUICK_IMAGES]))


def full(data: Dataset) -> bool:
    """Whether a page runs at full size on all of MNIST, so that the numbers in its text apply.

    Args:
        data: The data set that the page trains on, from `mnist`.

    Returns:
        Whether to assert these numbers.
    """
    return not quick() and data.name == "mnist"


def offer(name: str, model: "Classifier", data: Dataset, activation: str = "sigmoid") -> None:
    """Save the classifier that a page has trained, with its card, if the site is being built.

    The site offers it as a download. The environment variable ``DAE_JAX_DOWNLOADS`` names the
    folder; nothing is saved without it.

    Args:
        name: The name of the file, without its ending.
        model: The classifier.
        data: The data set that it was trained on.
        activation: That of its hidden layers; see `dae_jax.runs.saved.ACTIVATIONS`.
    """
    if not (folder := os.environ.get("DAE_JAX_DOWNLOADS")):
        return
    from dae_jax.runs import cards, saved

    config = {"tutorial": name, "quick": quick()}
    how = {"config": config, "seed": None, "activation": activation}
    card = cards.of_images("classifier", data, 255.0, **how)
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    saved.save(path / f"{name}.safetensors", model, card)


def show(sheet: np.ndarray, zoom: int = 2) -> "Image":
    """A sheet as an image that a notebook displays.

    Args:
        sheet: Bytes, (height, width) or (height, width, 4); see `dae_jax.figures`.
        zoom: Whole-number magnification, without smoothing.

    Returns:
        The image, from Pillow.
    """
    from PIL import Image

    return Image.fromarray(sheet.repeat(zoom, axis=0).repeat(zoom, axis=1))


class Source:
    """The code of a function or class, which a notebook shows highlighted, with its full name.

    Args:
        code: The code.
        name: The full name, which the site links to the reference.
    """

    def __init__(self, code: str, name: str):
        self.code = code
        self.name = name

    def __repr__(self) -> str:
        """The code, where a console shows it."""
        return self.code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```\n\n`{self.name}`\n"


def source(of: Any) -> Source:
    """The code of a function or class without docstrings and types: its equations alone.

    Args:
        of: The function or class, decorated or not.

    Returns:
        The current code, for a notebook to display.
    """
    within = inspect.unwrap(of)
    module = inspect.getmodule(within)
    public = [name for name in getattr(module, "__all__", ()) if getattr(module, name) is of]
    name = f"{within.__module__}.{public[0] if public else within.__qualname__}"
    return Source(_bare(textwrap.dedent(inspect.getsource(within))), name)


def _bare(code: str) -> str:
    """Code without docstrings and types, except for those of a class's fields."""
    lines = code.encode().splitlines(keepends=True)
    starts = [sum(map(len, lines[:i])) for i in range(len(lines) + 1)]
    edits: list[tuple[int, int, str]] = []  # from byte, to byte, by what
    fields = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ClassDef):
            fields |= set(node.body)
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            body = starts[node.body[0].lineno - 1]  # the line where it begins
            if isinstance(node, ast.FunctionDef):
                edits.append((starts[node.lineno - 1], body, _signature(node)))
            if ast.get_docstring(node) is not None:
                after = starts[node.body[0].end_lineno or 0]
                while code.encode()[after : after + 1] == b"\n":  # the empty line below it
                    after += 1
                edits.append((body, after, ""))
        elif isinstance(node, ast.AnnAssign) and node.value is not None and node not in fields:
            line = starts[node.lineno - 1]
            target, value = node.target.end_col_offset or 0, node.value
            edits.append((line + target, starts[value.lineno - 1] + value.col_offset, " = "))
    whole = code.encode()
    for start, end, by in sorted(edits, reverse=True):
        whole = whole[:start] + by.encode() + whole[end:]
    return whole.decode().rstrip()


def _signature(function: ast.FunctionDef) -> str:
    """The first line of a function without types; several lines if it is long."""
    arguments = copy.deepcopy(function.args)
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    text = ast.unparse(arguments).replace("'", '"')
    indent = " " * function.col_offset
    line = f"{indent}def {function.name}({text}):"
    if len(line) > WIDTH:
        inside = textwrap.fill(
            text,
            width=WIDTH,
            initial_indent=f"{indent}    ",
            subsequent_indent=f"{indent}    ",
        )
        line = f"{indent}def {function.name}(\n{inside}\n{indent}):"
    return f"{line}\n"
