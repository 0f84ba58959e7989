"""The Triton kernel, run by Triton's interpreter in a process of its own, and compiled where there is CUDA."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from gpu.predict import Predictor, backends
from gpu.predict.backend import UnavailableError
from gpu.predict.backends import SliceProducts
from gpu.predict.digit_slices import largest_integer, slice_digits, slices_needed
from gpu.predict.triton_backend import FEW, MANY, MOST_INPUTS, SPLIT, TritonProducts, slices_for_tensor_cores
from gpu.runtime.cuda_graphs import _as_captured
from linalg_cnn import AffineMap, FactoredMap

pytest.importorskip("triton")


def integer_map(inputs, outputs, slices=3, seed=0):
    """Integers, with the largest of the slices needed in every row: the quantum is 1 and sums are exact in float64."""
    rng = np.random.default_rng(seed)
    largest = largest_integer(8, slices)
    size = min(largest, 2**26)
    W = rng.integers(-size, size + 1, (outputs, inputs)).astype(np.float64)
    W[:, 0] = largest
    assert slices_needed(W, 8) == slices
    return AffineMap(W, rng.integers(-largest, largest + 1, outputs).astype(np.float64))


def random_map(inputs, outputs, seed=0):
    rng = np.random.default_rng(seed)
    return AffineMap(rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs))


def random_pixels(rows, inputs):
    pixels = np.random.default_rng(rows).integers(0, 256, (rows, inputs), dtype=np.uint8)
    pixels[1::5], pixels[2::5] = 255, 0
    return pixels


EXACT = {
    "one of each": (integer_map(1, 1, 4), random_pixels(1, 1)),
    "no images": (integer_map(64, 3), random_pixels(0, 64)),
    "one output": (integer_map(64, 1), random_pixels(5, 64)),
    "a row too many for a block": (integer_map(64, 10), random_pixels(129, 64)),
    "an input too many for a block": (integer_map(65, 10), random_pixels(128, 65)),
    "an input too few for a block": (integer_map(63, 16), random_pixels(7, 63)),
    "17 outputs": (integer_map(100, 17), random_pixels(40, 100)),
    "the most outputs": (integer_map(130, 64), random_pixels(3, 130)),
    "four slices": (integer_map(100, 10, 4), random_pixels(20, 100)),
    "five slices": (integer_map(100, 10, 5), random_pixels(20, 100)),
    "handwritten digits": (integer_map(784, 10), random_pixels(150, 784)),
}
FACTORED = (FactoredMap([random_map(6, 10), random_map(70, 6, seed=1)]), random_pixels(40, 70))
RANDOM = (random_map(784, 10), random_pixels(150, 784))

W = np.zeros((12, 70))
W[[3, 5, 11]] = 1.0
TIED = (AffineMap(W, np.zeros(12)), np.concatenate([random_pixels(130, 70), np.zeros((3, 70), np.uint8)]))
NEGATIVE = (AffineMap(-np.ones((3, 70)), -np.ones(3)), random_pixels(20, 70))
"""All scores are below the 0 of the outputs that pad the kernel's block."""


def cancelling(inputs, slices):
    """A map and images that leave little of a score: what float64 rounds shows in float32."""
    W = np.random.default_rng(slices).standard_normal((10, inputs))
    W[:, 0] = {3: 1, 4: 50, 5: 1e5}[slices]
    assert slices_needed(W, 8) == slices
    cut = slice_digits(W, 8, slices)
    pixels = random_pixels(20, inputs)
    scores = np.einsum("si,sij,ij->i", cut.unit, cut.digits, pixels[:10].astype(np.float64))
    return AffineMap(W, -scores * (1 + 1e-12)), pixels


CANCELLING = {f"cancelling in {slices} slices": cancelling(300, slices) for slices in (3, 4, 5)}
LONG = (AffineMap(np.full((2, 70_000), [[0.5], [-0.3]]), [1.0, 0.1]), random_pixels(3, 70_000))
"""The sum over a white image needs 33 bits."""
SINGLE = EXACT | CANCELLING | {"random": RANDOM, "tied": TIED, "negative": NEGATIVE}
CASES = EXACT | CANCELLING | {"factored": FACTORED, "random": RANDOM, "tied": TIED, "negative": NEGATIVE}

