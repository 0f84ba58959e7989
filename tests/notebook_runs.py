"""Running a notebook as a reader would, but more strictly: nothing may warn, and there is no network."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))

STRICT = """
import socket, warnings


def refuse(*arguments, **named):
    raise OSError("expected a notebook that needs no network, got a connection to " + repr(arguments))


socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
warnings.simplefilter("error")  # before every other filter, those that IPython has set too
warnings.filterwarnings("ignore", module="ipykernel")  # what the kernel does for itself
del refuse, socket, warnings
"""


def run_notebook(path, *, seconds_per_cell=180):
    """Return the notebook with its outputs, run in a kernel of its own in which a warning is an error.

    The first cell, which makes the kernel strict, is not returned.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    client = NotebookClient(
        notebook,
        timeout=seconds_per_cell,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--IPKernelApp.log_level=50"],
    )
    # One thread: these networks are small, and two of them wait for each other where anything else runs beside.
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})
    del notebook.cells[0]
    return notebook


def outputs(notebook):
    """Yield (number of the cell, output) of every output."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            yield number, output
