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
# # Padding and resampling are matrices
#
# **After this notebook you can** write down the paper's equations (6) to (9); say which pixels `nearest` and
# `nearest-exact` copy, and which bilinear resampling mixes; and say how many zeros a kernel needs for the output to be
# as large as the input (the paper is off by a factor of two).
#
# A skip connection adds two images. They must have the same size for that, but convolutions make images smaller. There
# are two remedies, and both are matrices: **pad** the image before the convolution, or **resample** the larger image.
#
# The paper is [Joyce & Verschelde 2024](https://arxiv.org/abs/2408.07815), which this library is built on. Read
# [notebook 1](01_convolution_is_a_matrix.ipynb) first. This one takes about 15 minutes. [The
# glossary](../docs/glossary.md) explains the terms of both fields.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
import numpy as np
import sympy
import torch

from linalg_cnn import (
    Conv,
    Pad,
    Resample,
    avg_pool_matrix,
    conv_matrix,
    resample_matrix,
    symbolic,
)
from linalg_cnn.display import (
    equation_formula,
    equation_picture,
    explore_resampling,
    image_picture,
    letter_colors,
    matrix_picture,
    operation_picture,
    side_by_side,
    stacked,
)

# %% [markdown]
# The paper's example is a 2x2 image. **Each colour is one pixel**, so that you can follow it.

# %%
image = np.array(sympy.symbols("a_11 a_12 a_21 a_22")).reshape(2, 2)
colours = letter_colors(image)
image_picture(image, palette=colours, title="A")

# %% [markdown]
# ## Resampling: equations (6) and (7)
#
# Resample it to 3x4. Nearest-neighbour resampling makes each of the twelve new pixels a copy of one of the four old
# ones. A copy is a row with a single 1, in the column of the pixel that is copied. This is **equation (6)**, entry by
# entry:

# %%
R = symbolic.resample_matrix((1, 2, 2), (3, 4), mode="nearest-exact")
equation_picture(R, image, (1, 2, 2), (1, 3, 4))

# %% [markdown]
# In the shape of an image, the result is **equation (7)**:

# %%
x = sympy.Matrix(image.ravel())
resampled = (R * x).reshape(3, 4)
before = image_picture(image, palette=colours)
side_by_side(before, "→", image_picture(resampled, palette=colours))

# %%
a11, a12, a21, a22 = x
top, bottom = [a11, a11, a12, a12], [a21, a21, a22, a22]
as_printed = [top, bottom, bottom]
assert resampled == sympy.Matrix(as_printed)
equation_formula(R[:4, :], image)  # its first row of pixels

# %% [markdown]
# ## Nearest to what? `nearest` against `nearest-exact`
#
# Two rows have to become three. The paper takes the rows 0, 1, 1, and says that this matches PyTorch. It also says that
# 0, 0, 1 would be *equally valid*. PyTorch has both, under two names, and its default is the *other* one:

# %%
default = (symbolic.resample_matrix((1, 2, 2), (3, 4)) * x).reshape(3, 4)

# %% jupyter={"source_hidden": true} tags=["hide-input"]
side_by_side(
    image_picture(resampled, palette=colours, title="nearest-exact: 0, 1, 1"),
    image_picture(default, palette=colours, title="nearest: 0, 0, 1"),
    gap=40,
)

# %% [markdown]
# Both rules map the new axis onto the old one. With i old and o new pixels, new pixel p copies the old pixel
#
# - p · i/o, rounded down, in the mode `nearest`, which looks up the new pixel's *left edge*;
# - (p + ½) · i/o, rounded down, in the mode `nearest-exact`, which looks up the new pixel's *centre*.
#
# The second rule treats left and right alike (except where a centre falls exactly on an edge, as here). The first one
# is biased to the left. PyTorch keeps it as the default, so that older networks compute the same as before.

