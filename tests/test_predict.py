"""The predictor returns the scores of its map: for bytes and floats, with every backend, in any surroundings."""

import copy
import pickle
import sys
import threading

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision import transforms, tv_tensors
from torchvision.transforms import v2

from gpu.predict import CapturedPrediction, Predictor, backends, dispatch
from gpu.predict.digit_slices import largest_integer, slices_needed
from gpu.predict.int8_product import is_exact
from linalg_cnn import AffineMap, FactoredMap, symbolic

IN_SHAPE, IN_SIZE, OUT_SIZE = (3, 8, 8), 192, 10  # large enough for "planes" to be chosen

needs_exact_product = pytest.mark.skipif(
    not is_exact(IN_SIZE, 48, 7), reason="torch's product of 8-bit integers is not exact"
)
FLOAT_BACKENDS = ["auto", "linear", "blocks"]
BYTE_BACKENDS = [*FLOAT_BACKENDS, pytest.param("planes", marks=needs_exact_product)]
SINGLE_BACKENDS = BYTE_BACKENDS[1:]

FLOAT32_ERROR = 2**-21
"""Relative root-mean-square error of random maps' scores. Float32's own is 1e-7 to 4e-7 for some hundred inputs."""


def random_map(seed=0, in_shape=IN_SHAPE, out_size=OUT_SIZE, scale=1.0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(in_shape))
    return AffineMap(scale * rng.standard_normal((out_size, size)), rng.standard_normal(out_size), in_shape)


