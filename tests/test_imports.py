"""The imports go one way: no circle between modules or between subpackages, imports inside functions included."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("linalg_cnn", "gpu")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}


class Imports(ast.NodeVisitor):
    """The modules that a file imports, at its top and inside functions, but not for type checkers alone."""

    def __init__(self, source):
        self.found = set()
        self.visit(ast.parse(source))

    def visit_If(self, node):
        names = {part.id for part in ast.walk(node.test) if isinstance(part, ast.Name)}
        for child in node.orelse if "TYPE_CHECKING" in names else [*node.body, *node.orelse]:
            self.visit(child)

    def visit_Import(self, node):
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node):
        assert node.level == 0, "imports are absolute here"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            self.found.add(full if full in FILES else node.module)

    def visit_Call(self, node):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in {"import_module", "__import__", "imported"} and node.args and isinstance(node.args[0], ast.Constant):
            self.found.add(node.args[0].value.partition(":")[0])
        self.generic_visit(node)


def imports_of(source):
    return {module for module in Imports(source).found if module in FILES}


@cache
def imported_by_module():
    return {module: imports_of(path.read_text()) - {module} for module, path in FILES.items()}


def subpackage_of(module):
    """Return the subpackage of a module, such as ``gpu.tracing``; a module in no subpackage stands for itself."""
    return ".".join(module.split(".")[:2])


def order(graph):
    return list(TopologicalSorter(graph).static_order())


def test_no_module_imports_itself_by_way_of_others():
    assert set(order(imported_by_module())) == set(FILES)


def test_no_subpackage_imports_itself_by_way_of_others():
    subpackages = {}
    for module, imported in imported_by_module().items():
        subpackages.setdefault(subpackage_of(module), set()).update(map(subpackage_of, imported))
    order({
        subpackage: imported - {subpackage}
        for subpackage, imported in subpackages.items()
        if subpackage.startswith("gpu")
    })


def test_linalg_cnn_never_imports_gpu():
    assert not [
        module
        for module, imported in imported_by_module().items()
        if module.startswith("linalg_cnn") and any("gpu" in name for name in imported)
    ]


def test_no_file_lies_loose_in_gpu():
    loose = {path.name for path in (ROOT / "gpu").iterdir() if path.is_file()}
    assert loose == {"__init__.py", "__main__.py", "settings.py", "py.typed"}


@pytest.mark.parametrize(
    "source",
    [
        "import linalg_cnn.compose",
        "from linalg_cnn import compose",
        "from linalg_cnn.compose import compose",
        "def f():\n    from linalg_cnn.compose import compose",
        "def f():\n    return import_module('linalg_cnn.compose')",
        "f = imported('linalg_cnn.compose:compose')",
        "if sys.platform:\n    import linalg_cnn.compose",
    ],
)
def test_an_import_would_be_found(source):
    assert imports_of(source) == {"linalg_cnn.compose"}


def test_an_import_for_type_checkers_alone_is_none():
    assert imports_of("if TYPE_CHECKING:\n    import linalg_cnn.compose\nelse:\n    import gpu.settings") == {
        "gpu.settings"
    }


def test_a_circle_would_be_found():
    with pytest.raises(CycleError):
        order({"a": {"b"}, "b": {"c"}, "c": {"a"}})


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_longer_than_one_can_read_at_once(package):
    lengths = {module: len(FILES[module].read_text().splitlines()) for module in FILES if module.startswith(package)}
    assert {module: length for module, length in lengths.items() if length > 350} == {}
