"""Linear operations that people use, and the ways in which they are not what they look like.

Each is compared with torch on random data in float64.
"""

from itertools import product

import numpy as np
import pytest
import scipy.ndimage
import scipy.sparse
import torch
from module_cases import C, Lambda, randn
from torch import nn
from torch.nn import functional

import gpu
from gpu import NotAffineError, SkipCNN
from gpu.tracing.aten.antialiasing import antialiasing_matrix, cubic, triangle
from linalg_cnn import AxisSparse, Conv, Pad, SkipNetwork, pad_matrix

F2 = (3, 4)
I = torch.tensor([[[2, 0, 2, 1]]])  # noqa: E741 - an index


def assert_follows(module, in_shape):
    """The graph computes what the module does for one sample and for more than the two or three that were traced."""
    graph = gpu.trace(module, in_shape)
    generator = torch.Generator().manual_seed(0)
    for count in (1, 2, 5):
        x = torch.randn(count, *in_shape, dtype=torch.float64, generator=generator)
        with torch.no_grad():
            theirs = module.double()(x).numpy()
        ours = graph(x.numpy()).reshape(theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13 * max(1.0, np.abs(theirs).max()))


IN_NUMPY = {
    "reflect": "reflect",
    "symmetric": "symmetric",
    "replicate": "edge",
    "circular": "wrap",
    "zeros": "constant",
}
IN_SCIPY = {"reflect": "mirror", "symmetric": "reflect", "replicate": "nearest", "circular": "grid-wrap",
            "zeros": "grid-constant"}  # fmt: skip


@pytest.mark.parametrize("mode", IN_NUMPY)
def test_other_libraries_call_the_same_border_something_else(mode):
    row = np.array([3.0, 5.0, 7.0])
    ours = pad_matrix((1, 3), 2, mode) @ row
    np.testing.assert_array_equal(ours, np.pad(row, 2, mode=IN_NUMPY[mode]))
    theirs = scipy.ndimage.map_coordinates(row, [np.arange(-2, 5)], order=0, mode=IN_SCIPY[mode])
    np.testing.assert_array_equal(ours, theirs)


def test_a_filter_ported_from_scipy_by_its_default_border():
    image, kernel = np.random.default_rng(0).normal(size=(2, 5, 5))
    ours = Conv(kernel[None, None], padding=2, padding_mode="symmetric")(image[None, None])[0, 0]
    np.testing.assert_allclose(ours, scipy.ndimage.correlate(image, kernel), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("layer", "name"),
    [(Pad(2, "symmetric"), "mode"), (Conv(np.ones((1, 1, 3)), padding=2, padding_mode="symmetric"), "padding_mode")],
)
def test_a_border_that_no_module_of_torch_has(layer, name):
    with pytest.raises(ValueError, match=f"{name}: expected a border that torch's modules have .*, got 'symmetric'"):
        SkipCNN.from_network(SkipNetwork((1, 4), [layer]))


class GridSample(nn.Module):
    def __init__(self, grid, *options):
        super().__init__()
        self.register_buffer("grid", grid)
        self.options = options

    def forward(self, x):
        return functional.grid_sample(x, self.grid.expand(len(x), *self.grid.shape[1:]), *self.options)


@pytest.mark.parametrize(
    ("mode", "axes"), [("bilinear", 2), ("nearest", 2), ("bicubic", 2), ("bilinear", 3), ("nearest", 3)]
)
def test_a_grid_that_reaches_far_outside_and_meets_pixels_exactly(mode, axes):
    far = 4 * torch.randn(15, axes, generator=torch.Generator().manual_seed(axes))
    exact = torch.tensor(list(product([-3.0, -1.0, -0.5, 0.0, 1.0, 1.5], repeat=axes)))
    grid = torch.cat([far, exact]).reshape(1, -1, *(1,) * (axes - 1), axes)
    options = product([mode], ["zeros", "border", "reflection"], [True, False])
    samplers = nn.ModuleList(GridSample(grid, *choice) for choice in options)
    both = Lambda(lambda s, x: torch.stack([sampler(x) for sampler in s.samplers], 1), samplers=samplers)
    assert_follows(both, (2, 5, 1, 2)[: 1 + axes])