def integer_map(seed=0, in_shape=IN_SHAPE, out_size=OUT_SIZE):
    """A map of small integers, whose scores of bytes are exact in float32."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(in_shape))
    return AffineMap(rng.integers(-4, 5, (out_size, size)), rng.integers(-4, 5, out_size), in_shape)


def random_pixels(rows, in_shape=IN_SHAPE, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (rows, *in_shape), dtype=np.uint8))


def exact(affine, images):
    """The scores in float64."""
    return affine(images.flatten(1).double().numpy())


def relative_error(scores, expected):
    """Root mean square of the errors, relative to that of the scores."""
    return np.sqrt(((scores.double().numpy() - expected) ** 2).mean() / (expected**2).mean())


@pytest.mark.parametrize("rows", [1, 31, 64, 300])
@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_bytes_get_the_scores_of_the_map(way, rows):
    affine, pixels = random_map(), random_pixels(rows)
    scores = Predictor(affine, way=way)(pixels)
    assert scores.shape == (rows, OUT_SIZE)
    assert scores.dtype == torch.float32
    assert relative_error(scores, exact(affine, pixels)) <= FLOAT32_ERROR


@pytest.mark.parametrize("way", FLOAT_BACKENDS)
@pytest.mark.parametrize("rows", [1, 31, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_floats_are_widened_before_they_are_summed(way, rows, dtype):
    """Integers up to 255 are exact in all of these; their sums are not exact in 16 bits."""
    affine, images = integer_map(), random_pixels(rows).to(dtype)
    scores = Predictor(affine, way=way)(images)
    assert scores.dtype == torch.float32
    assert np.array_equal(scores.numpy(), exact(affine, images))


@pytest.mark.parametrize("way", ["linear", "blocks"])
def test_bytes_are_as_good_as_the_same_floats(way):
    affine, pixels = integer_map(), random_pixels(300)
    assert np.array_equal(Predictor(affine, way=way)(pixels).numpy(), exact(affine, pixels))


@pytest.mark.parametrize("way", FLOAT_BACKENDS)
def test_float64_images_are_computed_in_float64(way):
    affine = random_map()
    images = torch.from_numpy(np.random.default_rng(2).standard_normal((40, *IN_SHAPE)))
    scores = Predictor(affine, way=way)(images)
    assert scores.dtype == torch.float64
    # 192 products, each rounded by 1e-16; float32 would be off by 1e-7
    assert np.abs(scores.numpy() - exact(affine, images)).max() <= 1e-12


@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_an_empty_batch_gets_no_scores(way):
    predictor = Predictor(random_map(), way=way)
    assert predictor(random_pixels(0)).shape == (0, OUT_SIZE)
    assert predictor.classes(random_pixels(0)).shape == (0,)
    assert predictor.classes(random_pixels(0)).dtype == torch.int64


@pytest.mark.parametrize("way", SINGLE_BACKENDS)
@pytest.mark.parametrize(("in_size", "out_size"), [(1, 1), (1, 40), (7, 1), (150, 1), (150, 17), (150, 100)])
def test_any_size_can_be_forced(way, in_size, out_size):
    affine, pixels = random_map(3, (in_size,), out_size), random_pixels(70, (in_size,))
    scores = Predictor(affine, way=way)(pixels)
    assert scores.shape == (70, out_size)
    assert relative_error(scores, exact(affine, pixels)) <= FLOAT32_ERROR


@pytest.mark.parametrize("in_shape", [(130,), (2, 70), (3, 8, 8), (1, 3, 8, 8)])
def test_any_number_of_axes(in_shape):
    affine, pixels = random_map(4, in_shape), random_pixels(40, in_shape)
    predictor = Predictor(affine)
    assert relative_error(predictor(pixels), exact(affine, pixels)) <= FLOAT32_ERROR
    assert torch.equal(predictor(pixels), predictor(pixels.flatten(1)))


# The batch


@pytest.mark.parametrize("way", SINGLE_BACKENDS)
@pytest.mark.parametrize("rows", [64, 65, 300])
def test_blocks_of_a_batch_are_put_together_in_order(way, rows, monkeypatch):
    monkeypatch.setattr(backends, "BLOCK_BYTES", 1)  # the fewest rows: 64
    affine, pixels = random_map(), random_pixels(rows)
    scores = Predictor(affine, way=way)(pixels)
    assert scores.shape == (rows, OUT_SIZE)
    assert relative_error(scores, exact(affine, pixels)) <= FLOAT32_ERROR


@pytest.mark.parametrize("way", SINGLE_BACKENDS)
def test_an_image_gets_its_scores_in_any_batch(way):
    """Two scores within the bound differ by at most twice the bound; those of exact sums are equal."""
    affine, pixels = random_map(), random_pixels(300)
    predictor = Predictor(affine, way=way)
    whole = predictor(pixels)
    for size in (1, 7, 40, 299):
        difference = (torch.cat([predictor(batch) for batch in pixels.split(size)]) - whole).abs().double().numpy()
        assert (difference <= (0 if way == "planes" else 2 * predictor.error_bound(way))).all()


@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_scores_lie_side_by_side_in_any_batch(way):
    predictor = Predictor(random_map(), way=way)
    for rows in (1, 100, 300):
        assert predictor(random_pixels(rows)).is_contiguous()


@pytest.mark.parametrize("way", BYTE_BACKENDS)
@pytest.mark.parametrize(
    "arrange",
    [
        lambda images: images.contiguous(memory_format=torch.channels_last),
        lambda images: images.repeat_interleave(2, 3)[..., ::2],
        lambda images: images.transpose(2, 3).contiguous().transpose(2, 3),
        lambda images: images.repeat(2, 1, 1, 1)[: len(images)],
        lambda images: images.repeat_interleave(3, 0)[::3],
        lambda images: torch.cat([images, images], 1)[:, : IN_SHAPE[0]],
        tv_tensors.Image,
    ],
    ids=["channels_last", "every other column", "transposed", "a part", "every third image", "some channels", "Image"],
)
def test_the_layout_of_images_in_memory_does_not_matter(way, arrange):
    pixels = random_pixels(70)
    arranged = arrange(pixels)
    assert torch.equal(arranged, pixels)
    predictor = Predictor(random_map(), way=way)
    assert torch.equal(predictor(arranged), predictor(pixels))


SHARED = {
    "one image many times": random_pixels(1).expand(70, *IN_SHAPE),
    "two images in turn": random_pixels(2)[None].expand(35, 2, *IN_SHAPE).flatten(0, 1),
    "windows that overlap": random_pixels(70)[:, 0].flatten().unfold(0, IN_SIZE, 8),
    "a column turned into a row": random_pixels(1).reshape(IN_SIZE, 1).t(),
    "an image of stride 0": random_pixels(1).flatten().as_strided((1, IN_SIZE), (0, 1)),
    "one pixel everywhere": random_pixels(1)[:, :1, :1, :1].expand(70, *IN_SHAPE),
}


@pytest.mark.parametrize("way", BYTE_BACKENDS)
@pytest.mark.parametrize("images", SHARED.values(), ids=SHARED)
def test_images_may_share_memory(way, images):
    """torch's product of 8-bit integers returns uninitialised memory for rows that overlap (pytorch issue 195066)."""
    affine = random_map()
    predictor = Predictor(affine, way=way)
    assert relative_error(predictor(images), exact(affine, images)) <= FLOAT32_ERROR
    if way != "planes":
        assert relative_error(predictor(images.float()), exact(affine, images)) <= FLOAT32_ERROR


@pytest.mark.parametrize("way", FLOAT_BACKENDS)
def test_nan_and_infinity_stay_within_their_image(way):
    """The weight of a block is padded with zeros, and zero times infinity is NaN."""
    affine, images = random_map(), random_pixels(70).float()
    images[3] = torch.inf
    images[5, 0, 2, 2] = torch.nan
    scores = Predictor(affine, way=way)(images)
    others = [row for row in range(70) if row not in {3, 5}]
    assert not scores[[3, 5]].isfinite().any()
    assert relative_error(scores[others], exact(affine, images[others])) <= FLOAT32_ERROR


def test_one_bright_pixel_reads_one_column():
    affine = integer_map()
    pixels = torch.eye(IN_SIZE, dtype=torch.uint8)
    assert np.array_equal(Predictor(affine, way="blocks")(pixels).numpy(), (affine.W + affine.B[:, None]).T)