PROGRAM = """
import pickle, sys
import torch
from gpu.predict import Predictor
from gpu.predict.triton_backend import Tile, TritonProducts, slices_for_tensor_cores
from gpu.runtime.cuda_graphs import _as_captured

with open(sys.argv[1], "rb") as file:
    cases, long = pickle.load(file)
results = {}
for name, (affine, pixels) in cases.items():
    predictor, images = Predictor(affine, way="triton"), torch.from_numpy(pixels)
    results[name] = predictor(images).numpy(), predictor.classes(images).numpy(), predictor.error_bound("triton")
    predictor._dispatch[torch.uint8].backends["triton"].multiprocessors = 1000  # more than these images keep busy
    for tile, call in {"few": lambda function: function(), "split": _as_captured}.items():
        scores, classes = call(lambda: predictor(images)), call(lambda: predictor.classes(images))
        results[name, tile] = scores.numpy(), classes.numpy()
wide = Predictor(cases["random"][0], way="triton")
images = torch.from_numpy(cases["random"][1])
strided = torch.stack([images, 255 - images], 2)[:, :, 0]
results["strided"] = wide(strided).numpy(), wide.classes(strided).numpy(), strided.is_contiguous()
results["choices"] = wide.way_for(5), Predictor(cases["random"][0]).way_for(100_000).way, str(wide)
try:
    wide(images.float())
except ValueError as error:
    results["floats"] = str(error)
affine, pixels = long
products = TritonProducts(slices_for_tensor_cores(affine.W), affine.B, [], torch.device("cpu"))
scores = torch.empty(len(pixels), 2)
products._launch(torch.from_numpy(pixels), scores, classes=False, tile=Tile(16, 4096))  # few steps of the interpreter
results["long"] = [scores.numpy()]
torch.set_default_dtype(torch.float64)
results["default dtype"] = str(wide(images[:2]).dtype)
with open(sys.argv[2], "wb") as file:
    pickle.dump(results, file)
"""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """Results of the interpreter for all cases; it must be chosen before triton is imported."""
    import os
    import pickle

    folder = tmp_path_factory.mktemp("triton")
    (folder / "cases").write_bytes(pickle.dumps((CASES, LONG)))
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(folder / "cases"), str(folder / "results")]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    return pickle.loads((folder / "results").read_bytes())


def expected(case):
    affine, pixels = case
    return affine(pixels.astype(np.float64))


@pytest.mark.parametrize("name", EXACT)
def test_scores_are_rounded_once(interpreted, name):
    scores, _, _ = interpreted[name]
    assert scores.dtype == np.float32
    assert np.array_equal(scores, expected(EXACT[name]).astype(np.float32))


@pytest.mark.parametrize("name", CASES)
def test_classes_are_those_of_the_scores_the_first_of_equal_ones(interpreted, name):
    scores, classes, _ = interpreted[name]
    assert classes.dtype == np.int64
    assert classes.shape == (len(scores),)
    assert classes.tolist() == scores.argmax(1).tolist()


@pytest.mark.parametrize("tile", ["few", "split"])
@pytest.mark.parametrize("name", CASES)
def test_tiles_for_few_images_give_the_same_bits(interpreted, name, tile):
    scores, classes = interpreted[name, tile]
    assert np.array_equal(scores, interpreted[name][0])
    assert np.array_equal(classes, interpreted[name][1])


@pytest.mark.parametrize("many_rows", [0, 1000])
@pytest.mark.parametrize("name", [*SINGLE, "long"])
def test_scores_have_the_same_bits_as_on_the_cpu(interpreted, monkeypatch, name, many_rows):
    monkeypatch.setattr(backends, "MANY_ROWS", many_rows)
    monkeypatch.setattr(backends, "int8_product", lambda pixels, digits: (pixels.double() @ digits.double()).int())
    affine, pixels = (SINGLE | {"long": LONG})[name]
    products = SliceProducts(slice_digits(affine.W, 8, slices_needed(affine.W, 8)), affine.B, [])
    assert interpreted[name][0].tobytes() == products(torch.from_numpy(pixels)).numpy().tobytes()


def test_tiles_for_many_images_are_taken_where_these_fill_half_of_the_multiprocessors(monkeypatch):
    monkeypatch.setattr("gpu.predict.triton_backend.import_module", lambda name: None)
    products = TritonProducts(slices_for_tensor_cores(np.ones((3, 8))), np.zeros(3), [], torch.device("cpu"))
    products.multiprocessors = 132
    assert [products.tile_for(rows) for rows in (1, 65 * 128, 65 * 128 + 1)] == [FEW, FEW, MANY]
    assert [_as_captured(lambda rows=rows: products.tile_for(rows)) for rows in (64, 9000)] == [SPLIT, MANY]


