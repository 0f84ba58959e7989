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
# **After this notebook you can** write down the matrix of any convolution, whatever its stride, padding, dilation and channels; say for each
# entry which number of the kernel it is; and tell which of these matrices are Toeplitz and which are not.
#
# You need to know what a matrix times a vector is. You do not need to know what a convolution is.
#
# It takes about 15 minutes. Every picture is drawn from the matrix itself. Hover over a cell, and it says what it is and lights up what belongs to it.

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
# A matrix multiplies vectors, so the image must become one. Read it like a page: row after row, from left to right. In an image of width
# w, the pixel in row r and column c becomes entry r·w + c, all of them counted from 0.

# %%
image = np.array(sympy.symbols("x_:3_:3")).reshape(3, 3)
side_by_side(image_picture(image), "→", vector_picture(image))

# %% [markdown]
# Nothing is lost on the way: `image.ravel()` goes there, `vector.reshape(3, 3)` comes back. This order is numpy's and PyTorch's default
# (C order).
#
# ## A convolution slides a small window over the image
#
# The window is called the *kernel*. Here it has 2x2 numbers a, b, c, d. Lay it on the image, multiply each of its numbers with the pixel below,
# and add up: that is one pixel of the output. Then move on by one pixel, and do it again.
#
# Where the kernel lies first, only four pixels count. The sum is a x₀₀ + b x₀₁ + c x₁₀ + d x₁₁. A sum of pixels, each times a number, is
# **a row times a vector**, so each output pixel is one row of a matrix. The numbers on the pixels are their numbers in the vector:
#
# (A shape is (channels, height, width); a grey image has one channel. A kernel has two axes more: output channels and input channels. Both
# are 1 until later.)

# %%
a, b, c, d = sympy.symbols("a b c d")
kernel = [[[[a, b], [c, d]]]]  # one output channel, one input channel, 2x2
operation_picture(Conv(kernel), (1, 3, 3), output=(0, 0, 0))

# %% [markdown]
# Move the kernel to the last place. The row of the matrix is the same four letters, moved to the right:

# %%
operation_picture(Conv(kernel), (1, 3, 3), output=(0, 1, 1))

# %% [markdown]
# Written as an equation, `conv_matrix` being the matrix itself:

# %%
A = conv_matrix(kernel, (1, 3, 3))
equation_formula(A, image)

# %% [markdown]
# Play with it: move the kernel with `row` and `column`, and see its row of the matrix light up. Change the options below; what they do comes in a
# minute. (The sliders work while the notebook runs. Elsewhere you see a picture.)

# %%
small = {"strides": [1, 2], "paddings": [0, 1], "dilations": [1, 2]}
explore_convolution(kernel, (1, 4, 4), **small)

# %% [markdown]
# ## The pattern: Toeplitz
#
# In one dimension, each row is the row above, moved by one. Along every diagonal stands one and the same letter. Such a matrix is called a
# **Toeplitz matrix**.

# %%
line = [[list(sympy.symbols("a b c"))]]
matrix_picture(Conv(line), (1, 7), title="a kernel of 3 over 7 pixels")


# %%
def is_toeplitz(matrix):
    """Whether every entry is the one up and to the left of it."""
    matrix = np.array(matrix.tolist())
    return bool((matrix[1:, 1:] == matrix[:-1, :-1]).all())


is_toeplitz(conv_matrix(line, (1, 7)))

# %% [markdown]
# In two dimensions the pattern comes twice. Here is a 3x3 kernel over a 5x5 image. **One hue is one row of the kernel**: indigo the first,
# orange the second, green the third; from dark to light, its three columns.
#
# The lines cut the matrix into blocks, one for each pair of an output row and an image row. Look at the blocks as if they were entries: each
# hue runs along a diagonal. Then look into one block: each shade runs along a diagonal. A Toeplitz matrix of Toeplitz blocks: **doubly
# block Toeplitz**.

# %%
nine = np.array(sympy.symbols("a:i")).reshape(1, 1, 3, 3)
blocks = Conv(nine)
matrix_picture(blocks, (1, 5, 5), title="a 3x3 kernel over a 5x5 image")

