"""How long does each tutorial take, and how much is there to read?

    python benchmarks/pages.py              # runs every page, at full size and at reduced size
    python benchmarks/pages.py 03_autoencoder ...   # only these; the others' times stay
    python benchmarks/pages.py --headers    # the running times on top of the pages

At full size a page also asserts the numbers that its text states, so a run checks them. Times
include the start of a kernel and compiling. A page that fails stops the run; the pages before it
are in the report, which is written after every page.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import processors
import turns
from turns import Row
from tyro.conf import Positional

from dae_jax import console, datasets, files
from dae_jax.errors import InputError
from dae_jax.settings import shared
from dae_jax.settings.shared import arg

FOLDER = Path(__file__).parent.parent / "tutorials"
SIZES = "full", "quick"
VERSIONS = "jax", "numpy"
HEADER = re.compile(r"^(\*Before this page: [^*]*?)(?:\sRunning time: [^*]*)?\*$", re.MULTILINE)


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Run the tutorials and measure how long they take."""

    prog: ClassVar[str] = "python benchmarks/pages.py"
    names: Positional[
        Annotated[tuple[str, ...], arg(metavar="[PAGE ...]", help_behavior_hint="(default: all)")]
    ] = ()
    """Pages to run, as 04_denoising_autoencoder; without any, every page."""
    headers: bool = False
    """Write the running times of the report on top of the pages, and stop."""


def run(page: Path, size: str) -> float:
    """Run a page in a kernel of its own and in an empty folder; returns its seconds."""
    import jupytext
    from nbclient import NotebookClient

    os.environ["DAE_JAX_TUTORIAL"] = size
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    notebook = jupytext.read(page, fmt="md:myst")
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=None, kernel_name="python3", resources=where)
        began = time.perf_counter()
        client.execute()
    return time.perf_counter() - began


def words(page: Path) -> Row:
    """The words of a page, with and without its code, and its figures, whose markup is no words."""
    text = page.read_text().split("---\n", 2)[2]
    figures = len(re.findall(r"^ {2}figure:$|^<svg", text, re.MULTILINE))
    text = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    prose = re.sub(r"^```\{code-cell\}.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return {"words": len(text.split()), "prose": len(prose.split()), "figures": figures}


def in_words(seconds: float) -> str:
    """A running time as the top of a page says it."""
    if seconds < 90:
        return f"{5 * max(1, round(seconds / 5))} seconds"
    return f"{round(seconds / 60)} minutes"


def with_header(page: Path, row: Row) -> str:
    """The text of a page, with its running times on top.

    Raises:
        InputError: Nothing on top says what to read before.
    """
    times = (
        f"Running time: {in_words(row['full'])} on two cores, {in_words(row['quick'])} with "
        "`DAE_JAX_TUTORIAL=quick`."
    )
    text, n = HEADER.subn(rf"\1\n{times}*", page.read_text(), count=1)
    if not n:
        raise InputError(page, expected="a line that begins with *Before this page:", got="none")
    return text


def read(path: Path) -> dict[str, Any]:
    """The report in a file; one without pages if there is none."""
    return json.loads(path.read_text()) if path.exists() else {"pages": {}}


def write(folder: Path, facts: Row, pages: dict[str, Row]) -> None:
    """Write the report, as a table and as numbers."""
    report = turns.Report("pages", facts, folder)
    report.say_machine()
    report.numbers["pages"] = dict(sorted(pages.items()))
    columns = ["page", "words", "without code", "figures", "full size, s", "reduced size, s"]
    lines = [
        [name, *(str(row[k]) for k in ("words", "prose", "figures")),
         *(f"{row[size]:.0f}" for size in SIZES)]
        for name, row in sorted(pages.items())
    ]  # fmt: skip
    report.say(turns.markdown(columns, lines))
    report.write()


def main(argv: Sequence[str]) -> int:
    settings = shared.parse(Settings, argv)
    every = {page.stem: page for page in sorted(FOLDER.glob("[0-9]*.md"))}
    if unknown := [name for name in settings.names if name not in every]:
        raise InputError("PAGE", expected=f"some of {' '.join(every)}", got=" ".join(unknown))
    data = datasets.load_default()
    about = {"data": data.name, "images": len(data.train.images), "backend": jax.default_backend()}
    facts = turns.facts_of(about, VERSIONS)
    output = settings.output_dir or turns.RESULTS
    path = output / f"{processors.file_name('pages', facts)}.json"
    pages = read(path)["pages"]
    if settings.headers:
        for name, row in pages.items():
            files.write_whole(every[name], with_header(every[name], row))
        return 0
    for name in settings.names or every:
        seconds = {size: round(run(every[name], size), 1) for size in SIZES}
        pages[name] = words(every[name]) | seconds
        print(name, seconds, flush=True)
        write(output, facts, pages)
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