def test_the_grid_of_an_affine_map_with_a_scale_of_the_network():
    def forward(self, x):
        theta = torch.cat([self.turn, self.shift], dim=2).expand(len(x), 2, 3)
        grid = functional.affine_grid(theta, (len(x), 3, 2, 7), align_corners=True)
        return functional.grid_sample(self.conv(x), grid, mode="bicubic", align_corners=True)

    turn = torch.tensor([[[0.8, -0.6], [0.6, 0.8]]])
    assert_follows(Lambda(forward, conv=nn.Conv2d(3, 2, 3), turn=turn, shift=randn(1, 2, 1)), C)


def resized(x, **options):
    return functional.interpolate(x, mode="bicubic", antialias=True, **options)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("corners", [True, False])
def test_antialiased_resampling_follows_the_published_rule(mode, corners):
    kernel, reach = {"bilinear": (triangle, 1), "bicubic": (cubic, 2)}[mode]
    for n, o in product([1, 2, 3, 5, 8, 13, 28], [1, 2, 3, 5, 9, 14, 40]):
        units = torch.eye(n, dtype=torch.float64)[:, None, :, None].expand(n, 1, n, 2)
        theirs = functional.interpolate(units, (o, 2), mode=mode, antialias=True, align_corners=corners)[:, 0, :, 0].T
        ours = antialiasing_matrix(n, o, corners, kernel, reach)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-14)


