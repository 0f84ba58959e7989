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
# # A trained network
#
# **After this notebook you can** train a linear CNN on handwritten digits, turn it into one matrix of ten rows, see in
# these rows what the network looks for, say exactly what it cannot see, and choose the cheaper of two methods to
# compute the matrix.
#
# Earlier notebooks introduced the matrices of convolutions ([1](01_convolution_is_a_matrix.ipynb)), of padding and
# resampling ([2](02_padding_and_resampling.ipynb)), and theorem 3.1 ([3](03_skip_connections.ipynb)). Here the matrices
# belong to a trained network. The notebook takes about 20 minutes. [The glossary](../docs/glossary.md) explains the
# terms of both fields.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
import time

import numpy as np

import gpu
from linalg_cnn import Dense, SkipNetwork, compose
from linalg_cnn.display import (
    Explorer,
    curves_picture,
    figure_picture,
    image_picture,
    matrices_figure,
    matrix_panels,
    network_picture,
    rows_picture,
    side_by_side,
    stacked,
)

# %% [markdown]
# ## Train
#
# The data are 5,000 of MNIST's digits, 500 of each class: 4,000 for training, and 1,000 held out. The network is the
# 3-layer CNN of [the paper](https://arxiv.org/abs/2408.07815): three convolutions, a skip around the second one, which
# carries half of the third one's input, and a dense layer. (The paper does not say how many channels they have; here
# it is 8.) It has no activation.
#
# (A *dense*, or fully connected, layer is a matrix without any pattern: every score reads every number. An *activation*
# is a nonlinear function between layers, such as ReLU, which replaces negative numbers by 0. An *epoch* is one pass
# over all training images.)

# %%
training, held_out = gpu.load_digits()
model = gpu.three_layer_cnn(channels=8, t=0.5)
history = gpu.train(model, training, held_out, epochs=5, progress=False)
network_picture(model.to_network())

# %% jupyter={"source_hidden": true} tags=["hide-input"]
curves_picture(
    {
        name: [epoch[f"{name}_accuracy"] for epoch in history]
        for name in ("train", "validation")
    },
    x="epoch",
    y="accuracy",
)

# %% [markdown]
# The network classifies nine digits out of ten correctly. Convolutional networks with activations exceed 99 of 100
# if they are trained on all of MNIST; this one is linear, and linear networks do not get much further, even there.
#
# ## Collapse
#
# `to_network()` takes the weights out of torch, and `compose()` is theorem 3.1.

# %%
network = model.to_network()
affine = network.compose()
affine.W.shape, affine.B.shape

# %% [markdown]
# W maps 784 pixels to 10 scores. The next picture shows, to scale, where the matrix of each layer has entries, and the
# W that replaces them all:

# %% jupyter={"source_hidden": true} tags=["hide-input"]
figure_picture(
    matrices_figure(network, across=3),
    "Where the matrices of three convolutions, of the dense layer "
    "and of the resampled skip have entries, "
    "each of thousands of rows and nearly empty, beside W, which has ten rows and is full.",
)

# %% [markdown]
# Is it the same classifier? Compare the two on every held-out digit:

# %%
images = held_out.images.flatten(1).numpy() / 255
scores = affine(images)
network_scores = gpu.predict_scores(model, held_out.images).numpy()
print(
    "same class on "
    f"{np.sum(scores.argmax(1) == network_scores.argmax(1)):,} of {len(images):,}"
)
print(
    f"scores differ by at most {np.abs(scores - network_scores).max():.0e}: "
    "the network adds in float32, the map in float64"
)
assert np.array_equal(scores.argmax(1), network_scores.argmax(1))
assert np.allclose(scores, network_scores, atol=1e-4)

# %% [markdown]
# ## Read
#
# A row of W has one number for each pixel: the amount that ink there adds to the score of that class. The rows, drawn
# as images, and the numbers of B are all that the network has learnt. Orange pixels are evidence for the digit, violet
# pixels against it.