# The map


@pytest.mark.parametrize("way", SINGLE_BACKENDS)
def test_a_map_kept_as_factors(way):
    inner, outer = random_map(5, out_size=6), random_map(6, (6,), OUT_SIZE)
    pixels = random_pixels(300)
    predictor = Predictor(FactoredMap([outer, inner]), way=way)
    for batch in (pixels[:3], pixels):
        scores = predictor(batch)
        assert scores.shape == (len(batch), OUT_SIZE)
        assert relative_error(scores, exact(outer @ inner, batch)) <= 2 * FLOAT32_ERROR  # two layers round


def test_three_factors_are_applied_from_the_innermost_on():
    factors = [integer_map(7, (4,), 3), integer_map(8, (5,), 4), integer_map(9, out_size=5)]
    both, pixels = FactoredMap(factors), random_pixels(70) % 8
    assert np.array_equal(Predictor(both, way="blocks")(pixels).numpy(), both(pixels.flatten(1).double().numpy()))


@pytest.mark.parametrize("way", SINGLE_BACKENDS)
def test_a_sparse_map_is_taken_like_a_dense_one(way):
    dense = random_map()
    dense.W[:, ::3] = 0
    sparse = AffineMap(scipy.sparse.csr_array(dense.W), dense.B, IN_SHAPE)
    pixels = random_pixels(70)
    assert torch.equal(Predictor(sparse, way=way)(pixels), Predictor(dense, way=way)(pixels))


def test_a_map_in_float32_is_taken_as_it_is():
    affine, pixels = random_map().astype(np.float32), random_pixels(70)
    assert torch.equal(Predictor(affine)(pixels), Predictor(affine.astype(np.float64))(pixels))


@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_rows_of_zeros_give_the_bias(way):
    affine = AffineMap(np.zeros((3, IN_SIZE)), [1.0, -2.0, 0.5])
    assert Predictor(affine, way=way)(random_pixels(40)).tolist() == [[1.0, -2.0, 0.5]] * 40


def test_a_map_without_in_shape_takes_any_shape_of_as_many_entries():
    affine = integer_map()
    flat = Predictor(AffineMap(affine.W, affine.B))
    pixels = random_pixels(5)
    expected = exact(affine, pixels)
    for shape in [(5, IN_SIZE), (5, *IN_SHAPE), (5, 2, 96), (5, 1, 1, 8, 24)]:
        assert np.array_equal(flat(pixels.reshape(shape)).numpy(), expected)


@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_the_predictor_copies_the_numbers_of_its_map(way):
    affine, pixels = random_map(), random_pixels(70)
    predictor = Predictor(affine, way=way)
    before = predictor(pixels).clone()
    affine.W[:] = 0
    affine.B[:] = 7
    assert torch.equal(predictor(pixels), before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))], ids=["deepcopy", "pickle"])
def test_copies_of_a_predictor_predict_the_same(copied):
    predictor, pixels = Predictor(random_map()), random_pixels(70)
    assert torch.equal(copied(predictor)(pixels), predictor(pixels))


# Preprocessing

MEAN, STD = (0.4, 0.5, 0.6), (0.25, 0.2, 0.4)
CHAINS = {
    "ToTensor": transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)]),
    "v2": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]),
    "unscaled": v2.Compose([v2.ToDtype(torch.float32), v2.Normalize((1.0,), (3.0,))]),
    "list": [v2.ToDtype(torch.float64, scale=True)],
}


def applied(chain, pixels):
    """Bytes preprocessed by torchvision, image by image; ToTensor takes another layout."""
    if isinstance(chain, list):
        chain = transforms.Compose(chain)
    if isinstance(chain.transforms[0], transforms.ToTensor):
        return torch.stack([chain(image.permute(1, 2, 0).numpy()) for image in pixels])
    return torch.stack([chain(image) for image in pixels])


@pytest.mark.parametrize("way", BYTE_BACKENDS)
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_preprocessing_is_folded_into_the_map(way, chain):
    affine, pixels = random_map(), random_pixels(70)
    predictor = Predictor(affine, preprocess=chain, way=way)
    # torchvision rounds to float32 once or twice, and so do the weights
    assert relative_error(predictor(pixels), exact(affine, applied(chain, pixels))) <= 2 * FLOAT32_ERROR


def test_preprocessing_is_by_the_first_axis_whatever_the_others():
    """Axes of equal length could be mistaken for each other."""
    affine, pixels, chain = random_map(8, (3, 3, 3)), random_pixels(40, (3, 3, 3)), CHAINS["v2"]
    scores = Predictor(affine, preprocess=chain)(pixels)
    assert relative_error(scores, exact(affine, applied(chain, pixels))) <= 2 * FLOAT32_ERROR


