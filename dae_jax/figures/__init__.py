"""Sheets of images and filters, and how to save them; diagrams are in `figures.plots`."""

from dae_jax.figures.tiles import (
    comparison_sheet,
    contact_sheet,
    filter_sheet,
    save_gif,
    save_png,
    scale_to_unit_interval,
    tile,
    tile_raster_images,
)

__all__ = [
    "comparison_sheet",
    "contact_sheet",
    "filter_sheet",
    "save_gif",
    "save_png",
    "scale_to_unit_interval",
    "tile",
    "tile_raster_images",
]
