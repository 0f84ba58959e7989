"""Collapsing: the map, its module in every runtime, its report, its bound, what is folded in, what is refused."""

import copy
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from judges import assert_close, by_jacrev
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

import gpu
from gpu.preprocessing import preprocessing_operations
from gpu.verification import rounding_bound
from linalg_cnn import AffineMap, FactoredMap, load_map

NORMALISE = [transforms.ToTensor(), transforms.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.25])]


def classifier(dtype=torch.float32, classes=4):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, classes)
    )
    net[1].running_mean.normal_()
    return net.to(dtype).eval()


def bottleneck(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3), nn.Linear(3, 40), nn.Unflatten(1, (10, 4))).to(dtype).eval()


def test_the_map_is_the_network():
    net = classifier(torch.float64)
    collapsed = gpu.collapse(net, (3, 8, 8))
    assert_close(collapsed.affine.W, by_jacrev(net, (3, 8, 8)))
    assert collapsed.affine.W.dtype == np.float64
    assert (collapsed.affine.in_shape, collapsed.affine.out_shape) == ((3, 8, 8), (4,))
    x = torch.randn(5, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(collapsed.module(x), net(x).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_replaces_the_network_has_its_dtype_and_shape(dtype):
    net = bottleneck(dtype)
    collapsed = gpu.collapse(net, (3, 4, 4))
    x = torch.randn(5, 3, 4, 4).to(dtype)
    ours, theirs = collapsed.module(x), net(x).detach()
    assert ours.dtype == dtype
    assert ours.shape == theirs.shape == (5, 10, 4)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=100 * torch.finfo(dtype).eps)
    assert collapsed.report.dtype == str(dtype).removeprefix("torch.")
    assert collapsed.report.differences["bound"]["held"]


def test_the_given_module_is_left_as_it_is():
    net = classifier().requires_grad_(True)
    before = copy.deepcopy(net.state_dict())
    gpu.collapse(net, (3, 8, 8), inputs=torch.rand(2, 3, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not net.training


def test_a_narrow_network_is_kept_as_two_factors():
    net = bottleneck()
    collapsed = gpu.collapse(net, (3, 4, 4))
    assert [factor.W.shape for factor in collapsed.factors] == [(40, 3), (3, 48)]
    dense = gpu.collapse(net, (3, 4, 4), factored=False)
    assert [factor.W.shape for factor in dense.factors] == [(40, 48)]
    np.testing.assert_allclose(collapsed.affine.W, dense.affine.W, rtol=0, atol=1e-12)
    np.testing.assert_allclose(collapsed.affine.B, dense.affine.B, rtol=0, atol=1e-12)
    for report in (collapsed.report, dense.report):
        assert report.choices["dense"].multiply_adds == 40 * 48
        assert report.choices["factored"].multiply_adds == 3 * (40 + 48)
        assert report.rank == 3
    assert collapsed.report.after.multiply_adds == 3 * (40 + 48)
    wide = classifier()
    assert len(gpu.collapse(wide, (3, 8, 8)).factors) == 1
    assert len(gpu.collapse(wide, (3, 8, 8), factored=True).factors) == 2


def test_maps_are_saved_and_loaded_in_either_form(tmp_path):
    for name, net, kind in (("one", classifier(), AffineMap), ("two", bottleneck(), FactoredMap)):
        in_shape = (3, 8, 8) if kind is AffineMap else (3, 4, 4)
        collapsed = gpu.collapse(net, in_shape)
        collapsed.save(tmp_path / name)
        loaded = load_map(tmp_path / name)
        assert isinstance(loaded, kind)
        assert loaded.in_shape == in_shape
        x = np.random.default_rng(0).normal(size=(2, loaded.in_size))
        np.testing.assert_allclose(loaded(x), collapsed.affine(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "chain",
    [
        transforms.Compose(NORMALISE),
        nn.Sequential(transforms.ConvertImageDtype(torch.float32), NORMALISE[1]),
        v2.Compose([
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.25]),
        ]),
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=False)]),
        [transforms.Compose([transforms.PILToTensor()]), transforms.ConvertImageDtype(torch.float32)],
        transforms.ToTensor(),
    ],
)
def test_preprocessing_is_folded_in(chain):
    net = classifier()
    collapsed = gpu.collapse(net, (3, 8, 8), preprocess=chain)
    pixels = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    steps = chain if isinstance(chain, list) else [chain]
    images = []
    for picture in pixels:
        image = picture
        if not isinstance(chain, nn.Sequential):  # they take pictures; the others take tensors
            image = transforms.ToPILImage()(picture)
        for step in steps:
            image = step(image)
        images.append(torch.as_tensor(image))
    with torch.no_grad():
        theirs = net(torch.stack(images))
    scale = float(theirs.abs().max())
    torch.testing.assert_close(collapsed.module(pixels), theirs, rtol=0, atol=1e-5 * scale)
    assert collapsed.report.differences["bound"]["held"]
    assert collapsed.report.composition["W_relative"] < 1e-12


