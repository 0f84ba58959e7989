"""Random networks that use everything equation (10) allows, and the equation written out with full matrices."""

import numpy as np
from hypothesis import strategies as st
from operations.row import shapes
from operations.sampling import avg_pool
from operations.taps import conv
from operations.weighting import batch_norm, dense

from linalg_cnn import Conv, Dense, Resample, ResampleTo, SkipNetwork


@st.composite
def networks(draw, ranks=(1, 2, 3), max_layers=4):
    """A SkipNetwork whose parameters are small integers and powers of two, for which float64 is exact."""
    in_shape = draw(shapes(ranks=ranks, longest=5))
    shape, shapes_so_far, layers = in_shape, [in_shape], []
    for _ in range(draw(st.integers(1, max_layers))):
        if len(shape) == 1:
            kind = "dense"
        else:
            kind = draw(st.sampled_from(["conv", "conv", "conv", "resample", "avg_pool", "batch_norm", "dense"]))
        if kind == "conv":
            layer, _ = draw(conv(in_shape=shape))
        elif kind == "resample":
            mode = draw(st.sampled_from(["nearest", "nearest-exact"]))
            layer = Resample([draw(st.integers(1, 5)) for _ in shape[1:]], mode)
        elif kind == "avg_pool":
            layer, _ = draw(avg_pool(in_shape=shape, largest=2))  # quarters and eighths are exact
        elif kind == "batch_norm":
            layer, _ = draw(batch_norm(in_shape=shape))
        else:
            layer, _ = draw(dense(in_shape=shape))
        layers.append(layer)
        shape = layer.out_shape(shape)
        shapes_so_far.append(shape)
    weights = draw(skip_weights(shapes_so_far[:-1]))
    return SkipNetwork(in_shape, layers, weights, draw(st.sampled_from(["nearest", "nearest-exact"])))


@st.composite
def skip_weights(draw, shapes_so_far):
    """Skip weights: multiples of 1/4 that sum to 1; some are negative, and t^(j,j) may be 0."""
    weights = {}
    for j, goal in enumerate(shapes_so_far):
        if draw(st.booleans()):
            continue  # no key at all: t^(j,j) = 1
        sources = [k for k in range(j + 1) if len(shapes_so_far[k]) == len(goal)]
        chosen = draw(st.lists(st.sampled_from(sources), min_size=1, unique=True))
        quarters = [draw(st.integers(-4, 4)) for _ in chosen[1:]]
        for k, quarter in zip(chosen, [4 - sum(quarters), *quarters], strict=True):
            weights[k, j] = quarter / 4
    return weights


@st.composite
def real_networks(draw):
    """A two-dimensional network with normally distributed weights, for which float64 rounds."""
    network = draw(networks(ranks=(2,)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def randomised(layer):
        bias = None if getattr(layer, "bias", None) is None else rng.standard_normal(layer.bias.shape)
        if isinstance(layer, Conv):
            return Conv(
                rng.standard_normal(layer.kernel.shape),
                bias,
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
                padding_mode=layer.padding_mode,
            )
        return Dense(rng.standard_normal(layer.weight.shape), bias) if isinstance(layer, Dense) else layer

    layers = [randomised(layer) for layer in network.layers]
    return SkipNetwork(network.in_shape, layers, network.skip_weights, network.resample)


def by_matrices(network):
    """Return W and B by equation (10): push the identity without the biases, and the zero vector with them."""

    def f_L(start, with_bias):
        f = [start]
        for i, layer in enumerate(network.layers):
            total = np.zeros((network.layers[i].matrix(network.shapes[i]).shape[1], start.shape[1]))
            for k in range(i + 1):
                t = network.skip_weights.get((k, i), 0)
                if t != 0:
                    R = ResampleTo(network.shapes[i], network.resample).matrix(network.shapes[k]).toarray()
                    total += t * (R @ f[k])
            f.append(layer.matrix(network.shapes[i]).toarray() @ total)
            bias = layer.bias_vector(network.shapes[i])
            if with_bias and bias is not None:
                f[-1] += bias[:, np.newaxis]
        return f[-1]

    n = int(np.prod(network.in_shape))
    return f_L(np.eye(n), False), f_L(np.zeros((n, 1)), True)[:, 0]
