"""How the HTML site is built: `make docs`. Warnings are errors there."""

import os
import sys
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS / "_ext"))

from addresses import Addresses  # noqa: E402
from strict_kernel import strict_ipython  # noqa: E402

ADDRESSES = Addresses.read()

project = "linalg_cnn"
author = "The linalg_cnn developers"
copyright = "The linalg_cnn developers"  # noqa: A001, the name that Sphinx reads
release = metadata.version("linalg_cnn")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "adapting",
    "commands",
    "live",
    "records",
    "reusable",
]
exclude_patterns = ["_build", "_ext", "notebooks/*.py"]
default_role = "py:obj"  # `name` in a docstring

# A notebook is run again when it has changed; a cell that fails ends the build.
nb_execution_mode = os.environ.get("NOTEBOOKS", "cache")  # "off" for a quick look at the other pages
os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads do not speed up small networks, and wait for each other
os.environ["IPYTHONDIR"] = strict_ipython(ROOT / "build" / "ipython")  # a warning in a cell is an error
os.environ["LINALG_CNN_LIVE"] = "1"  # no kernel runs behind a page: explorers carry their pictures
nb_execution_cache_path = str(ROOT / "build" / "executed")
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "remove-warn"  # what a cell writes to stderr is a warning of the build
# No kernel runs behind a page: an output that has HTML beside its widget shows the HTML.
nb_ipywidgets_js = {}
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None), ("html", "text/html", 0)]

myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence"]
myst_heading_anchors = 3

suppress_warnings = [
    "ref.python"
]  # several classes have an attribute such as in_size, so that the reference is ambiguous
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # "lambda images: None" instead of "<function Trainer.<lambda>>"
autodoc_typehints = "none"  # the docstrings give shapes and dtypes, which type hints do not
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False

html_theme = "furo"
html_title = "linalg_cnn"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1b4965", "color-brand-content": "#1b4965"},
    "dark_css_variables": {"color-brand-primary": "#9fc8e0", "color-brand-content": "#9fc8e0"},
}
if ADDRESSES.site:
    html_baseurl = f"{ADDRESSES.site}/"
if ADDRESSES.repository:
    html_theme_options |= {
        "source_repository": ADDRESSES.repository,
        "source_branch": "main",
        "source_directory": "docs/",
    }
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

# MathJax comes with the site, so that formulas are drawn without network access, too.
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"chtml": {"displayAlign": "left"}}
