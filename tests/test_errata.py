"""Every entry of docs/errata.md, reproduced: what the paper says fails, and what holds instead does not."""

import re
from pathlib import Path

import numpy as np
import pytest
import sympy
import torch
import torchvision
from PIL import Image
from scipy.linalg import toeplitz
from skimage.transform import resize
from sklearn.linear_model import LogisticRegression
from torch import nn

import gpu
from gpu import three_layer_cnn
from gpu.collapsing.costs import costs_of_network
from gpu.experiments.paper_numbers import TIMINGS
from gpu.training.data import Digits, load_digits
from linalg_cnn import (
    AffineMap,
    Conv,
    Dense,
    Pad,
    SkipNetwork,
    conv_matrix,
    pad_matrix,
    resample_matrix,
    shared_skip_weights,
)


def test_1_equation_6_is_nearest_exact_not_pytorchs_default():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    as_printed = [[1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]

    def interpolated(mode):
        return nn.functional.interpolate(image[None, None], size=(3, 4), mode=mode)[0, 0].tolist()

    pillow = Image.fromarray(image.numpy()).resize((4, 3), Image.Resampling.NEAREST)
    scikit_image = resize(image.numpy(), (3, 4), order=0, anti_aliasing=False, preserve_range=True)
    assert interpolated("nearest-exact") == np.asarray(pillow).tolist() == scikit_image.tolist() == as_printed
    assert interpolated("nearest") == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]] != as_printed
    for mode in ("nearest", "nearest-exact"):
        matrix = resample_matrix((1, 2, 2), (3, 4), mode)
        assert (matrix @ image.numpy().ravel()).reshape(3, 4).tolist() == interpolated(mode)


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_2_same_size_takes_k_minus_1_zeros_in_all(n, k):
    kernel = np.ones((1, 1, k, k))

    def out_shape(padding):
        return Conv(kernel).out_shape(Pad(padding).out_shape((1, n, n)))

    assert out_shape([(k - 1, k - 1)] * 2) == (1, n + k - 1, n + k - 1)  # k - 1 on each side: the "full" convolution
    before = (k - 1) // 2
    assert out_shape([(before, k - 1 - before)] * 2) == (1, n, n)
    assert Conv(kernel, padding="same").out_shape((1, n, n)) == (1, n, n)


def test_2_the_printed_example_gives_3x3():
    padded = pad_matrix((1, 2, 2), 1)
    convolution = conv_matrix(np.ones((1, 1, 2, 2)), (1, 4, 4))
    assert (convolution @ padded).shape == (3 * 3, 2 * 2)


def test_3_t_weighs_the_skip():
    layers = [Conv([[[1.0, 2.0, 1.0]]], padding=1), Conv([[[3.0, 0.0, -1.0]]], padding=1)]
    x = np.array([[1.0, 5.0, 2.0]])
    without = SkipNetwork((1, 3), layers)(x)
    ours = SkipNetwork((1, 3), layers, shared_skip_weights([(0, 1)], 0))(x)
    np.testing.assert_array_equal(ours, without)  # t = 0 is the network without skips
    as_printed = {(1, 1): 0.0, (0, 1): 1.0}  # equation (23): t x^(i-1) + (1 - t) x^(j) at t = 0
    printed = SkipNetwork((1, 3), layers, as_printed)(x)
    np.testing.assert_array_equal(printed, layers[1](x[np.newaxis])[0])  # the skip alone is left
    assert not np.array_equal(printed, without)


