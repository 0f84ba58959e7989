"""One affine module for each operation of ATen that module_cases does not name, under that operation's name."""

import torch
from module_cases import C, Lambda, randn
from torch import nn
from torch.nn import functional

F2 = (3, 4)


def in_place(function, **parts):
    """A forward with an operation in place, for which torch rewrites the program and decomposes some operations."""

    def forward(self, x):
        y = x * 1
        y[:, :1] += 1
        return function(self, y)

    return Lambda(forward, **parts)


def fill(self, x):
    y = x * 2
    y[:, 0] = 0
    y[:, 1].fill_(3.5)
    y[:, 2:].fill_(self.c[0])
    return y


def zero(self, x):
    y = x * 2
    y[:, 0].zero_()
    return y


def select_scatter(self, x):
    y = x.new_zeros(x.shape)
    y[:, 0] = x[:, 1]
    y[:, 1:2] = self.c
    return y


def written(make):
    def forward(self, x):
        y = make(x)
        y.copy_(x)
        return y

    return Lambda(forward)


ONES = torch.ones(3)

PLACES = torch.tensor([[[2, 0, 2, 1], [1, 1, 2, 1]]])
EVERY_OTHER = torch.tensor([[True, False, True, False]] * 3)
THETA = torch.tensor([[[0.9, 0.3, 0.1], [-0.2, 1.1, 0.2]]])


def for_each(c, x):
    """Return a constant (1, ...) once for each sample of ``x``."""
    return c.expand(len(x), *c.shape[1:])


def sums_and_means(self, x):
    places = for_each(self.i, x)
    y = x.scatter_reduce(1, places, 2 * x, "sum") + x.scatter_reduce(1, places, x, "mean")
    return y - x.scatter_reduce(1, places, x, "mean", include_self=False)


def put_and_accumulated(self, x):
    rows, source = torch.arange(len(x))[:, None], x[:, :2]
    y = x.index_put((rows, self.i), source, accumulate=True) + x.index_put((rows, self.i[:1]), source[:, :1])
    # the samples of the sum are its second axis, which the third sample makes as long as the first
    swapped = x.new_zeros(3, len(x))
    return y + swapped.index_put((self.i,), x[:, :2, 0].T, accumulate=True).T[..., None]


def sparse(*shape, layout=torch.sparse_coo):
    """A random matrix in which half of the entries are missing."""
    matrix = randn(*shape) * (torch.arange(shape[0] * shape[1]) % 2).reshape(shape)
    return matrix.to_sparse(layout=layout)