# %%
rows_picture(affine, [str(digit) for digit in range(10)])

# %% [markdown]
# The row of the 0 has positive weights on a ring and negative ones in its middle. The rows are not pictures of digits,
# but of **differences**: they show where one class has ink, and the classes that it is confused with have none.
#
# A score is a sum over the pixels, W x + B, so it can be split into their contributions. Multiply each row by the
# image, pixel by pixel: the result is the evidence of the digit's own ink for each class. Move the slider through
# held-out digits; the first ones are mistakes.

# %%
labels = held_out.labels.numpy()
mistakes = np.flatnonzero(scores.argmax(1) != labels)[:5]
right = np.flatnonzero(scores.argmax(1) == labels)[:10]


# %% jupyter={"source_hidden": true} tags=["hide-input"]
def evidence(digit):
    names = [f"{k}: {score:.1f}" for k, score in enumerate(scores[digit])]
    read, meant = scores[digit].argmax(), labels[digit]
    shown = image_picture(images[digit].reshape(28, 28), title=f"a {meant}, read as {read}")
    cases = rows_picture(affine.W * images[digit], names, in_shape=(1, 28, 28), longest=84)
    return side_by_side(shown, cases, gap=30)


Explorer(
    evidence,
    {"digit": [int(n) for n in (*mistakes, *right)]},
    static=[{"digit": int(mistakes[0])}, {"digit": int(right[0])}],
)

# %% [markdown]
# ## What the network cannot see
#
# W has ten rows. Adding anything to an image that all ten rows send to zero changes no score, so the network is blind
# in 774 of 784 directions. This does not depend on the training, only on the shape of W.
#
# So take any two images a and b, and find the *smallest* change of b that gives it exactly the scores of a. That change
# is $W^+ W (a - b)$, with the pseudoinverse $W^+$.

# %%
pseudoinverse = np.linalg.pinv(affine.W)


def disguise(looks_like, is_read_as):
    a, b = images[is_read_as], images[looks_like]
    return b + pseudoinverse @ (affine.W @ (a - b))


three, seven = (
    int(np.flatnonzero((labels == digit) & (scores.argmax(1) == digit))[0])
    for digit in (3, 7)
)
fake = disguise(looks_like=seven, is_read_as=three)
assert np.allclose(affine(fake), scores[three])

# %% jupyter={"source_hidden": true} tags=["hide-input"]
side_by_side(
    image_picture(images[seven].reshape(28, 28), title=f"read as {scores[seven].argmax()}"),
    image_picture(
        (fake - images[seven]).reshape(28, 28), color="value", title="what is added"
    ),
    image_picture(
        fake.reshape(28, 28), color="gray", title=f"read as {affine(fake).argmax()}"
    ),
    image_picture(images[three].reshape(28, 28), title=f"read as {scores[three].argmax()}"),
    gap=24,
)

# %% [markdown]
# The two images on the right have the same ten scores, up to rounding. For a network with activations one has to search
# for such images; for a linear network there is a formula.
#
# ## The spectrum
#
# How strongly do the scores depend on the other ten directions? The singular values give the answer: a change of one
# unit along the first right singular vector changes the scores by the first singular value, and no other change of one
# unit has a larger effect.

# %%
U, singular_values, V = np.linalg.svd(affine.W, full_matrices=False)
latent = network.latent()
latent_values = np.linalg.svd(latent.toarray().W, compute_uv=False)

# %% jupyter={"source_hidden": true} tags=["hide-input"]
curves_picture(
    {
        f"W, {affine.out_size} x 784": singular_values,
        f"W_latent, {latent.out_size:,} x 784": latent_values,
    },
    x="number",
    y="singular value",
    log=True,
    log_x=True,
)

