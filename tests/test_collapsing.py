"""Collapsing: the map, its module in every runtime, its report, its bound, preprocessing, and refusals."""

import copy
import dataclasses
import json
import subprocess
import sys
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from judges import assert_close, by_jacrev
from module_cases import Lambda
from torch import nn
from torchvision import transforms
from torchvision.models import ResNet18_Weights
from torchvision.transforms import functional, v2
from torchvision.transforms._presets import ImageClassification

import gpu
from gpu.collapsing import collapse as collapsing
from gpu.collapsing.costs import machine_rates, rank_of
from gpu.collapsing.preprocessing import preprocessing_operations
from gpu.collapsing.result import CollapsedModule
from gpu.collapsing.rounding import rounding_bound
from gpu.collapsing.samples import draw_samples
from gpu.collapsing.verification import VerificationError, verify
from gpu.runtime.precision import full_float32
from linalg_cnn import AffineMap, FactoredMap, load_map

NORMALISE = [transforms.ToTensor(), transforms.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.25])]


FLOATS = transforms.ConvertImageDtype(torch.float32)


class Clamped(transforms.Normalize):
    def forward(self, tensor):
        return super().forward(tensor).clamp(-1, 1)


class Rectified(nn.Sequential):
    def forward(self, x):
        return super().forward(x).relu()


class Absolute(transforms.Compose):
    def __call__(self, image):
        return super().__call__(image).abs()


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
        # torchvision scales integers only, and leaves floats as they are
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float64), v2.ToDtype(torch.float32, scale=True)]),
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float64), v2.ConvertImageDtype(torch.float32)]),
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float64, scale=True), v2.ToDtype(torch.float32, scale=True)]),
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize([120.0], [60.0])]),
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


def test_the_transforms_of_pretrained_weights_are_folded_in_after_resizing_and_cropping():
    """As torchvision prepares a picture itself: what is left of its transforms for a picture of the right size."""
    preset = ImageClassification(crop_size=8, resize_size=10)
    collapsed = gpu.collapse(classifier(), (3, 8, 8), preprocess=preset)
    picture = torch.randint(0, 256, (1, 3, 30, 20), dtype=torch.uint8)
    cropped = functional.center_crop(functional.resize(picture, [10]), [8])
    torch.testing.assert_close(collapsed.module(cropped), classifier()(preset(picture)), rtol=1e-4, atol=1e-4)
    assert collapsed.affine.meta["mean"] == (0.485, 0.456, 0.406)
    message = (
        r"^preprocess: expected transforms that crop to \(8, 8\), .*, got a crop to \(224, 224\); for pictures of "
        r"another size give \[ToTensor\(\), Normalize\(\[0.485, 0.456, 0.406\], \[0.229, 0.224, 0.225\]\)\]"
    )
    with pytest.raises(ValueError, match=message):
        gpu.collapse(classifier(), (3, 8, 8), preprocess=ResNet18_Weights.DEFAULT.transforms())


def test_preprocessing_that_is_not_affine_is_refused():
    for chain, message in (
        (transforms.Compose([transforms.Resize(4), *NORMALISE]), r"preprocess\[0\]: expected ToTensor.*Resize"),
        ([transforms.Compose([transforms.ColorJitter()])], r"preprocess\[0\]\[0\]: .*ColorJitter"),
        (transforms.Normalize([0.5, 0.5], [1.0, 1.0]), r"preprocess.mean: expected one entry per channel \(3\), got 2"),
        (transforms.Normalize([0.5], [0.5]), "preprocess: expected floating-point pixels for Normalize.*got bytes"),
        ([FLOATS, transforms.Normalize([0.5], [0.0])], r"preprocess\[1\].std: expected numbers other than 0"),
        (
            [FLOATS, transforms.Normalize([0.5], [1e-320])],
            r"preprocess\[1\]: expected a mean and a std that leave pixels",
        ),
        ([transforms.ConvertImageDtype(torch.float16)], r"preprocess\[0\]: expected a conversion to float32.*rounds"),
        ([v2.ToDtype(torch.bfloat16)], r"preprocess\[0\]: expected a conversion to float32.*rounds"),
        ([FLOATS, Clamped([0.5], [0.1])], r"preprocess\[1\]: expected ToTensor.*Clamped"),
        (Rectified(FLOATS), "preprocess: expected ToTensor.*Rectified"),
        (Absolute([FLOATS]), "preprocess: expected ToTensor.*Absolute"),
    ):
        with pytest.raises(ValueError, match=message):
            gpu.collapse(classifier(), (3, 8, 8), preprocess=chain)
    assert preprocessing_operations(None, (1, 2, 2)) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("factored", [True, False])