LINEAR = {
    "_sparse_addmm": (
        Lambda(
            lambda s, x: torch.sparse.addmm(s.b.expand(-1, len(x)), s.w, x.T, beta=2, alpha=3).T,
            w=sparse(4, 3),
            b=randn(4, 1),
        ),
        (3,),
    ),
    "_sparse_mm": (Lambda(lambda s, x: torch.sparse.mm(s.w, x.T).T, w=sparse(4, 3)), (3,)),
    "addmv": (
        Lambda(
            lambda s, x: torch.addmv(s.b.expand(len(x)), x, s.w, beta=2, alpha=3)
            + torch.addmv(x[:, 0], s.c.expand(len(x), 3), s.w),
            b=randn(1), c=randn(1, 3), w=randn(3),
        ),
        (3,),
    ),
    "as_strided": (Lambda(lambda s, x: (2 * x).as_strided((len(x), 2, 3), (12, 4, 2), 1)), F2),
    "bilinear": (
        Lambda(lambda s, x: s.f(x, s.c.expand(len(x), 3, 2)) + s.g(s.d.expand(len(x), 3, 2), x), f=nn.Bilinear(4, 2, 5),
               g=nn.Bilinear(2, 4, 5, bias=False), c=randn(1, 1, 2), d=randn(1, 1, 2)),
        F2,
    ),
    "inner": (
        Lambda(
            lambda s, x: torch.inner(x, s.w) + torch.inner(s.w, x).movedim(1, 0).movedim(1, 2)
            + (torch.inner(x, s.w[0]) + torch.inner(s.w[0], x))[..., None] + torch.inner(x, s.c).sum(2, keepdim=True),
            w=randn(2, 4),
            c=torch.tensor(0.5),
        ),
        F2,
    ),
    "_upsample_bicubic2d_aa": (
        Lambda(lambda s, x: functional.interpolate(x, (3, 7), mode="bicubic", antialias=True)), (2, 8, 5),
    ),
    "_upsample_bilinear2d_aa": (
        Lambda(
            lambda s, x: functional.interpolate(x, (4, 2), mode="bilinear", antialias=True, align_corners=True)
            + functional.interpolate(x, scale_factor=(0.5, 0.25), mode="bilinear", antialias=True)
        ),
        (2, 8, 8),
    ),
    "affine_grid_generator": (
        Lambda(lambda s, x: functional.affine_grid(x, (len(x), 1, 2, 3), align_corners=False)), (2, 3),
    ),
    "grid_sampler": (
        Lambda(
            lambda s, x: functional.grid_sample(
                x, functional.affine_grid(for_each(s.t, x), x.shape, align_corners=False), align_corners=False
            ),
            t=THETA,
        ),
        C,
    ),
    "grid_sampler_2d": (
        Lambda(lambda s, x: torch.grid_sampler_2d(x, for_each(s.g, x), 2, 2, False), g=1.5 * randn(1, 2, 3, 2)), C,
    ),
    "grid_sampler_3d": (
        Lambda(lambda s, x: torch.grid_sampler_3d(x, for_each(s.g, x), 1, 1, True), g=1.5 * randn(1, 1, 2, 3, 3)),
        (2, 2, 3, 2),
    ),
    "scatter": (
        Lambda(
            lambda s, x: x.scatter(1, for_each(s.i[:, :1], x), -x)
            + x.scatter(1, for_each(s.i, x), 2.5)
            + x.scatter(1, for_each(s.i, x), 1.5, reduce="add"),
            i=PLACES,
        ),
        F2,
    ),
    "scatter_reduce": (Lambda(sums_and_means, i=PLACES), F2),
    "index_add": (
        Lambda(
            lambda s, x: x.index_add(1, s.i, -x, alpha=2) + x.index_add(1, s.i, for_each(s.c, x)),
            i=torch.tensor([2, 0, 2]),
            c=randn(1, 3, 4),
        ),
        F2,
    ),
    "index_fill": (
        Lambda(lambda s, x: x.index_fill(1, s.i, 2.5) + x.index_fill(2, s.i, s.c), i=torch.tensor([2, 0]),
               c=torch.tensor(1.5)),
        F2,
    ),
    "index_put": (Lambda(put_and_accumulated, i=torch.tensor([2, 2])), F2),
    "_unsafe_index_put": (
        Lambda(lambda s, x: torch.ops.aten._unsafe_index_put(x, [None, s.i], x[:, :2], True), i=torch.tensor([2, 2])),
        F2,
    ),
    "masked_scatter": (
        Lambda(
            lambda s, x: x.masked_scatter(s.m, -x.flatten(1)[:, :6]) + x.masked_scatter(s.m, s.c.repeat(len(x))),
            m=EVERY_OTHER,
            c=randn(6),
        ),
        F2,
    ),
    "put": (
        Lambda(
            lambda s, x: x.put(torch.arange(len(x))[:, None] * 12 + s.i, x[:, 0, :2])
            + x.put(torch.arange(len(x))[:, None] * 12 + s.i[:1], x[:, 0, :2].sum(1, keepdim=True), accumulate=True),
            i=torch.tensor([3, 1]),
        ),
        F2,
    ),
    "pow": (Lambda(lambda s, x: x**1 + x.pow(torch.ones(3, 1)) + torch.pow(x, 1.0)), F2),
    "float_power": (Lambda(lambda s, x: torch.float_power(x, 1)), F2),
    "take_along_dim": (Lambda(lambda s, x: torch.take_along_dim(x, s.i, 1), i=PLACES), F2),
}  # fmt: skip
"""Linear operations that are seldom layers."""


def transformed(name, **options):
    """The real and the imaginary part of a transform of a real and of a complex tensor, where torch has both."""
    transform = getattr(torch.fft, name)

    def forward(self, x):
        z = transform(x, **options)
        if name.startswith(("rfft", "ihfft")):
            return torch.view_as_real(z.resolve_conj())
        z = z + 2 * transform(torch.complex(self.c * x, x.flip(1)), **options)
        return torch.view_as_real(z) if z.is_complex() else z

    return Lambda(forward, c=randn(4))


