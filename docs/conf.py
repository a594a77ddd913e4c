"""The site: tutorials executed, the reference out of the docstrings, the results.

    pip install ".[docs]" && sphinx-build -W -c docs . site

takes as long as the pages need (`DAE_JAX_TUTORIAL=quick` makes them quick), and fails at any
warning, any error in a page, and any local link that leads nowhere.
"""

import warnings

project = "dae_jax"
author = "The dae_jax authors"
copyright = author
root_doc = "docs/index"
include_patterns = ["docs/**", "tutorials/*.md"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "cache"
nb_execution_cache_path = ".jupyter_cache"
nb_execution_raise_on_error = True
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

# Libraries that autodoc imports may grumble at each other; the tests listen to them, not the site.
warnings.filterwarnings("ignore", category=DeprecationWarning)
