"""W as integers in slices of 8-bit digits: their values, their exactness, and three traps."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gpu.predict import Predictor, backends, int8_product
from gpu.predict.backends import SliceProducts
from gpu.predict.digit_slices import MOST_SLICES, UNIT_ROUNDOFF, largest_integer, quantum, slice_digits, slices_needed
from gpu.predict.int8_product import LARGEST_SUM, is_exact, longest_sum
from gpu.predict.layers import error_bound
from linalg_cnn import AffineMap

needs_exact_product = pytest.mark.skipif(
    not is_exact(784, 48, 7), reason="torch's product of 8-bit integers is not exact"
)

BITS = st.sampled_from([8, 7])
COUNTS = st.integers(1, MOST_SLICES)
RATIOS = [1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12]


def integers_of(slices):
    """The integers that the digits stand for, as Python integers."""
    base = 2**slices.bits
    return sum(digits.astype(object) * base**number for number, digits in enumerate(slices.digits))


@st.composite
def matrices(draw):
    """Matrices of any scale, some with rows of zeros, some with weights of very different sizes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    spread = draw(st.sampled_from([0, 3, 30]))
    W = rng.standard_normal(shape) * 10.0 ** rng.uniform(-spread, 0, shape) * draw(st.sampled_from([1e-20, 1, 1e20]))
    return W * (rng.random((shape[0], 1)) > draw(st.sampled_from([0, 0.5])))


# The slices


@given(BITS, COUNTS)
def test_the_largest_integer_has_the_largest_digits(bits, count):
    slices = slice_digits(np.array([[1.0, -1.0]]), bits, count)
    assert (slices.digits[:, 0, 0] == 2 ** (bits - 1) - 1).all()
    assert integers_of(slices).tolist() == [[largest_integer(bits, count), -largest_integer(bits, count)]]


@given(BITS, COUNTS, st.data())
def test_multiples_of_the_quantum_are_reproduced_exactly(bits, count, data):
    largest = largest_integer(bits, count)
    k = np.array([*data.draw(st.lists(st.integers(-largest, largest), min_size=1, max_size=20)), largest])
    W = k[None] * 2.0 ** data.draw(st.integers(-40, 40))  # a quantum that is a power of two divides without rounding
    slices = slice_digits(W, bits, count)
    assert integers_of(slices).tolist() == [k.tolist()]
    assert np.array_equal(np.einsum("si,sij->ij", slices.unit, slices.digits), W)
    assert slices.error.tolist() == [0.0]


@given(matrices(), BITS, COUNTS)
def test_other_weights_are_rounded_to_the_nearest_multiple(W, bits, count):
    slices = slice_digits(W, bits, count)
    step = quantum(W, bits, count)[:, None]
    assert np.array_equal(slices.unit, step.T * float(2**bits) ** np.arange(count)[:, None])
    off = np.abs(W - integers_of(slices).astype(np.float64) * step)
    # half a quantum, and float64's rounding of W / step and of the product with it
    assert (off <= step / 2 + 2.0**-51 * np.abs(W)).all()


@given(matrices(), BITS, COUNTS)
def test_digits_are_within_their_bits(W, bits, count):
    slices = slice_digits(W, bits, count)
    assert slices.digits.dtype == np.int8
    assert slices.digits.shape == (count, *W.shape)
    assert slices.digits.min() >= -(2 ** (bits - 1))
    assert slices.digits.max() < 2 ** (bits - 1)


@given(matrices(), BITS, st.integers(1, 3))
def test_the_error_is_that_of_the_worst_image(W, bits, count):
    """One of two images attains it and no image exceeds it, to the 12 digits that float64 sums keep here."""
    slices = slice_digits(W, bits, count)
    difference = W - integers_of(slices).astype(np.float64) * slices.unit[0][:, None]
    sums = [255 * np.where(difference > 0, difference, 0).sum(1), -255 * np.where(difference < 0, difference, 0).sum(1)]
    assert slices.error == pytest.approx(np.maximum(*sums), rel=1e-12)
    images = np.random.default_rng(0).integers(0, 256, (50, W.shape[1]))
    assert (np.abs(images @ difference.T) <= slices.error * (1 + 1e-12)).all()