def test_preprocessing_is_folded_into_the_innermost_factor():
    inner, outer = random_map(5, out_size=6), random_map(6, (6,), OUT_SIZE)
    pixels, chain = random_pixels(70), CHAINS["v2"]
    scores = Predictor(FactoredMap([outer, inner]), preprocess=chain)(pixels)
    assert relative_error(scores, exact(outer @ inner, applied(chain, pixels))) <= 3 * FLOAT32_ERROR


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floats_count_as_preprocessed(dtype):
    images = applied(CHAINS["v2"], random_pixels(40)).to(dtype)
    assert torch.equal(Predictor(random_map(), preprocess=CHAINS["v2"])(images), Predictor(random_map())(images))


def test_without_preprocessing_bytes_count_as_0_to_255():
    predictor = Predictor(AffineMap([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.5]))
    assert predictor(torch.tensor([[255, 128]], dtype=torch.uint8)).tolist() == [[255.0, 128.5]]


# Classes


@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_classes_are_those_of_the_highest_scores(way):
    affine, pixels = random_map(), random_pixels(70)
    classes = Predictor(affine, way=way).classes(pixels)
    assert classes.dtype == torch.int64
    assert classes.tolist() == exact(affine, pixels).argmax(1).tolist()


@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_the_first_of_equal_scores_is_the_class(way):
    W = np.zeros((5, IN_SIZE))
    W[[1, 2, 4]] = 1.0
    predictor = Predictor(AffineMap(W, np.zeros(5)), way=way)
    for rows in (1, 40, 300):
        assert predictor.classes(torch.full((rows, IN_SIZE), 9, dtype=torch.uint8)).tolist() == [1] * rows
    assert predictor.classes(torch.zeros(1, IN_SIZE, dtype=torch.uint8)).tolist() == [0]


def test_classes_of_floats():
    affine, images = random_map(), random_pixels(70)
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert Predictor(affine).classes(images.to(dtype)).tolist() == exact(affine, images).argmax(1).tolist()


# The choice of the backend