FOURIER = {
    **{
        f"fft_{name}": (transformed(name, n=n, dim=1, norm=norm), F2)
        for name, n, norm in (
            *(("fft", 4, None), ("ifft", 2, "ortho"), ("rfft", None, "forward"), ("irfft", 3, None)),
            *(("hfft", None, "ortho"), ("ihfft", 5, "forward")),
        )
    },
    **{
        f"fft_{name}": (transformed(name, s=s, dim=(2, 1), norm=norm), F2)
        for name, s, norm in (
            *(("fft2", None, None), ("ifft2", (3, -1), "ortho"), ("rfft2", (3, 2), None), ("irfft2", None, "forward")),
            *(("fftn", (5, 2), "ortho"), ("ifftn", None, None), ("rfftn", None, "ortho"), ("irfftn", (2, 5), None)),
            *(("hfft2", (3, 5), None), ("hfftn", None, "ortho"), ("ihfft2", None, "ortho"), ("ihfftn", (5, 2), None)),
        )
    },
    "_fft_r2c": (
        Lambda(lambda s, x: torch.vmap(lambda v: torch.fft.rfft2(v).real + torch.fft.fft2(v).imag[..., :3])(x)), C,
    ),
    "_fft_c2c": (
        Lambda(lambda s, x: torch.vmap(lambda v: torch.fft.ifft2(torch.fft.fft(v), norm="ortho").real)(x)), C,
    ),
    "_fft_c2r": (
        Lambda(lambda s, x: torch.vmap(lambda v: torch.fft.irfft2(torch.fft.rfft2(v), (4, 5), norm="ortho"))(x)), C,
    ),
    "fft_fftshift": (Lambda(lambda s, x: torch.fft.fftshift(x, 2) + torch.fft.fftshift(x * 1j, (1, 2)).imag), F2),
    "fft_ifftshift": (Lambda(lambda s, x: torch.fft.ifftshift(x, (1, 2))), F2),
    "real": (
        Lambda(lambda s, x: ((x * s.c).conj() / (1 - 2j) + (x + s.c) - 1j).real + x.real, c=torch.tensor(2 + 3j)), F2,
    ),
    "imag": (
        Lambda(
            lambda s, x: torch.cat([torch.einsum("nij,kj->nik", torch.fft.fft(x), s.c), x[..., :2]], 1).imag,
            c=torch.complex(randn(2, 4), randn(2, 4)).to(torch.complex128),
        ),
        F2,
    ),
    "_conj": (Lambda(lambda s, x: torch.conj(torch.fft.fft(x)).imag + 1), F2),
    "_neg_view": (in_place(lambda s, x: torch.conj(torch.fft.fft(x)).imag + 1), F2),
    "conj_physical": (Lambda(lambda s, x: torch.conj_physical(torch.fft.fft(x)).imag + torch.conj_physical(x)), F2),
    "_conj_physical": (in_place(lambda s, x: torch.ops.aten._conj_physical(torch.fft.fft(x)).imag), F2),
    "complex": (Lambda(lambda s, x: (torch.complex(x, s.c.expand_as(x)) * 1j).real, c=randn(4)), F2),
    "view_as_real": (Lambda(lambda s, x: torch.view_as_real(torch.fft.fft(x))), F2),
    "view_as_complex": (
        Lambda(lambda s, x: (torch.view_as_complex(x) * torch.view_as_complex(s.c)).imag, c=randn(3, 2)), (3, 2),
    ),
}  # fmt: skip
"""Fourier transforms, and other ways into the complex numbers and back."""

