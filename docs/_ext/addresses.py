"""The project's addresses on the web, and the links that `make sync` writes into README and notebooks.

`[project.urls]` in pyproject.toml is the one place for them: `Repository` and `Documentation`, neither of which is set
until the project has a home. What is written from them is marked, so that it is replaced when they change and removed
when they are gone.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GITHUB = "https://github.com/"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
TAG = "colab"
"""Tag of the cells that this module writes."""
MARK = "<!-- from [project.urls], by make sync -->"
"""End of the line that this module writes into the README."""

WRITTEN_CELLS = re.compile(rf'^# %%[^\n]* tags=\["{TAG}"[^\n]*\n.*?(?=^# %%)', flags=re.MULTILINE | re.DOTALL)
WRITTEN_LINE = re.compile(rf"^[^\n]*{re.escape(MARK)}\n\n", flags=re.MULTILINE)


@dataclass(frozen=True)
class Addresses:
    """Where the project lives on the web.

    Parameters
    ----------
    repository : str
        Address of the repository; "" if there is none.
    site : str
        Address of the published site; "" if there is none.
    """

    repository: str = ""
    site: str = ""

    @classmethod
    def read(cls, path: Path = ROOT / "pyproject.toml") -> "Addresses":
        """Return the addresses that a pyproject.toml names."""
        urls = tomllib.loads(path.read_text(encoding="utf-8"))["project"].get("urls", {})
        return cls(urls.get("Repository", "").rstrip("/"), urls.get("Documentation", "").rstrip("/"))

    @property
    def files(self) -> str:
        """Address before the path of a file in the repository; "" if there is no repository."""
        return f"{self.repository}/blob/main/" if self.repository else ""


def linked_readme(text: str, addresses: Addresses) -> str:
    r"""Return the README with one line of links under its title, or without it where no address is set.

    Examples
    --------
    >>> text = "# linalg_cnn\n\nA network is one matrix.\n"
    >>> linked = linked_readme(text, Addresses(site="https://example.org"))
    >>> print(linked.splitlines()[2])
    [Documentation](https://example.org) <!-- from [project.urls], by make sync -->
    >>> linked_readme(linked, Addresses()) == text
    True
    """
    text = WRITTEN_LINE.sub("", text)
    names = {"Documentation": addresses.site, "Repository": addresses.repository}
    links = " | ".join(f"[{name}]({address})" for name, address in names.items() if address)
    title, body = text.split("\n\n", maxsplit=1)
    return f"{title}\n\n{links} {MARK}\n\n{body}" if links else text


def linked_notebook(text: str, stem: str, addresses: Addresses) -> str:
    """Return a notebook with a Colab badge and an install cell in front, or without them.

    Colab opens notebooks of GitHub only: with a repository elsewhere, or without one, neither is written.

    Parameters
    ----------
    text : str
        The notebook as jupytext's py:percent.
    stem : str
        Name of its file, without a suffix.
    addresses : Addresses
        Addresses to write.
    """
    text = WRITTEN_CELLS.sub("", text)
    if not addresses.repository.startswith(GITHUB):
        return text
    first = text.index("# %%")
    return text[:first] + colab_cells(stem, addresses, needs_records="../docs/records" in text) + text[first:]


def colab_cells(stem: str, addresses: Addresses, *, needs_records: bool) -> str:
    """Return the two cells that a notebook needs on Colab: the badge that opens it there, and what installs it.

    A notebook that reads the project's records takes the whole repository.
    """
    path = addresses.files.removeprefix(GITHUB)
    install = f"""\
    package = "linalg_cnn[demo] @ git+{addresses.repository}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)
"""
    clone = f"""\
    repository = "{addresses.repository}"  # with its records
    subprocess.run(["git", "clone", "--quiet", repository, "linalg_cnn"], check=True)
    package = "./linalg_cnn[demo]"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)
    os.chdir("linalg_cnn/notebooks")
"""
    return f"""\
# %% [markdown] tags=["{TAG}"]
# [![Open in Colab]({BADGE})](https://colab.research.google.com/github/{path}notebooks/{stem}.ipynb)

# %% tags=["{TAG}", "remove-cell"]
{"import os" + chr(10) if needs_records else ""}import subprocess
import sys

if "google.colab" in sys.modules:  # elsewhere everything is there already
{clone if needs_records else install}
"""


def sync(root: Path = ROOT) -> list[Path]:
    """Bring README and notebooks (their .py) in line with pyproject.toml; return the files that changed."""
    addresses = Addresses.read(root / "pyproject.toml")
    changed = []
    for path in [root / "README.md", *sorted((root / "notebooks").glob("*.py"))]:
        text = path.read_text(encoding="utf-8")
        linked = linked_readme(text, addresses) if path.suffix == ".md" else linked_notebook(text, path.stem, addresses)
        if linked != text:
            path.write_text(linked, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    for path in sync():
        print(f"links of {path.relative_to(ROOT)} changed")
