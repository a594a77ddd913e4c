"""The site: tutorials executed, the reference out of the docstrings, the results.

    pip install ".[docs]" && sphinx-build -W -c docs . site

takes as long as the pages need (`DAE_JAX_TUTORIAL=quick` makes them quick), and fails at any
warning, any error in a page, any example in a docstring that gives something else, and any local
link that leads nowhere. Beside each page lies a Jupyter notebook of it. Where `GITHUB_REPOSITORY`
says whose site this is, as GitHub's runners do, the pages open in Colab, too, out of the branch
`gh-pages`, and their notebooks install the package from there.
"""

import doctest
import hashlib
import importlib
import os
import pkgutil
import re
import warnings
from pathlib import Path

import jupytext
import nbformat
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import dae_jax

project = "dae_jax"
author = "The dae_jax authors"
copyright = author
root_doc = "docs/index"
include_patterns = ["docs/**", "tutorials/*.md"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.githubpages",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "cache"
# What was executed stays true only as long as size and package are the same.
_package = b"".join(path.read_bytes() for path in sorted(Path(dae_jax.__path__[0]).rglob("*.py")))
_size = os.environ.get("DAE_JAX_TUTORIAL", "full")
nb_execution_cache_path = f".jupyter_cache/{_size}-{hashlib.sha256(_package).hexdigest()[:12]}"
nb_execution_raise_on_error = True
nb_execution_in_temp = True  # what a page writes is gone with it
nb_execution_timeout = 3600
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "dae_jax"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_dark_style = "monokai"

# Libraries that autodoc imports may grumble at each other; the tests listen to them, not the site.
warnings.filterwarnings("ignore", category=DeprecationWarning)

HERE = os.environ.get("GITHUB_REPOSITORY")  # "owner/name"
COLAB = f"https://colab.research.google.com/github/{HERE}/blob/gh-pages"
INSTALL = f"""\
try:
    import dae_jax
except ModuleNotFoundError:
    %pip install --quiet "dae-jax[tutorials] @ git+https://github.com/{HERE}"
"""


def run_doctests(app: Sphinx) -> None:
    """Run every example of the reference."""
    for _, name, _ in pkgutil.walk_packages(dae_jax.__path__, "dae_jax."):
        failed, _ = doctest.testmod(importlib.import_module(name))
        if failed:
            raise ExtensionError(f"{failed} examples of {name} are not true")


def link_notebook(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the links to a tutorial's notebook under its title."""
    if not page.startswith("tutorials/"):
        return
    name = Path(page).name
    links = [f'<a href="{name}.ipynb" download>Jupyter notebook</a>']
    if HERE:
        links.append(f'<a href="{COLAB}/{page}.ipynb">Open in Colab</a>')
    line = f"<p>{' · '.join(links)}</p>"
    source[0] = re.sub(r"^# .+$", rf"\g<0>\n\n{line}", source[0], count=1, flags=re.MULTILINE)


def write_notebooks(app: Sphinx, failure: Exception | None) -> None:
    """Write each tutorial as a notebook, whose links lead to the other notebooks."""
    for page in sorted(Path(app.srcdir, "tutorials").glob("*.md")):
        notebook = jupytext.read(page, fmt="md:myst")
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = re.sub(r"\((\w+)\.md\)", r"(\1.ipynb)", cell.source)
        if HERE:
            notebook.cells.insert(1, nbformat.v4.new_code_cell(INSTALL.rstrip()))
        target = Path(app.outdir, "tutorials", page.with_suffix(".ipynb").name)
        target.parent.mkdir(exist_ok=True)
        jupytext.write(notebook, target)


def leave_aliases_out(
    app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    """Leave out what named tuples say of fields of which nobody said anything."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def write_front_door(app: Sphinx, failure: Exception | None) -> None:
    """Lead who opens the site to its first page, which lies a folder down, as its source does."""
    refresh = '<meta http-equiv="refresh" content="0; url=docs/index.html">'
    page = (
        f'<!doctype html><title>{project}</title>{refresh}<a href="docs/index.html">{project}</a>\n'
    )
    Path(app.outdir, "index.html").write_text(page)


def setup(app: Sphinx) -> None:
    """Register the above."""
    app.connect("builder-inited", run_doctests)
    app.connect("autodoc-process-docstring", leave_aliases_out)
    app.connect("source-read", link_notebook)
    app.connect("build-finished", write_notebooks)
    app.connect("build-finished", write_front_door)