@pytest.fixture
def x86(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@needs_exact_product
@pytest.mark.usefixtures("x86")
@pytest.mark.parametrize(
    ("in_size", "out_size", "rows", "way"),
    [
        (784, 10, 1, "linear"),
        (784, 10, 31, "linear"),
        (784, 10, 32, "planes"),
        (784, 10, 100_000, "planes"),
        (127, 10, 63, "linear"),
        (127, 10, 64, "blocks"),
        (784, 100, 64, "blocks"),
        (784, 10, 0, "linear"),
    ],
)
def test_the_backend_is_chosen_by_size(in_size, out_size, rows, way):
    assert Predictor(random_map(0, (in_size,), out_size)).way_for(rows).way == way


@pytest.mark.parametrize(("rows", "way"), [(1, "linear"), (63, "linear"), (64, "blocks")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_floats_are_never_multiplied_by_digit_slices(rows, way, dtype):
    assert Predictor(random_map()).way_for(rows, dtype).way == way


def test_the_choice_says_which_backends_are_not_taken_and_why(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NEON")
    reason = Predictor(random_map()).way_for(64).reason
    assert reason.startswith("float32, in blocks of 4,096")
    assert "no planes: it pays on x86" in reason
    assert "no triton: it is for CUDA" in reason
    assert "no planes: it pays from 128 inputs on, here are 5" in Predictor(random_map(0, (5,))).way_for(64).reason
    assert "planes" not in Predictor(random_map()).way_for(64, torch.float64).reason


@pytest.mark.parametrize("way", SINGLE_BACKENDS)
def test_a_forced_backend_is_taken_by_every_batch(way):
    predictor = Predictor(random_map(), way=way)
    for rows in (0, 1, 40, 100_000):
        choice = predictor.way_for(rows)
        assert choice.way == way
        assert choice.reason.startswith("forced; ")


@pytest.mark.parametrize("way", FLOAT_BACKENDS)
def test_float64_is_said_to_be_computed_in_float64(way):
    assert Predictor(random_map(), way=way).way_for(5, torch.float64) == (
        "linear",
        "float64, the whole batch at once",
    )


@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_the_description_has_sizes_backends_and_accuracy(way):
    predictor = Predictor(random_map(), way=way)
    first, *lines = str(predictor).splitlines()
    assert first == repr(predictor) == f"Predictor((3, 8, 8) -> 10, cpu, way={way!r})"
    for rows in (1, 64, 1024, 10_000):
        assert any(f"{rows:,} x uint8: {predictor.way_for(rows).way} (" in line for line in lines)
    assert any("float32: " in line for line in lines) == (way != "planes")
    assert f"  bytes, linear: scores within {predictor.error_bound('linear').max():.2g}" in lines


def test_a_flat_map_is_described_by_its_size():
    assert repr(Predictor(AffineMap([[1.0, 2.0]], [0.0]))) == "Predictor((2,) -> 1, cpu, way='auto')"


class Doubled(backends.Linear):
    name = "doubled"
    dtypes = (torch.float32,)
    images_from = 5

    def __call__(self, flat):
        return 2 * super().__call__(flat)

    def __str__(self):
        return "twice the scores"


def test_a_backend_needs_no_more_than_its_line_in_the_registry(monkeypatch):
    monkeypatch.setitem(dispatch.BACKENDS, Doubled.name, Doubled)
    affine, images = integer_map(), random_pixels(5).float()
    predictor = Predictor(affine)
    assert predictor.way_for(5, torch.float32) == (
        "doubled",
        "twice the scores; no planes: it is for bytes; no triton: it is for bytes",
    )
    assert "; doubled from 5 images on" in predictor.way_for(4, torch.float32).reason
    assert np.array_equal(predictor(images).numpy(), 2 * exact(affine, images))
    assert predictor.way_for(5).way != "doubled"
    with pytest.raises(ValueError, match="expected one that can be taken here, got 'doubled': it is for floats"):
        Predictor(affine, way="doubled")
    with pytest.raises(ValueError, match=f"expected one of auto, {', '.join(dispatch.BACKENDS)}, got 'fast'"):
        Predictor(affine, way="fast")


def test_a_backend_that_never_pays_is_for_those_who_name_it(monkeypatch):
    class Asked(Doubled):
        name = "asked"
        dtypes = (torch.uint8,)
        images_from = None

    monkeypatch.setitem(dispatch.BACKENDS, Asked.name, Asked)
    affine, images = integer_map(), random_pixels(5)
    assert "asked" not in {Predictor(affine).way_for(rows).way for rows in (1, 5, 10_000)}
    assert np.array_equal(Predictor(affine, way="asked")(images).numpy(), 2 * exact(affine, images))


# Accuracy

MAPS = st.builds(
    lambda seed, size, outputs, spread, zeros: AffineMap(
        np.random.default_rng(seed).standard_normal((outputs, size))
        * 2.0 ** np.random.default_rng(seed + 1).uniform(-spread, spread, (outputs, size))
        * (np.random.default_rng(seed + 2).random((outputs, size)) >= zeros),
        np.random.default_rng(seed + 3).standard_normal(outputs),
    ),
    seed=st.integers(0, 2**32),
    size=st.integers(1, 300),
    outputs=st.integers(1, 12),
    spread=st.sampled_from([0, 2, 5]),
    zeros=st.sampled_from([0, 0.5, 0.97]),
)


def adversarial(W):
    """Images that make sums and errors large: dark, bright, and bright where weights or their errors have one sign."""
    images = [np.zeros(W.shape[1]), np.full(W.shape[1], 255)]
    for row in W:
        step = np.abs(row).max() / largest_integer(8, 3) or 1.0
        # the weights, and their errors of rounding to float32 and to three slices
        for weights in (row, row - row.astype(np.float32), row - np.rint(row / step) * step):
            images += [255 * (weights > 0), 255 * (weights < 0)]
    return torch.from_numpy(np.array(images, dtype=np.uint8))


@pytest.mark.parametrize("way", SINGLE_BACKENDS)
@settings(max_examples=40)
@given(affine=MAPS)
def test_no_image_is_further_off_than_the_bound(way, affine):
    assume(way != "planes" or slices_needed(affine.W, 7) is not None)  # otherwise the backend is unavailable
    predictor = Predictor(affine, way=way)
    images = torch.cat([adversarial(affine.W), random_pixels(5, (affine.in_size,))])
    error = np.abs(predictor(images).double().numpy() - exact(affine, images))
    # the expected scores are rounded, too
    judge = affine.in_size * 2.0**-52 * (255 * np.abs(affine.W).sum(1) + np.abs(affine.B))
    assert (error <= predictor.error_bound(way) + judge).all()


@pytest.mark.parametrize("way", SINGLE_BACKENDS)
def test_the_bound_holds_through_factors_and_preprocessing(way):
    inner, outer = random_map(5, out_size=6), random_map(6, (6,), OUT_SIZE)
    predictor = Predictor(FactoredMap([outer, inner]), preprocess=CHAINS["list"], way=way)
    images = torch.cat([adversarial(inner.W), random_pixels(5, (IN_SIZE,))]).reshape(-1, *IN_SHAPE)
    expected = (outer @ inner)(images.flatten(1).double().numpy() / 255)
    bound = predictor.error_bound(way)
    assert (np.abs(predictor(images).double().numpy() - expected) <= bound).all()
    # the bound is not loose: with n = 192 and 6, about (n + 2) 2^-24 of the largest sums of magnitudes
    assert (bound <= 210 * 2.0**-24 * (np.abs(outer.W) @ (np.abs(inner.W).sum(1) + np.abs(inner.B)) + 5)).all()


@needs_exact_product
def test_exact_products_have_the_smaller_bound():
    predictor = Predictor(random_map(), way="planes")
    assert (predictor.error_bound("planes") < predictor.error_bound("linear") / 10).all()
    assert np.array_equal(predictor.error_bound("linear"), predictor.error_bound("blocks"))


# Surroundings


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [3, 100])
def test_scores_carry_no_gradient(dtype, rows):
    images = random_pixels(rows).to(dtype).requires_grad_()
    assert not Predictor(random_map())(images).requires_grad


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_modes_of_autograd_change_nothing(mode):
    affine, pixels = random_map(), random_pixels(300)
    expected = Predictor(affine)(pixels)
    with mode():
        inside = Predictor(affine)
        assert torch.equal(inside(pixels), expected)
        inside(pixels.double())
    assert torch.equal(inside(pixels), expected)
    assert not inside(pixels.double().requires_grad_()).requires_grad


@pytest.mark.parametrize("way", BYTE_BACKENDS)
@pytest.mark.parametrize("rows", [3, 100])
def test_autocast_does_not_narrow(way, rows):
    affine, pixels = random_map(), random_pixels(rows)
    predictor = Predictor(affine, way=way)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, classes = predictor(pixels), predictor.classes(pixels)
    assert scores.dtype == torch.float32
    assert relative_error(scores, exact(affine, pixels)) <= FLOAT32_ERROR
    assert classes.tolist() == exact(affine, pixels).argmax(1).tolist()


@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_the_default_dtype_does_not_matter(way, monkeypatch):
    monkeypatch.setattr(backends, "BLOCK_BYTES", 1)
    affine, pixels = random_map(), random_pixels(300)
    expected = Predictor(affine, way=way)(pixels)
    torch.set_default_dtype(torch.float64)
    try:
        scores = Predictor(affine, way=way)(pixels)
    finally:
        torch.set_default_dtype(torch.float32)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, expected)


@pytest.mark.parametrize("way", BYTE_BACKENDS)
def test_the_default_device_does_not_matter(way, monkeypatch):
    monkeypatch.setattr(backends, "BLOCK_BYTES", 1)
    affine, pixels = random_map(), random_pixels(300)
    expected = Predictor(affine, way=way)(pixels)
    is_exact.cache_clear()
    with torch.device("meta"):
        predictor = Predictor(affine, way=way)
        scores = predictor(pixels)
    assert scores.device.type == "cpu"
    assert torch.equal(scores, expected)
    assert torch.equal(predictor(pixels), expected)


def test_nothing_global_is_changed():
    is_exact.cache_clear()
    before = torch.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled()
    Predictor(random_map())(random_pixels(300))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == before[1:]


def test_threads_can_share_a_predictor():
    predictor, pixels = Predictor(random_map()), random_pixels(300)
    images = pixels.double()  # the layers in float64 are made at the first such call
    results = []

    def work():
        results.extend((predictor(pixels), predictor(images)) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    for bytes_, doubles in results:
        assert torch.equal(bytes_, predictor(pixels))
        assert torch.equal(doubles, predictor(images))


# Bad input


@pytest.mark.parametrize("affine", [np.ones((2, 3)), None, torch.nn.Linear(3, 2), "map.safetensors"])
def test_arguments_that_are_not_a_map(affine):
    with pytest.raises(TypeError, match="affine: expected an AffineMap or a FactoredMap of numbers, got"):
        Predictor(affine)


def test_a_map_of_symbols():
    W = symbolic.avg_pool_matrix((1, 4), 2)
    with pytest.raises(TypeError, match="affine: expected an AffineMap or a FactoredMap of numbers, got AffineMap"):
        Predictor(AffineMap(W, [0, 0]))


@pytest.mark.parametrize(("W", "B"), [([[1e39, 0.0]], [0.0]), ([[1.0, 0.0]], [-1e39])])
def test_entries_that_do_not_fit_into_float32(W, B):
    with pytest.raises(ValueError, match=r"affine: expected entries that fit torch.float32, got .* 1e\+39"):
        Predictor(AffineMap(W, B))


@pytest.mark.parametrize("way", ["fast", "", None, "Linear", 1.5])
def test_unknown_backends(way):
    with pytest.raises(ValueError, match=f"way: expected one of auto, {', '.join(dispatch.BACKENDS)}, got {way!r}"):
        Predictor(random_map(), way=way)


def test_backends_that_are_not_available_here():
    with pytest.raises(ValueError, match="way: expected one that can be taken here, got 'triton': it is for CUDA"):
        Predictor(random_map(), way="triton")
    huge = random_map()
    huge.W[0, 0] = 1e12
    with pytest.raises(ValueError, match="way: expected one that can be taken here, got 'planes': a weight is"):
        Predictor(huge, way="planes")


def test_triton_that_is_not_installed(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(sys.modules, "gpu.predict.triton_kernel", None)
    with pytest.raises(ValueError, match="got 'triton': triton is not installed"):
        Predictor(random_map(), way="triton")
    assert Predictor(random_map()).way_for(1).way == "linear"


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "meta"])
def test_unknown_devices(device):
    with pytest.raises(ValueError, match=f"device: expected a device of this machine, got '{device}'"):
        Predictor(random_map(), device=device)


def test_bad_preprocessing():
    affine = random_map()
    with pytest.raises(ValueError, match="preprocess: expected a map with in_shape, .* got one without"):
        Predictor(AffineMap(affine.W, affine.B), preprocess=CHAINS["v2"])
    with pytest.raises(ValueError, match=r"preprocess\[0\]: expected .* not known to be affine"):
        Predictor(affine, preprocess=[v2.RandomHorizontalFlip()])
    with pytest.raises(ValueError, match=r"preprocess\[1\].mean: expected one entry per channel \(3\), got 2"):
        Predictor(affine, preprocess=[v2.ToDtype(torch.float32), v2.Normalize([0.5, 0.5], [1.0, 1.0])])


CALLS = [lambda predictor, images: predictor(images), lambda predictor, images: predictor.classes(images)]


@pytest.mark.parametrize("call", CALLS, ids=["scores", "classes"])
@pytest.mark.parametrize("images", [None, np.zeros((1, *IN_SHAPE), np.uint8), [[0]]])
def test_images_that_are_not_a_tensor(call, images):
    kind = type(images).__name__
    with pytest.raises(TypeError, match=f"images: expected a torch tensor of uint8 or floats, got {kind}"):
        call(Predictor(random_map()), images)


@pytest.mark.parametrize("call", CALLS, ids=["scores", "classes"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64, torch.float8_e5m2])
def test_images_of_another_dtype(call, dtype):
    message = f"images: expected one of uint8, float32, float16, bfloat16, float64, got {dtype}"
    with pytest.raises(TypeError, match=message):
        call(Predictor(random_map()), torch.zeros(1, *IN_SHAPE, dtype=dtype))
    with pytest.raises(TypeError, match=message):
        Predictor(random_map()).way_for(1, dtype)


@pytest.mark.parametrize("call", CALLS, ids=["scores", "classes"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (192,), (3, 8, 8), (2, 8, 8, 3), (2, 3, 64), (2, 191), (2, 1, 3, 8, 8), (0,)])
def test_images_of_another_shape(call, dtype, shape):
    message = rf"images: expected shape \(N, 3, 8, 8\), got \({', '.join(map(str, shape))},?\)"
    with pytest.raises(ValueError, match=message):
        call(Predictor(random_map()), torch.zeros(shape, dtype=dtype))


@pytest.mark.parametrize("call", CALLS, ids=["scores", "classes"])
def test_images_without_values_or_not_dense(call):
    images = torch.zeros(2, *IN_SHAPE)
    with pytest.raises(TypeError, match=r"expected a dense tensor of uint8 or floats, got torch.sparse_coo"):
        call(Predictor(random_map()), images.to_sparse())
    with pytest.raises(TypeError, match=r"expected a dense tensor of uint8 or floats, got one without values \(meta\)"):
        call(Predictor(random_map()), images.to("meta"))


@pytest.mark.parametrize("shape", [(2, 191), (192,), (2, 3, 8, 9)])
def test_images_of_another_size(shape):
    with pytest.raises(ValueError, match=r"images: expected shape \(N, 192\), got"):
        Predictor(AffineMap(random_map().W, random_map().B))(torch.zeros(shape))


@needs_exact_product
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_floats_are_refused_by_backends_for_bytes(dtype):
    predictor = Predictor(random_map(), way="planes")
    message = f"images: expected uint8 for way='planes', got {dtype}"
    with pytest.raises(ValueError, match=message):
        predictor.way_for(1, dtype)
    for call in CALLS:
        with pytest.raises(ValueError, match=message):
            call(predictor, random_pixels(2).to(dtype))


@pytest.mark.parametrize("way", ["auto", "triton", "fast"])
def test_bounds_of_backends_that_are_not_available(way):
    with pytest.raises(ValueError, match=f"way: expected one of linear, blocks.*, got '{way}'"):
        Predictor(random_map()).error_bound(way)


@pytest.mark.parametrize("rows", [-1, 1.5, True])
def test_numbers_of_images_that_are_impossible(rows):
    with pytest.raises(ValueError, match=f"rows: expected an int of at least 0, got {rows}"):
        Predictor(random_map()).way_for(rows)


def test_a_capture_takes_tensors():
    with pytest.raises(TypeError, match="images: expected a torch tensor, got list"):
        CapturedPrediction(Predictor(random_map()), [[0]])
    with pytest.raises(TypeError, match="predictor: expected a Predictor, got AffineMap"):
        CapturedPrediction(random_map(), random_pixels(5))


@pytest.mark.parametrize("batch_size", [2.5, "2", 0, -1, True])
def test_a_capture_takes_whole_batches(batch_size):
    with pytest.raises(ValueError, match=f"batch_size: expected an int of at least 1, got {batch_size!r}"):
        CapturedPrediction(Predictor(random_map()), random_pixels(5), batch_size)


def test_a_capture_needs_images():
    with pytest.raises(ValueError, match=r"images: expected at least one image, got shape \(0, 3, 8, 8\)"):
        CapturedPrediction(Predictor(random_map()), random_pixels(0))
    with pytest.raises(ValueError, match=r"images: expected at least one image, got shape \(\)"):
        CapturedPrediction(Predictor(random_map()), torch.tensor(1))


def test_a_capture_needs_cuda():
    with pytest.raises(ValueError, match="device: expected predictor and images on one CUDA device, got cpu and cpu"):
        CapturedPrediction(Predictor(random_map()), random_pixels(5))


# CUDA


@pytest.mark.cuda
@pytest.mark.parametrize("way", ["auto", "linear"])
@pytest.mark.parametrize("rows", [0, 1, 64, 300])
def test_cuda_agrees_with_the_cpu(way, rows):
    """Both are within their bounds of the same exact scores."""
    affine, pixels = random_map(), random_pixels(rows)
    here, there = Predictor(affine, way="linear"), Predictor(affine, way=way, device="cuda")
    for images in (pixels, pixels.float(), pixels.double(), pixels.cuda()):
        scores = there(images)
        assert scores.device.type == "cuda"
        assert scores.dtype == here(images).dtype
        difference = np.abs((scores.cpu() - here(images)).double().numpy())
        assert (difference <= 2 * here.error_bound("linear")).all()
    # scores of random maps differ by much more than their errors
    assert there.classes(pixels).cpu().tolist() == exact(affine, pixels).argmax(1).tolist()


@pytest.mark.cuda
def test_a_predictor_on_the_cpu_takes_images_from_cuda():
    predictor, pixels = Predictor(random_map()), random_pixels(40)
    assert torch.equal(predictor(pixels.cuda()), predictor(pixels))


@pytest.mark.cuda
@pytest.mark.parametrize("way", ["blocks", "planes"])
def test_backends_for_the_cpu_are_refused_on_cuda(way):
    with pytest.raises(ValueError, match=f"got '{way}': it is for the CPU"):
        Predictor(random_map(), way=way, device="cuda")


@pytest.mark.cuda
@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("batch_size", [None, 1, 64, 100, 1000])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_capture_gives_what_the_predictor_gives(classes, batch_size, dtype):
    predictor = Predictor(random_map(), device="cuda")
    images = random_pixels(130).to("cuda", dtype)
    captured = CapturedPrediction(predictor, images, batch_size, classes=classes)
    predict = predictor.classes if classes else predictor
    # float32 sums may be ordered differently in another batch: up to 4e-7 of scores of up to 15,000; classes agree
    torch.testing.assert_close(captured(), predict(images), rtol=1e-5, atol=1e-2)


@pytest.mark.cuda
def test_a_capture_reads_what_was_written_into_its_images():
    predictor = Predictor(random_map(), device="cuda")
    images = random_pixels(130).cuda()
    captured = CapturedPrediction(predictor, images, 64)
    before = captured()
    kept = before.clone()
    images.copy_(random_pixels(130, seed=9))
    after = captured()
    assert after.data_ptr() == before.data_ptr()
    torch.testing.assert_close(after, predictor(images), rtol=1e-5, atol=1e-2)
    assert not torch.equal(after, kept)


@pytest.mark.cuda
def test_a_capture_keeps_what_its_graph_reads():
    """Freed memory would be given to the next tensors of the same size."""
    affine, pixels = random_map(), random_pixels(130)
    captured = CapturedPrediction(Predictor(affine, device="cuda"), pixels.cuda(), 64)
    sizes, of_each = (512, 1024, 24_960), 50
    others = [torch.full((size,), 77, dtype=torch.uint8, device="cuda") for size in sizes for _ in range(of_each)]
    assert relative_error(captured().cpu(), exact(affine, pixels)) <= FLOAT32_ERROR
    assert len(others) == len(sizes) * of_each  # they are alive until here


@pytest.mark.cuda
def test_a_capture_needs_images_on_the_card():
    predictor = Predictor(random_map(), device="cuda")
    with pytest.raises(ValueError, match="device: expected predictor and images on one .*, got cuda.* and cpu"):
        CapturedPrediction(predictor, random_pixels(5))


@pytest.mark.cuda(devices=2)
def test_another_card_than_the_current_one():
    affine, pixels = random_map(), random_pixels(130)
    predictor = Predictor(affine, device="cuda:1")
    scores = predictor(pixels)
    assert scores.device == torch.device("cuda:1")
    assert relative_error(scores.cpu(), exact(affine, pixels)) <= FLOAT32_ERROR
    captured = CapturedPrediction(predictor, pixels.to("cuda:1"), 64, classes=True)
    assert captured().cpu().tolist() == exact(affine, pixels).argmax(1).tolist()