# %% [markdown]
# The whole matrix is not Toeplitz. At the end of an image row the kernel jumps to the start of the next, and the diagonals break:

# %%
A = blocks.exact_matrix((1, 5, 5))
inside = [A[3 * i : 3 * i + 3, 5 * j : 5 * j + 5] for i in range(3) for j in range(5)]
is_toeplitz(A), all(is_toeplitz(block) for block in inside)

# %% [markdown]
# ## Stride, padding and dilation
#
# Every option of a convolution is something simple done to the matrix.
#
# **Stride 2** moves the kernel by two pixels at a time. Of the outputs every second is left, so *rows are dropped*. What is left is not Toeplitz
# any more: each row is the one above moved by *two*.

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
# **Padding 1** puts a zero before and after the image, so that the kernel may hang over the edge. A number times zero adds nothing: what hangs
# over *has no entry*. The first row lost its a, the last row its c, and there are two rows more.

# %%
padded = Conv(line, padding=1)
matrix_picture(padded, (1, 7), title="padding 1: as many outputs as pixels")

# %% [markdown]
# Padding is a matrix P of its own, and the picture above is the product of the two. The next notebook is about P.

# %%
P = Pad(1).exact_matrix((1, 7))
assert padded.exact_matrix((1, 7)) == full.exact_matrix((1, 9)) * P

# %% [markdown]
# **Dilation 2** pulls the kernel apart: its letters look at every second pixel, so that *the diagonals move apart*.

# %%
matrix_picture(Conv(line, dilation=2), (1, 7), title="dilation 2")

# %% [markdown]
# Stride and padding at once, in two dimensions. Dashed cells are padded zeros. Can you say why the lit row has only four entries, although the kernel has nine?

# %%
operation_picture(Conv(nine, stride=2, padding=1), (1, 5, 5), output=(0, 0, 0))

# %% [markdown]
# ## Several channels: a matrix of matrices
#
# A colour image has three channels: three images on top of each other. Its vector is one channel after the other. A convolution has a kernel of
# its own for each pair of an output channel and an input channel, and adds up over the input channels.
#
# So the matrix is a **block matrix**, with one convolution matrix for each pair. Here two channels come out and three go in. Each pair has its own hue.

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
# `groups` forbids pairs. With as many groups as channels, each channel is convolved by itself (*depthwise*), and the matrix is block diagonal:

# %%
depthwise = Conv(rng.standard_normal((3, 1, 2, 2)), groups=3)
matrix_picture(depthwise, (3, 4, 4), title="groups=3")

# %% [markdown]
# A layer of a network adds one more thing: a number for each output channel, its **bias**, the same at all pixels. So a layer is W x + B, a matrix
# and a vector. Such a map is called **affine**; networks of nothing else are called *linear* all the same.
#
# ## Why "convolution" is cross-correlation
#
# In mathematics, convolution flips the kernel: (k * x)ₚ = Σ kₜ xₚ₋ₜ has a minus sign. What CNNs compute has a plus sign, Σ kₜ xₚ₊ₜ, and is called
# *cross-correlation*. numpy has both:

# %%
k, x = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.0, 0.0, 3.0, 0.0])
ours = conv_matrix(k.reshape(1, 1, 3), (1, 5)) @ x
print("ours            ", ours)
print("cross-correlated", np.correlate(x, k, mode="valid"))
print("convolved       ", np.convolve(x, k, mode="valid"))

# %% [markdown]
# Why does nobody mind? A network *learns* its kernels. If the library flipped them, the network would learn them flipped. The paper, PyTorch and
# this library all say "convolution" and do not flip.
#
# The flipped one is never far away: the **transpose** is convolution proper, in its full length (numpy's `mode="full"`). Read the matrix of a cross-correlation by columns instead of rows, and you see where
# each *pixel* goes; down a column the letters stand in reverse order. Training a CNN multiplies by this transpose all the time (that
# is backpropagation), and PyTorch calls it `conv_transpose`.

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
# What is it good for? Here is a handwritten digit of 28x28 pixels, and a kernel that takes the difference of what lies to the left and what lies to the right. The
# output is large at upright edges, orange where it gets darker to the right and violet where it gets brighter, and zero where nothing changes. Networks find such kernels by training.

