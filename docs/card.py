"""Draw the picture of the site's cards, 1200 x 630, and its icon, from the tutorial's filters.

python docs/card.py docs/_static
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

FILTERS = Path(__file__).parent.parent / "filters"
SIZE = 1200, 630
TILE = 29  # from one unit to the next in a sheet of filters, in pixels
DARK, LIGHT, GREY, BLUE = "#131416", "#ffffff", "#b4b8bf", "#56b4e9"


def sheet(level: int) -> Image.Image:
    """The filters at a level of masking, 289 x 289 pixels."""
    return Image.open(FILTERS / f"filters_corruption_{level}.png").convert("L")


def font(size: int, weight: str = "normal") -> ImageFont.FreeTypeFont:
    """Matplotlib's own font, which is the same everywhere."""
    found = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight=weight))
    return ImageFont.truetype(found, size)


def card() -> Image.Image:
    """The card: the name, the promise, and filters at 0 and 30 %."""
    made = Image.new("RGB", SIZE, DARK)
    draw = ImageDraw.Draw(made)
    draw.text((60, 44), "dae_jax", LIGHT, font(60, "bold"))
    draw.text((360, 66), "denoising autoencoders in functional JAX", GREY, font(34))
    for x, level, says in ((60, 0, "trained to copy"), (650, 30, "trained to restore")):
        tile = sheet(level).crop((0, 0, 7 * TILE - 1, 5 * TILE - 1))
        made.paste(tile.resize((490, 350), Image.Resampling.NEAREST), (x, 150))
        draw.text((x, 516), says, BLUE if level else LIGHT, font(38, "bold"))
        draw.text((x, 566), f"{level} % of the pixels masked", GREY, font(26))
    return made


def icon() -> Image.Image:
    """The filter with the greatest kurtosis: one spot on an even ground."""
    sheets = np.asarray(sheet(30)).astype(float)
    corners = [(TILE * i, TILE * j) for i in range(10) for j in range(10)]
    tiles = [sheets[i : i + 28, j : j + 28] for i, j in corners]
    most = max(tiles, key=lambda tile: ((tile - tile.mean()) ** 4).mean() / tile.var() ** 2)
    return Image.fromarray(most.astype(np.uint8)).resize((112, 112), Image.Resampling.NEAREST)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    card().quantize(64).save(folder / "card.png", optimize=True)
    icon().save(folder / "icon.png", optimize=True)