def test_where_torch_does_not_follow_its_rule_for_antialiased_resampling():
    """Versions of torch do not filter the rows of a picture that becomes one pixel wide."""
    x = torch.rand(1, 1, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows, columns = (antialiasing_matrix(n, o, False, cubic, 2) for n, o in ((6, 3), (4, 1)))
    theirs = resized(x, size=(3, 1))[0, 0].numpy()
    module = Lambda(lambda s, x: resized(x, size=(3, 1)))
    if np.allclose(theirs, rows @ x[0, 0].numpy() @ columns.T):
        assert_follows(module, (1, 6, 4))
    else:
        with pytest.raises(
            NotAffineError, match=r"to \(3, 1\): torch does not follow its own rule; resample to a larger"
        ):
            gpu.trace(module, (1, 6, 4))


LAYOUTS = [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc]


@pytest.mark.filterwarnings("ignore:Sparse CS. tensor support")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_sparse_matrix_stays_sparse_on_either_side_and_in_a_collapse(layout):
    """torch cannot copy modules that hold most of these layouts."""

    def forward(self, x):
        y = torch.matmul(self.w, x.T).T + x @ self.v
        return y + (x @ self.v if layout == torch.sparse_coo else functional.linear(x, self.w, self.b))

    w = torch.eye(4, 3) * 2
    module = Lambda(
        forward,
        w=w.to_sparse(layout=layout), v=w.T.contiguous().to_sparse(layout=layout), b=randn(4),
    )  # fmt: skip
    graph = gpu.trace(module, (3,))
    operations = [node.operation for node in graph.nodes]
    assert [len(operation.weight) for operation in operations if isinstance(operation, AxisSparse)] == [3, 3, 3]
    x = randn(5, 3)
    assert torch.allclose(gpu.collapse(module, (3,)).module(x), module(x), atol=1e-6)


VMAPPED = {
    "a_product_and_a_sum": (Lambda(lambda s, x: torch.vmap(lambda v: s.w @ v + 1)(x), w=randn(2, 3)), (3,)),
    "a_convolution_of_each_sample": (
        Lambda(lambda s, x: torch.vmap(lambda v: s.conv(v[None])[0])(x), conv=nn.Conv2d(3, 2, 3)), C,
    ),
    "an_ensemble_of_weights": (Lambda(lambda s, x: torch.vmap(lambda w: x @ w)(s.w).mean(0), w=randn(5, 3, 2)), (3,)),
    "along_another_axis": (Lambda(lambda s, x: torch.vmap(s.l, in_dims=2)(x).movedim(0, -1), l=nn.Linear(3, 2)), F2),
    "vmap_in_vmap": (
        Lambda(lambda s, x: torch.vmap(torch.vmap(torch.dot, (0, None)), (0, None))(x, s.w), w=randn(4)), F2,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("module", "in_shape"), VMAPPED.values(), ids=VMAPPED)
def test_vmap_inside_a_forward(module, in_shape):
    assert_follows(module, in_shape)


def test_strides_that_let_windows_of_one_sample_overlap():
    assert_follows(Lambda(lambda s, x: (x * 2).as_strided((len(x), 4, 2, 2), (12, 2, 3, 1), 1)), F2)


class SwitchedOffByItsProbability(nn.Module):
    """Dropout with probability 0 in training mode, as a search for a good probability makes it."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(
            nn.Dropout(0.0), nn.Conv2d(3, 2, 3), nn.Dropout2d(0.0, inplace=True), nn.AlphaDropout(0)
        )
        self.scale = nn.Parameter(randn(2, 1, 1))

    def forward(self, x):
        return self.parts(x) * functional.dropout(self.scale, 0.0, True)


def test_dropout_that_drops_nothing_in_training_mode():
    module = SwitchedOffByItsProbability().train()
    assert_follows(module, C)
    assert gpu.collapse(module, C).affine.W.shape == (12, 60)


def test_dropout_that_drops_something_is_refused_in_training_mode():
    with pytest.raises(gpu.NotAffineError, match=r"Dropout: dropout is random in training mode; call .eval\(\) first"):
        gpu.trace(nn.Dropout(1e-9).train(), C)


@pytest.mark.parametrize(
    ("power", "message"),
    [
        (lambda x: x**2, "pow is not affine"),
        (lambda x: x ** torch.tensor([1.0, 1.0, 1.0, 2.0]), "pow is not affine"),
        (lambda x: 1**x, "pow is not affine"),
        (lambda x: (x * 1) ** x, "pow is not affine"),
        (lambda x: torch.float_power(x, 1.5), "float_power is not affine"),
        (lambda x: x ** (1 + 0j), "complex numbers"),
    ],
)
def test_powers_with_another_exponent_than_1_are_refused(power, message):
    with pytest.raises(gpu.NotAffineError, match=message):
        gpu.trace(Lambda(lambda s, x: power(x)), F2)


def complex_parts_of(function, **parts):
    """Return a module of what a function makes of a complex number with two different parts."""
    return Lambda(lambda s, x: torch.view_as_real(function(s, torch.complex(x, 2 * x.flip(1) + 1))), **parts)


def random_complex(*shape):
    return torch.complex(randn(*shape), randn(*shape)).to(torch.complex128)


def double(layer, *sizes, **options):
    return layer(*sizes, dtype=torch.complex128, **options)


COMPLEX_LAYERS = {
    "linear_along_the_last_axis": (complex_parts_of(lambda s, z: s.layer(z), layer=double(nn.Linear, 4, 2)), F2),
    "linear_of_vectors_without_a_bias": (
        complex_parts_of(lambda s, z: s.layer(z), layer=double(nn.Linear, 4, 2, bias=False)), (4,),
    ),
    "a_convolution": (complex_parts_of(lambda s, z: s.layer(z), layer=double(nn.Conv1d, 3, 2, 3, padding=1)), F2),
    "a_transposed_convolution": (
        complex_parts_of(lambda s, z: s.layer(z), layer=double(nn.ConvTranspose1d, 3, 2, 2)), F2,
    ),
    "real_numbers_made_complex_for_a_layer": (
        Lambda(lambda s, x: s.layer(x.to(torch.complex128)).imag, layer=double(nn.Linear, 4, 2)), F2,
    ),
    "addmm": (
        complex_parts_of(
            lambda s, z: torch.addmm(s.b, z, s.w, beta=0.5, alpha=2), b=random_complex(2), w=random_complex(4, 2),
        ),
        (4,),
    ),
    "baddbmm_whose_bias_is_the_data": (
        complex_parts_of(
            lambda s, z: torch.baddbmm(z, *s.w.expand(2, len(z), 2, 2), beta=2), w=random_complex(2, 1, 2, 2),
        ),
        (2, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("module", "in_shape"), COMPLEX_LAYERS.values(), ids=COMPLEX_LAYERS)
def test_layers_with_complex_weights(module, in_shape):
    assert_follows(module, in_shape)


def test_a_network_with_a_complex_layer_collapses_to_its_real_results():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.mixed = nn.Linear(4, 4), nn.Linear(4, 3, dtype=torch.complex64)

        def forward(self, x):
            return torch.view_as_real(self.mixed(self.first(x).to(torch.complex64))).flatten(1)

    net = Net()
    x = randn(5, 4)
    assert torch.allclose(gpu.collapse(net, (4,)).module(x), net(x), rtol=0, atol=1e-5)


class SpectralLayer(nn.Module):
    """Li et al.'s Fourier layer: it mixes the channels of the lowest frequencies, and drops the others."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.complex(randn(3, 2, 2), randn(3, 2, 2)))

    def forward(self, x):
        low = torch.fft.rfft(x)[..., :2]
        spectrum = torch.zeros(len(x), 2, 3, dtype=self.weight.dtype)
        spectrum[..., :2] = torch.einsum("ncf,cdf->ndf", low, self.weight)
        return torch.fft.irfft(spectrum, n=4)


def filtered(self, x):
    spectrum = torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=(-2, -1)) * self.mask
    return torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)), norm="ortho").real


