"""Run a notebook in a kernel of its own, without network access and with warnings as errors."""

import os
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))

STRICT = """
import socket, warnings


def refuse(*arguments, **named):
    raise OSError("expected a notebook that needs no network, got a connection to " + repr(arguments))


socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
warnings.simplefilter("error")  # takes precedence over all other filters, IPython's included
warnings.filterwarnings("ignore", module="ipykernel")  # warnings of the kernel's own code
del refuse, socket, warnings
"""


def run_notebook(path, *, seconds_per_cell=180):
    """Run a notebook in a kernel of its own, in which warnings are errors, and return it with its outputs.

    The first cell, which forbids warnings and network access, is not returned.
    """
    import nbformat  # here: its imports take seconds, which other tests need not wait for
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    client = NotebookClient(
        notebook,
        timeout=seconds_per_cell,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--IPKernelApp.log_level=50"],
    )
    # More threads do not speed up such small networks, and they wait for each other on a busy machine.
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})
    del notebook.cells[0]
    return notebook


def outputs(notebook):
    """Yield each output as (number of its cell, output)."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            yield number, output