def test_the_bound_on_rounding_holds_and_is_not_loose(dtype, factored):
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
    collapsed = gpu.collapse(classifier(), (3, 8, 8))
    assert str(collapsed).splitlines()[1] == str(report).splitlines()[1]
    assert collapsed._repr_html_().startswith("<table>")


def test_the_report_begins_with_a_glance_and_has_the_details_on_request():
    report = gpu.collapse(classifier(), (3, 8, 8)).report
    lines = dict(line.split(maxsplit=1) for line in str(report).splitlines())
    assert list(lines) == ["was", "is", "accuracy", "agreement", "rounding", "speed"]
    assert lines["was"].startswith(f"(3, 8, 8) -> (4,), {report.before.parameters:,} parameters")
    assert lines["is"].startswith("W x + B, 4 x 192, rank of W 4, 772 parameters, 768 multiply-accumulates")
    bound = report.differences["bound"]
    assert lines["rounding"] == f"guaranteed error at most {bound['largest']:.2g}; largest seen {bound['seen']:.1g}"
    assert "times what was seen" not in report.details()
    for row in report.rows():
        assert row[0] in report.details()
    page = report._repr_html_()
    glance, folded = page.split("<details>")
    assert (glance.count("<tr>"), folded.count("<tr>")) == (6, 1 + len(report.rows()))


@pytest.mark.parametrize(
    ("cheaper", "beginning"),
    [
        ((True, True), "cheaper: est"),
        ((False, True), "cheaper at batch 64 only: est"),
        ((False, False), "NOT cheaper: est"),
    ],
)
def test_the_report_says_for_which_batches_a_prediction_gets_cheaper(cheaper, beginning):
    report = gpu.collapse(nn.Linear(3, 2), (3,)).report
    verdict = {
        size: {"before": 2.0, "after": 1.0, "cheaper": holds} for size, holds in zip(("1", "64"), cheaper, strict=True)
    }
    line = str(dataclasses.replace(report, verdict=verdict)).splitlines()[-1]
    assert line.split(maxsplit=1)[1].startswith(beginning)


def test_a_map_that_does_not_pay_is_said_not_to():
    layer = nn.Conv2d(1, 1, 3, padding=1).eval()
    verdict = gpu.collapse(layer, (1, 24, 24)).report.verdict
    assert not any(found["cheaper"] for found in verdict.values())


def test_the_machine_is_timed_once_so_that_small_networks_do_not_wait_for_it():
    given = torch.float32, torch.device("cpu")
    assert machine_rates(*given) == machine_rates(*given)
    assert machine_rates(*given) != machine_rates(torch.float64, given[1])


def test_bad_arguments():
    net = classifier()
    with pytest.raises(ValueError, match="factored: expected 'auto', True or False, got 1"):
        gpu.collapse(net, (3, 8, 8), factored=1)
    for inputs, error, message in (
        (torch.ones(2, 3, 8, 9), ValueError, r"inputs: expected shape \(N, 3, 8, 8\), got \(2, 3, 8, 9\)"),
        (np.ones((2, 3, 8, 8)), TypeError, "inputs: expected a tensor, got ndarray"),
        (torch.full((2, 3, 8, 8), np.nan), ValueError, "inputs: expected finite real numbers that fit float32"),
        (torch.full((2, 3, 8, 8), 1e39, dtype=torch.float64), ValueError, "inputs: expected finite real numbers"),
        (torch.ones(2, 3, 8, 8, dtype=torch.complex64), ValueError, "inputs: expected finite real numbers"),
    ):
        with pytest.raises(error, match=message):
            gpu.collapse(net, (3, 8, 8), inputs=inputs)
    with pytest.raises(TypeError, match="progress: expected a callable"):
        gpu.collapse(net, (3, 8, 8), progress=3)
    with pytest.raises(ValueError, match="on the meta device"):
        gpu.collapse(nn.Linear(2, 2, device="meta"), (2,))
    with pytest.raises(ValueError, match="module: expected float16, bfloat16, float32 or float64, got torch.float8"):
        gpu.collapse(nn.Linear(2, 2).to(torch.float8_e4m3fn), (2,))
    with pytest.raises(TypeError, match="module: expected an nn.Module, got builtin"):
        gpu.collapse(torch.relu, (2,))
    with pytest.raises(ValueError, match="factored: expected 'auto' or False for a network without a value to cut at"):
        gpu.collapse(nn.Linear(4, 3), (4,), factored=True)
    layer = nn.Linear(1, 1).half()
    nn.init.constant_(layer.weight, 1000)
    with pytest.raises(ValueError, match=r"expected a map whose entries fit torch.float16, got one as large as 1e\+06"):
        gpu.collapse(nn.Sequential(layer, layer), (1,))