def assigned(self, x):
    parts = list((torch.fft.rfft(x) + torch.ones(3)).unbind(1))
    spectrum = torch.stack(parts, 1)
    spectrum[..., 2:] = 0
    spectrum[:, 0] = spectrum[:, 1]
    return torch.fft.irfft(spectrum + torch.zeros_like(spectrum), n=4)


FILTERS = {
    "a_layer_of_a_fourier_neural_operator": (SpectralLayer(), F2),
    "a_global_filter_whose_weight_is_a_pair_of_real_numbers": (
        Lambda(
            lambda s, x: torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(s.w), s=x.shape[-2:]),
            w=randn(4, 3, 2),
        ),
        C,
    ),
    "a_low_pass_mask_of_a_centred_spectrum": (Lambda(filtered, mask=torch.ones(4, 5).triu(1)), C),
    "a_circular_convolution": (
        Lambda(lambda s, x: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(s.k).conj() / 2, n=4), k=randn(4)), F2,
    ),
    "a_transform_by_a_matrix_and_the_sign_of_a_conjugate": (
        Lambda(
            lambda s, x: torch.conj(x.to(torch.complex64) @ s.w).imag, w=torch.fft.fft(torch.eye(4)), b=randn(1),
        ),
        F2,
    ),
    "frequencies_assigned_in_place_one_by_one": (Lambda(assigned), F2),
}  # fmt: skip


@pytest.mark.parametrize(("module", "in_shape"), FILTERS.values(), ids=FILTERS)
def test_filters_in_the_frequency_domain_collapse(module, in_shape):
    x = randn(5, *in_shape)
    with torch.no_grad():
        ours, theirs = gpu.collapse(module, in_shape).module(x), module(x)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5)


