"""Kernels for notebooks that must neither warn nor use the network: the site's and the tests'.

A kernel is strict if the environment variable ``IPYTHONDIR`` names the folder that `strict_ipython` writes.
"""

from pathlib import Path

STARTUP = """\
import socket, warnings


def refuse(*arguments, **named):
    raise OSError("expected a notebook that needs no network, got a connection to " + repr(arguments))


socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
warnings.simplefilter("error")  # before every other filter, those of IPython included
warnings.filterwarnings("ignore", module="ipykernel")  # what the kernel does for itself
warnings.filterwarnings("ignore", "There is no current event loop", DeprecationWarning)  # from Python 3.12 on
del refuse, socket, warnings
"""
CONFIG = "c.HistoryManager.enabled = False  # several kernels share this folder\n"


def strict_ipython(folder: Path) -> str:
    """Write the settings of strict kernels to a folder, and return it as ``IPYTHONDIR`` wants it.

    Examples
    --------
    >>> import tempfile
    >>> folder = strict_ipython(Path(tempfile.mkdtemp()))
    >>> "getaddrinfo" in Path(folder, "profile_default", "startup", "strict.py").read_text()
    True
    """
    profile = folder / "profile_default"
    (profile / "startup").mkdir(parents=True, exist_ok=True)
    (profile / "startup" / "strict.py").write_text(STARTUP)
    (profile / "ipython_kernel_config.py").write_text(CONFIG)
    return str(folder)
