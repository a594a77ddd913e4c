"""Two data sets that nothing here was tuned for: letters in many fonts, and drawn shapes.

Ten classes each, 32 x 32 bytes, with turns, sizes, places, contrasts, shadows and noise of their
own. ``python benchmarks/strangers.py letters FOLDER`` writes ``labelled.npz`` (100 labelled images
to learn from, 5,000 to test on) and ``unlabelled.npz`` (10,000 images without labels).
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["LETTERS", "SHAPES", "draw", "letter", "shape", "write"]

SIDE, LARGE = 32, 96
LETTERS = "ABEFHKMRSX"
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "STIXGeneral", "STIXGeneralBol", "cmr10", "cmss10"),
)
SHAPES = ("disc", "ring", "square", "frame", "triangle", "cross", "plus", "star", "bars", "dots")


def letter(rng: np.random.Generator, k: int) -> Image.Image:
    """Draw letter k in a random font."""
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    font = ImageFont.truetype(folder / f"{rng.choice(FONTS)}.ttf", int(rng.integers(50, 76)))
    image = Image.new("L", (LARGE, LARGE))
    ImageDraw.Draw(image).text((LARGE // 2, LARGE // 2), LETTERS[k], 255, font, anchor="mm")
    return image


def shape(rng: np.random.Generator, k: int) -> Image.Image:
    """Draw shape k in a random size, filled or with a random line."""
    image = Image.new("L", (LARGE, LARGE))
    pen, r = ImageDraw.Draw(image), int(rng.integers(18, 34))
    line = int(rng.integers(5, 10))
    low, high = LARGE // 2 - r, LARGE // 2 + r
    box, middle = (low, low, high, high), LARGE // 2
    corners = [(middle + r * np.sin(a), middle - r * np.cos(a)) for a in np.arange(10) * np.pi / 5]
    match SHAPES[k]:
        case "disc":
            pen.ellipse(box, 255)
        case "ring":
            pen.ellipse(box, None, 255, line)
        case "square":
            pen.rectangle(box, 255)
        case "frame":
            pen.rectangle(box, None, 255, line)
        case "triangle":
            pen.polygon([(middle, low), (high, high), (low, high)], 255)
        case "cross":
            pen.line((low, low, high, high), 255, line)
            pen.line((low, high, high, low), 255, line)
        case "plus":
            pen.line((low, middle, high, middle), 255, line)
            pen.line((middle, low, middle, high), 255, line)
        case "star":
            inner = [(middle + (x - middle) * 0.4, middle + (y - middle) * 0.4) for x, y in corners]
            pen.polygon([(inner if i % 2 else corners)[i] for i in range(10)], 255)
        case "bars":
            for y in (low, middle, high):
                pen.line((low, y, high, y), 255, line)
        case "dots":
            for x in (low, high):
                for y in (low, high):
                    pen.ellipse((x - line, y - line, x + line, y + line), 255)
    return image


def draw(kind: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n images (n, 32, 32), bytes, and their classes (n,)."""
    rng = np.random.default_rng(seed)
    make = {"letters": letter, "shapes": shape}[kind]
    labels = rng.integers(0, 10, n)
    images = np.empty((n, SIDE, SIDE), np.uint8)
    across, down = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    for i, k in enumerate(labels):
        large = make(rng, int(k)).rotate(
            rng.normal(0, 10), Image.Resampling.BILINEAR, translate=tuple(rng.normal(0, 6, 2))
        )
        small = np.asarray(large.resize((SIDE, SIDE), Image.Resampling.BOX), float) / 255
        slope = rng.normal(0, 0.1, 2)
        shadow = 0.3 + slope[0] * across + slope[1] * down
        picture = shadow + rng.uniform(0.25, 0.6) * small + rng.normal(0, 0.12, (SIDE, SIDE))
        images[i] = np.clip(255 * picture, 0, 255).astype(np.uint8)
    return images, labels


def write(kind: str, folder: Path, labelled: int = 100, unlabelled: int = 10_000) -> None:
    """Write the two files of a data set into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    x, y = draw(kind, 50 * labelled, 1)
    order = np.lexsort((np.arange(len(y)), np.cumsum(np.eye(10)[y], axis=0)[np.arange(len(y)), y]))
    chosen = order[:labelled]  # the classes in turn
    test, classes = draw(kind, 5_000, 2)
    np.savez(
        folder / "labelled.npz", x_train=x[chosen], y_train=y[chosen], x_test=test, y_test=classes
    )
    np.savez(folder / "unlabelled.npz", x=draw(kind, unlabelled, 3)[0])


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("letters", "shapes"):
        sys.exit("usage: python benchmarks/strangers.py letters|shapes FOLDER")
    write(sys.argv[1], Path(sys.argv[2]))