def test_ties_are_decided_for_the_first(interpreted):
    _, classes, _ = interpreted["tied"]
    assert set(classes[-3:]) == {0}
    assert set(classes[1:130:5]) == {3}


@pytest.mark.parametrize("name", ["factored", "random", "tied", "negative"])
def test_scores_are_within_their_bound(interpreted, name):
    scores, _, bound = interpreted[name]
    assert (np.abs(scores - expected(CASES[name])) <= bound).all()
    assert scores.shape == (len(CASES[name][1]), CASES[name][0].out_size)


def test_random_maps_are_as_accurate_as_float32(interpreted):
    scores, exact = interpreted["random"][0], expected(RANDOM)
    linear = Predictor(RANDOM[0], way="linear")(torch.from_numpy(RANDOM[1])).numpy()
    assert ((scores - exact) ** 2).mean() <= ((linear - exact) ** 2).mean()


TABLES = dict.fromkeys(["shifts", "powers", "biases", "steps"], "*fp64")
POINTERS = TABLES | {"pixels": "*u8", "digits": "*i8", "parts": "*i32", "result": "*fp32"}
DIGITS = {"inputs": 784, "outputs": 10, "slices": 4, "groups": 2, "width": 16, "columns": 64, "count": 7}


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize(
    ("name", "tile", "classes"),
    [("kernel", MANY, True), ("kernel", FEW, False), ("part_kernel", SPLIT, False), ("sum_kernel", SPLIT, True)],
)
def test_the_kernels_compile_for_cards_that_are_not_here(name, tile, classes, architecture, tmp_path, monkeypatch):
    from triton import compiler
    from triton.backends.compiler import GPUTarget

    from gpu.predict import triton_kernel

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_kernel, name)
    constants = DIGITS | {"block_rows": tile.rows, "block_inputs": tile.inputs, "classes": classes}
    types = POINTERS | {"rows": "i32"} | ({"result": "*i64"} if classes else {})
    signature = {argument: types.get(argument, "constexpr") for argument in kernel.arg_names}
    known = {(i,): constants[a] for i, a in enumerate(kernel.arg_names) if signature[a] == "constexpr"}
    aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(kernel.arg_names) if signature[a][0] == "*"}
    source = compiler.ASTSource(kernel, signature, known, aligned)
    made = compiler.compile(source, target=GPUTarget("cuda", architecture, 32))
    assert made.asm["cubin"]
    assert "st.shared::cta.b8" not in made.asm["ptx"], "bytes are not rearranged one by one"
    if "parts" in kernel.arg_names:
        offsets = re.findall(r"tt.addptr .* : tensor<.*!tt.ptr<i32>>, tensor<\w+x(i\d+)>", made.asm["ttir"])
        assert offsets, "the parts are addressed"
        assert set(offsets) == {"i64"}, "1,024 blocks of inputs, 8,448 images and 256 columns have 2^31 sums"


def test_images_need_not_lie_side_by_side(interpreted):
    scores, classes, contiguous = interpreted["strided"]
    assert not contiguous
    assert np.array_equal(scores, interpreted["random"][0])
    assert np.array_equal(classes, interpreted["random"][1])


def test_the_interpreter_is_used_only_when_forced(interpreted):
    forced, by_itself, description = interpreted["choices"]
    assert forced == ("triton", "forced; W as 3 planes of 8 bits, on tensor cores")
    assert by_itself != "triton"
    assert "x uint8: triton (forced; W as 3 planes of 8 bits, on tensor cores)" in description
    assert "float32" not in description.partition("bytes, ")[0]


def test_floats_are_refused(interpreted):
    assert interpreted["floats"] == "images: expected uint8 for way='triton', got torch.float32"


def test_the_default_dtype_does_not_matter(interpreted):
    assert interpreted["default dtype"] == "torch.float32"


# Maps that it is not for


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.ones((1, 131_009)), "it takes up to 131,008 inputs, here are 131,009"),
        (np.ones((65, 8)), "it takes up to 64 outputs in 4 planes, here are 65"),
        (np.array([[1e4] + [1.0] * 99] * 40), "it takes up to 32 outputs in 8 planes, here are 40"),
        (np.array([[1e12] + [1.0] * 99]), "a weight is so large beside the others of its row that planes round worse"),
    ],
)
def test_maps_that_the_kernel_is_not_for(W, message):
    with pytest.raises(UnavailableError, match=message):
        slices_for_tensor_cores(W)


