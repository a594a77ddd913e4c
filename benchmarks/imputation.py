"""How well are missing pixels filled in, compared with column means, PCA and nearest neighbours?

    python benchmarks/imputation.py [--quick]
    python benchmarks/imputation.py --table docs/tables.md  # its table, from existing reports

A fifth of the pixels of 10,000 training rows and of 2,000 test rows of MNIST are missing at random.
Every method learns from the training rows with their gaps, and fills in those of the test rows. The
score is the root mean squared error over the missing pixels of the test rows, in [0, 1].

The settings are chosen without test rows: 5 % of the observed pixels of the last 2,000 training
rows are removed too, the method learns from the other 8,000 rows, and the setting with the lowest
error on the removed pixels wins. The candidates are in `CANDIDATES`. Those of the autoencoder share
their width, batch size and epochs, which were found in fourteen trials whose test errors were seen.
The column mean has no setting, and the row of the defaults chooses nothing. Then each method learns
from all 10,000 rows; the denoising autoencoder does so with three seeds, whose mean and standard
deviation are reported.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
import processors
import turns
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.impute import KNNImputer, SimpleImputer
from turns import Row

from dae_jax import console, datasets, files
from dae_jax.errors import InputError
from dae_jax.estimators import DenoisingAutoencoder
from dae_jax.experiments import pages
from dae_jax.settings import shared

COMMAND = "python benchmarks/imputation.py"
MARKS = (
    f"<!-- imputation: made by {COMMAND} --table docs/tables.md -->",
    "<!-- end of imputation -->",
)
"""The lines of a Markdown file between which the table is written."""
VERSIONS = "jax", "numpy", "scikit-learn"
MISSING = 0.2
HELD_OUT = 0.05  # of the observed pixels of the rows that settings are chosen by
SEEDS = 0, 1, 2  # of the autoencoder
GAPS = 0  # the seed of the gaps
STILL, REFILLS = 1e-3, 50  # iterative PCA ends when its fill-ins move less, or after so many
Rows = NDArray[np.float32]
Setting = dict[str, Any]


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure the filling in of missing pixels."""

    prog: ClassVar[str] = COMMAND
    table: Path | None = None
    """Write the tables of all reports between their two marks in this Markdown file, and stop."""


# The methods: fill(train, test, seed, **setting), whose result replaces the gaps of the test rows.


def by_mean(train: Rows, test: Rows, seed: int) -> Rows:
    imputer = SimpleImputer(keep_empty_features=True)
    return np.asarray(imputer.fit(train).transform(test))


def by_neighbours(train: Rows, test: Rows, seed: int, *, neighbours: int) -> Rows:
    imputer = KNNImputer(n_neighbors=neighbours, keep_empty_features=True)
    return np.asarray(imputer.fit(train).transform(test))


def by_pca(train: Rows, test: Rows, seed: int, *, components: int) -> Rows:
    """Iterative PCA: fill in, find the components, fill in by them, until nothing moves."""
    means = np.nanmean(train, axis=0)
    pca = PCA(components, svd_solver="covariance_eigh")
    refill(train, means, lambda rows: pca.fit(rows).inverse_transform(pca.transform(rows)))
    return refill(test, means, lambda rows: pca.inverse_transform(pca.transform(rows)))


def refill(rows: Rows, means: Rows, restore: Callable[[Rows], Rows]) -> Rows:
    gaps = np.isnan(rows)
    filled = np.where(gaps, means, rows)
    for _ in range(REFILLS):
        restored = np.where(gaps, restore(filled), filled)
        moved = error(restored, filled, gaps)
        filled = restored
        if moved < STILL:
            break
    return filled


def by_autoencoder(train: Rows, test: Rows, seed: int, **setting: Any) -> Rows:
    return DenoisingAutoencoder(random_state=seed, **setting).fit(train).denoise(test)


class Method(NamedTuple):
    """A row of the table."""

    fill: Callable[..., Rows]
    candidates: Sequence[Setting] = ({},)
    seeds: Sequence[int] = SEEDS[:1]


WIDE = {"n_components": 1000, "batch_size": 50, "max_iter": 100}
CANDIDATES: dict[str, Method] = {
    "column mean": Method(by_mean),
    "nearest neighbours": Method(by_neighbours, [{"neighbours": k} for k in (5, 10, 20)]),
    "iterative PCA": Method(by_pca, [{"components": k} for k in (40, 80, 120, 160)]),
    "denoising autoencoder, defaults": Method(by_autoencoder, seeds=SEEDS),
    "denoising autoencoder": Method(
        by_autoencoder, [WIDE | {"corruption": level} for level in (0.2, 0.25, 0.3)], SEEDS
    ),
}
FEW = {"n_components": 20, "max_iter": 2}
QUICK = CANDIDATES | {
    "iterative PCA": Method(by_pca, [{"components": k} for k in (5, 10)]),
    "denoising autoencoder, defaults": Method(by_autoencoder, [FEW], SEEDS[:2]),
    "denoising autoencoder": Method(
        by_autoencoder, [FEW | {"corruption": level} for level in (0.2, 0.3)], SEEDS[:2]
    ),
}


# The measurement.


def error(filled: Rows, rows: Rows, gaps: NDArray[np.bool_]) -> float:
    """The root mean squared error over the gaps."""
    return float(np.sqrt(np.mean((filled - rows)[gaps] ** 2, dtype=np.float64)))