# %%
for mode, shift in (("nearest", 0), ("nearest-exact", 0.5)):
    ours = [int(((p + shift) * 2) // 3) for p in range(3)]
    numbers = torch.tensor([[[0.0, 1.0]]])  # each pixel holds its number
    theirs = torch.nn.functional.interpolate(numbers, size=3, mode=mode)
    assert ours == theirs.ravel().tolist()
    assert ours == (resample_matrix((1, 2), 3, mode) @ [0.0, 1.0]).tolist()
    print(f"{mode:14}", ours)

# %% [markdown]
# In one dimension the matrices are small enough to compare at a glance. Here five pixels become eight:

# %%
five = sympy.symbols("x_:5")

# %% jupyter={"source_hidden": true} tags=["hide-input"]
side_by_side(
    equation_picture(Resample(8, "nearest"), five, (1, 5), title="nearest"),
    equation_picture(Resample(8, "nearest-exact"), five, (1, 5), title="nearest-exact"),
    gap=50,
)

# %% [markdown]
# (PyTorch computes p · i/o in single precision. Where the exact value is a whole number, rounding can give a value just
# below it, and then the previous pixel is copied. The library does the same.)

# %%
exactly = [p * 26 // 22 for p in range(22)]
ramp = torch.arange(26.0)  # each pixel holds its number
pytorch = torch.nn.functional.interpolate(ramp[None, None], size=22).ravel().int().tolist()
assert pytorch == (resample_matrix((1, 26), 22) @ np.arange(26.0)).tolist()
for p in range(22):
    if exactly[p] != pytorch[p]:
        print(f"new pixel {p}: exactly {exactly[p]}, in PyTorch {pytorch[p]}")

# %% [markdown]
# ## Bilinear: the same matrix with other entries
#
# For bilinear interpolation, the paper says, *"we could achieve this by changing the entries of our transformation
# matrix in (6)"*. These are the entries. The centre of new pixel p, measured from the centre of the first old pixel,
# lies at r = (p + ½) · i/o - ½ (or at 0, if that is negative). With q = r rounded down, old pixel q gets the weight 1 -
# (r - q), and pixel q + 1 the weight r - q; beyond the last pixel, the last one gets all. In two dimensions the weights
# of the two axes multiply. (PyTorch's `align_corners=True` spaces the centres differently.) The colours mix as the
# pixels do, and paler entries are smaller weights.

# %%
linear = symbolic.resample_matrix((1, 2, 2), (3, 4), mode="linear")
equation_picture(linear, image, (1, 2, 2), (1, 3, 4), color="column")

# %%
mixed = (linear * x).reshape(3, 4)
side_by_side(before, "→", image_picture(mixed, palette=colours, labels=False))

# %% [markdown]
# The weights in each row sum to 1, so an image of a single grey keeps that grey at every size.

# %%
assert all(sum(linear.row(p)) == 1 for p in range(12))
grey = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
theirs = torch.nn.functional.interpolate(grey[None, None], size=(3, 4), mode="bilinear")
ours = resample_matrix((1, 2, 2), (3, 4), mode="linear") @ grey.numpy().ravel()
assert np.allclose(ours, theirs.numpy().ravel())
linear[4:8, :]  # the middle row of pixels: halfway between the two old rows

# %% [markdown]
# Here three pixels become five, in each of the three modes. The sliders show other sizes:

# %%
play = explore_resampling(five[:3], (1, 3), sizes=[2, 3, 4, 5, 6, 7])
play.static = [
    play.start | {"size": 5, "mode": mode}
    for mode in ("nearest", "nearest-exact", "linear")
]
play

# %% [markdown]
# ## Padding: equations (8) and (9)
#
# The other remedy is to put a border around the image first. A border pixel that is zero for every image is an **empty
# row**. This is **equation (8)**, a border of zeros around A:

# %%
P = symbolic.pad_matrix((1, 2, 2), 1)
equation_picture(P, image, (1, 2, 2), (1, 4, 4))

# %% [markdown]
# In the shape of an image, the result is **equation (9)**:

# %%
padded = (P * x).reshape(4, 4)
as_printed = [[0, 0, 0, 0], [0, a11, a12, 0], [0, a21, a22, 0], [0, 0, 0, 0]]
assert padded == sympy.Matrix(as_printed)
side_by_side(before, "→", image_picture(padded, palette=colours))

# %% [markdown]
# A border may consist of *"zeros, samples of pixels near the border, or other methods"*, the paper says. PyTorch's
# other padding modes are such methods. None of them has an empty row, because every border pixel is a copy. Here a 3x3
# image is padded by 2:

# %%
nine = np.array(sympy.symbols("x_:3_:3")).reshape(3, 3)
bordered = {}
for mode in ("zeros", "reflect", "replicate", "circular"):
    border = symbolic.pad_matrix((1, 3, 3), 2, mode)
    bordered[mode] = (border * sympy.Matrix(nine.ravel())).reshape(7, 7)

# %% jupyter={"source_hidden": true} tags=["hide-input"]
zeros, reflect, replicate, circular = (
    image_picture(pixels, palette=letter_colors(nine), title=mode)
    for mode, pixels in bordered.items()
)
stacked(side_by_side(zeros, reflect, gap=40), side_by_side(replicate, circular, gap=40))

# %% [markdown]
# ## A padded convolution is one matrix
#
# To pad and then convolve is to multiply by W P, a product of two matrices. Where P has an empty row, the column of W
# contributes nothing. Only the entries that fall on real pixels are left, so a convolution with `padding=1` has *fewer*
# entries than W, not more. **From here on each colour is one number of the kernel**, as in notebook 1:

# %%
a, b, c, d = sympy.symbols("a b c d")
kernel = [[[[a, b], [c, d]]]]
W = conv_matrix(kernel, (1, 4, 4))  # over the padded 4x4 image
together = Conv(kernel, padding=1)
assert together.exact_matrix((1, 2, 2)) == W * P

# %% jupyter={"source_hidden": true} tags=["hide-input"]
side_by_side(
    matrix_picture(Conv(kernel), (1, 4, 4), title="W"),
    "·",
    matrix_picture(Pad(1), (1, 2, 2), color="entry", palette={1: "#dfe3e7"}, title="P"),
    "=",
    matrix_picture(together, (1, 2, 2), title="W P"),
)

# %% [markdown]
# ## The paper's slip about padding
#
# The paper continues: convolve the padded 4x4 image (9) with a 2x2 kernel, and *"our output will have size 2x2, which
# matches the original image"*. Count in the picture above or below: how many rows does W P have?

# %%
operation_picture(together, (1, 2, 2), output=(0, 1, 1), x=image)

# %% [markdown]
# **Nine: the output is 3x3.** A kernel of size k fits into n pixels at n - k + 1 positions. So k - 1 pixels are lost,
# and k - 1 zeros *in total* compensate for them. The paper's rule puts k - 1 zeros *on each side*, twice as many. Its
# output has n + k - 1 pixels, which is called the *full* convolution. For k = 2 one zero is enough, and it cannot be
# divided evenly between the sides. PyTorch puts the extra zero last:

# %%
sizes = {
    "no zeros (valid)": Conv(kernel),
    "k - 1 in total (same)": Conv(kernel, padding="same"),
    "k - 1 on each side (full)": Conv(kernel, padding=1),
}
for name, layer in sizes.items():
    print(f"{name:26} 2x2 -> {layer.out_shape((1, 2, 2))[1:]}")
operation_picture(Conv(kernel, padding="same"), (1, 2, 2), output=(0, 1, 1), x=image)

# %% [markdown]
# ## Exercises
#
# 1. What are Pᵀ P and P Pᵀ for the matrix P of equation (8)? Say in words what each of them does to an image.
# 2. Enlarge an image from 2x2 to 4x4 with `nearest`, then shrink it by averaging squares of 2x2 pixels
#    (`avg_pool_matrix`). Show that you get the image back, and that one matrix is the transpose of the other, up to a
#    factor.
# 3. For which sizes do `nearest` and `nearest-exact` agree? Let the computer compare all sizes up to 12, find the rule
#    for o ≥ i, and say why.

# %% [markdown] jp-MarkdownHeadingCollapsed=true tags=["solution"]
# ### Solutions

# %% [markdown] tags=["hide-cell", "solution"]
# **1.** Pᵀ cuts the border off. Padding and then cutting changes nothing, so Pᵀ P is the identity. Cutting and then
# padding sets the border of a 4x4 image to zero and keeps the rest, so P Pᵀ is diagonal, with a 1 for each inner pixel.
# In linear algebra such a matrix is called a projection.

# %% tags=["hide-cell", "solution"]
assert sympy.eye(4) == P.T * P
inner = [int(r in {1, 2} and c in {1, 2}) for r in range(4) for c in range(4)]
assert sympy.diag(*inner) == P * P.T
assert (P * P.T) ** 2 == P * P.T

# %% [markdown] tags=["hide-cell", "solution"]
# **2.** Each old pixel is copied four times, and the mean of four copies is the pixel. The row that averages four new
# pixels has four entries ¼, at the same positions where the column of `nearest` has four ones.

# %% tags=["hide-cell", "solution"]
up, down = resample_matrix((1, 2, 2), (4, 4)), avg_pool_matrix((1, 4, 4), 2)
assert ((down @ up).toarray() == np.eye(4)).all()
assert (down.toarray() == up.T.toarray() / 4).all()

# %% [markdown] tags=["hide-cell", "solution"]
# **3.** For o ≥ i they agree exactly where o is a multiple of i: then the left edge and the centre of each new pixel
# lie in the same old pixel. Otherwise some old edge falls inside a new pixel, between its left edge and its centre (or
# onto the centre), and there the two rules differ. When shrinking, o < i, they never agree: they differ at the last new
# pixel, or, where a new pixel is as wide as two old ones or more, already at the first.


# %% tags=["hide-cell", "solution"]
def agree(i, o):
    """Return whether the two modes copy the same pixels."""
    differ = resample_matrix((1, i), o) != resample_matrix((1, i), o, "nearest-exact")
    return differ.nnz == 0


for i in range(1, 13):
    for o in range(1, 13):
        assert agree(i, o) == (o % i == 0)  # never for o < i
