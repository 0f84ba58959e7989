# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,jp-MarkdownHeadingCollapsed
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version,-jupytext.text_representation.format_version
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A convolution is a matrix
#
# **After this notebook you can** write down the matrix of any convolution, whatever its stride, padding, dilation and
# channels; say which number of the kernel each entry is; and tell which of these matrices are Toeplitz and which are
# not.
#
# You need to know what the product of a matrix and a vector is. You do not need to know what a convolution is. [The
# glossary](../docs/glossary.md) explains the terms of both fields.
#
# The notebook takes about 15 minutes. Every picture is drawn from the matrix itself. Hover over a cell to see what it
# is and which other cells belong to it.

# %%
import numpy as np
import sympy
import torch

import gpu
from linalg_cnn import Conv, Pad, conv_matrix, conv_transpose_matrix
from linalg_cnn.display import (
    equation_formula,
    explore_convolution,
    image_picture,
    kernel_picture,
    matrix_picture,
    operation_picture,
    side_by_side,
    vector_picture,
)

# %% [markdown]
# ## An image is a vector
#
# A matrix multiplies vectors, so the image must become a vector. Read it like a page: row after row, from left to
# right. In an image of width w, the pixel in row r and column c becomes entry r·w + c. Rows, columns and entries are
# counted from 0.

# %%
image = np.array(sympy.symbols("x_:3_:3")).reshape(3, 3)
side_by_side(image_picture(image), "→", vector_picture(image))

# %% [markdown]
# Nothing is lost on the way: `image.ravel()` gives the vector, and `vector.reshape(3, 3)` gives the image back. This
# order, called C order, is the default of numpy and PyTorch.
#
# ## A convolution slides a small window over the image
#
# The window is called the *kernel*. Here it has 2x2 numbers a, b, c, d. Lay it on the image, multiply each of its
# numbers by the pixel below it, and add the products: the sum is one pixel of the output. Then move the kernel by one
# pixel, and repeat.
#
# At the kernel's first position, only four pixels count. The sum is a x₀₀ + b x₀₁ + c x₁₀ + d x₁₁. A sum of pixels,
# each times a number, is **a row times a vector**, so each output pixel is one row of a matrix. In the picture, each
# pixel shows its number in the vector.
#
# (A shape is (channels, height, width); a grey image has one channel. A kernel has two axes for channels: output
# channels and input channels. Both have size 1 until later.)

# %%
a, b, c, d = sympy.symbols("a b c d")
kernel = [[[[a, b], [c, d]]]]  # one output channel, one input channel, 2x2
operation_picture(Conv(kernel), (1, 3, 3), output=(0, 0, 0))

# %% [markdown]
# Move the kernel to its last position. The row of the matrix has the same four letters, moved to the right:

# %%
operation_picture(Conv(kernel), (1, 3, 3), output=(0, 1, 1))

# %% [markdown]
# The function `conv_matrix` returns the matrix itself. As an equation:

# %%
A = conv_matrix(kernel, (1, 3, 3))
equation_formula(A, image)

# %% [markdown]
# Move the kernel with `row` and `column`, and see its row of the matrix light up. Then change the other options, which
# the next sections explain. (The sliders work while the notebook runs. Elsewhere you see a picture.)

# %%
small = {"strides": [1, 2], "paddings": [0, 1], "dilations": [1, 2]}
explore_convolution(kernel, (1, 4, 4), **small)

# %% [markdown]
# ## The pattern: Toeplitz
#
# In one dimension, each row is the row above, moved by one. All entries of a diagonal are the same letter. Such a
# matrix is called a **Toeplitz matrix**.

# %%
line = [[list(sympy.symbols("a b c"))]]
matrix_picture(Conv(line), (1, 7), title="a kernel of 3 over 7 pixels")


# %%
def is_toeplitz(matrix):
    """Return whether every entry equals the one above and to the left of it."""
    matrix = np.array(matrix.tolist())
    return bool((matrix[1:, 1:] == matrix[:-1, :-1]).all())


is_toeplitz(conv_matrix(line, (1, 7)))

# %% [markdown]
# In two dimensions the pattern occurs on two levels. Here is a 3x3 kernel over a 5x5 image. **Each hue is one row of
# the kernel**: indigo is the first, orange the second, and green the third. The shades from dark to light are the three
# columns.
#
# The lines cut the matrix into blocks, one for each pair of an output row and an image row. Look at the blocks as if
# they were entries: each hue runs along a diagonal. Then look into one block: each shade runs along a diagonal. This is
# a Toeplitz matrix of Toeplitz blocks, called **doubly block Toeplitz**.

# %%
nine = np.array(sympy.symbols("a:i")).reshape(1, 1, 3, 3)
blocks = Conv(nine)
matrix_picture(blocks, (1, 5, 5), title="a 3x3 kernel over a 5x5 image")

# %% [markdown]
# The whole matrix is not Toeplitz. At the end of an image row the kernel jumps to the start of the next row, and the
# diagonals break:

