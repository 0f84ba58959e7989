"""Every test that needs a CUDA device carries the marker `cuda`, by which `make test-cuda` finds it."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest

TESTS = sorted(Path(__file__).parent.rglob("*.py"))


def needs_cuda(function):
    """Return whether a function moves something to CUDA, or is skipped where there is none."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    named = [node.func.attr for node in calls if isinstance(node.func, ast.Attribute)]
    moves = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "to"]
    devices = [
        *(keyword.value for node in calls for keyword in node.keywords if keyword.arg == "device"),
        *(argument for node in moves for argument in node.args),
    ]
    on_cuda = [isinstance(device, ast.Constant) and str(device.value).startswith("cuda") for device in devices]
    skipped = any("torch.cuda." in ast.unparse(decorator) for decorator in function.decorator_list)
    return "cuda" in named or any(on_cuda) or skipped


def marked(function):
    return any(ast.unparse(decorator).startswith("pytest.mark.cuda") for decorator in function.decorator_list)


def functions_in(source):
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]


def cases_in(source):
    return [function for function in functions_in(source) if function.name.startswith("test_")]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_every_test_that_needs_cuda_is_marked(path):
    tests = cases_in(path.read_text())
    assert [test.name for test in tests if needs_cuda(test) and not marked(test)] == []


def test_the_marked_tests_are_those_that_need_cuda():
    """A rule that recognised none of them would also find none without the marker."""
    tests = [test for path in TESTS for test in cases_in(path.read_text())]
    assert [test.name for test in tests if marked(test) and not needs_cuda(test)] == []
    assert sum(map(marked, tests)) > 10


@pytest.mark.parametrize(
    "body",
    ["model.cuda()", "Predictor(m, device='cuda:1')", "x.to('cuda', dtype)", "f(g(torch.ones(1, device='cuda')))"],
)
def test_a_test_without_the_marker_would_be_found(body):
    (test,) = cases_in(f"def test_it():\n    {body}")
    assert needs_cuda(test)
    assert not marked(test)


def test_skipping_by_hand_would_be_found():
    (test,) = cases_in("@pytest.mark.skipif(not torch.cuda.is_available(), reason='')\ndef test_it(): pass")
    assert needs_cuda(test)


@pytest.mark.parametrize(
    ("devices", "there", "reasons"),
    [(1, 0, ["needs 1 CUDA device"]), (2, 1, ["needs 2 CUDA devices"]), (1, 1, []), (1, 2, [])],
)
def test_marked_tests_are_skipped_where_there_are_too_few_devices(monkeypatch, request, devices, there, reasons):
    (conftest,) = (plugin for plugin in request.config.pluginmanager.get_plugins() if hasattr(plugin, "cuda_devices"))
    monkeypatch.setattr(conftest, "cuda_devices", lambda: there)
    added = []
    item = SimpleNamespace(
        path=Path("test_any.py"),
        name="test_it",
        iter_markers=lambda name: [SimpleNamespace(kwargs={"devices": devices})] if name == "cuda" else [],
        add_marker=added.append,
    )
    conftest.pytest_collection_modifyitems([item])
    assert [marker.kwargs["reason"] for marker in added] == reasons
