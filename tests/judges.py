"""Independent computations of W and B of a float64 torch module; no two of them share code."""

import numpy as np
import torch

from linalg_cnn import compose
from linalg_cnn.types import size_of


def by_jacrev(module, in_shape):
    zero = torch.zeros(in_shape, dtype=torch.float64)
    W = torch.func.jacrev(lambda x: module(x[None])[0].reshape(-1))(zero)
    return W.reshape(-1, size_of(in_shape)).detach().numpy()


def by_unit_vectors(module, in_shape):
    size = size_of(in_shape)
    units = torch.eye(size, dtype=torch.float64).reshape(size, *in_shape)
    with torch.no_grad():
        columns = module(units) - module(torch.zeros(1, *in_shape, dtype=torch.float64))
    return columns.reshape(size, -1).T.numpy()


def by_sparse_matrices(graph):
    return compose(graph, form="sparse").W.toarray()


def answer_to_zero(module, in_shape):
    with torch.no_grad():
        return module(torch.zeros(1, *in_shape, dtype=torch.float64)).reshape(-1).numpy()


def assert_close(ours, theirs, rtol=1e-12, scale=0.0):
    assert ours.shape == theirs.shape
    scale = max(np.abs(theirs).max(initial=0), scale, 1e-300)
    assert np.abs(ours - theirs).max(initial=0) <= rtol * scale


def assert_all_agree(module, graph, rtol=1e-12):
    """Compare composition by adjoints and forward, in numpy and in torch, with every judge.

    Errors are relative to the largest entry of W and B, or to 1, the size of the weights, if that is larger. W may
    cancel to rounding errors (a mean subtracted from a single pixel), and the error of the judge that subtracts B from
    the columns of W is proportional to B.
    """
    in_shape = graph.in_shape
    W, bias = by_jacrev(module, in_shape), answer_to_zero(module, in_shape)
    scale = max(1.0, np.abs(W).max(), np.abs(bias).max())
    assert_close(by_unit_vectors(module, in_shape), W, rtol, scale)
    for options in ({"direction": "adjoint"}, {"direction": "forward"}, {"to_device": torch.from_numpy}):
        affine = compose(graph, **options)
        assert_close(affine.W, W, rtol, scale)
        assert_close(affine.B, bias, rtol, scale)
    assert_close(by_sparse_matrices(graph), W, rtol, scale)