# %%
A = blocks.exact_matrix((1, 5, 5))
inside = [A[3 * i : 3 * i + 3, 5 * j : 5 * j + 5] for i in range(3) for j in range(5)]
is_toeplitz(A), all(is_toeplitz(block) for block in inside)

# %% [markdown]
# ## Stride, padding and dilation
#
# Every option of a convolution changes the matrix in a simple way.
#
# **Stride 2** moves the kernel by two pixels at a time. Only every second output is left, so *rows are dropped*. The
# remaining matrix is not Toeplitz: each row is the row above, moved by *two*.

# %%
full = Conv(line)
strided = Conv(line, stride=2)
assert strided.exact_matrix((1, 7)) == full.exact_matrix((1, 7))[::2, :]
side_by_side(
    matrix_picture(full, (1, 7), title="stride 1"),
    "→",
    matrix_picture(strided, (1, 7), title="stride 2: every second row"),
)

# %% [markdown]
# **Padding 1** puts a zero before and after the image, so that the kernel may extend beyond the edge. A number times
# zero adds nothing, so a part of the kernel beyond the edge *has no entry*. The first row has lost its a and the last
# row its c, and there are two more rows.

# %%
padded = Conv(line, padding=1)
matrix_picture(padded, (1, 7), title="padding 1: as many outputs as pixels")

# %% [markdown]
# Padding is a matrix P of its own, and the picture above is the product of the two. The next notebook is about P.

# %%
P = Pad(1).exact_matrix((1, 7))
assert padded.exact_matrix((1, 7)) == full.exact_matrix((1, 9)) * P

# %% [markdown]
# **Dilation 2** spreads the kernel: its letters meet every second pixel, so *the diagonals move apart*.

# %%
matrix_picture(Conv(line, dilation=2), (1, 7), title="dilation 2")

# %% [markdown]
# The next picture has stride and padding together, in two dimensions. Dashed cells are padded zeros. Can you say why
# the highlighted row has only four entries, although the kernel has nine?

# %%
operation_picture(Conv(nine, stride=2, padding=1), (1, 5, 5), output=(0, 0, 0))

# %% [markdown]
# ## Several channels: a matrix of matrices
#
# A colour image has three channels: three images on top of each other. Its vector is one channel after the other. A
# convolution has a separate kernel for each pair of an output channel and an input channel, and adds the results over
# the input channels.
#
# So the matrix is a **block matrix**, with one convolution matrix for each pair. Here there are three input channels
# and two output channels. Each pair has its own hue.

# %%
rng = np.random.default_rng(0)
colour = Conv(rng.standard_normal((2, 3, 2, 2)))
matrix_picture(colour, (3, 4, 4), title="3 channels in, 2 out")

# %%
A = colour.matrix((3, 4, 4)).toarray()
for out in range(2):
    for into in range(3):
        block = A[9 * out : 9 * out + 9, 16 * into : 16 * into + 16]
        kernel_of_pair = colour.kernel[out : out + 1, into : into + 1]
        alone = conv_matrix(kernel_of_pair, (1, 4, 4))
        assert (block == alone).all()

# %% [markdown]
# `groups` removes pairs. With as many groups as channels, each channel is convolved by itself (*depthwise*), and the
# matrix is block diagonal:

# %%
depthwise = Conv(rng.standard_normal((3, 1, 2, 2)), groups=3)
matrix_picture(depthwise, (3, 4, 4), title="groups=3")

# %% [markdown]
# A layer of a network also adds a number to each output channel, its **bias**, which is the same at all pixels. So a
# layer is W x + B, with a matrix and a vector. Such a map is called **affine**. Networks of affine layers alone are
# usually called *linear* all the same.
#
# ## Why "convolution" is cross-correlation
#
# In mathematics, convolution flips the kernel: (k * x)ₚ = Σ kₜ xₚ₋ₜ has a minus sign. What CNNs compute has a plus
# sign, Σ kₜ xₚ₊ₜ, and is called *cross-correlation*. numpy has both:

# %%
k, x = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.0, 0.0, 3.0, 0.0])
ours = conv_matrix(k.reshape(1, 1, 3), (1, 5)) @ x
print("ours            ", ours)
print("cross-correlated", np.correlate(x, k, mode="valid"))
print("convolved       ", np.convolve(x, k, mode="valid"))

# %% [markdown]
# The difference does not matter to a network, because it *learns* its kernels. If the library flipped them, the network
# would learn them flipped. The paper, PyTorch and this library all say "convolution" and do not flip.
#
# The flipped version appears in the **transpose**, which is the mathematical convolution in its full length (numpy's
# `mode="full"`). A column of the cross-correlation's matrix shows which outputs one *pixel* contributes to; down the
# column, the letters are in reverse order. Backpropagation, which trains CNNs, multiplies by this transpose, and
# PyTorch calls it `conv_transpose`.

