"""The names that users and other code rely on, and the direction of the imports."""

import inspect
import subprocess
import sys

import pytest

import gpu
import linalg_cnn


def test_linalg_cnn_never_imports_torch():
    program = (
        "import sys, linalg_cnn, linalg_cnn.symbolic, linalg_cnn.display;"
        "assert not {'torch', 'torchvision', 'gpu'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_core_imports_without_matplotlib():
    program = "import sys, linalg_cnn; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (
            linalg_cnn.conv_matrix,
            "kernel, in_shape, *, stride=1, padding=0, dilation=1, groups=1, padding_mode='zeros', max_bytes=None",
        ),
        (
            linalg_cnn.conv_transpose_matrix,
            "kernel, in_shape, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1, max_bytes=None",
        ),
        (linalg_cnn.pad_matrix, "in_shape, padding, mode='zeros', *, max_bytes=None"),
        (linalg_cnn.resample_matrix, "in_shape, size, mode='nearest', align_corners=False, *, max_bytes=None"),
        (
            linalg_cnn.avg_pool_matrix,
            "in_shape, kernel_size, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True, "
            "divisor_override=None, max_bytes=None",
        ),
        (linalg_cnn.adaptive_avg_pool_matrix, "in_shape, size, *, max_bytes=None"),
        (
            linalg_cnn.Conv,
            "kernel, bias=None, *, stride=1, padding=0, dilation=1, groups=1, padding_mode='zeros'",
        ),
        (linalg_cnn.Dense, "weight, bias=None"),
        (linalg_cnn.BatchNorm, "weight, bias, running_mean, running_var, eps=1e-05"),
        (linalg_cnn.Resample, "size, mode='nearest', align_corners=False"),
        (linalg_cnn.SkipNetwork, "in_shape, layers, skip_weights=None, resample='nearest'"),
        (linalg_cnn.AffineMap, "W, B, in_shape=None, out_shape=None, meta=None"),
        (linalg_cnn.tropical.tropical_form, "graph, *, max_monomials=100000, prune=False"),
        (linalg_cnn.compose, "network, direction='auto', form=None, *, max_bytes=None, progress=None, to_device=None"),
    ],
)
def test_signatures(function, signature):
    parameters = inspect.signature(function).parameters.values()
    bare = inspect.Signature([parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters])
    assert str(bare) == f"({signature})"


@pytest.mark.parametrize("module", [linalg_cnn, linalg_cnn.symbolic, linalg_cnn.tropical, gpu])
def test_every_public_name_is_there_and_has_a_docstring_with_an_example(module):
    assert sorted(module.__all__) == sorted(set(module.__all__))
    for name in module.__all__:
        public = getattr(module, name)
        if inspect.ismodule(public):
            continue
        documentation = inspect.getdoc(public)
        assert documentation, name
        if name not in ("Operation", "PiecewiseOperation", "Node", "PiecewiseNode"):  # interfaces, and records
            assert ">>>" in documentation, name


@pytest.mark.parametrize("name", ["__call__", "at", "local_maps", "compose", "latent"])
def test_methods_of_a_network_say_what_they_take_return_and_raise(name):
    documentation = inspect.getdoc(getattr(linalg_cnn.SkipNetwork, name))
    headings = [line for line in documentation.splitlines() if line in ("Parameters", "Returns", "Raises")]
    assert headings == ["Parameters", "Returns", "Raises"]


@pytest.mark.parametrize("name", [name for name in linalg_cnn.symbolic.__all__ if name != "symbols"])
def test_exact_twins_have_the_same_signature(name):
    exact, numeric = getattr(linalg_cnn.symbolic, name), getattr(linalg_cnn, name)
    assert inspect.signature(exact).parameters == inspect.signature(numeric).parameters


@pytest.mark.slow
def test_the_predictor_is_found_by_its_full_name():
    program = "import gpu; assert gpu.predict.Predictor.__name__ == 'Predictor'"
    subprocess.run([sys.executable, "-c", program], check=True)