REFUSED = {
    "the_power_of_each_frequency": (
        Lambda(lambda s, x: torch.view_as_real(torch.fft.rfft(x) * torch.fft.rfft(x).conj())),
        F2,
        "product of two values that depend on the data",
    ),
    "the_size_of_each_frequency": (Lambda(lambda s, x: torch.fft.rfft(x).abs()), F2, "abs is not affine"),
    "a_spectrum_cut_to_its_real_part_by_a_cast": (
        Lambda(lambda s, x: torch.ops.aten._to_copy(torch.fft.fft(x), dtype=torch.float32)), F2, "complex numbers",
    ),
    "a_spectrum_rounded_by_a_cast": (
        Lambda(lambda s, x: torch.fft.fft(x).to(torch.complex64).real, c=randn(1).double()),
        F2,
        "rounds torch.float64 to torch.complex64",
    ),
    "a_spectrum_over_the_samples": (Lambda(lambda s, x: torch.fft.fft(x, dim=0).real), F2, "mixes the samples"),
    "a_spectrum_over_all_axes": (Lambda(lambda s, x: torch.fft.fftn(x).real), F2, "mixes the samples"),
    "samples_shifted_with_the_spectrum": (Lambda(lambda s, x: torch.fft.fftshift(x)), F2, "mixes the samples"),
    "complex_numbers_divided_by_the_data": (
        Lambda(lambda s, x: torch.view_as_real(torch.fft.fft(x) / x)), F2, "division of complex numbers",
    ),
    "a_complex_constant_times_two_others": (
        Lambda(lambda s, x: torch.einsum("nij,i,j->ni", torch.fft.fft(x), s.c[:3], s.c).real,
               c=torch.complex(randn(4), randn(4))),
        F2,
        "several complex constants",
    ),
    "a_complex_layer_whose_weight_is_the_data": (
        Lambda(lambda s, x: functional.linear(s.c, torch.complex(x[0], x[0])).real, c=random_complex(1, 4).cfloat()),
        F2,
        "depends? on the data|mixes the samples",
    ),
    "a_bilinear_layer_of_complex_numbers": (
        Lambda(lambda s, x: functional.bilinear(torch.complex(x, x), s.c.expand(len(x), 4), s.w).real,
               c=torch.complex(randn(1, 4), randn(1, 4)), w=torch.complex(randn(2, 4, 4), randn(2, 4, 4))),
        (4,),
        "bilinear of complex numbers is not known",
    ),
    "a_complex_share_of_a_sum": (
        Lambda(lambda s, x: torch.addmm(s.c[0], torch.complex(x, x), s.c, alpha=1j).real,
               c=torch.complex(randn(4, 4), randn(4, 4))),
        (4,),
        "addmm with a complex alpha or beta",
    ),
    "a_kronecker_product_of_complex_numbers": (
        Lambda(lambda s, x: torch.kron(torch.fft.fft(x), s.c).real, c=randn(1, 1, 2)), F2, "kron of complex numbers",
    ),
    "relu_inside_vmap": (Lambda(lambda s, x: torch.vmap(torch.relu)(x)), F2, "relu is not affine"),
    "vmap_over_pairs_of_samples": (
        Lambda(lambda s, x: torch.vmap(lambda v: v + x.sum(0))(x)), (3,), "mixes the samples of the batch",
    ),
    "strides_that_reach_the_next_sample": (
        Lambda(lambda s, x: (x * 2).as_strided((len(x), 2, 3), (6, 4, 1))), F2, "mixes the samples of the batch",
    ),
    "strides_of_a_slice_whose_memory_is_another_tensors": (
        Lambda(lambda s, x: (x * 2)[:, 1:].as_strided((len(x), 2), (8, 1))),
        F2,
        r"as_strided of a view, .*; call contiguous\(\) before it",
    ),
    "strides_of_a_transpose": (
        Lambda(lambda s, x: (x * 2).mT.as_strided((len(x), 2), (12, 1))), F2, "as_strided of a view",
    ),
    "both_factors_of_a_bilinear_layer": (
        Lambda(lambda s, x: s.b(x, 2 * x), b=nn.Bilinear(4, 4, 2)), F2, "b: Bilinear: product of two values",
    ),
    "a_bilinear_constant_that_differs_between_positions": (
        Lambda(lambda s, x: s.b(x, s.c.expand(len(x), 3, 2)), b=nn.Bilinear(4, 2, 2), c=randn(1, 3, 2)),
        F2,
        "differs between positions",
    ),
    "a_bilinear_weight_from_the_data": (
        Lambda(lambda s, x: functional.bilinear(s.c, s.c, x), c=randn(2, 3)), (3, 3), "a weight that depends on",
    ),
    "the_inner_product_of_two_values": (Lambda(lambda s, x: torch.inner(x, x)), F2, "product of two values"),
    "a_matrix_that_multiplies_the_samples": (
        Lambda(lambda s, x: torch.mv(s.w[: len(x), : len(x)], x[:, 0, 0]), w=randn(3, 3)), F2, "mixes the samples",
    ),
    "a_matrix_of_samples_times_one_of_their_entries": (
        Lambda(lambda s, x: torch.mv(x, x[:, 0])), (2,), "product of two values",
    ),
    "a_grid_from_the_data": (
        Lambda(
            lambda s, x: functional.grid_sample(
                x, functional.affine_grid(s.l(x.flatten(1)).view(-1, 2, 3), x.shape, align_corners=False),
                align_corners=False,
            ),
            l=nn.Linear(60, 6),
        ),
        C,
        "got 1 that are not:\n.*: grid_sampler samples at positions that depend on the data",
    ),
    "a_grid_of_its_own_for_each_sample": (
        Lambda(lambda s, x: functional.grid_sample(x, s.g[: len(x)], align_corners=False), g=randn(3, 2, 2, 2)),
        C,
        "a constant with an entry of its own for each sample",
    ),
    "a_grid_with_a_position_that_is_no_number": (
        GridSample(torch.tensor([[[[0.0, torch.nan]]]]), "bilinear", "zeros", False),
        C,
        "grid_sampler samples at positions that are NaN or infinite",
    ),
    "a_position_between_two_pixels_that_float32_rounds_to_the_other": (
        GridSample(torch.full((1, 1, 1, 2), -0.2), "nearest", "zeros", False),
        (1, 5, 5),
        "grid_sampler picks other pixels for float64 images than for float32 images",
    ),
    "antialiased_by_a_factor_that_sizes_do_not_express": (
        nn.Sequential(nn.Conv2d(1, 1, 1), Lambda(lambda s, x: resized(x, scale_factor=0.7))),
        (1, 9, 8),
        r"_upsample_bicubic2d_aa by scale_factor=\(0.7, 0.7\): torch's gradient .*; pass size=\(6, 5\)",
    ),
    "two_entries_written_to_one_position": (
        Lambda(lambda s, x: x.scatter(1, s.i.expand(len(x), 2, 4), x), i=torch.ones(1, 2, 4, dtype=torch.int64)),
        F2,
        "scatter writes several entries to one position, of which torch keeps any",
    ),
    "two_rows_copied_to_one": (
        Lambda(lambda s, x: x.index_copy(1, s.i, x[:, :2]), i=torch.tensor([1, 1])),
        F2,
        "index_copy writes several entries to one position",
    ),
    "two_rows_assigned_to_one": (
        Lambda(lambda s, x: x.index_put((torch.arange(len(x))[:, None], s.i), x[:, :2]), i=torch.tensor([1, 1])),
        F2,
        "index_put writes several entries to one position",
    ),
    "the_first_three_samples_filled": (
        Lambda(lambda s, x: x.index_fill(0, torch.arange(len(x))[:3], 0.0)), F2, "mixes the samples of the batch",
    ),
    "the_first_three_samples_replaced": (
        Lambda(lambda s, x: x.index_copy(0, torch.arange(len(x))[:3], 2 * x[:3])), F2, "mixes the samples of the batch",
    ),
    "sums_over_the_samples": (
        Lambda(lambda s, x: torch.zeros_like(x).index_add(0, torch.arange(len(x)) // 4, x)),
        F2,
        "mixes the samples of the batch",
    ),
    "sums_at_the_flat_positions_of_another_sample": (
        Lambda(lambda s, x: x.put(torch.arange(x.numel()).flip(0), x.flatten(), accumulate=True)),
        F2,
        "mixes the samples of the batch",
    ),
    "sums_at_other_positions_of_each_sample": (
        Lambda(lambda s, x: x.put(torch.arange(len(x)) * 13 % x.numel(), x[:, 0, 0], accumulate=True)),
        F2,
        "treats the samples of the batch in different ways|mixes the samples",
    ),
    "positions_from_the_data": (
        Lambda(lambda s, x: x.scatter(1, (x @ s.w).long(), 0.0), w=randn(4, 4)), F2, "rounds|positions that depend",
    ),
    "the_largest_of_the_entries_at_a_position": (
        Lambda(lambda s, x: x.scatter_reduce(1, s.i.expand(len(x), 1, 4), x, "amax"), i=I), F2,
        "scatter_reduce by 'amax' is not affine",
    ),
    "products_at_positions": (
        Lambda(lambda s, x: x.scatter(1, s.i.expand(len(x), 1, 4), 2.0, reduce="multiply"), i=I), F2,
        "scatter by reduce='multiply' is not known to be affine",
    ),
    "a_mask_whose_source_goes_on_in_the_next_sample": (
        Lambda(lambda s, x: x.masked_scatter(s.m, -x), m=torch.eye(3, 4) > 0), F2, "mixes the samples of the batch",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("module", "in_shape", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_with_its_reason(module, in_shape, message):
    with pytest.raises(NotAffineError, match=message):
        gpu.trace(module, in_shape)


def test_a_grid_whose_ties_float64_decides_is_followed_in_float64():
    assert_follows(GridSample(torch.full((1, 1, 1, 2), -0.2), "nearest", "zeros", False).double(), (1, 5, 5))


def test_equal_entries_written_to_one_position():
    def forward(self, x):
        y = 2 * x
        y[:, self.i] = 0.0
        y[:, :, self.i] = self.c
        return y

    assert_follows(Lambda(forward, i=torch.tensor([1, 1]), c=torch.ones(1)), F2)


def test_entries_of_a_sparse_matrix_in_any_order_and_twice_are_added():
    rng = np.random.default_rng(0)
    rows, columns, weight = rng.integers(0, 3, 40), rng.integers(0, 5, 40), rng.normal(size=40)
    ours = AxisSparse(rows, columns, weight, (3, 5)).matrix((5,))
    theirs = scipy.sparse.coo_array((weight, (rows, columns)), shape=(3, 5)).toarray()
    np.testing.assert_allclose(ours.toarray(), theirs, rtol=0, atol=1e-14)
    operation, x = AxisSparse(rows, columns, weight, (3, 5)), torch.from_numpy(rng.normal(size=(2, 5)))
    np.testing.assert_allclose(operation.push(x).numpy(), x.numpy() @ theirs.T, rtol=0, atol=1e-14)
    np.testing.assert_allclose(operation.pull(x[:, :3], (5,)).numpy(), x[:, :3].numpy() @ theirs, rtol=0, atol=1e-14)
    with pytest.raises(TypeError, match="rows: expected integers, got dtype float64"):
        AxisSparse([0.5], [0], [1], (1, 1))