# %%
side_by_side(
    matrix_picture(Conv(line), (1, 5), title="cross-correlation A"),
    matrix_picture(conv_matrix(line, (1, 5)).T, title="its transpose: c, b, a"),
    gap=40,
)

# %%
assert conv_transpose_matrix(line, (1, 3)) == conv_matrix(line, (1, 5)).T
y = np.array([1.0, 0.0, 3.0])
A = conv_matrix(k.reshape(1, 1, 3), (1, 5))
assert np.array_equal(A.T @ y, np.convolve(y, k, mode="full"))

# %% [markdown]
# ## At full size
#
# Here is a handwritten digit of 28x28 pixels, and a kernel that subtracts the pixels on its right from those on its
# left. The output is large at upright edges: orange where the image gets darker to the right, violet where it gets
# brighter, and zero where nothing changes. Networks find such kernels by training.

# %%
edges = Conv(np.array([[[[1, 0, -1], [2, 0, -2], [1, 0, -1]]]]))
digit = gpu.load_digits()[0].images[0, 0].numpy() / 255
A = edges.matrix((1, 28, 28))
seen = A @ digit.ravel()
output = image_picture(seen, (26, 26))
side_by_side(image_picture(digit), kernel_picture(edges.kernel), "→", output)

# %% [markdown]
# The 26x26 outputs of the 784 pixels make a matrix of 676 x 784. Of its 529,984 entries, 6,084 come from the kernel. (A
# third of these are the zeros in the kernel's middle column, which the matrix stores, too.) Here are all of them, in
# the same three hues:

# %%
matrix_picture(edges, (1, 28, 28))

# %% [markdown]
# Does PyTorch compute the same?

# %%
x, kernel = torch.from_numpy(digit), torch.from_numpy(edges.kernel)
theirs = torch.nn.functional.conv2d(x[None], kernel)
assert np.allclose(seen, theirs.numpy().ravel())
A

# %% [markdown]
# ## Exercises
#
# 1. Find the kernel of three numbers that makes `conv_matrix(kernel, (1, 7), padding=1)` the identity. Find the one
#    that moves the image one pixel to the right. What happens to the last pixel?
# 2. A 2x2 kernel whose entries are products, k[i][j] = u[i] v[j], is called separable. Show that its matrix is the
#    Kronecker product (`np.kron`) of the matrices of u and of v. Which of the two stands on the left, and why?
# 3. How many entries does the matrix of a k x k kernel over an n x n image have, without padding? How many does that of
#    a 3x3 kernel with padding 1 have? Find the formulas, then count with `.nnz`.
#
# The solutions are folded below.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Solutions

# %% [markdown] tags=["hide-cell"]
# **1.** The middle number of the kernel lies on the pixel itself, the first one on the pixel to its left. So (0, 1, 0)
# copies the image, and (1, 0, 0) moves each pixel one position to the right. The last pixel is lost: its column has
# only zeros. A zero enters on the left.

# %% tags=["hide-cell"]
identity = conv_matrix([[[0, 1, 0]]], (1, 7), padding=1)
shift = conv_matrix([[[1, 0, 0]]], (1, 7), padding=1)
assert (identity == np.eye(7)).all()
assert (shift @ np.arange(1.0, 8.0)).tolist() == [0, 1, 2, 3, 4, 5, 6]
matrix_picture(Conv([[[1, 0, 0]]], padding=1), (1, 7), title="to the right")

# %% [markdown] tags=["hide-cell"]
# **2.** The matrix of u combines the rows of the image, and that of v works within a row. The entries of one row are
# next to each other in the vector, so the rows are the blocks. In a Kronecker product the left factor multiplies the
# blocks, so u's matrix is on the left, and v's matrix is what the blocks contain.

# %% tags=["hide-cell"]
u, v = rng.standard_normal(2), rng.standard_normal(2)
separable = conv_matrix(np.outer(u, v).reshape(1, 1, 2, 2), (1, 4, 5))
of_u = conv_matrix(u.reshape(1, 1, 2), (1, 4)).toarray()
of_v = conv_matrix(v.reshape(1, 1, 2), (1, 5)).toarray()
assert np.allclose(separable.toarray(), np.kron(of_u, of_v))

# %% [markdown] tags=["hide-cell"]
# **3.** Without padding every output has all k² taps, which makes k² (n - k + 1)² entries. With a 3x3 kernel and
# padding 1, the three taps of an axis meet n, n - 1 and n - 1 pixels, 3n - 2 in all. Two axes make (3n - 2)² entries.

# %% tags=["hide-cell"]
for n in (5, 28):
    for k in (2, 3, 5):
        valid = conv_matrix(np.ones((1, 1, k, k)), (1, n, n))
        assert valid.nnz == k**2 * (n - k + 1) ** 2
    padded = conv_matrix(np.ones((1, 1, 3, 3)), (1, n, n), padding=1)
    assert padded.nnz == (3 * n - 2) ** 2
