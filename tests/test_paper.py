"""The paper's printed matrices and theorem 3.1, compared entry by entry."""

import numpy as np
import sympy
from sympy import Matrix, symbols

from linalg_cnn import (
    Conv,
    Dense,
    SkipNetwork,
    compose,
    conv_matrix,
    pad_matrix,
    resample_matrix,
    shared_skip_weights,
    symbolic,
)

EQUATION_6 = Matrix([
    [1, 0, 0, 0],
    [1, 0, 0, 0],
    [0, 1, 0, 0],
    [0, 1, 0, 0],
    [0, 0, 1, 0],
    [0, 0, 1, 0],
    [0, 0, 0, 1],
    [0, 0, 0, 1],
    [0, 0, 1, 0],
    [0, 0, 1, 0],
    [0, 0, 0, 1],
    [0, 0, 0, 1],
])
EQUATION_8 = Matrix([
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [1, 0, 0, 0],
    [0, 1, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 1, 0],
    [0, 0, 0, 1],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 0, 0, 0],
])
a11, a12, a21, a22 = symbols("a_11 a_12 a_21 a_22")
A = Matrix([a11, a12, a21, a22])


def test_equations_6_and_7():
    exact = symbolic.resample_matrix((1, 2, 2), (3, 4), mode="nearest-exact")
    assert exact == EQUATION_6
    numeric = resample_matrix((1, 2, 2), (3, 4), mode="nearest-exact")
    np.testing.assert_array_equal(numeric.toarray(), np.array(EQUATION_6.tolist(), dtype=float))
    assert (exact * A).reshape(3, 4) == Matrix([[a11, a11, a12, a12], [a21, a21, a22, a22], [a21, a21, a22, a22]])


def test_the_equally_valid_alternative_to_equation_7():
    exact = symbolic.resample_matrix((1, 2, 2), (3, 4), mode="nearest")
    assert (exact * A).reshape(3, 4) == Matrix([[a11, a11, a12, a12], [a11, a11, a12, a12], [a21, a21, a22, a22]])


def test_equations_8_and_9():
    exact = symbolic.pad_matrix((1, 2, 2), 1)
    assert exact == EQUATION_8
    np.testing.assert_array_equal(pad_matrix((1, 2, 2), 1).toarray(), np.array(EQUATION_8.tolist(), dtype=float))
    assert (exact * A).reshape(4, 4) == Matrix([[0, 0, 0, 0], [0, a11, a12, 0], [0, a21, a22, 0], [0, 0, 0, 0]])


def test_a_padded_convolution_is_the_convolution_of_the_padded_image():
    kernel = symbolic.symbols("k", (2, 1, 2, 2))
    assert conv_matrix(kernel, (1, 3, 3), padding=1) == conv_matrix(kernel, (1, 5, 5)) * symbolic.pad_matrix(
        (1, 3, 3), 1
    )


def test_theorem_3_1_in_symbols():
    """W and B of a network in symbols are the expressions that equation (10) gives by hand."""
    t = sympy.Symbol("t")
    k, m, w, x = (symbolic.symbols(*args) for args in [("k", (1, 1, 2)), ("m", (1, 1, 2)), ("w", (1, 2)), ("x", (4,))])
    b, c, d = sympy.symbols("b c d")
    layers = [Conv(k, [b]), Conv(m, [c], padding=(1,)), Conv(m, [c], stride=2), Dense(w, [d])]
    network = SkipNetwork((1, 4), layers, shared_skip_weights([(1, 2)], t), resample="nearest")

    K = conv_matrix(k, (1, 4))
    M2 = conv_matrix(m, (1, 3), padding=1)
    R = symbolic.resample_matrix((1, 3), 4)
    M3 = conv_matrix(m, (1, 4), stride=2)
    ones = sympy.ones
    X = Matrix(x)
    f1 = K * X + b * ones(3, 1)
    f2 = M2 * f1 + c * ones(4, 1)
    f3 = M3 * ((1 - t) * f2 + t * R * f1) + c * ones(2, 1)
    f4 = (Matrix(w) * f3 + Matrix([d])).expand()

    for direction in ("forward", "adjoint"):
        affine = compose(network, direction)
        assert (affine.W * X + affine.B).expand() == f4
        assert f4.jacobian(X).expand() == affine.W
        assert f4.subs(dict.fromkeys(x, 0)).expand() == affine.B
    assert sympy.expand(network(x.reshape(1, 4))[0]) == f4[0]
    latent = network.latent()
    assert (latent.W * X + latent.B).expand() == f3.expand()