def linear_resnet34(pool):
    """ResNet34 with its ReLUs removed, for one channel, with random running statistics."""
    torch.manual_seed(0)
    model = torchvision.models.resnet34(num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    model.maxpool = pool
    for module in model.modules():
        if hasattr(module, "relu"):
            module.relu = nn.Identity()
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.double().eval()


def test_4_resnet34_without_relu_is_affine_only_without_its_max_pooling():
    x, y = torch.randn(2, 1, 1, 32, 32, dtype=torch.float64)
    zero = torch.zeros_like(x)
    gaps = {}
    for name, pool in [("max", nn.MaxPool2d(3, 2, 1)), ("average", nn.AvgPool2d(3, 2, 1))]:
        f = linear_resnet34(pool)
        with torch.inference_mode():
            gap = f(x + y) - f(x) - f(y) + f(zero)  # zero for every affine map
            gaps[name] = float(gap.abs().max() / f(x).abs().max())
    assert gaps["average"] < 1e-10
    assert gaps["max"] > 1e-2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_4_an_affine_classifier_stays_far_from_98_percent():
    """The best that 4,000 digits teach an affine classifier is some 90 % of the held-out ones."""
    training, held_out = load_digits()
    features = [digits.images.flatten(1).numpy() / 255 for digits in (training, held_out)]
    for strength in (0.01, 0.1, 1.0):
        classifier = LogisticRegression(C=strength, max_iter=100).fit(features[0], training.labels)
        assert 0.85 < classifier.score(features[1], held_out.labels) < 0.94


def test_5_the_collapsed_cnn_is_a_single_layer_perceptron():
    model = three_layer_cnn(channels=2).eval()
    affine = model.to_network().compose()
    perceptron = nn.Linear(784, 10)
    with torch.no_grad():
        perceptron.weight.copy_(torch.from_numpy(affine.W))
        perceptron.bias.copy_(torch.from_numpy(affine.B))
        x = torch.rand(20, 1, 28, 28)
        torch.testing.assert_close(perceptron(x.flatten(1)), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("before", "after", "printed_percent", "times_faster"),
    [(104.91, 2.06, 98, 50.9), (106.83, 83.1, 22, 1.29), (30.72, 16.44, 46, 1.87)],
)
def test_6_the_printed_speedups_are_reductions_of_time(before, after, printed_percent, times_faster):
    assert int(100 * (1 - after / before)) == printed_percent
    assert before / after == pytest.approx(times_faster, abs=0.05)


def test_7_the_second_schedule_is_not_monotone_as_printed():
    printed = [0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.025, 0.01, 0.05, 0]
    corrected = [0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.025, 0.01, 0.005, 0]
    assert printed != sorted(printed, reverse=True)
    assert corrected == sorted(corrected, reverse=True)
    assert [i for i in range(10) if printed[i] != corrected[i]] == [8]


def test_8_resnet_computes_twice_what_t_one_half_gives():
    """Batch normalisation absorbs the factor inside the network, but nothing does at its end."""
    torch.manual_seed(0)
    F, x = nn.Conv2d(2, 2, 3, padding=1), torch.randn(8, 2, 6, 6)
    with torch.no_grad():
        resnet, half = x + F(x), 0.5 * x + 0.5 * F(x)
        torch.testing.assert_close(resnet, 2 * half)
        norm = nn.BatchNorm2d(2, eps=1e-12)  # in training mode: it divides by the deviation of the batch
        torch.testing.assert_close(norm(resnet), norm(half), rtol=1e-5, atol=1e-5)
        head = nn.Linear(72, 3)
        assert not torch.allclose(head(resnet[:, :2].flatten(1)), head(half[:, :2].flatten(1)), rtol=1e-2)


def test_9_what_resnet34_is_made_of():
    model = torchvision.models.resnet34()
    convolutions = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    on_skips = {name for name in convolutions if "downsample" in name}
    main_path = convolutions.keys() - on_skips
    assert (len(main_path), len(on_skips)) == (33, 3)
    assert sorted(main_path)[0] == "conv1"
    assert sum(name.startswith("layer") for name in main_path) == 32 == 2 * (3 + 4 + 6 + 3)
    assert all(convolutions[name].kernel_size == (1, 1) for name in on_skips)
    assert [type(m) for m in model.children()][-1] is nn.Linear


def test_10_the_indices_of_an_image_as_a_vector_are_zero_based():
    M = np.arange(6).reshape(2, 3)
    h, w = M.shape
    assert [M[i // w, i % w] for i in range(h * w)] == M.ravel().tolist()
    with pytest.raises(IndexError):
        [M[i // w, i % w] for i in range(1, h * w + 1)]


def test_11_the_sums_run_from_k_0():
    """Without k = 0, as (17) to (21) are printed, a skip from the input is lost."""
    a, t = sympy.symbols("a t")
    layer = Conv([[[a]]])
    full = SkipNetwork((1, 1), [layer, layer], {(0, 1): t, (1, 1): 1 - t}).compose()
    from_one = a * (1 - t) * a  # what the sum over k = 1, ..., i leaves
    assert sympy.expand(full.W[0] - from_one) == a * t


def test_12_one_channel_pair_at_stride_1_is_toeplitz_and_no_more():
    k = np.array([1.0, 2.0, 3.0])
    one = conv_matrix(k.reshape(1, 1, 3), (1, 5)).toarray()
    np.testing.assert_array_equal(one, toeplitz([1, 0, 0], [1, 2, 3, 0, 0]))
    strided = conv_matrix(k.reshape(1, 1, 3), (1, 5), stride=2).toarray()
    assert strided[0, 0] != strided[1, 1]
    np.testing.assert_array_equal(strided, one[::2])  # a stride drops rows

    K = np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    blocks = conv_matrix(K, (1, 4, 4)).toarray().reshape(3, 3, 4, 4)  # out row, out column, in row, in column
    for i, r in np.ndindex(2, 3):
        np.testing.assert_array_equal(blocks[i, :, r], blocks[i + 1, :, r + 1])  # equal blocks along the diagonals
    for i, r in np.ndindex(3, 4):
        np.testing.assert_array_equal(blocks[i, :-1, r, :-1], blocks[i, 1:, r, 1:])  # each of them Toeplitz

    kernel = np.random.default_rng(0).standard_normal((2, 3, 2, 2))
    whole = conv_matrix(kernel, (3, 4, 4)).toarray().reshape(2, 9, 3, 16)
    for c_out, c_in in np.ndindex(2, 3):  # several channels: a block matrix of such blocks
        block = conv_matrix(kernel[c_out, c_in][None, None], (1, 4, 4)).toarray()
        np.testing.assert_array_equal(whole[c_out, :, c_in], block)


def test_14_theorem_3_1_holds_with_biases_in_every_layer():
    """What the induction of claim 3.1 is about: f^(i) itself is affine, its own bias included."""
    rng = np.random.default_rng(0)
    layers = [
        Conv(rng.standard_normal((2, 1, 3)), rng.standard_normal(2)),
        Dense(rng.standard_normal((3, 8)), rng.standard_normal(3)),
    ]
    network = SkipNetwork((1, 6), layers)
    affine = AffineMap(network.compose().W, network(np.zeros((1, 6))))
    x = rng.standard_normal((5, 1, 6))
    np.testing.assert_allclose(affine(x[:, 0]), network(x), atol=1e-13)


def test_14_f_W_is_without_biases_only_if_f_W_stands_in_its_sum():
    """With f^(k) in the sum, as printed, the first layer's bias would be added to the columns of W."""
    a, b, p, q = sympy.symbols("a b p q")
    network = SkipNetwork((1, 1), [Conv([[[a]]], [p]), Conv([[[b]]], [q])])
    affine, one = network.compose(), 1  # the identity matrix of an image of one pixel
    as_printed, as_meant = b * (a * one + p), b * (a * one)
    assert affine.W[0] == as_meant
    assert sympy.expand(as_printed - affine.W[0]) == b * p


def pixels_seen(**options):
    """Return the pixels of a 28x28 image that a linear ResNet34 depends on at t = 1, as a picture of bools."""
    torch.manual_seed(0)
    model = gpu.resnet(34, t=1.0, activation="identity", stem_pool="avg", **options).eval()
    return (gpu.collapse(model, (1, 28, 28)).affine.W != 0).any(0).reshape(28, 28)


def test_15_at_t_1_resnet34_sees_the_corner_of_an_image():
    seen = pixels_seen()
    assert seen[:6, :6].all()
    assert seen.sum() == 36
    model = gpu.resnet(34, t=1.0).eval()  # with ReLU and max pooling: no other pixel changes a score
    digits = load_digits()[1]
    outside = digits.images[:50].clone()
    outside[:, :, :6, :6] = 0
    scores = gpu.predict_scores(model, outside)
    assert torch.equal(scores, scores[:1].expand_as(scores))
    blank = (digits.images[:, 0, :6, :6] == 0).flatten(1).all(1)
    assert (~blank).sum() == 21  # of the 1,000 images here: at most 12.1 % can be right


def test_16_a_chain_of_norms_on_maps_of_1x1_is_useless_until_it_is_recalibrated():
    torch.manual_seed(0)
    maps, parts = [], [nn.Conv2d(1, 32, 7, stride=4, padding=3)]
    for number in range(6):
        stride = 2 if number < 3 else 1
        parts += [nn.Conv2d(32, 32, 3, padding=1, stride=stride, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(32, 10))
    model[-3].register_forward_hook(lambda module, args, output: maps.append(output.shape[2:]))
    sizes = zip(load_digits(), (1280, 500), strict=True)
    training, held_out = (Digits(part.images[:count], part.labels[:count]) for part, count in sizes)
    (epoch,) = gpu.Trainer(model, training, held_out, epochs=1, learning_rate=3e-3).run()
    assert set(maps) == {(1, 1)}
    assert epoch["validation_accuracy_running"] < 0.3
    assert epoch["validation_accuracy"] > 0.7


def test_16_images_under_a_pattern_of_positions_are_found_layer_by_layer_only():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 1, 2, bias=False), nn.BatchNorm2d(1, eps=1e-12, affine=False)
    ).double()
    pattern = torch.tensor([[0.0, 1.0], [5.0, 2.0]], dtype=torch.float64)
    images = pattern + 1e-4 * torch.rand(40, 1, 2, 2, dtype=torch.float64)
    with torch.no_grad():  # 1 in 100,000,000 of the variance is between images
        model[1].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    gpu.recalibrate(model.eval(), images, batch_size=20)
    assert model(images).mean().abs() > 30  # standard deviations from 0
    gpu.recalibrate(model, images, layer_by_layer=True)
    assert model(images).mean().abs() < 1e-6
    assert (model(images).std() - 1).abs() < 1e-3


def test_17_a_stem_of_stride_1_sees_more_and_works_more():
    seen = pixels_seen(stem_stride=1)
    strips = [*range(5), *range(12, 21)]  # four corners of the last map of 2x2, each through a window of its own
    assert (seen == np.isin(np.arange(28), strips)[:, None] & np.isin(np.arange(28), strips)).all()
    assert seen.sum() == 196
    macs, with_padding = [], []

    def count(layer, given, result):
        with_padding[-1] += result[0].numel() * layer.weight[0].numel()

    for stride in (2, 1):
        model = gpu.resnet(34, activation="identity", stem_pool="avg", stem_stride=stride).eval()
        macs.append(costs_of_network(model, gpu.trace(model, (1, 28, 28))).multiply_adds)
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.register_forward_hook(count)
        with_padding.append(0)
        model(torch.zeros(1, 1, 28, 28))
    assert macs[1] / macs[0] == pytest.approx(5.155, abs=0.001)
    assert with_padding[1] / with_padding[0] == pytest.approx(3.8, abs=0.05)
    # the paper's time of an image, and the 1,920 cores of its card at 1.2 GHz, with two operations a cycle
    seconds = TIMINGS["ResNet34, linear", "network"] * 1e-6
    per_second = [2 * products / seconds for products in with_padding]
    assert [f"{rate / 1e12:.1f}" for rate in per_second] == ["1.3", "5.0"]
    assert [f"{rate / (1920 * 2 * 1.2e9):.0%}" for rate in per_second] == ["29%", "108%"]


def test_every_entry_is_in_the_documentation_with_its_test():
    text = (Path(__file__).parents[1] / "docs" / "errata.md").read_text()
    entries = re.findall(r"^## (\d+)\. ", text, flags=re.MULTILINE)
    assert entries == [str(number) for number in range(1, 18)]
    named = re.findall(r"`(test_\w+)`", text)
    assert set(named) == {name for name in globals() if re.match(r"test_\d", name)}
