"""How the HTML site is built: `make docs`. Warnings are errors there."""

import os
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS / "_ext"))

project = "linalg_cnn"
author = "The linalg_cnn developers"
copyright = "The linalg_cnn developers"  # noqa: A001, the name that Sphinx reads
release = metadata.version("linalg_cnn")
repository = "https://github.com/linalg-cnn/linalg_cnn"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "records",
]
exclude_patterns = ["_build", "_ext", "notebooks/*.py"]
default_role = "py:obj"  # `name` in a docstring

# The notebooks are run anew whenever they changed; a cell that fails ends the build.
nb_execution_mode = os.environ.get("NOTEBOOKS", "cache")  # "off" for a quick look at the other pages
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks gain nothing from more, and wait for each other
nb_execution_cache_path = str(ROOT / "build" / "executed")
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "remove-warn"  # what a cell complains of is a warning of the build
# No kernel stands behind a page: what has a picture besides its widget shows that.
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None), ("html", "text/html", 0)]

myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence"]
myst_heading_anchors = 3

suppress_warnings = ["ref.python"]  # a name such as in_size in the type of a parameter, which several classes have
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say what matters: shapes and dtypes
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False

html_theme = "furo"
html_title = "linalg_cnn"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "source_repository": repository,
    "source_branch": "main",
    "source_directory": "docs/",
    "light_css_variables": {"color-brand-primary": "#1b4965", "color-brand-content": "#1b4965"},
    "dark_css_variables": {"color-brand-primary": "#9fc8e0", "color-brand-content": "#9fc8e0"},
}
copybutton_prompt_text = ">>> |... "
copybutton_prompt_is_regexp = False

# MathJax from this site instead of another one's: the pages are read without network, too.
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"chtml": {"displayAlign": "left"}}


def copy_mathjax(app, _exception=None):
    """Put the part of MathJax that the pages load beside them: one script and its fonts."""
    source = Path(
        str(metadata.distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax"))
    )
    target = Path(app.outdir) / "_static" / "mathjax"
    fonts = "output/chtml/fonts/woff-v2"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "tex-chtml.js", target)
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)


def link(_app, docname, source):
    """Let links to files of the repository lead to them on the web, and those between notebooks to their pages here."""
    if not docname.startswith("notebooks/"):
        source[0] = re.sub(r"\]\(\.\./", f"]({repository}/blob/main/", source[0])
        return
    # The pages ask nothing of other sites, so that the badge is one of their own.
    source[0] = source[0].replace(
        "https://colab.research.google.com/assets/colab-badge.svg", "/_static/open-in-colab.svg"
    )
    words = r"\[([^\[\]\"\n]+)\]"  # inside one line of the notebook's JSON
    source[0] = re.sub(words + r"\((\d\d_\w+)\.ipynb\)", r"{doc}`\1 </notebooks/\2>`", source[0])
    pages = "|".join(path.stem for path in DOCS.glob("*.md"))
    here = rf"\({repository}/blob/main/docs/({pages})\.md\)"
    source[0] = re.sub(words + here, r"{doc}`\1 </\2>`", source[0])


def escape_stars(_app, _what, _name, _object, _options, lines):
    """Let a shape such as (channels, *spatial) in a docstring be no start of an emphasis."""

    def escape(found):
        return found[0] if found[1] is None else rf"\*{found[1]}"

    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[number] = re.sub(r"`[^`]*`|(?<=[(\s])\*(\w+(?=[),\s]|$)|\()", escape, line)


def setup(app):
    """Connect the functions above to the build."""
    app.connect("autodoc-process-docstring", escape_stars, priority=100)
    app.connect("source-read", link)
    app.connect("build-finished", copy_mathjax)
