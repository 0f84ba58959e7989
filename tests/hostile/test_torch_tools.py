"""What `gpu.collapse` returns goes through torch's own tools and computes the same afterwards."""

import copy
import functools
import io
import pickle

import pytest
import torch
from torch import nn

import gpu

# torch.jit and torch.ao.quantization work, and say that they will be removed
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\..*` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\..*` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning"),
    # the shape of the samples is compared while tracing, and the example's is the only one that passes
    pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean:torch.jit.TracerWarning"),
]


CASES = {"one layer": (False, (3, 4)), "two layers": (True, (3, 4)), "scores without axes": (False, ())}
"""For each form: whether there are two factors, and the shape of a sample's scores."""


@functools.cache
def collapsed(name):
    factored, out_shape = CASES[name]
    torch.manual_seed(0)
    head = nn.Linear(2, 12 if out_shape else 1)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2), head)
    network.append(nn.Unflatten(1, out_shape) if out_shape else nn.Flatten(0))
    return gpu.collapse(network.eval(), (1, 8, 8), factored=factored)


@pytest.fixture(params=CASES)
def result(request):
    return collapsed(request.param)


def images(count=4):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))


def through_file(module, write=torch.save, read=lambda file: torch.load(file, weights_only=False)):
    file = io.BytesIO()
    write(module, file)
    file.seek(0)
    return read(file)


def exported(strict):
    def through(module):
        dynamic = ({0: torch.export.Dim.DYNAMIC},)
        return torch.export.export(module, (images(),), dynamic_shapes=dynamic, strict=strict).module()

    return through


def quantized(dtype):
    return lambda module: torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=dtype)


def from_state(module):
    fresh = copy.deepcopy(module)
    for parameter in fresh.parameters():
        parameter.data.fill_(torch.nan)
    assert fresh.load_state_dict(module.state_dict(), strict=True).missing_keys == []
    return fresh


EXACT = {
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "torch.save and torch.load": through_file,
    "state_dict": from_state,
    "torch.jit.script": torch.jit.script,
    "torch.jit.script, saved and loaded": lambda module: through_file(
        torch.jit.script(module), torch.jit.save, torch.jit.load
    ),
    "torch.jit.trace": lambda module: torch.jit.trace(module, images()),
    "torch.fx.symbolic_trace": torch.fx.symbolic_trace,
    "torch.fx.symbolic_trace, pickled": lambda module: pickle.loads(pickle.dumps(torch.fx.symbolic_trace(module))),
    "torch.export, strict": exported(True),
    "torch.export, not strict": exported(False),
    "torch.compile": lambda module: torch.compile(module, backend="eager", fullgraph=True),
    "torch.func.functional_call": lambda module: (
        lambda x: torch.func.functional_call(module, dict(module.named_parameters()), (x,))
    ),
}
"""Tools that keep every bit."""

ROUNDED = {
    "quantize_dynamic to 8 bits": (quantized(torch.qint8), 0.03),
    "quantize_dynamic to float16": (quantized(torch.float16), 2e-3),
    "half": (lambda module: copy.deepcopy(module).half(), 4e-3),
    "to bfloat16": (lambda module: copy.deepcopy(module).to(torch.bfloat16), 3e-2),
    "double": (lambda module: copy.deepcopy(module).double(), 1e-6),
}
"""Tools that compute in another precision, and the error allowed as a fraction of the largest score."""


@pytest.mark.parametrize("tool", EXACT.values(), ids=EXACT)
def test_the_same_bits(result, tool):
    through = tool(result.module)
    for x in (images(), images(7)):
        assert torch.equal(through(x), result.module(x))


@pytest.mark.parametrize(("tool", "rounding"), ROUNDED.values(), ids=ROUNDED)
def test_the_same_within_the_precision(result, tool, rounding):
    scores, expected = tool(result.module)(images()), result.module(images())
    assert scores.shape == expected.shape
    torch.testing.assert_close(scores.float(), expected, rtol=0, atol=rounding * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_converted_module_computes_in_its_dtype(dtype):
    module = copy.deepcopy(collapsed("two layers").module).to(dtype)
    assert module(images()).dtype == dtype
    assert sorted(module.state_dict()) == ["layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight"]
    assert module.half().float()(images()).dtype == torch.float32


def test_onnx():
    onnxruntime = pytest.importorskip("onnxruntime")
    module = collapsed("two layers").module
    program = torch.onnx.export(module, (images(),), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (scores,) = session.run(None, {session.get_inputs()[0].name: images().numpy()})
    torch.testing.assert_close(torch.from_numpy(scores), module(images()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "tool", [torch.fx.symbolic_trace, torch.jit.script, torch.compile], ids=["fx", "jit.script", "compile"]
)
def test_samples_of_another_shape_with_as_many_entries_are_refused_afterwards(tool):
    module = collapsed("one layer").module
    through = torch.compile(module, backend="eager") if tool is torch.compile else tool(module)
    with pytest.raises(Exception, match=r"x: expected shape \(N, 1, 8, 8\), got \(4, 8, 8, 1\)"):
        through(images().reshape(4, 8, 8, 1))


@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda result: pickle.loads(pickle.dumps(result))], ids=["copy", "pickle"]
)
def test_the_result_itself_is_copied_and_pickled(result, way):
    again = way(result)
    assert (str(again), repr(again)) == (str(result), repr(result))
    assert torch.equal(again.module(images()), result.module(images()))
    assert (again.affine.W == result.affine.W).all()
    assert (again.graph(images().numpy()) == result.graph(images().numpy())).all()
