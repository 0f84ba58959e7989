"""The notebooks, and what runs them strictly: the same code as for the teachers' material."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))

sys.path.insert(0, str(ROOT / "docs" / "_ext"))

from executing import opened_cache, outputs, run_notebook, site_run  # noqa: E402

__all__ = ["FOLDER", "NOTEBOOKS", "ROOT", "opened_cache", "outputs", "run_notebook", "site_run"]
