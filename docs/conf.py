"""The site: executed tutorials, the reference from the docstrings, the results.

    pip install ".[docs]" && sphinx-build -W -c docs . site

This takes as long as the pages need (less with `DAE_JAX_TUTORIAL=quick`), and fails at any warning,
any error in a page, any wrong example in a docstring, and any broken local link. A Jupyter notebook
lies beside each page. If `GITHUB_REPOSITORY` names the repository, as on GitHub's runners, the
pages also have a link that opens them in Colab, from the branch `gh-pages`, and their notebooks
install the package from that repository.
"""

import doctest
import hashlib
import importlib
import os
import re
import sys
import warnings
from pathlib import Path

import jaxtyping
import jupytext
import nbformat
import numpy as np
from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.typing import stringify_annotation

import dae_jax

sys.path.insert(0, os.path.dirname(__file__))
import formulas
import reference_pages
import site_pages

project = "dae_jax"
author = "The dae_jax authors"
copyright = author
root_doc = "docs/index"
include_patterns = ["docs/**", "tutorials/*.md"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.githubpages",
    "site_pages",
    "stylesheets",
    "weights",
    "formulas" if formulas.package() else "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
if formulas.package():
    html_math_renderer = "katex"
else:
    print("KaTeX cannot be had from npm: formulas are drawn by MathJax, from its own server")

nb_execution_mode = "cache"
# Outputs are valid only for the same size and the same package.
_package = b"".join(path.read_bytes() for path in sorted(Path(dae_jax.__path__[0]).rglob("*.py")))
_package += Path(__file__).with_name("matplotlibrc").read_bytes()
_size = os.environ.get("DAE_JAX_TUTORIAL", "full")
nb_execution_cache_path = f".jupyter_cache/{_size}-{hashlib.sha256(_package).hexdigest()[:12]}"
nb_execution_raise_on_error = True
nb_execution_in_temp = True  # files that a page writes are removed with it
nb_execution_timeout = 3600
nb_merge_streams = True

default_role = "py:obj"  # a name in a docstring is code and, if it is documented, a link
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "exclude-members": "set_score_request",  # scikit-learn's, with links into its own pages
}
napoleon_google_docstring = True
napoleon_use_rtype = False

description = "Denoising autoencoders in functional JAX: the deeplearning.net tutorial, alive again"
html_theme = "furo"
html_title = "dae_jax"
html_baseurl = site_pages.address()
html_favicon = "_static/icon.png"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
if repository := site_pages.repository():
    html_theme_options |= {
        "source_repository": f"{repository}/",
        "source_branch": "main",
        "source_directory": "",
        "footer_icons": [{"name": "Repository", "url": repository, "html": "Repository"}],
    }
maximum_signature_line_length = 88
# Of the figures in the pages: no background, and ink that is read on white and on black.
os.environ["MATPLOTLIBRC"] = os.path.join(os.path.dirname(__file__), "matplotlibrc")
pygments_dark_style = "monokai"

# Warnings of imported libraries matter to the tests, not to the site.
warnings.filterwarnings("ignore", category=DeprecationWarning)

HERE = os.environ.get("GITHUB_REPOSITORY")  # "owner/name"
COLAB = f"https://colab.research.google.com/github/{HERE}/blob/gh-pages"
INSTALL = f"""\
try:
    import dae_jax
except ModuleNotFoundError:
    %pip install --quiet "dae-jax[tutorials] @ git+https://github.com/{HERE}"
"""


def write_reference(app: Sphinx) -> None:
    """Write the pages of the reference, before Sphinx looks for its sources."""
    reference_pages.write(Path(app.confdir, "reference"))


def run_doctests(app: Sphinx) -> None:
    """Run every example of the reference."""
    for name in reference_pages.all_modules():
        failed, _ = doctest.testmod(importlib.import_module(name))
        if failed:
            raise ExtensionError(f"{failed} examples of {name} are wrong")


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


def leave_fields_out(
    app: Sphinx, what: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    """Leave out undocumented fields of named tuples, which are in the signature already."""
    return True if str(value.__doc__).startswith("Alias for field number") else None


def shorten_types(
    app: Sphinx,
    what: str,
    name: str,
    value: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Write the types of arrays as in the source: ``Float[AnyArray, "..."]``, ``ArrayLike``."""

    def short(text: str) -> str:
        for long in (jaxtyping.ArrayLike, np.typing.ArrayLike):
            text = text.replace(stringify_annotation(long, "smart"), "ArrayLike")
        either = r"(~jaxtyping\.\w+\[)jaxlib\._jax\.Array(, '[^']*'\]) \| \1ndarray\2"
        text = re.sub(either, r"\1AnyArray\2", text).replace("jaxlib._jax.Array", "Array")
        return re.sub(r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ", "NDArray[", text)

    return signature and short(signature), returns and short(returns)


def link_in_package(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element
) -> Element | None:
    """Link names such as `training.fit`, which docstrings write without the package."""
    if node["refdomain"] != "py":
        return None
    where, kind, target = node["refdoc"], node["reftype"], f"dae_jax.{node['reftarget']}"
    return env.domains["py"].resolve_xref(env, where, app.builder, kind, target, node, text)


def write_front_door(app: Sphinx, failure: Exception | None) -> None:
    """Redirect the site's address to its first page, which is in a folder, as its source is."""
    refresh = '<meta http-equiv="refresh" content="0; url=docs/index.html">'
    page = (
        f'<!doctype html><title>{project}</title>{refresh}<a href="docs/index.html">{project}</a>\n'
    )
    Path(app.outdir, "index.html").write_text(page)


def setup(app: Sphinx) -> None:
    """Register the functions above."""
    app.connect("builder-inited", write_reference)
    app.connect("builder-inited", run_doctests)
    app.connect("autodoc-skip-member", leave_fields_out)
    app.connect("autodoc-process-signature", shorten_types)
    app.connect("missing-reference", link_in_package)
    app.connect("source-read", link_notebook)
    app.connect("build-finished", write_notebooks)
    app.connect("build-finished", write_front_door)