# %%
edges = Conv(np.array([[[[1, 0, -1], [2, 0, -2], [1, 0, -1]]]]))
digit = gpu.load_digits()[0].images[0, 0].numpy() / 255
A = edges.matrix((1, 28, 28))
seen = A @ digit.ravel()
output = image_picture(seen, (26, 26))
side_by_side(image_picture(digit), kernel_picture(edges.kernel), "→", output)

# %% [markdown]
# The 26x26 outputs of the 784 pixels make a matrix of 676 x 784. Of its 529,984 places, 6,084 hold an entry of the kernel. (A third of these are the zeros in
# its middle column; the matrix keeps their places.) Here they all are, in the same three hues:

# %%
matrix_picture(edges, (1, 28, 28))

# %% [markdown]
# And is it what PyTorch computes? PyTorch is the judge:

# %%
x, kernel = torch.from_numpy(digit), torch.from_numpy(edges.kernel)
theirs = torch.nn.functional.conv2d(x[None], kernel)
assert np.allclose(seen, theirs.numpy().ravel())
A

# %% [markdown]
# ## Exercises
#
# 1. Find the kernel of three numbers that makes `conv_matrix(kernel, (1, 7), padding=1)` the identity. Find the one that moves the image one
#    pixel to the right. What is the last pixel's fate?
# 2. A 2x2 kernel whose entries are products, k[i][j] = u[i] v[j], is called separable. Show that its matrix is the Kronecker product
#    (`np.kron`) of the matrices of u and of v. Which of the two stands on the left, and why?
# 3. How many entries has the matrix of a k x k kernel over an n x n image, without padding? And of a 3x3 kernel with padding 1? Find the formulas, then
#    count with `.nnz`.
#
# The solutions are folded below.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Solutions

# %% [markdown] tags=["hide-cell"]
# **1.** The middle number of the kernel lies on the pixel itself, the first on the pixel to the left. So (0, 1, 0) copies, and (1, 0, 0) shows each
# pixel one place further to the right. The last pixel is shown nowhere: its column holds only zeros. A zero comes in on the left.

# %% tags=["hide-cell"]
identity = conv_matrix([[[0, 1, 0]]], (1, 7), padding=1)
shift = conv_matrix([[[1, 0, 0]]], (1, 7), padding=1)
assert (identity == np.eye(7)).all()
assert (shift @ np.arange(1.0, 8.0)).tolist() == [0, 1, 2, 3, 4, 5, 6]
matrix_picture(Conv([[[1, 0, 0]]], padding=1), (1, 7), title="to the right")

# %% [markdown] tags=["hide-cell"]
# **2.** The matrix of u acts on the rows of the image, that of v within a row. Entries of one row lie next to each other in the vector, so the rows are
# the blocks: u's matrix says where the blocks stand and stands on the left, v's is what stands in them.

# %% tags=["hide-cell"]
u, v = rng.standard_normal(2), rng.standard_normal(2)
separable = conv_matrix(np.outer(u, v).reshape(1, 1, 2, 2), (1, 4, 5))
of_u = conv_matrix(u.reshape(1, 1, 2), (1, 4)).toarray()
of_v = conv_matrix(v.reshape(1, 1, 2), (1, 5)).toarray()
assert np.allclose(separable.toarray(), np.kron(of_u, of_v))

# %% [markdown] tags=["hide-cell"]
# **3.** Without padding every output has all k² taps: k² (n - k + 1)². With a 3x3 kernel and padding 1, each of the three taps of an axis meets n,
# n - 1 and n - 1 pixels, 3n - 2 in all; for two axes (3n - 2)².

# %% tags=["hide-cell"]
for n in (5, 28):
    for k in (2, 3, 5):
        valid = conv_matrix(np.ones((1, 1, k, k)), (1, n, n))
        assert valid.nnz == k**2 * (n - k + 1) ** 2
    padded = conv_matrix(np.ones((1, 1, 3, 3)), (1, n, n), padding=1)
    assert padded.nnz == (3 * n - 2) ** 2