@pytest.mark.parametrize("make", ["collapse", "merge"])
def test_what_replaces_a_network_takes_any_real_dtype_and_no_complex_one(make):
    layer = nn.Linear(2, 2)
    layer.weight.data, layer.bias.data = torch.tensor([[1.0, 2.0], [4.0, 0.5]]), torch.tensor([0.5, 0.0])
    module = getattr(gpu, make)(layer, (2,)).module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends torch.export
        scripted = torch.jit.script(module)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64):
        x = torch.tensor([[1, 0]]).to(dtype)
        for one in (module, scripted):
            torch.testing.assert_close(one(x), torch.tensor([[1.5, 4.0]]), rtol=0, atol=0)
    for dtype in (torch.complex64, torch.complex128):
        with pytest.raises(TypeError, match="x: expected real numbers, got complex ones"):
            module(torch.ones(1, 2, dtype=dtype))
        with pytest.raises(torch.jit.Error, match="x: expected real numbers, got complex ones"):
            scripted(torch.ones(1, 2, dtype=dtype))


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


@pytest.mark.cuda
def test_on_cuda():
    net = classifier().cuda()
    collapsed = gpu.collapse(net, (3, 8, 8))
    x = torch.randn(2, 3, 8, 8, device="cuda")
    with full_float32():
        torch.testing.assert_close(collapsed.module(x), net(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(collapsed.affine.W, gpu.collapse(classifier(), (3, 8, 8)).affine.W, atol=1e-12)


def test_a_map_that_is_not_the_network_is_refused(monkeypatch):
    """The cause does not matter: here the composed map is changed a little, in W and then in B."""
    right = collapsing.compose_form
    net = classifier()
    for part, message in (("W", "got W, in random sums of its rows, off by 0.00"), ("B", "got B off by 0.001")):

        def spoilt(*args, part=part):
            (affine,) = right(*args)
            W, B = (array + 1e-3 * (name == part) for name, array in (("W", affine.W), ("B", affine.B)))
            return (AffineMap(W, B, affine.in_shape, affine.out_shape),)

        monkeypatch.setattr(collapsing, "compose_form", spoilt)
        with pytest.raises(VerificationError, match=message):
            gpu.collapse(net, (3, 8, 8))


@pytest.mark.parametrize("odd", [1, 2, 4, 5])
def test_every_size_of_batch_is_compared(odd):
    """Tracing sees batches of two and three only; a network that treats one size differently is refused."""
    network = Lambda(lambda s, x: 3 * x if len(x) == odd else 2 * x)
    affine = AffineMap(2 * np.eye(6), np.zeros(6), (6,), (6,))
    module = CollapsedModule([affine], (6,), (6,), torch.float32)
    x = draw_samples((6,), pixels=False, given=torch.ones(4, 6))
    with pytest.raises(VerificationError, match=f"scores of a batch of {odd} off by|got W off by"):
        verify(network, module, [affine], x, {})
    found = verify(Lambda(lambda s, x: 2 * x), module, [affine], x, {})
    assert found.differences["batches"] == [1, 2, 4, 5]
    with pytest.raises(ValueError, match="module: expected a forward that runs on a batch of 1 in .*got RuntimeError"):
        verify(Lambda(lambda s, x: 2 * x.reshape(2, 6)), module, [affine], x, {})


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class WithoutDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x


@pytest.mark.parametrize(
    "forward",
    [
        lambda s, x: 2 * x.detach() + x,
        lambda s, x: Reversed.apply(x) + s.shift,
        lambda s, x: WithoutDerivative.apply(x),
        torch.no_grad()(lambda s, x: 2 * x),
    ],
    ids=["detached", "another derivative", "no derivative", "no_grad"],
)
def test_where_gradients_do_not_explain_the_scores_columns_are_compared(forward):
    report = gpu.collapse(Lambda(forward, shift=torch.ones(20)), (20,)).report
    assert report.composition["judge"] == "differences of answers"
    assert (report.composition["columns_compared"], report.composition["rows_compared"]) == (16, 20)
    assert report.composition["W_relative"] < 1e-12
    assert report.differences["map"]["relative"] < 1e-12
    assert "composition against differences of answers" in str(report)


@pytest.mark.parametrize(
    ("forward", "in_shape"),
    [
        (lambda s, x: x - x.mean((2, 3), keepdim=True), (3, 1, 1)),  # only rounding errors remain
        (lambda s, x: 255 * x - x.repeat(1, 3, 1, 1)[:, 3:6] * 255, (3, 2, 2)),
        (lambda s, x: x + torch.full((5,), 0.1), (5,)),  # 0.1, rounded to float32
        (lambda s, x: x + torch.full(x.shape[1:], 0.1, dtype=x.dtype), (5,)),
        (lambda s, x: s.layer(x.float() / 255), (5,)),
        (lambda s, x: s.layer(x) @ torch.ones(5, 2), (5,)),
        (lambda s, x: nn.functional.conv2d(x, torch.ones(2, 3, 3, 3)), (3, 4, 4)),
        (lambda s, x: nn.functional.interpolate(x, size=46), (1, 14)),  # for float64 images torch picks other pixels
        (lambda s, x: nn.functional.interpolate(x, size=(26, 46), mode="nearest-exact"), (1, 14, 16)),
        (lambda s, x: s.layer(x.sub_(0.5)), (5,)),  # writes to its input
        (lambda s, x: torch.zeros(len(x), 5).copy_(x) * 3, (5,)),
    ],
)
def test_a_right_map_raises_no_alarm(forward, in_shape):
    torch.manual_seed(0)
    network = Lambda(forward, layer=nn.Linear(5, 5)).eval()
    collapsed = gpu.collapse(network, in_shape, inputs=torch.randn(3, *in_shape))
    x = torch.randn(3, *in_shape)
    with torch.no_grad():
        expected = network(x.clone())
    torch.testing.assert_close(collapsed.module(x), expected, rtol=1e-4, atol=1e-4)
    assert collapsed.report.differences["map"]["largest"] <= collapsed.report.differences["allowed"]


def test_parts_of_several_dtypes():
    torch.manual_seed(0)
    body, head = nn.Conv2d(3, 2, 3).bfloat16(), nn.Linear(12, 2)
    mixed = Lambda(lambda s, x: s.head(s.body(x).float().flatten(1)), body=body, head=head)
    collapsed = gpu.collapse(mixed, (3, 4, 5))
    assert collapsed.module(torch.ones(1, 3, 4, 5)).dtype == torch.bfloat16
    assert collapsed.report.differences["map"]["relative"] < 1e-12
    buffers = Lambda(lambda s, x: x * s.scale, scale=torch.full((5,), 0.1, dtype=torch.float64))
    assert gpu.collapse(buffers, (5,)).report.dtype == "float64"


class Counting(nn.Module):
    """Counts its calls, as a number and in a buffer, and runs a batch norm in training mode but ignores its output."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.calls = 0
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.count += 1
        self.norm(x[:, None])
        return 2 * x


def test_the_given_module_is_never_run():
    net = Counting().train()
    before = copy.deepcopy(net.state_dict())
    gpu.collapse(net, (5,))
    assert net.calls == 0
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    locked = nn.Linear(5, 2)
    locked.lock = threading.Lock()
    with pytest.raises(
        ValueError, match="module: expected a module that copy.deepcopy can copy, got TypeError: cannot"
    ):
        gpu.collapse(locked, (5,))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_a_module_that_holds_results_of_its_last_run():
    net = nn.utils.weight_norm(nn.Linear(5, 2))
    net(torch.ones(1, 5))
    x = torch.randn(3, 5)
    result = net.weight
    expected = nn.functional.linear(x, result, net.bias)
    torch.testing.assert_close(gpu.linearize(net)[0](x), expected)
    assert net.weight is result
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7):  # its export refuses assigned tensors
        with pytest.raises(ValueError, match="assigned during export"):
            gpu.collapse(net, (5,))
    else:
        torch.testing.assert_close(gpu.collapse(net, (5,)).module(x), expected)
    assert net.weight is result


def test_squeezing_scores():
    """The network drops the batch axis of one sample, but not of several; the map keeps it."""
    net = Lambda(lambda s, x: s.pool(x).squeeze(), pool=nn.AdaptiveAvgPool2d(1))
    collapsed = gpu.collapse(net, (3, 4, 5))
    assert collapsed.module(torch.ones(1, 3, 4, 5)).shape == (1, 3)
    assert collapsed.report.out_shape == (3,)
    whole = Lambda(lambda s, x: x.sum((1, 2, 3)))
    assert gpu.collapse(whole, (3, 4, 5)).module(torch.ones(2, 3, 4, 5)).shape == (2,)


def strict(text):
    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def test_where_there_is_no_bound_the_report_says_so():
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).bfloat16()
    with torch.no_grad():
        net[1].weight[0] = net[1].bias[0] = 0
    report = gpu.collapse(net, (1, 28, 28)).report
    bound = strict(report.to_json())["differences"]["bound"]
    assert (bound["largest"], bound["tightness"], bound["held"]) == (None, None, True)
    assert "guaranteed error none: bfloat16 is too coarse for sums that long" in str(report)
    overflowing = nn.Linear(60, 10).half()
    with torch.no_grad():
        overflowing.weight *= 1e5
    report = gpu.collapse(overflowing, (60,)).report
    found = strict(report.to_json())["differences"]
    assert found["bound"]["held"]
    assert found["bound"]["seen"] is found["module"]["largest"] is None


def test_a_bound_of_zeros_and_of_what_overflows():
    zeros = AffineMap(np.zeros((2, 3000)), np.zeros(2))
    assert np.isfinite(rounding_bound([zeros], torch.bfloat16, np.ones((1, 3000)))).all()
    large = AffineMap([[4e4, 4e4, -6e4]], [0.0])  # the sum fits, but its partial sums may not
    assert np.isinf(rounding_bound([large], torch.float16, np.ones((1, 3)))).all()
    assert np.isfinite(rounding_bound([large], torch.float32, np.ones((1, 3)))).all()
    narrow = AffineMap([[1.0]], [0.0])
    assert np.isinf(rounding_bound([narrow, large], torch.float16, np.ones((2, 3)))).all()


def test_the_bound_needs_no_second_matrix():
    wide = AffineMap(np.ones((3000, 1000)), np.zeros(3000))
    x = np.ones((2, 1000))
    rounding_bound([wide], torch.float32, x)
    tracemalloc.start()
    rounding_bound([wide], torch.float32, x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < wide.W.nbytes / 2


PEAK = """
import re, sys
from pathlib import Path
import torch
from torch import nn
import gpu
torch.set_num_threads(1)
net = nn.Upsample(scale_factor=2, mode="bicubic")
gpu.collapse(net, (1, 4, 4))
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
gpu.collapse(net, (3, 24, 24), max_bytes=int(sys.argv[1]))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_keeps_within_its_limit():
    """A new process measures it by VmHWM; ru_maxrss starts with the parent's. W takes 91 MiB, the replacement 46."""
    limit = 200 * 2**20
    run = subprocess.run([sys.executable, "-c", PEAK, str(limit)], capture_output=True, text=True, check=True)
    assert 91 * 2**20 < int(run.stdout) <= limit


def test_too_much_memory_is_refused_with_advice_that_helps():
    net = classifier()
    with pytest.raises(
        MemoryError, match=r"needs [\d,]+ bytes.*; raise max_bytes, or use it .*linear_operator"
    ) as caught:
        gpu.collapse(net, (3, 8, 8), max_bytes=1000)
    assert not caught.value.factored_helps
    with pytest.raises(MemoryError, match="factored=True") as caught:
        gpu.collapse(bottleneck(), (3, 4, 4), max_bytes=1000, factored=False)
    assert caught.value.factored_helps
    with pytest.raises(MemoryError) as caught:
        gpu.collapse(nn.Linear(4, 3), (4,), max_bytes=0)
    assert "factored" not in str(caught.value)


def test_the_rank_of_any_form():
    rng = np.random.default_rng(0)
    narrow, tall, wide = rng.normal(size=(2, 7)), rng.normal(size=(2500, 2)), rng.normal(size=(7, 2500))
    maps = [AffineMap(W, np.zeros(len(W))) for W in (tall @ narrow, narrow @ wide, rng.normal(size=(5, 5)))]
    assert [rank_of([affine]) for affine in maps] == [2, 2, 5]
    assert rank_of([maps[0], AffineMap(wide, np.zeros(7))]) == 2
    assert rank_of([maps[0]], max_bytes=100) is None