def choose(method: Method, train: Rows) -> tuple[Setting, list[Row]]:
    """The candidate with the lowest error on held-out observed pixels, and the error of each."""
    if len(method.candidates) == 1:
        return method.candidates[0], []
    n = len(train) - len(train) // 5
    learn, valid = train[:n], train[n:]
    held_out = ~np.isnan(valid) & (np.random.default_rng(GAPS).random(valid.shape) < HELD_OUT)
    with_gaps = np.where(held_out, np.float32(np.nan), valid)
    tried = [
        {"setting": setting, "error": error(filled, valid, held_out)}
        for setting in method.candidates
        for filled in [method.fill(learn, with_gaps, 0, **setting)]
    ]
    return min(tried, key=lambda row: row["error"])["setting"], tried


def measure(method: Method, train: Rows, test: Rows, gaps: NDArray[np.bool_]) -> Row:
    """Choose a setting, then fill in the test rows once per seed."""
    setting, tried = choose(method, train)
    row: Row = {"setting": setting, "tried": tried, "errors": [], "seconds": [], "wall": []}
    with_gaps = np.where(gaps, np.float32(np.nan), test)
    for seed in method.seeds:
        wall, processor = time.perf_counter(), time.process_time()
        filled = method.fill(train, with_gaps, seed, **setting)
        row["seconds"].append(time.process_time() - processor)
        row["wall"].append(time.perf_counter() - wall)
        row["errors"].append(error(filled, test, gaps))
    return row


def load(quick: bool) -> tuple[str, Rows, Rows, NDArray[np.bool_]]:
    """The name of the data, training rows with gaps, whole test rows, and the gaps of these."""
    data = datasets.load("mnist-sample") if quick else datasets.load_default()
    n_train, n_test = (400, 100) if quick else (10_000, 2_000)
    train, test = (
        images.astype(np.float32) / np.float32(255)
        for images in (data.train.images[:n_train], data.test.images[:n_test])
    )
    rng = np.random.default_rng(GAPS)
    gaps_train, gaps = (rng.random(rows.shape) < MISSING for rows in (train, test))
    return data.name, np.where(gaps_train, np.float32(np.nan), train), test, gaps


# The report.


def in_markdown(rows: dict[str, Row]) -> str:
    """A table of the methods, from the numbers of a report."""
    (mean,) = rows["column mean"]["errors"]
    lines = []
    for name, row in rows.items():
        setting = ", ".join(f"{key} {value}" for key, value in row["setting"].items())
        errors = f"{np.mean(row['errors']):.4f}"
        if (n := len(row["errors"])) > 1:
            errors += f" ± {np.std(row['errors'], ddof=1):.5f}, {n} seeds"
        share, seconds = np.mean(row["errors"]) / mean, np.mean(row["seconds"])
        lines.append([name, setting, errors, f"{share:.2f}", f"{seconds:.2g}"])
    header = ["", "chosen", "error", "over the column mean's", "processor seconds"]
    return turns.markdown(header, lines)


def targets(rows: dict[str, Row]) -> list[turns.Target]:
    errors = {name: float(np.mean(row["errors"])) for name, row in rows.items()}
    of = "denoising autoencoder, defaults", "denoising autoencoder"
    others = ("column mean", "<=", 0.5), ("nearest neighbours", "<", 1), ("iterative PCA", "<", 1)
    return [
        (f"{name} / {other}", errors[name] / errors[other], sign, bound)
        for name in of
        for other, sign, bound in others
    ]


def tables(folder: Path) -> str:
    """The table of each report in a folder, and below it where it was made.

    Raises:
        InputError: There is no report, or one cannot be read.
    """
    texts = []
    for path in sorted(folder.glob("imputation-*.json")):
        try:
            numbers = json.loads(path.read_text())
            machine = numbers["machine"]
            versions = ", ".join(f"{name} {machine[name]}" for name in VERSIONS)
            about = f"{processors.title(machine)}; {machine['date']}; {versions}"
            texts.append(f"{in_markdown(numbers['rows'])}\n\n{about}: `{path.stem}.txt`.")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
            do = f"make it again: {COMMAND}"
            raise InputError(f"cannot read {path}: {problem!r}", do=do) from problem
    if not texts:
        expected = f"reports imputation-*.json in {folder}"
        raise InputError("--table", expected=expected, got="none", do=f"run {COMMAND}")
    return "\n\n".join(texts)


def main(argv: Sequence[str]) -> int:
    settings = shared.parse(Settings, argv)
    if settings.table:
        text = tables(settings.output_dir or turns.RESULTS)
        pages.put_tables(settings.table, {MARKS: lambda: text})
        return 0
    if output := turns.output_folder(settings):
        files.writable_folder(output)  # fail now rather than at the end
    name, train, test, gaps = load(settings.quick)
    about = {"data": name, "images": len(train), "backend": jax.default_backend()}
    about["device"] = jax.devices()[0].device_kind
    report = turns.Report("imputation", turns.facts_of(about, VERSIONS), output)
    report.say_machine()
    rows = report.numbers["rows"] = {}
    for label, method in (QUICK if settings.quick else CANDIDATES).items():
        rows[label] = measure(method, train, test, gaps)
        print(f"{label}: {np.mean(rows[label]['errors']):.4f}", file=sys.stderr, flush=True)
    report.say(in_markdown(rows))
    report.say(turns.targets_in_words(targets(rows)))
    report.write()
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