def test_preprocessing_that_is_not_affine_is_refused():
    for chain, message in (
        (transforms.Compose([transforms.Resize(4), *NORMALISE]), r"preprocess\[0\]: expected ToTensor.*Resize"),
        ([transforms.Compose([transforms.ColorJitter()])], r"preprocess\[0\]\[0\]: .*ColorJitter"),
        (transforms.Normalize([0.5, 0.5], [1.0, 1.0]), r"preprocess.mean: expected one entry per channel \(3\), got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            gpu.collapse(classifier(), (3, 8, 8), preprocess=chain)
    assert preprocessing_operations(None, (1, 2, 2)) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("factored", [True, False])
def test_the_bound_on_rounding_holds_and_is_no_guess(dtype, factored):
    net = bottleneck(dtype)
    collapsed = gpu.collapse(net, (3, 4, 4), factored=factored)
    x = (100 * torch.randn(200, 3, 4, 4)).to(dtype)
    rows = x.double().flatten(1).numpy()
    exact = collapsed.affine(rows)
    seen = np.abs(collapsed.module(x).double().flatten(1).numpy() - exact)
    bound = rounding_bound(collapsed.factors, dtype, rows)
    assert np.all(seen <= bound)
    unit = torch.finfo(dtype).eps / 2
    assert bound.max() < 1000 * unit * (np.abs(rows).max() * np.abs(collapsed.affine.W).sum(1).max() + 100)


def test_a_sum_too_long_for_its_dtype_has_no_bound():
    long = AffineMap(np.ones((1, 3000)), np.zeros(1))
    assert np.isinf(rounding_bound([long], torch.bfloat16, np.ones((1, 3000)))).all()


def test_the_report_as_table_json_and_html():
    report = gpu.collapse(classifier(), (3, 8, 8)).report
    found = json.loads(report.to_json())
    assert found == report.to_dict()
    assert set(found["verdict"]) == {"1", "64", "1024"}
    assert found["before"]["parameters"] == sum(p.numel() for p in classifier().parameters())
    assert found["after"] == {"parameters": 4 * 192 + 4, "multiply_adds": 4 * 192, "bytes": 4 * (4 * 192 + 4)}
    text, page = str(report), report._repr_html_()
    assert "rank of W" in text
    assert "held" in text
    assert page.startswith("<table>")
    assert page.count("<tr>") == len(text.splitlines())
    collapsed = gpu.collapse(classifier(), (3, 8, 8))
    assert str(collapsed).splitlines()[1] == text.splitlines()[1]
    assert collapsed._repr_html_().startswith("<table>")


def test_a_map_that_does_not_pay_is_said_not_to():
    layer = nn.Conv2d(1, 1, 3, padding=1).eval()
    verdict = gpu.collapse(layer, (1, 24, 24)).report.verdict
    assert not any(found["cheaper"] for found in verdict.values())


def test_bad_arguments():
    net = classifier()
    with pytest.raises(ValueError, match="factored: expected 'auto', True or False, got 1"):
        gpu.collapse(net, (3, 8, 8), factored=1)
    with pytest.raises(ValueError, match="x: expected shape"):
        gpu.collapse(net, (3, 8, 8), inputs=torch.ones(2, 3, 8, 9))
    with pytest.raises(ValueError, match="factored: expected 'auto' or False for a network without a value to cut at"):
        gpu.collapse(nn.Linear(4, 3), (4,), factored=True)
    with pytest.raises(MemoryError, match=r"needs [\d,]+ bytes.*max_bytes.*factored=True.*linear_operator"):
        gpu.collapse(net, (3, 8, 8), max_bytes=1000)
    layer = nn.Linear(1, 1).half()
    nn.init.constant_(layer.weight, 1000)
    with pytest.raises(ValueError, match=r"expected a map whose entries fit torch.float16, got one as large as 1e\+06"):
        gpu.collapse(nn.Sequential(layer, layer), (1,))


def test_it_runs_under_compile_export_onnx_and_safetensors(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    collapsed = gpu.collapse(bottleneck(), (3, 4, 4))
    x = torch.randn(2, 3, 4, 4)
    expected = collapsed.module(x)
    torch.testing.assert_close(torch.compile(collapsed.module, backend="aot_eager")(x), expected)
    program = torch.export.export(collapsed.module, (x,), dynamic_shapes={"x": {0: torch.export.Dim("n", min=1)}})
    torch.testing.assert_close(program.module()(torch.cat([x, x])), torch.cat([expected, expected]))
    path = tmp_path / "map.onnx"
    torch.onnx.export(collapsed.module, (x,), str(path), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path))
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(answer), expected, rtol=1e-5, atol=1e-5)
    safetensors.torch.save_model(collapsed.module, str(tmp_path / "module.safetensors"))
    other = gpu.collapse(bottleneck(), (3, 4, 4)).module
    nn.init.zeros_(other.layers[0].weight)
    safetensors.torch.load_model(other, str(tmp_path / "module.safetensors"))
    torch.testing.assert_close(other(x), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda():
    net = classifier().cuda()
    collapsed = gpu.collapse(net, (3, 8, 8))
    x = torch.randn(2, 3, 8, 8, device="cuda")
    torch.testing.assert_close(collapsed.module(x), net(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(collapsed.affine.W, gpu.collapse(classifier(), (3, 8, 8)).affine.W, atol=1e-12)
