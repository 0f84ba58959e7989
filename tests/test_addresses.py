"""Links, badges and install cells come from the project's metadata, and leave no trace when it has no address."""

import shutil
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import adapting  # noqa: E402
import addresses  # noqa: E402
from addresses import Addresses, linked_notebook, linked_readme, sync  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
HOME = Addresses("https://github.com/someone/linalg_cnn", "https://example.org/linalg_cnn")
ELSEWHERE = Addresses("https://codeberg.org/someone/linalg_cnn")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def project(folder, urls):
    """Return a copy of what `sync` reads and writes, with these lines in its [project.urls]."""
    (folder / "notebooks").mkdir(parents=True)
    for path in [ROOT / "README.md", *NOTEBOOKS]:
        shutil.copy(path, folder / path.relative_to(ROOT))
    metadata = "\n".join(f'{name} = "{address}"' for name, address in urls.items())
    (folder / "pyproject.toml").write_text(f"[project]\n[project.urls]\n{metadata}\n")
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in [folder / "README.md", *(folder / "notebooks").iterdir()]}


def test_the_sources_are_in_line_with_the_metadata(tmp_path):
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    assert sync(project(tmp_path / "copy", urls)) == [], "run: make sync"


def test_addresses_that_are_set_appear_once_and_go_without_a_trace(tmp_path):
    folder = project(tmp_path / "copy", {})
    sync(folder)
    bare = contents(folder)
    assert not any(b"colab.research" in text for text in bare.values())
    without = (folder / "pyproject.toml").read_text()

    named = f'Repository = "{HOME.repository}/"\nDocumentation = "{HOME.site}"\n'
    (folder / "pyproject.toml").write_text(without + named)
    assert set(sync(folder)) == set(bare)
    linked = contents(folder)
    for path, text in linked.items():
        assert text.count(b"colab.research.google.com/github") == (path.suffix == ".py")
        assert HOME.repository.encode() in text
    assert sync(folder) == []
    assert contents(folder) == linked

    (folder / "pyproject.toml").write_text(without + named.replace("someone/", "another/"))
    sync(folder)
    moved = contents(folder)
    assert moved == {path: text.replace(b"someone/", b"another/") for path, text in linked.items()}

    (folder / "pyproject.toml").write_text(without)
    sync(folder)
    assert contents(folder) == bare


@each_notebook
def test_a_notebook_on_github_opens_with_a_badge_and_installs_on_colab_alone(path):
    bare = linked_notebook(path.read_text(), path.stem, Addresses())
    before = jupytext.reads(bare, "py:percent").cells
    cells = jupytext.reads(linked_notebook(bare, path.stem, HOME), "py:percent").cells
    badge, install = cells[:2]
    assert [cell.source for cell in cells[2:]] == [cell.source for cell in before]
    address = f"https://colab.research.google.com/github/someone/linalg_cnn/blob/main/notebooks/{path.stem}.ipynb"
    assert (badge.cell_type, badge.source) == ("markdown", f"[![Open in Colab]({addresses.BADGE})]({address})")
    assert install.cell_type == "code"
    assert "remove-cell" in install.metadata["tags"]
    names = {}
    exec(compile(install.source, path.name, "exec"), names)  # outside Colab it imports, and does no more
    assert names["sys"] is sys
    assert ("os.chdir" in install.source) == ("../docs/records" in bare)


@each_notebook
def test_a_notebook_in_a_repository_that_colab_cannot_open_has_no_badge(path):
    bare = linked_notebook(path.read_text(), path.stem, Addresses())
    assert linked_notebook(bare, path.stem, ELSEWHERE) == bare


def test_the_readme_links_to_what_there_is():
    bare = "# title\n\nText.\n"
    assert linked_readme(bare, Addresses()) == bare
    line = linked_readme(bare, ELSEWHERE).splitlines()[2]
    assert line.startswith(f"[Repository]({ELSEWHERE.repository}) ")
    assert "Documentation" not in line


def test_the_site_shows_a_badge_of_its_own():
    cells = jupytext.reads(linked_notebook(NOTEBOOKS[0].read_text(), NOTEBOOKS[0].stem, HOME), "py:percent")
    page = adapting.notebook(jupytext.writes(cells, "ipynb"))
    assert addresses.BADGE not in page
    assert "/_static/open-in-colab.svg" in page
