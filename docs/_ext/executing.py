"""Running a notebook as a reader would, but more strictly: nothing may warn, and there is no network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from strict_kernel import strict_ipython

ROOT = Path(__file__).parents[2]
SITE_RUNS = ROOT / "build" / "executed"
"""Where `make docs` keeps the notebooks that it has run, in kernels that are as strict."""


def run_notebook(path: Path, *, seconds_per_cell: int = 180) -> Any:
    """Return the notebook with its outputs, run in a strict kernel of its own."""
    import nbformat  # here: its imports take seconds, which other tests need not wait for
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=seconds_per_cell,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--IPKernelApp.log_level=50"],
    )
    # One thread: these networks are small, and two of them wait for each other where anything else runs beside.
    strict = {"IPYTHONDIR": strict_ipython(ROOT / "build" / "ipython"), "OMP_NUM_THREADS": "1"}
    client.execute(env={**os.environ, **strict})
    return notebook


@contextmanager
def opened_cache(folder: Path) -> Iterator[Any]:
    """Yield the cache of notebooks in a folder, and close its connections, which it would leave open."""
    from jupyter_cache import get_cache

    cache = get_cache(folder)
    try:
        yield cache
    finally:
        cache.db.dispose()


def site_run(path: Path) -> Any | None:
    """Return the notebook with its outputs as the site has run it, or None if anything has changed since."""
    if not SITE_RUNS.exists():
        return None
    import nbformat

    with opened_cache(SITE_RUNS) as cache:
        records = cache.list_cache_records()
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    sources = [path, *(file for folder in ("linalg_cnn", "gpu", "docs/_ext") for file in (ROOT / folder).rglob("*.py"))]
    changed = max(file.stat().st_mtime for file in sources)
    for record in records:
        file = SITE_RUNS / "executed" / record.hashkey / "base.ipynb"
        if Path(record.uri).name != path.name or file.stat().st_mtime <= changed:
            continue
        # not matched by the cache's own hash: the site gives cells more metadata than their files have
        run = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
        if [cell.source for cell in run] == [cell.source for cell in code]:
            for cell, done in zip(code, run, strict=True):
                cell.outputs, cell.execution_count = done.outputs, done.execution_count
            return notebook
    return None


def outputs(notebook: Any) -> Iterator[tuple[int, Any]]:
    """Yield (number of the cell, output) of every output."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            yield number, output