# %% [markdown]
# `net.latent()` is the paper's $W_{latent}$, all layers but the last. None of its 784 singular values is zero: the
# three convolutions **lose nothing**, and the image could be computed back. (The paper calls latent space a
# lower-dimensional representation. Here it is larger than the image: 4,608 numbers for 784 pixels.) The ten rows of the
# last layer discard the other 774 directions.
#
# The right singular vectors of W, drawn as images, span all that the network can see. Every row of W is a mixture of
# them:

# %%
assert latent_values.min() > 1e-3 * latent_values.max()
rows_picture(V, [f"{value:.2f}" for value in singular_values], in_shape=(1, 28, 28))

# %% [markdown]
# ## Inside the latent map
#
# A row of $W_{latent}$ shows which pixels of the image one pixel of the last feature map depends on: its receptive
# field. The next picture shows one row, from the first channel, then its window and those of its three neighbours,
# enlarged:

# %%
W_latent, (channels, height, width) = latent.toarray().W, network.shapes[-2]
columns = (10, 11, 12, 13)


def row_of(W, column):
    """Return the row of W that belongs to output (11, column) of channel 0, as an image."""
    return W[11 * width + column].reshape(28, 28)


def window(W, column):
    """Return the 7x7 pixels of it that three 3x3 kernels can read."""
    row = row_of(W, column)
    seen = row[10:17, column - 1 : column + 6]
    assert np.count_nonzero(row) == np.count_nonzero(seen)
    return seen


windows = np.stack([window(W_latent, column).ravel() for column in columns])

# %% jupyter={"source_hidden": true} tags=["hide-input"]
side_by_side(
    image_picture(
        row_of(W_latent, 10),
        color="value",
        limit=np.abs(windows).max(),
        title="the row of (11, 10)",
    ),
    rows_picture(windows, [f"(11, {column})" for column in columns], in_shape=(1, 7, 7)),
    gap=18,
)

# %% [markdown]
# The window of 7x7 pixels moves with the output: three 3x3 convolutions are **one** 7x7 convolution. This is not quite
# true here, because the second window differs from the first. The skip is resampled from 28x28 to 26x26, which leaves
# out two rows and two columns of pixels, so its value shifts by one pixel when the window passes them. Without the
# skip, away from the border, all windows are the same:

# %%
bare = SkipNetwork(network.in_shape, network.layers).latent().toarray().W
assert all(np.allclose(window(bare, column), window(bare, 10)) for column in columns)
for column in columns:
    same = np.allclose(window(W_latent, column), window(W_latent, 10))
    print(f"(11, {column}): {'as the first' if same else 'another window'}")

# %% [markdown]
# ## Forward or adjoint
#
# W can be computed in two directions. Push the 784 unit images **forward** through the layers, and each gives a column.
# Or pull the 10 unit scores back through the transposed layers, the **adjoint**, and each gives a row. The result is
# the same, but the work differs. One vector costs as many multiply-accumulates (MACs) as the matrices of all layers
# have entries, and a matrix and its transpose have equally many.

# %%
entries = sum(panel.matrix.nnz for panel in matrix_panels(network)[:-1])


def seconds(direction, runs=3):
    def once():
        start = time.perf_counter()
        assert np.allclose(compose(network, direction).W, affine.W)
        return time.perf_counter() - start

    return min(once() for _ in range(runs))


for direction, vectors in (("forward", affine.in_size), ("adjoint", affine.out_size)):
    print(
        f"{direction}: {vectors:3} vectors, {vectors * entries:13,} MACs, "
        f"{1000 * seconds(direction):5.0f} ms here"
    )

# %% [markdown]
# Backpropagation uses the adjoint, too: one output takes one backward pass, whatever the number of inputs.
# `direction="auto"`, the default, starts at the narrower end.
#
# ## Exercises
#
# 1. Train `gpu.perceptron()`, a single matrix, in the same way. It can become every W that the CNN can become. Compare
#    accuracy and rows: what did the convolutions contribute?
# 2. How small a change of the image changes the predicted class? For a linear network this is geometry: the shortest
#    path from x to where class d overtakes class c is along row d minus row c. For the first digit that is classified
#    correctly, find the nearest class, and draw the image on the other side.
# 3. Replace the last layer by one with 2,000 outputs. Which direction is cheaper now? Predict before you measure.