def test_slices_are_named_by_number_and_bits():
    assert str(slice_digits(np.ones((1, 2)), 7, 4)) == "W as 4 planes of 7 bits"


def test_rows_of_zeros_have_digits_of_zero():
    slices = slice_digits(np.array([[0.0, 0.0], [1.0, -1.0]]), 8, 3)
    assert not slices.digits[:, 0].any()
    assert slices.error.tolist() == [0.0, 0.0]


# The number of slices needed


def test_a_map_of_zeros_needs_one_slice():
    assert slices_needed(np.zeros((3, 200)), 8) == 1


@given(matrices(), BITS, st.integers(-30, 30), st.integers(0, 2**32))
def test_the_number_needed_does_not_depend_on_scale_sign_or_order(W, bits, exponent, seed):
    rng = np.random.default_rng(seed)
    needed = slices_needed(W, bits)
    assert slices_needed(W * 2.0**exponent, bits) == needed
    assert slices_needed(-W, bits) == needed
    assert slices_needed(rng.permutation(W), bits) == needed


@given(matrices(), BITS)
def test_a_map_needs_as_many_slices_as_its_worst_row(W, bits):
    of_rows = [slices_needed(row[None], bits) for row in W]
    assert slices_needed(W, bits) == (None if None in of_rows else max(of_rows))


@given(matrices(), BITS)
def test_zeros_beside_the_weights_change_nothing(W, bits):
    """Pixels of weight 0 add nothing to a score, so their number must not matter: rows are often sparse."""
    padded = np.concatenate([W, np.zeros((len(W), 20 * W.shape[1]))], axis=1)
    assert slices_needed(padded, bits) == slices_needed(W, bits)


# The products of slices and bytes


@pytest.fixture(params=[8, 7])
def bits(request):
    if not is_exact(784, 48, request.param):
        pytest.skip(f"torch's product of bytes and integers of {request.param} bits is not exact here")
    return request.param


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [0, 1, 63, 255, 256, 300])
def test_scores_are_rounded_once(bits, count, rows):
    """Sums of these integers are exact in float64: only the last step, to float32, rounds."""
    rng, largest = np.random.default_rng(rows), largest_integer(bits, count)
    W = rng.integers(-largest, largest + 1, (10, 300)).astype(np.float64)
    W[:, 0] = largest  # a quantum of 1
    B = rng.integers(-largest, largest + 1, 10).astype(np.float64)
    pixels = rng.integers(0, 256, (rows, 300), dtype=np.uint8)
    pixels[::3] = 255
    scores = SliceProducts(slice_digits(W, bits, count), B, [])(torch.from_numpy(pixels))
    assert np.array_equal(scores.numpy(), (pixels @ W.T + B).astype(np.float32))


@pytest.mark.parametrize("count", [1, 2])
def test_the_bound_includes_the_rounding_of_coarse_slices(bits, count):
    """An image that is bright where weights were rounded down nearly attains the bound."""
    affine = AffineMap(np.random.default_rng(0).standard_normal((1, 300)), np.zeros(1))
    slices = slice_digits(affine.W, bits, count)
    difference = affine.W[0] - integers_of(slices)[0].astype(np.float64) * slices.unit[0, 0]
    bound = error_bound([affine], slices)
    off = []
    for bright in (difference > 0, difference < 0):
        pixels = torch.from_numpy((255 * bright).astype(np.uint8))[None]
        off.append(
            np.abs(SliceProducts(slices, affine.B, [])(pixels).double().numpy() - affine(pixels.double().numpy()))
        )
    assert 0.9 * bound[0] <= np.max(off) <= bound[0]


@pytest.mark.parametrize("columns", [16, 48, 64, 3008])
@pytest.mark.parametrize("rows", [1, 2, 3, 17, 65])
def test_the_product_is_exact_where_is_exact_says_so(bits, columns, rows):
    """`is_exact` tries one number of rows, and its answer holds for all; the largest numbers would saturate."""
    half = 2 ** (bits - 1)
    digits = torch.full((784, columns), half - 1, dtype=torch.int8)
    digits[:, ::2] = -half
    pixels = torch.full((rows, 784), 255, dtype=torch.uint8)
    expected = (pixels.double() @ digits.double()).int()
    assert is_exact(784, columns, bits)
    assert torch.equal(int8_product.int8_product(pixels, digits), expected)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("longest", [64, 65_792])
