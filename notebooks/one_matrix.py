# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A network is one matrix
#
# After these ten minutes you can write down the matrix of a convolution, a padding and a resampling, and you have seen a small network
# with a skip connection become one matrix W and one vector B, in letters.
#
# Open this file in JupyterLab with jupytext, or run it: `python notebooks/one_matrix.py`.

# %%
import numpy as np
import sympy

from linalg_cnn import Conv, SkipNetwork, compose, conv_matrix, resample_matrix, symbolic

# %% [markdown]
# ## An image is a vector
#
# A 2x2 image in letters, row by row as one column.

# %%
image = sympy.Matrix(sympy.symbols("a_11 a_12 a_21 a_22"))
image

# %% [markdown]
# ## Padding and resampling only move pixels
#
# The paper's equation (8) puts a border of zeros around the image: every row of the matrix has a single 1 in the column of the pixel
# that it shows, and the rows of the border have none.

# %%
P = symbolic.pad_matrix((1, 2, 2), 1)
(P * image).reshape(4, 4)

# %% [markdown]
# Equation (6) resamples it to 3x4. PyTorch's default would take the other middle row: exchange `nearest-exact` for `nearest` and look.

# %%
R = symbolic.resample_matrix((1, 2, 2), (3, 4), mode="nearest-exact")
(R * image).reshape(3, 4)

# %% [markdown]
# ## A convolution slides a row
#
# Each output pixel is one row of the matrix: the kernel, moved to where that output looks.

# %%
k = sympy.symbols("k_1:5")
W1 = conv_matrix([[[[k[0], k[1]], [k[2], k[3]]]]], (1, 3, 3))
W1

# %% [markdown]
# ## A network multiplies them
#
# Two convolutions, and a skip of strength t from the input around the first of them: the second layer reads
# (1 - t) f(1) + t f(0). Theorem 3.1 gives the whole network as W x + B. Every entry is a polynomial in the letters.

# %%
a, b, c, t = sympy.symbols("a b c t")
network = SkipNetwork(
    (1, 4),
    [Conv([[[a, b]]], bias=[c], padding="same"), Conv([[[1, -1]]])],
    skip_weights={(0, 1): t, (1, 1): 1 - t},
)
collapsed = compose(network)
collapsed.W

# %%
collapsed.B

# %% [markdown]
# At t = 1 the first layer is gone and W is the matrix of the second alone; at t = 0 there is no skip, and W is the product of the two.

# %%
first, second = (layer.exact_matrix((1, 4)) for layer in network.layers)
assert collapsed.W.subs(t, 1) == second
assert collapsed.W.subs(t, 0) == (second * first).expand()

# %% [markdown]
# ## The same with numbers
#
# With numbers instead of letters the matrices are sparse, and the library composes them without building them at all.

# %%
rng = np.random.default_rng(0)
kernels = rng.standard_normal((2, 1, 3, 3)), rng.standard_normal((3, 2, 3, 3))
numeric = SkipNetwork(
    (1, 8, 8), [Conv(kernels[0], padding=1), Conv(kernels[1])], skip_weights={(0, 1): 0.5, (1, 1): 0.5}
)
x = rng.random((1, 8, 8))
map_ = compose(numeric)
assert np.allclose(map_(x.ravel()).reshape(numeric.out_shape), numeric(x))
map_

# %% [markdown]
# ## Exercises
#
# 1. Which kernel makes `conv_matrix(kernel, (1, 3))` the identity? And which, with `padding=1`?
# 2. `resample_matrix((1, 2), 3)` and its transpose: what does the product of the two count?
# 3. Give the network above a second skip, from the input to a third layer, with weights that sum to 1, and find t^(2,2) in W.
#
# ### Solutions

# %%
assert conv_matrix([[[1]]], (1, 3)).toarray().tolist() == np.eye(3).tolist()
assert conv_matrix([[[0, 1, 0]]], (1, 3), padding=1).toarray().tolist() == np.eye(3).tolist()

# %% [markdown]
# The diagonal counts how often each pixel is shown.

# %%
r = resample_matrix((1, 2), 3)
(r.T @ r).toarray()

# %%
s = sympy.Symbol("s")
layers = [*network.layers, Conv([[[1]]])]
deeper = SkipNetwork((1, 4), layers, {(0, 1): t, (1, 1): 1 - t, (0, 2): 1 - s, (2, 2): s})
compose(deeper).W