@pytest.mark.parametrize(("ratio", "needed", "count"), [(1.0, 3, 4), (1e4, 5, 8)])
def test_the_slices_needed_are_padded_to_a_power_of_two(monkeypatch, ratio, needed, count):
    monkeypatch.setattr("gpu.predict.triton_backend.import_module", lambda name: None)
    slices = slices_for_tensor_cores(np.array([[ratio] + [1.0] * 99]))
    products = TritonProducts(slices, np.zeros(1), [], torch.device("cpu"))
    assert (len(slices.digits), products.count) == (needed, count)
    assert not products.digits[needed:].any()


def test_the_most_inputs_fit_into_32_bits():
    assert MOST_INPUTS * 128**2 < 2**31 <= (MOST_INPUTS + MANY.inputs) * 128**2


# On CUDA


def launch_nothing(self, flat, result, *, classes, tile):
    result.zero_()


def launch_and_fail(self, flat, result, *, classes, tile):
    raise RuntimeError("no C compiler")


@pytest.mark.parametrize(
    ("launch", "reason"),
    [
        (launch_and_fail, "its kernel does not run: RuntimeError: no C compiler"),
        (launch_nothing, "its kernel does not run: ArithmeticError: expected the scores"),
    ],
)
def test_a_kernel_that_does_not_run_is_not_used(monkeypatch, launch, reason):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr("gpu.predict.triton_backend.TritonProducts._launch", launch)
    affine = random_map(70, 6)
    with pytest.raises(ValueError, match=f"way: expected one that can be taken here, got 'triton': {reason}"):
        Predictor(affine, way="triton")
    assert Predictor(affine).way_for(4).way == "linear"


@pytest.mark.cuda
@pytest.mark.parametrize("name", EXACT)
def test_compiled_scores_are_rounded_once(name):
    affine, pixels = EXACT[name]
    scores = Predictor(affine, device="cuda", way="triton")(torch.from_numpy(pixels))
    assert np.array_equal(scores.cpu().numpy(), expected(EXACT[name]).astype(np.float32))


@pytest.mark.cuda
@pytest.mark.parametrize("name", CASES)
def test_compiled_classes_are_those_of_the_scores(name):
    affine, pixels = CASES[name]
    predictor, images = Predictor(affine, device="cuda", way="triton"), torch.from_numpy(pixels).cuda()
    classes = predictor.classes(images)
    assert classes.is_cuda
    assert classes.dtype == torch.int64
    assert classes.cpu().tolist() == predictor(images).cpu().numpy().argmax(1).tolist()


@pytest.mark.cuda
def test_on_cuda_the_kernel_is_chosen():
    predictor = Predictor(RANDOM[0], device="cuda")
    for rows in (1, 64, 100_000):
        assert predictor.way_for(rows).way == "triton"
    assert predictor.way_for(64, torch.float32).way == "linear"


@pytest.mark.cuda
def test_batches_of_one_launch_after_batches_of_many():
    """Triton compiles the kernel anew for a size of 1, and for multiples of 16."""
    affine, pixels = EXACT["handwritten digits"]
    predictor, images = Predictor(affine, device="cuda", way="triton"), torch.from_numpy(pixels).cuda()
    whole = predictor(images)
    for size in (1, 16, 17, 128):
        assert torch.equal(torch.cat([predictor(batch) for batch in images.split(size)]), whole)


@pytest.mark.cuda
def test_pixels_past_2_gib_are_addressed():
    """An offset of 32 bits would wrap."""
    inputs = 784
    rows = 2**31 // inputs + 200
    if torch.cuda.mem_get_info()[0] < 3 * 2**30:
        pytest.skip("needs 3 GiB of memory on the device")
    affine, pixels = EXACT["handwritten digits"]
    images = torch.zeros(rows, inputs, dtype=torch.uint8, device="cuda")
    images[-150:] = torch.from_numpy(pixels).cuda()
    scores = Predictor(affine, device="cuda", way="triton")(images)
    assert np.array_equal(scores[-150:].cpu().numpy(), expected((affine, pixels)).astype(np.float32))


@pytest.mark.cuda
def test_slices_on_the_cpu_and_on_cuda_agree_to_the_last_bit():
    from gpu.predict.int8_product import is_exact

    if not is_exact(784, 48, 8):
        pytest.skip("torch's product of 8-bit integers is not exact here")
    for affine, pixels in SINGLE.values():
        here = Predictor(affine, way="planes")(torch.from_numpy(pixels))
        there = Predictor(affine, device="cuda", way="triton")(torch.from_numpy(pixels))
        assert torch.equal(there.cpu(), here)