@pytest.mark.parametrize("many_rows", [0, 1000])
def test_scores_round_the_integer_of_all_slices_once(monkeypatch, bits, count, longest, many_rows):
    """Biases that leave little of the scores show in float32 what float64 rounds."""
    monkeypatch.setattr(backends, "MANY_ROWS", many_rows)
    monkeypatch.setattr(backends, "longest_sum", lambda bits: longest)
    rng = np.random.default_rng(count)
    slices = slice_digits(rng.standard_normal((10, 200)), bits, count)
    pixels = rng.integers(0, 256, (20, 200), dtype=np.uint8)
    integers = pixels.astype(object) @ integers_of(slices).T  # exact
    bias = -integers.diagonal().astype(np.float64) * slices.unit[0] * (1 + 1e-12)
    scores = SliceProducts(slices, bias, [])(torch.from_numpy(pixels))
    expected = (integers.astype(np.float64) + bias / slices.unit[0]) * slices.step
    assert scores.numpy().tobytes() == expected.astype(np.float32).tobytes()


# Trap 1: without 8-bit dot products, sums of pairs saturate in 16 bits without an error


SATURATING = """
import sys
import numpy as np, torch
from gpu.predict import Predictor
from gpu.predict.int8_product import is_exact
from linalg_cnn import AffineMap

if is_exact(784, 32, 8):
    sys.exit(77)
W = np.random.default_rng(0).standard_normal((10, 784))
W[0], W[1] = 1.0, -1.0
predictor = Predictor(AffineMap(W, np.zeros(10)), way="planes")
assert "planes of 7 bits" in predictor.way_for(500).reason, predictor.way_for(500)
pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (500, 784), dtype=np.uint8))
pixels[::2] = 255
for rows in (1, 40, 500):
    off = np.abs(predictor(pixels[:rows]).double().numpy() - pixels[:rows].double().numpy() @ W.T)
    assert (off <= predictor.error_bound("planes")).all(), off.max()
assert Predictor(AffineMap(W, np.zeros(10))).way_for(500).way == "planes"
"""