# %% [markdown] jp-MarkdownHeadingCollapsed=true tags=["solution"]
# ### Solutions

# %% [markdown] tags=["hide-cell", "solution"]
# **1.** The rows of the perceptron are noisier, because the weight of each pixel was learnt by itself. In the CNN
# neighbouring pixels share weights, so its rows are smoother. Both have ten rows of 784 numbers: they differ in what
# training finds first, not in what they can express.

# %% tags=["hide-cell", "solution"]
perceptron = gpu.perceptron()
perceptron_history = gpu.train(perceptron, training, held_out, epochs=5, progress=False)
single = perceptron.to_network().compose()
print(
    f"perceptron {perceptron_history[-1]['validation_accuracy']:.1%}, "
    f"CNN {history[-1]['validation_accuracy']:.1%}"
)
stacked(
    rows_picture(single.W[:5], list("01234"), in_shape=(1, 28, 28)).with_title(
        "the perceptron"
    ),
    rows_picture(affine.W[:5], list("01234"), in_shape=(1, 28, 28)).with_title(
        "the CNN, collapsed"
    ),
)


# %% tags=["hide-cell", "solution"]
def roughness(W):
    """Return the squared steps between neighbouring pixels, relative to the squared size of the rows."""
    rows_as_images = W.reshape(-1, 28, 28)
    return (np.diff(rows_as_images, axis=1) ** 2).sum() / (W**2).sum()


print(f"roughness: perceptron {roughness(single.W):.2f}, CNN {roughness(affine.W):.2f}")
assert roughness(affine.W) < roughness(single.W)

# %% [markdown] tags=["hide-cell", "solution"]
# **2.** With $n = w_d - w_c$ the scores of c and d are equal on the plane $n x + b_d - b_c = 0$. The distance to it is
# the lead of c divided by the length of n, and the shortest path to it is along n.

# %% tags=["hide-cell", "solution"]
digit = int(right[0])
x, lead = images[digit], scores[digit].max() - scores[digit]
c = int(scores[digit].argmax())
normals = affine.W - affine.W[c]
distances = np.array([
    lead[d] / np.linalg.norm(normals[d]) if d != c else np.inf for d in range(10)
])
d = int(distances.argmin())
step = 1.001 * lead[d] / (normals[d] @ normals[d]) * normals[d]
assert affine(x + step).argmax() == d
print(
    f"{np.linalg.norm(step):.2f} units of ink turn a {c} into a {d}; "
    f"the digit itself has {np.linalg.norm(x):.2f}"
)
side_by_side(
    image_picture(x.reshape(28, 28), title=f"read as {c}"),
    image_picture(step.reshape(28, 28), color="value", title="the smallest change"),
    image_picture((x + step).reshape(28, 28), color="gray", title=f"read as {d}"),
    gap=24,
)

# %% [markdown] tags=["hide-cell", "solution"]
# **3.** There are 784 columns and 2,000 rows, so the input is now the narrower end, and `auto` pushes forward. Both
# directions also pass the new layer.

# %% tags=["hide-cell", "solution"]
rng = np.random.default_rng(0)
head = Dense(rng.standard_normal((2000, latent.out_size)))
wide = SkipNetwork(network.in_shape, [*network.layers[:-1], head], network.skip_weights)
entries = sum(panel.matrix.nnz for panel in matrix_panels(wide)[:-1])
print(f"forward {784 * entries:,} MACs, adjoint {2000 * entries:,}")
assert np.array_equal(compose(wide).W, compose(wide, "forward").W)
