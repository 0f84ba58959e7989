# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,jp-MarkdownHeadingCollapsed,jupyter
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
# **After this notebook you can** say why networks convolve, and what that saves; write the matrix of a convolution
# yourself, from one formula, whatever its stride, padding and dilation; tell which of these matrices are Toeplitz, and
# which are circulant; and say why the FFT computes a convolution.
#
# You need to know what the product of a matrix and a vector is, and near the end what an eigenvector is. You do not
# need to know what a convolution is. [The glossary](../docs/glossary.md) explains the terms of both fields.
#
# The notebook takes about 30 minutes. Every picture is drawn from the matrix itself. With a mouse, hover over a cell to
# read what it is. Where an image stands beside its matrix, the cells that belong together light up.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
from itertools import product

import numpy as np
import sympy
import torch

import gpu
from linalg_cnn import Conv, Pad, conv_matrix, conv_transpose_matrix
from linalg_cnn.display import (
    explore_convolution,
    image_picture,
    kernel_picture,
    letter_colors,
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

# %% jupyter={"source_hidden": true} tags=["hide-input"]
greys = np.repeat(["#ffffff", "#e3e6e8", "#c9ced3"], 3).tolist()  # one for each row
picture = image_picture(image, palette=dict(zip(image.ravel(), greys, strict=True)))
side_by_side(picture, "→", vector_picture(image, greys))

# %% [markdown]
# Nothing is lost on the way: `image.ravel()` gives the vector, and `vector.reshape(3, 3)` gives the image back. This
# order, called C order, is the default of numpy and PyTorch.
#
# ## Why convolution? Three matrices
#
# What should a layer of a network compute from the image? To begin with, take an image of a single row of seven pixels,
# and five outputs. In the pictures, **each colour is one weight** that the network has to learn.
#
# 1. A **dense** layer is any matrix at all: each output has a weight for each pixel.
# 2. What an image shows at one place, an edge or a corner, depends on the pixels nearby. So let each output read only
#    three neighbours: **locality**. The weights that are left out are zeros, and the matrix becomes sparse.
# 3. An edge is an edge wherever it is. So let all outputs use the same three numbers: **shared weights**. Now what is
#    learnt at one place holds at all others.

# %%
a, b, c, d = sympy.symbols("a b c d")
line = [[[a, b, c]]]  # the three weights that are shared
shared = conv_matrix(line, (1, 7))
dense = sympy.Matrix(5, 7, sympy.symbols("w_:5_:7"))
local = dense.multiply_elementwise(shared.applyfunc(lambda entry: int(entry != 0)))

# %% jupyter={"source_hidden": true} tags=["hide-input"]
palette = letter_colors(dense, dense.shape)
side_by_side(
    matrix_picture(dense, palette=palette, labels=False, title="dense: 35 weights"),
    matrix_picture(local, palette=palette, labels=False, title="local: 15 weights"),
    matrix_picture(shared, title="shared: 3 weights"),
    gap=30,
)

# %% [markdown]
# The third layer is a **convolution**, and its three numbers are its **kernel**. From a handwritten digit of 28x28
# pixels to 26x26 outputs, with a kernel of 3x3 numbers, the three layers have

# %%
weights = {
    "dense": torch.nn.Linear(28 * 28, 26 * 26, bias=False).weight.numel(),
    "local": conv_matrix(np.ones((1, 1, 3, 3)), (1, 28, 28)).nnz,
    "shared": torch.nn.Conv2d(1, 1, 3, bias=False).weight.numel(),
}
for layer, count in weights.items():
    print(f"{layer:6} {count:>7,} weights")

# %% [markdown]
# Locality saves a factor of 87, and sharing another factor of 676, one for each output. There is a price: a convolution
# can do less than a dense layer. It does the same everywhere, so if the image moves, the output moves with it:

# %%
pixels = sympy.symbols("x_:7")
moved = [0, *pixels[:-1]]  # one pixel to the right
assert (shared * sympy.Matrix(moved))[1:] == (shared * sympy.Matrix(pixels))[:-1]

# %% [markdown]
# ## A convolution slides a small window over the image
#
# In two dimensions, the kernel is a small image. Here it has 2x2 numbers a, b, c, d. Lay it on the image, multiply each
# of its numbers by the pixel below it, and add the products: the sum is one pixel of the output. Then move the kernel
# by one pixel, and repeat.
#
# At the kernel's first position, only four pixels count. The sum is a x₀₀ + b x₀₁ + c x₁₀ + d x₁₁. A sum of pixels,
# each times a number, is **a row times a vector**, so each output pixel is one row of a matrix. In the picture, each
# pixel shows its number in the vector. From here on, **each colour is one number of the kernel**.
#
# (A shape is (channels, height, width); a grey image has one channel. A kernel has two axes for channels: output
# channels and input channels. Both have size 1 until later.)

# %%
kernel = [[[[a, b], [c, d]]]]  # one output channel, one input channel, 2x2
operation_picture(Conv(kernel), (1, 3, 3), output=(0, 0, 0))

# %% [markdown]
# Move the kernel to its last position. The row of the matrix has the same four letters, moved to the right:

# %%
operation_picture(Conv(kernel), (1, 3, 3), output=(0, 1, 1))

# %% [markdown]
# The function `conv_matrix` returns the matrix itself:

# %%
conv_matrix(kernel, (1, 3, 3))

# %% [markdown]
# ## The formula
#
# Where does each number of the kernel stand? Along one axis, with the kernel's numbers t = 0, 1, ..., m - 1, the answer
# is one line:
#
# > **Row p has kernel[t] at column p·s - P + t·d.**
#
# - s is the **stride**: from one output to the next, the kernel moves by s pixels.
# - P is the **padding**: the kernel starts P pixels before the image.
# - d is the **dilation**: the kernel's numbers lie d pixels apart. (It is not the kernel's letter d.)
#
# Where there is no such column, because the kernel extends beyond the image, there is no entry. So far, s = 1, P = 0
# and d = 1, and the column is p + t. The last number of the kernel must not leave the padded image of n + 2P pixels, so
# there are
#
# $$o = \Big\lfloor \frac{n + 2P - d\,(m - 1) - 1}{s} \Big\rfloor + 1$$
#
# rows. In two dimensions the formula holds for each axis by itself: where output pixel (p, q) has kernel[t, u], the
# pixel's row comes from p and t, and its column from q and u. Exercise 1 at the end does this by hand. It takes three
# minutes, and now is the time for it.
#
# ## Write it yourself
#
# Write a function `my_matrix(kernel, n, s, P, d)` that returns the matrix of a kernel of m numbers on n pixels, as a
# numpy array. The formula and the number of rows are all that it takes: eight lines. Then let the next cell judge it:
# `check(my_matrix)` compares it with `conv_matrix` for all strides, paddings and dilations up to 3. (The eight lines
# are solution 2 at the end.)


# %%
def check(function):
    """Compare a function with `conv_matrix`, for several strides, paddings, dilations and sizes."""
    numbers = [1.0, 2.0, 4.0]
    for n, s, P, d in product(range(7, 12), [1, 2, 3], [0, 1, 2, 3], [1, 2, 3]):
        expected = conv_matrix([[numbers]], (1, n), stride=s, padding=P, dilation=d)
        case = f"n = {n}, s = {s}, P = {P}, d = {d}"
        assert np.array_equal(function(numbers, n, s, P, d), expected.toarray()), case
    print("It agrees with conv_matrix.")


# %% [markdown]
# ## Move the kernel
#
# Move the kernel with `row` and `column`, and watch its row of the matrix. Then change stride, padding and dilation,
# and say before you look where the numbers will be.

# %%
small = {"strides": [1, 2], "paddings": [0, 1], "dilations": [1, 2]}
explore_convolution(kernel, (1, 4, 4), **small)

# %% [markdown]
# ## The pattern: Toeplitz
#
# In one dimension, each row is the row above, moved by one. All entries of a diagonal are the same letter. Such a
# matrix is called a **Toeplitz matrix**.

# %%
matrix_picture(Conv(line), (1, 7), title="a kernel of 3 over 7 pixels")


# %%
def is_toeplitz(matrix):
    """Return whether every entry equals the one above and to the left of it."""
    matrix = np.array(matrix.tolist())
    return bool((matrix[1:, 1:] == matrix[:-1, :-1]).all())


is_toeplitz(shared)

# %% [markdown]
# In two dimensions the pattern occurs on two levels. Here is a 3x3 kernel over a 5x5 image. Nine colours cannot be told
# apart, so **each hue is one row of the kernel**: indigo is the first, orange the second, and green the third. The
# shades from dark to light are the three columns.
#
# The lines cut the matrix into blocks, one for each pair of an output row and an image row. Look at the blocks as if
# they were entries: each hue runs along a diagonal. Then look into one block: each shade runs along a diagonal. This is
# a Toeplitz matrix of Toeplitz blocks, called **doubly block Toeplitz**.

# %%
nine = np.array(sympy.symbols("k_:3_:3")).reshape(1, 1, 3, 3)
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
# Each of the three numbers in the formula changes the matrix in a simple way.
#
# **Stride 2** moves the kernel by two pixels at a time: row p starts at column 2p. Only every second output is left, so
# *rows are dropped*. The remaining matrix is not Toeplitz: each row is the row above, moved by *two*.

# %%
full = Conv(line)
strided = Conv(line, stride=2)
assert strided.exact_matrix((1, 7)) == full.exact_matrix((1, 7))[::2, :]

# %% jupyter={"source_hidden": true} tags=["hide-input"]
side_by_side(
    matrix_picture(full, (1, 7), title="stride 1"),
    "→",
    matrix_picture(strided, (1, 7), title="stride 2: every second row"),
)

# %% [markdown]
# **Padding 1** puts a zero before and after the image, so that the kernel may extend beyond the edge. A number times
# zero adds nothing, so a part of the kernel beyond the edge *has no entry*: the a of row 0 would stand at column -1.
# The first row has lost its a and the last row its c, and there are two more rows.

# %%
padded = Conv(line, padding=1)
matrix_picture(padded, (1, 7), title="padding 1: as many outputs as pixels")

# %% [markdown]
# Padding is a matrix of its own, from 7 pixels to 9, and the picture above is the product of the two. [Notebook
# 2](02_padding_and_resampling.ipynb) is about padding.

# %%
zeros_around = Pad(1).exact_matrix((1, 7))
assert padded.exact_matrix((1, 7)) == full.exact_matrix((1, 9)) * zeros_around

# %% [markdown]
# **Dilation 2** spreads the kernel: its letters are two columns apart, so *the diagonals move apart*.

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
# and two output channels. Here each hue is one *pair*, and the shades are the numbers of its kernel.

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
# ## Circular borders: circulant matrices and the FFT
#
# There is another border than zeros: let the image go on at its other end, as if it were drawn around a cylinder. The
# column of the formula then counts modulo n: row p has kernel[t] at column (p·s - P + t·d) mod n. The a that padding
# with zeros loses in row 0 returns on the right, and the c of the last row on the left:

# %%
circular = Conv(line, padding=1, padding_mode="circular")
matrix_picture(circular, (1, 7), title="circular padding")

# %% [markdown]
# Each row is the row above, moved by one, and what leaves on the right enters on the left. Such a matrix is called
# **circulant**. (The rows between the first and the last are those without padding: the border is the only difference.)
#
# The simplest circulant matrix is the **shift** S, with the kernel (0, 0, 1): it moves each pixel one position to the
# left, and the first one to the end. All others are made of it. With the a one position to the left of the pixel, the b
# on it and the c one to its right, the matrix above is $a\,S^{-1} + b\,\mathbf 1 + c\,S$:

# %%
S = conv_matrix(sympy.Array([[[0, 0, 1]]]), (1, 7), padding=1, padding_mode="circular")
A = circular.exact_matrix((1, 7))
assert a * S**-1 + b * sympy.eye(7) + c * S == A
assert sympy.eye(7) == S**7  # after seven steps, each pixel is back
assert A[1:-1, :] == shared

# %% [markdown]
# This shows its **eigenvectors**. What does S do to the wave $v_j$ with $j$ periods around the image? With $\omega =
# e^{2 \pi i / n}$ its entry p is $\omega^{jp}$. Moving the wave by one position multiplies every entry by $\omega^j$,
# so $S v_j = \omega^j v_j$: the n waves are eigenvectors of S. So they are eigenvectors of every polynomial in S, that
# is, of *every* circulant matrix. Only the eigenvalues differ; here they are
#
# $$\lambda_j = a\,\omega^{-j} + b + c\,\omega^{j} .$$
#
# In the picture, column j is the real part of the wave $v_j$, with orange for positive and violet for negative numbers.
# Columns j and n - j look alike: they are the same wave, running in opposite directions.

# %%
n, numbers = 16, [1.0, 2.0, 4.0]
omega = np.exp(2j * np.pi / n)
waves = omega ** np.outer(np.arange(n), np.arange(n))  # column j is the wave with j periods
A = conv_matrix([[numbers]], (1, n), padding=1, padding_mode="circular").toarray()
eigenvalues = sum(
    k * omega ** (t * np.arange(n)) for t, k in zip((-1, 0, 1), numbers, strict=True)
)
assert np.allclose(A @ waves, waves * eigenvalues)

# %% jupyter={"source_hidden": true} tags=["hide-input"]
side_by_side(
    matrix_picture(
        A, color="value", limit=4, labels=False, title="a circulant matrix", longest=260
    ),
    matrix_picture(
        waves.real, color="value", labels=False, title="its eigenvectors", longest=260
    ),
    gap=30,
)

# %% [markdown]
# The matrix of the waves is the **Fourier transform**: in the basis of the waves, every circular convolution is
# diagonal. So a convolution is three steps: write the image as a sum of waves, multiply each wave by its eigenvalue,
# add the waves up. The *fast* Fourier transform (FFT) does the first and the last step in about n log n operations, and
# it finds the eigenvalues, too: they are the transform of the matrix's first column.

# %%
x = np.random.default_rng(0).standard_normal(n)
assert np.allclose(np.fft.fft(A[:, 0]), eigenvalues)
assert np.allclose(np.fft.ifft(np.fft.fft(A[:, 0]) * np.fft.fft(x)), A @ x)

# %% [markdown]
# In two dimensions the waves run over both axes, and `fft2` replaces `fft`. So the FFT also computes a convolution
# without padding: go around in a circle, and drop the rows at the border. It pays for large kernels: its work does not
# depend on the size of the kernel. The kernels of a CNN are small, 3x3 as a rule, and nine multiplications for each
# pixel are less. At the end of the notebook both compute the same picture.
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
# would learn them flipped. PyTorch, this library and the paper that it is built on ([Joyce & Verschelde
# 2024](https://arxiv.org/abs/2408.07815)) all say "convolution" and do not flip.
#
# The flipped version appears in the **transpose**, which is the mathematical convolution in its full length (numpy's
# `mode="full"`). A column of the cross-correlation's matrix shows which outputs one *pixel* contributes to; down the
# column, the letters are in reverse order. Backpropagation, which trains CNNs, multiplies by this transpose, and
# PyTorch calls it `conv_transpose`.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
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
# left. Now colours are values, as with the waves: orange is positive, violet negative. The output is large at upright
# edges: orange where the image gets darker to the right, violet where it gets brighter, and zero where nothing changes.
# Networks find such kernels by training.

# %%
edges = Conv(np.array([[[[1, 0, -1], [2, 0, -2], [1, 0, -1]]]]))
digit = gpu.load_digits()[0].images[0, 0].numpy() / 255
A = edges.matrix((1, 28, 28))
seen = A @ digit.ravel()

# %% jupyter={"source_hidden": true} tags=["hide-input"]
side_by_side(
    image_picture(digit),
    kernel_picture(edges.kernel, color="value"),
    "→",
    image_picture(seen, (26, 26)),
)

# %% [markdown]
# The 26x26 outputs of the 784 pixels make a matrix of 676 x 784. Of its 529,984 entries, 6,084 come from the kernel. (A
# third of these are the zeros in the kernel's middle column, which the matrix stores, too.) Here are all of them,
# coloured as the 3x3 kernel above: indigo for its first row, orange for its second, green for its third.

# %%
matrix_picture(edges, (1, 28, 28))

# %% [markdown]
# Does PyTorch compute the same?

# %%
theirs = torch.nn.functional.conv2d(
    torch.from_numpy(digit[None]), torch.from_numpy(edges.kernel)
)
assert np.allclose(seen, theirs.numpy().ravel())

# %% [markdown]
# And the FFT? With circular borders the output has 28x28 pixels, of which the 26x26 inside are those from before:

# %%
around = Conv(edges.kernel, padding=1, padding_mode="circular").matrix((1, 28, 28))
eigenvalues = np.fft.fft2(around[:, [0]].toarray().reshape(28, 28))
by_waves = np.fft.ifft2(eigenvalues * np.fft.fft2(digit))
assert np.allclose(by_waves, (around @ digit.ravel()).reshape(28, 28))
assert np.allclose(by_waves[1:-1, 1:-1], seen.reshape(26, 26))

# %% [markdown]
# ## Exercises
#
# 1. With pencil and paper: write down the matrix of the kernel (a, b, c) on five pixels with stride 2 and padding 1,
#    then with stride 1, padding 2 and dilation 2. Begin with the number of rows.
# 2. Write `my_matrix`, as described above, and let `check` judge it.
# 3. A 2x2 kernel whose entries are products, k[i][j] = u[i] v[j], is called separable. Show that its matrix is the
#    Kronecker product (`np.kron`) of the matrices of u and of v. Which of the two stands on the left, and why?
# 4. A blur is a circular convolution with the kernel (1, 2, 1) / 4. Which wave does it remove entirely, and for which
#    n? Can a blurred image of n pixels be restored, for the other n? Find the answers from the eigenvalues.

# %% [markdown] jp-MarkdownHeadingCollapsed=true tags=["solution"]
# ### Solutions

# %% [markdown] tags=["hide-cell", "solution"]
# **1.** With stride 2 and padding 1 there are ⌊(5 + 2 - 2 - 1) / 2⌋ + 1 = 3 rows. Row p has kernel[t] at column 2p-1+t.
# Row 0 would have its a at column -1, so it begins with b; row 2 has a and b at columns 3 and 4, and its c would be at
# column 5, which does not exist. With stride 1, padding 2 and dilation 2 there are ⌊(5 + 4 - 4 - 1) / 1⌋ + 1 = 5 rows,
# with kernel[t] at column p - 2 + 2t.

# %% tags=["hide-cell", "solution"]
by_hand = [[b, c, 0, 0, 0], [0, a, b, c, 0], [0, 0, 0, a, b]]
assert conv_matrix(line, (1, 5), stride=2, padding=1) == sympy.Matrix(by_hand)
spread = [
    [b, 0, c, 0, 0],
    [0, b, 0, c, 0],
    [a, 0, b, 0, c],
    [0, a, 0, b, 0],
    [0, 0, a, 0, b],
]
assert conv_matrix(line, (1, 5), padding=2, dilation=2) == sympy.Matrix(spread)

# %% [markdown] tags=["hide-cell", "solution"]
# **2.** Row p, then each number of the kernel, then the column, if there is one: the formula, line by line.


# %% tags=["hide-cell", "solution"]
def my_matrix(kernel, n, s=1, P=0, d=1):
    rows = (n + 2 * P - d * (len(kernel) - 1) - 1) // s + 1
    A = np.zeros((rows, n))
    for p in range(rows):
        for t in range(len(kernel)):
            if 0 <= p * s - P + t * d < n:
                A[p, p * s - P + t * d] = kernel[t]
    return A


check(my_matrix)

# %% [markdown] tags=["hide-cell", "solution"]
# **3.** The matrix of u combines the rows of the image, and that of v works within a row. The entries of one row are
# next to each other in the vector, so the rows are the blocks. In a Kronecker product the left factor multiplies the
# blocks, so u's matrix is on the left, and v's matrix is what the blocks contain.

# %% tags=["hide-cell", "solution"]
u, v = rng.standard_normal(2), rng.standard_normal(2)
separable = conv_matrix(np.outer(u, v).reshape(1, 1, 2, 2), (1, 4, 5))
of_u = conv_matrix(u.reshape(1, 1, 2), (1, 4)).toarray()
of_v = conv_matrix(v.reshape(1, 1, 2), (1, 5)).toarray()
assert np.allclose(separable.toarray(), np.kron(of_u, of_v))

# %% [markdown] tags=["hide-cell", "solution"]
# **4.** The eigenvalues are (ω⁻ʲ + 2 + ωʲ) / 4 = (1 + cos(2πj/n)) / 2. They are 0 only for j = n/2, the wave +1, -1,
# +1, -1, ..., which exists if n is even. So an even n loses this wave. For an odd n no eigenvalue is 0, and dividing by
# the eigenvalues restores the image. But the smallest one is near 0, so that any noise in that wave is enlarged, a
# thousand times at n = 51.

# %% tags=["hide-cell", "solution"]
for n in (28, 51):
    blur = conv_matrix(
        [[[0.25, 0.5, 0.25]]], (1, n), padding=1, padding_mode="circular"
    ).toarray()
    by_formula = (1 + np.cos(2 * np.pi * np.arange(n) / n)) / 2
    assert np.allclose(np.fft.fft(blur[:, 0]), by_formula)
    print(
        f"n = {n}: rank {np.linalg.matrix_rank(blur)}, smallest eigenvalue {by_formula.min():.1e}"
    )
image = rng.standard_normal(n)
assert np.allclose(np.fft.ifft(np.fft.fft(blur @ image) / by_formula), image)