BY_NAME = LINEAR | FOURIER | {
    "_native_batch_norm_legit_no_training": (in_place(lambda s, x: s.n(x), n=nn.BatchNorm2d(3)), C),
    "_to_copy": (in_place(lambda s, x: x.to(torch.float64)), C),
    "_upsample_nearest_exact1d": (nn.Upsample(scale_factor=1.7, mode="nearest-exact"), F2),
    "_upsample_nearest_exact3d": (nn.Upsample((3, 2, 5), mode="nearest-exact"), (2, 2, 3, 2)),
    "_unsafe_view": (in_place(lambda s, x: x.transpose(1, 2).flatten(1)), F2),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d(3), (2, 5)),
    "adaptive_avg_pool3d": (nn.AdaptiveAvgPool3d((2, None, 1)), (2, 3, 2, 3)),
    "addcdiv": (Lambda(lambda s, x: torch.addcdiv(s.c, x, s.d, value=2) - torch.addcdiv(x, s.c, s.d), c=randn(5),
                       d=randn(5) + 4), C),
    "addcmul": (Lambda(lambda s, x: torch.addcmul(s.c, x, s.d, value=2) - torch.addcmul(x, s.c, s.d), c=randn(5),
                       d=randn(5)), C),
    "adjoint": (Lambda(lambda s, x: x.adjoint()), C),
    "alias": (Lambda(lambda s, x: torch.ops.aten.alias.default(x)), C),
    "atleast_2d": (Lambda(lambda s, x: torch.atleast_2d(x)), C),
    "atleast_3d": (Lambda(lambda s, x: torch.atleast_3d(x)), (3,)),
    "avg_pool3d": (nn.AvgPool3d((1, 2, 2), 2, ceil_mode=True, divisor_override=3), (2, 1, 3, 3)),
    "baddbmm": (
        Lambda(
            lambda s, x: torch.baddbmm(s.b.expand(len(x), -1, -1), x, s.w.expand(len(x), -1, -1), beta=2, alpha=3)
            + torch.baddbmm(x[..., :2], s.b.expand(len(x), 3, -1), s.v.expand(len(x), -1, -1)),
            b=randn(1, 3, 2),
            w=randn(1, 4, 2),
            v=randn(1, 2, 2),
        ),
        F2,
    ),
    "broadcast_to": (Lambda(lambda s, x: torch.broadcast_to(x[:, None], (len(x), 2, 3, 4))), F2),
    "clone": (Lambda(lambda s, x: x.clone()), F2),
    "concat": (Lambda(lambda s, x: torch.concat([x, 2 * x], 1)), F2),
    "concatenate": (Lambda(lambda s, x: torch.concatenate([x, 2 * x], 1)), F2),
    "constant_pad_nd": (
        Lambda(lambda s, x: torch.constant_pad_nd(x, (1, -1), 2.5) + torch.constant_pad_nd(x, (1, -1))), F2,
    ),
    "contiguous": (Lambda(lambda s, x: torch.ops.aten.contiguous(x.transpose(1, 2))), F2),
    "conv_transpose3d": (nn.ConvTranspose3d(2, 1, (1, 2, 2), stride=2), (2, 2, 1, 2)),
    "convolution": (
        Lambda(
            lambda s, x: torch.convolution(x, s.w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
            - torch.convolution(x, s.w, s.b, [1, 1], [1, 1], [1, 1], True, [0, 0], 1),
            w=randn(3, 3, 3, 3),
            b=randn(3),
        ),
        C,
    ),
    "copy": (written(torch.zeros_like), C),
    "detach": (Lambda(lambda s, x: x.detach()), F2),
    "diagonal": (Lambda(lambda s, x: x.diagonal(1, 1, 2)), F2),
    "diagonal_scatter": (Lambda(lambda s, x: torch.diagonal_scatter(x, x[:, :, 1], 0, 1, 2)), F2),
    "diff": (
        Lambda(lambda s, x: x.diff(dim=1, n=2, prepend=s.c.expand(len(x), 1, 4), append=-x), c=randn(1, 1, 4)), F2,
    ),
    "divide": (Lambda(lambda s, x: x.divide(3)), F2),
    "dstack": (Lambda(lambda s, x: torch.dstack([x, -x])), F2),
    "empty_like": (written(torch.empty_like), C),
    "expand_as": (Lambda(lambda s, x: x[:, :1].expand_as(x)), F2),
    "expand_copy": (Lambda(lambda s, x: torch.expand_copy(x[:, :1], (-1, 2, -1))), F2),
    "feature_alpha_dropout": (nn.FeatureAlphaDropout(), C),
    "fill": (Lambda(fill, c=randn(2)), C),
    "fliplr": (Lambda(lambda s, x: x.fliplr()), F2),
    "full_like": (Lambda(lambda s, x: x + torch.full_like(x, 2.5)), F2),
    "gather": (Lambda(lambda s, x: x.gather(1, s.i.expand(len(x), -1, -1)), i=torch.tensor([[[2, 0, 1, 1]]])), F2),
    "hsplit": (Lambda(lambda s, x: x.hsplit(3)[1]), F2),
    "hstack": (Lambda(lambda s, x: torch.hstack([x, -x])), F2),
    "index_copy": (Lambda(lambda s, x: x.index_copy(1, s.i, -x[:, :2]), i=torch.tensor([2, 0])), F2),
    "index_select": (Lambda(lambda s, x: x.index_select(1, s.i), i=torch.tensor([2, 0])), F2),
    "instance_norm": (nn.InstanceNorm2d(3, affine=True, track_running_stats=True), C),
    "kron": (Lambda(lambda s, x: torch.kron(x, s.w), w=randn(1, 1, 3)), F2),
    "mm": (Lambda(lambda s, x: torch.mm(x, s.w), w=randn(3, 2)), (3,)),
    "moveaxis": (Lambda(lambda s, x: x.moveaxis(1, -1)), F2),
    "movedim": (Lambda(lambda s, x: x.movedim(-1, 1)), F2),
    "multiply": (Lambda(lambda s, x: x.multiply(3)), F2),
    "mv": (Lambda(lambda s, x: torch.mv(x, s.w), w=randn(3)), (3,)),
    "narrow": (Lambda(lambda s, x: x.narrow(1, 1, 2)), F2),
    "native_channel_shuffle": (Lambda(lambda s, x: functional.native_channel_shuffle(x, 3)), C),
    "negative": (Lambda(lambda s, x: x.negative()), F2),
    "new_empty": (written(lambda x: x.new_empty(x.shape)), C),
    "new_full": (Lambda(lambda s, x: x + x.new_full((4,), 2.5)), F2),
    "new_ones": (Lambda(lambda s, x: x + x.new_ones((4,))), F2),
    "numpy_T": (Lambda(lambda s, x: (x.flatten(1).T * 2).T), F2),
    "outer": (Lambda(lambda s, x: torch.outer(x.sum((1, 2)), s.w), w=randn(3)), F2),
    "permute_copy": (Lambda(lambda s, x: torch.permute_copy(x, (0, 2, 1))), F2),
    "positive": (Lambda(lambda s, x: x.positive()), F2),
    "reshape_as": (Lambda(lambda s, x: x.flatten(1).reshape_as(x)), F2),
    "resolve_conj": (Lambda(lambda s, x: x.resolve_conj()), F2),
    "resolve_neg": (Lambda(lambda s, x: x.resolve_neg()), F2),
    "scatter_add": (
        Lambda(
            lambda s, x: x.scatter_add(1, s.i.expand(len(x), -1, -1), s.c.expand(len(x), -1, -1))
            + torch.zeros_like(x).scatter_add(1, s.i.expand(len(x), -1, -1), x),
            i=torch.tensor([[[2, 0, 1, 1], [1, 1, 1, 1]]]),
            c=randn(1, 2, 4),
        ),
        F2,
    ),
    "select_scatter": (Lambda(select_scatter, c=randn(4)), F2),
    "split": (Lambda(lambda s, x: x.split(2, 2)[1]), F2),
    "split_copy": (Lambda(lambda s, x: torch.split_copy(x, 2, 2)[1]), F2),
    "squeeze_copy": (Lambda(lambda s, x: torch.squeeze_copy(x[:, :1], 1)), F2),
    "subtract": (Lambda(lambda s, x: x.subtract(3)), F2),
    "swapaxes": (Lambda(lambda s, x: x.swapaxes(1, 2)), F2),
    "swapdims": (Lambda(lambda s, x: x.swapdims(1, 2)), F2),
    "t": (Lambda(lambda s, x: (x.t() * 2).t()), (3,)),
    "take": (Lambda(lambda s, x: x.take(torch.arange(x.numel()).view(len(x), -1)[:, 1:])), F2),
    "tensor_split": (Lambda(lambda s, x: x.tensor_split(2, 1)[1]), F2),
    "tensordot": (
        Lambda(lambda s, x: torch.tensordot(x.flatten(1), s.w, dims=([1], [1])), w=torch.ones(2, 12, 3)), F2,
    ),
    "tile": (Lambda(lambda s, x: x.tile((1, 2, 1))), F2),
    "triu": (Lambda(lambda s, x: x.triu(1)), F2),
    "true_divide": (Lambda(lambda s, x: x.true_divide(3)), F2),
    "type_as": (Lambda(lambda s, x: x.type_as(s.c), c=torch.ones(1)), F2),
    "unbind": (Lambda(lambda s, x: torch.stack([s.l(t) for t in x.unbind(1)], 1), l=nn.Linear(4, 2)), F2),
    "unfold": (Lambda(lambda s, x: x.unfold(2, 2, 1)), F2),
    "unsafe_chunk": (Lambda(lambda s, x: torch.unsafe_chunk(x, 2, 2)[1]), F2),
    "unsafe_split": (Lambda(lambda s, x: torch.unsafe_split(x, 2, 2)[1]), F2),
    "unsqueeze_copy": (Lambda(lambda s, x: torch.unsqueeze_copy(x, 1)), F2),
    "upsample_nearest1d": (nn.Upsample(5), F2),
    "upsample_nearest3d": (nn.Upsample(scale_factor=(1.5, 2, 1)), (2, 2, 3, 2)),
    "view_as": (Lambda(lambda s, x: x.flatten(1).view_as(x)), F2),
    "view_copy": (Lambda(lambda s, x: torch.view_copy(x, (-1, 12))), F2),
    "sym_size": (Lambda(lambda s, x: x[:, s.m[0]] / x[:, s.m[0]].size(1), m=[randn(3) > 0]), F2),
    "zero": (Lambda(zero), F2),
}  # fmt: skip
"""Module and shape of its input, by the name of the operation."""