@pytest.mark.slow
@needs_exact_product
@pytest.mark.skipif("AVX" not in torch.backends.cpu.get_cpu_capability(), reason="for x86 processors")
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_a_processor_that_saturates_gets_digits_of_7_bits(instructions, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", instructions)
    run = subprocess.run([sys.executable, "-c", SATURATING], capture_output=True, text=True, check=False)
    if run.returncode == 77:
        pytest.skip(f"8-bit integers do not saturate here with {instructions}")
    assert run.returncode == 0, run.stderr


def saturating(largest):
    """A product that clips sums of pairs to this integer, as processors without 8-bit dot products do."""

    def product(pixels, digits):
        products = pixels[:, :, None].int() * digits[None].int()
        pairs = products.unflatten(1, (-1, 2)).sum(2)
        return pairs.clamp(-largest - 1, largest).sum(1, dtype=torch.int32)

    return product


@pytest.fixture
def use_product(monkeypatch):
    """Replace the product of 8-bit integers on an x86 processor, and clear the cached result of its test."""

    def use(product):
        for module in (int8_product, backends):
            monkeypatch.setattr(module, "int8_product", product)

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    is_exact.cache_clear()
    yield use
    is_exact.cache_clear()


def small_map():
    """A map whose first two rows saturate, which changes their scores by much."""
    W = np.random.default_rng(0).standard_normal((4, 128))
    W[0], W[1] = 1.0, -1.0
    return AffineMap(W, np.zeros(4))


def bright_pixels(inputs=128):
    pixels = np.random.default_rng(1).integers(0, 256, (70, inputs), dtype=np.uint8)
    pixels[::2] = 255
    return torch.from_numpy(pixels)


def within_bound(predictor, affine, pixels, way):
    off = np.abs(predictor(pixels).double().numpy() - affine(pixels.double().numpy()))
    return (off <= predictor.error_bound(way)).all()


def test_a_product_that_saturates_at_16_bits_is_detected(use_product):
    use_product(saturating(2**15 - 1))
    assert not is_exact(128, 16, 8)
    assert is_exact(128, 16, 7)
    affine = small_map()
    predictor = Predictor(affine)
    assert predictor.way_for(70).way == "planes"
    assert "planes of 7 bits" in predictor.way_for(70).reason
    assert within_bound(predictor, affine, bright_pixels(), "planes")


def test_the_saturating_product_would_be_wrong_in_8_bits(use_product):
    """If the product were right, the test above would show nothing."""
    use_product(saturating(2**15 - 1))
    affine = small_map()
    slices = slice_digits(affine.W, 8, 3)
    scores = SliceProducts(slices, affine.B, [])(bright_pixels()).double().numpy()
    assert np.abs(scores - affine(bright_pixels().double().numpy())).max() > 1000 * slices.error.max()


def failing(error):
    def product(pixels, digits):
        raise error

    return product


@pytest.mark.parametrize(
    "product",
    [
        saturating(2**14 - 1),
        failing(RuntimeError("not for these dtypes")),
        failing(NotImplementedError("not on this processor")),
        failing(AttributeError("no such function")),
        lambda pixels, digits: (pixels.double() @ digits.double()).int() + 1,
        lambda pixels, digits: (pixels.to(torch.int8).double() @ digits.double()).int(),
    ],
    ids=["saturates", "RuntimeError", "NotImplementedError", "AttributeError", "off by one", "signed pixels"],
)
def test_a_product_that_is_not_exact_is_not_used(use_product, product):
    use_product(product)
    affine = small_map()
    predictor = Predictor(affine)
    assert predictor.way_for(70).way == "blocks"
    assert "no planes: torch's product of 8-bit integers is not exact here" in predictor.way_for(70).reason
    assert within_bound(predictor, affine, bright_pixels(), "blocks")
    with pytest.raises(ValueError, match="got 'planes': torch's product of 8-bit integers is not exact here"):
        Predictor(affine, way="planes")


def test_a_torch_without_the_product(monkeypatch):
    monkeypatch.delattr(torch, "_int_mm")
    is_exact.cache_clear()
    try:
        assert not is_exact(128, 16, 8)
        assert Predictor(small_map()).way_for(70).way == "blocks"
    finally:
        is_exact.cache_clear()


# Trap 2: more than 65,792 products of the largest numbers do not fit into 32 bits


@pytest.mark.parametrize("bits", [7, 8])
def test_the_longest_sum_fits_into_32_bits_and_64_more_do_not(bits):
    largest = 255 * 2 ** (bits - 1)
    assert longest_sum(bits) * largest <= LARGEST_SUM < (longest_sum(bits) + 64) * largest


@needs_exact_product
@pytest.mark.parametrize("inputs", [65_792, 65_793, 131_008, 131_072, 131_584, 131_585, 140_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_many_inputs_do_not_overflow(inputs, sign):
    affine = AffineMap(np.full((2, inputs), sign * 0.5), [0.0, 1.0])
    predictor = Predictor(affine, way="planes")
    pixels = np.full((3, inputs), 255, dtype=np.uint8)
    pixels[1, ::2] = 254
    pixels[2, -1] = 0
    expected = affine(pixels.astype(np.float64))
    # equal weights are the largest of their row, and exact as integers: only the last step rounds
    assert (
        np.abs(predictor(torch.from_numpy(pixels)).double().numpy() - expected) <= 2.0**-24 * np.abs(expected)
    ).all()


def test_each_part_of_a_long_sum_counts(use_product, monkeypatch):
    use_product(lambda pixels, digits: (pixels.double() @ digits.double()).int())
    monkeypatch.setattr(backends, "longest_sum", lambda bits: 64)
    affine, pixels = AffineMap(np.random.default_rng(0).standard_normal((3, 200)), np.ones(3)), bright_pixels(200)
    products = SliceProducts(slice_digits(affine.W, 8, 3), affine.B, [])
    assert len(products.parts) == 4
    whole = slice_digits(affine.W, 8, 3)
    bound = whole.error + UNIT_ROUNDOFF * 255 * np.abs(affine.W).sum(1) + 2.0**-24
    for rows in (5, 70):
        off = np.abs(products(pixels[:rows]).double().numpy() - affine(pixels[:rows].double().numpy()))
        assert (off <= bound).all()


# Trap 3: one huge weight makes all the others of its row coarse, which shows on images where its pixel is dark


def errors_of(W, dark, rows=300):
    """Relative root-mean-square errors of the chosen backend and of float32, on images with some pixels dark."""
    affine = AffineMap(W, np.zeros(len(W)))
    pixels = np.random.default_rng(1).integers(0, 256, (rows, W.shape[1]), dtype=np.uint8)
    pixels[:, dark] = 0
    expected = affine(pixels.astype(np.float64))
    scores = [Predictor(affine, way=way)(torch.from_numpy(pixels)).double().numpy() for way in ("auto", "linear")]
    return [np.sqrt(((s - expected) ** 2).mean() / (expected**2).mean()) for s in scores]


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_huge_weight_on_a_dark_pixel_costs_no_accuracy(ratio):
    """A quantum of 2^-24 r sqrt(n / 2) is allowed: 5.7 roundings of float32, which itself makes about 3."""
    W = 0.04 * np.random.default_rng(0).standard_normal((10, 784))
    W[:, 300] = 0.04 * ratio
    taken, float32 = errors_of(W, dark=[300])
    assert taken <= 3 * float32


@pytest.mark.parametrize("share", [0.05, 0.12, 0.3, 0.5])
@pytest.mark.parametrize("ratio", [1e2, 1e4, 1e8])
def test_many_huge_weights_on_dark_pixels_cost_no_accuracy(share, ratio):
    """A border that is dark in all images has weights that were never trained."""
    W = 0.04 * np.random.default_rng(0).standard_normal((10, 784))
    heavy = slice(0, int(784 * share))
    W[:, heavy] *= ratio
    taken, float32 = errors_of(W, dark=heavy)
    assert taken <= 4 * float32


@pytest.mark.parametrize("used", [1, 7, 50, 79, 200])
def test_rows_with_few_weights_are_as_accurate_as_float32(used):
    """A pooling has such rows, and so has a layer with a small receptive field."""
    rng = np.random.default_rng(0)
    W = np.zeros((10, 784))
    for row in W:
        row[rng.choice(784, used, replace=False)] = rng.standard_normal(used)
    taken, float32 = errors_of(W, dark=[])
    assert taken <= 3 * max(float32, UNIT_ROUNDOFF)


@needs_exact_product
def test_slices_are_given_up_where_they_would_be_worse_than_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    W = np.full((2, 784), 0.04)
    assert Predictor(AffineMap(W, np.zeros(2))).way_for(64).way == "planes"
    W[1, 0] = 1e9
    choice = Predictor(AffineMap(W, np.zeros(2))).way_for(64)
    assert choice.way == "blocks"
    assert f"no planes: a weight is so large beside the others of its row that {MOST_SLICES} planes" in choice.reason


@pytest.mark.parametrize("bits", [8, 7])
def test_larger_ratios_need_more_slices_until_none_are_enough(bits):
    needed = [slices_needed(np.array([[ratio] + [1.0] * 783]), bits) for ratio in RATIOS]
    enough = [count for count in needed if count is not None]
    assert enough == sorted(enough)
    assert enough[0] < enough[-1] == MOST_SLICES
    assert needed[len(enough) :] == [None] * (len(RATIOS) - len(enough))
    assert needed[-1] is None


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(2, 400), st.sampled_from([0, 1, 2, 3]))
def test_the_number_needed_is_enough_and_the_fewest(seed, size, spread):
    """It suffices for the smallest nine tenths of the weights, compared with the rounding of float32's running sum."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((1, size)) * 10.0 ** rng.uniform(-spread, spread, size)
    lit = np.sort(np.abs(W[0]))[: max(1, round(0.9 * size))]
    allowed = UNIT_ROUNDOFF * np.sqrt((lit**2).mean()) * np.sqrt(max(len(lit), 2) / 2)
    needed = slices_needed(W, 8)
    assume(needed is not None)
    assert quantum(W, 8, needed)[0] <= allowed * (1 + 1e-12)
