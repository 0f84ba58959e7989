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
# # How fast, and why
#
# **After this notebook you can** estimate how fast a prediction can be at best, before you time anything; tell from two
# counts whether collapsing a network pays; and explain how a matrix product with bytes can be both faster and more
# exact than one with floats.
#
# You should have seen how a network is collapsed ([notebook 3](03_skip_connections.ipynb) or
# [4](04_a_trained_network.ipynb)). This notebook takes about 15 minutes. [The glossary](../docs/glossary.md) explains
# the terms of both fields.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import gpu
from gpu.predict import Predictor, slice_digits
from linalg_cnn import AffineMap
from linalg_cnn.display import curves_picture, image_picture, side_by_side

SHAPE = (1, 28, 28)
# one thread, so that the times depend less on other work on this machine
torch.set_num_threads(1)

# %% [markdown]
# ## Count before you time
#
# Nearly all that a network computes is multiply-accumulates (MACs): a weight times a number, added to a sum.
# `gpu.trace` reads a torch module as a graph of operations, and the graph counts its MACs, without those that fall on
# padded zeros. (The small network is trained briefly, so that its W is not random.)

# %%
training, held_out = gpu.load_digits()
three = gpu.three_layer_cnn()
gpu.train(three, training, held_out, epochs=2, progress=False)
three.eval()
resnet = gpu.resnet(34, activation="identity", stem_pool="avg").eval()
networks = {"3-layer CNN": three, "ResNet34": resnet}
counts = {
    name: gpu.trace(network, SHAPE).multiply_adds for name, network in networks.items()
}
counts["W, 10 x 784"] = 10 * 784
for name, count in counts.items():
    print(f"{name:12} {count:>12,} MACs per image")

# %% [markdown]
# The linear ResNet34 and the small CNN have a W of the same size, but the networks themselves differ in cost:
# collapsing the small CNN saves a factor of about 100, and collapsing the ResNet34 a factor of more than 4,000.
#
# ## Then time
#
# Compare the 3-layer CNN with the one linear layer that it collapses to. Both make the same predictions, in batches of
# several sizes:

# %%
collapsed = gpu.collapse(three, SHAPE)
powers = [0, 2, 4, 6, 8, 10]
layers = {"the network": three, "collapsed": collapsed.module}
batches = [torch.rand(2**n, *SHAPE) for n in powers]
times = {
    name: [
        gpu.microseconds_per_image(layer, batch, min_run_time=0.05)["median"]
        for batch in batches
    ]
    for name, layer in layers.items()
}

# %% jupyter={"source_hidden": true} tags=["hide-input"]
curves_picture(
    {name: (powers, values) for name, values in times.items()},
    x="images in a batch, as a power of 2",
    y="us per image",
    log=True,
)

# %% [markdown]
# Larger batches take less time per image, at first. In a batch of one, most of the time is *overhead*: each operation
# of torch takes a microsecond or more before it computes anything. From some tens of images per batch on, the network's
# computation takes most of its time, and its curve turns level. It may even rise again, where the numbers between its
# layers no longer fit the caches. The collapsed network has a hundred times less to compute, so its curve falls for
# longer, and need not turn level in this picture. (Each step to the right is a batch four times as large. The times
# differ between runs, and other work on the machine leaves bumps.) The paper's 2.06 us per image, 64 at a time, are 132
# us per batch, for half a million MACs. A GPU does that work in about a microsecond, so nearly all of the time is
# overhead.
#
# ## The floor: one must at least read the image
#
# Every program has to read the pixels. An image of 28x28 pixels has 784 bytes; divided by the bandwidth of the memory,
# in bytes per second, they give the smallest possible time, the floor. Measure it on more images than the caches hold,
# so that the bytes must come from memory.

# %%
pixels = torch.randint(0, 256, (40_000, *SHAPE), dtype=torch.uint8)


def seconds_of(function, runs=5):
    """Return the median time of several runs, after one run that is not counted."""
    taken = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))


words = pixels.view(-1).view(torch.int64)
reading = seconds_of(words.amax)
print(f"reading: {1e6 * reading / len(pixels):.4f} us per image")
print(f"{pixels.numel() / reading / 1e9:.0f} GB per second")

# %% [markdown]
# Pixels come as bytes, but networks take floats in [0, 1], or normalised ones. So the usual code converts, normalises,
# and multiplies:

# %%
mean, std = 0.1307, 0.3081
W, B = collapsed.affine.W, collapsed.affine.B
raw = AffineMap(W / 255 / std, B - W.sum(axis=1) * mean / std, SHAPE)
linear = collapsed.module
predictor = Predictor(raw)  # the normalisation is in its W and B
ways = {
    "convert, normalise, nn.Linear": lambda: linear((pixels.float() / 255 - mean) / std),
    "Predictor, from bytes": lambda: predictor(pixels),
    "reading the bytes": words.amax,
}
seconds = {name: seconds_of(way) for name, way in ways.items()}
for name, taken in seconds.items():
    print(
        f"{name:30} {1e6 * taken / len(pixels):8.4f} us per image, "
        f"{taken / seconds['reading the bytes']:6.1f} times reading"
    )

# %% [markdown]
# The first method makes four arrays of floats, each four times as large as the bytes, and writes and reads each of
# them. The product itself takes the smallest part of the time. The normalisation is affine, so it can be folded into W
# and B, which leaves only the conversion and removes three of the four arrays. The predictor does not need the fourth
# one, either.
#
# ## What is timed there?
#
# Before you believe a ratio of times, ask what the slow side spends its time on. Each of these arrays is new. When it
# is freed, the C library may give its memory back to the operating system. The next array then gets new memory, and the
# first access to each page of it is a page fault, in which the system clears the page. `gpu.kept_memory` lets the C
# library keep freed memory:

# %%
with gpu.kept_memory() as kept:
    after = {name: seconds_of(way) for name, way in ways.items()}
print("freed memory is kept" if kept else "this C library cannot keep it: nothing changes")
for name, taken in after.items():
    print(
        f"{name:30} {1e6 * taken / len(pixels):8.4f} us per image, "
        f"{taken / seconds[name]:6.2f} of the time before"
    )

# %% [markdown]
# Where memory is kept, the first method is faster than before, often several times; the predictor, which works in
# blocks that fit the caches, hardly changes. So page faults took much of the time, and the ratio says less about the
# product than it seems to. Both ratios are correct if one says which of them it is. The benchmark behind the picture
# below keeps memory, which favours the networks, and reports both ratios for bytes.
#
# ## A product with bytes, without rounding
#
# Pixels are *integers*, from 0 to 255. If the entries of W were integers, too, the product would be exact. So scale
# each row such that its largest weight is a whole number of 24 bits, and round. Then write each number with three
# digits of 8 bits, as one writes 1234 with four digits in base 10. The first digits of all entries are one *digit
# slice* of W, the second digits another, and the third digits the last. Here are one row of W and its three slices,
# each drawn as an image:

# %%
slices = slice_digits(raw.W, bits=8, slices=3)
row = 3

# %% jupyter={"source_hidden": true} tags=["hide-input"]
digits = [
    image_picture(slices.digits[p, row].reshape(28, 28), color="value", title=name)
    for p, name in [(2, "first slice"), (1, "second slice"), (0, "third slice")]
]
side_by_side(
    image_picture(raw.W[row], SHAPE, color="value", title="a row of W"), "=", *digits
)

# %% [markdown]
# The first slice looks like the row itself, in only 255 steps. The second one holds what the first one misses and looks
# like noise, and so does the third. Together, they are the row, up to one part in 2^24 of its largest weight:

# %%
together = np.einsum("pi,pij->ij", slices.unit, slices.digits)
print(
    "W rounded to  ",
    f"{np.abs(together - raw.W).max() / np.abs(raw.W).max():.1e}",
    "of its largest weight",
)
assert np.abs(slices.digits).max() <= 128

# %% [markdown]
# Each slice times the pixels is a sum of products of small integers. Processors have instructions for such sums, which
# are several times as fast as those for floats. The sums are whole numbers, so nothing is rounded. Only at the end are
# the three sums combined and rounded once. The result is *more* exact than float32's, which rounds at each of its 784
# steps:

# %%
some = pixels[:2000]
exact = torch.from_numpy(raw(some.flatten(1).double().numpy()))
for way in ("planes", "blocks"):
    scores = Predictor(raw, way=way)(some)
    print(
        f"{way:7} differs by at most "
        f"{float((scores - exact).abs().max() / exact.abs().max()):.1e} of the largest score"
    )
print()
print(predictor)

# %% [markdown]
# The digit slices, a backend called `planes`, are not always the best choice. `predictor.way_for` says which backend is
# chosen and why: for a single image the preparation takes longer than the product, and with hundreds of outputs the
# product takes longer than reading the pixels.
#
# ## All methods in one picture
#
# The picture compares the methods that a user could choose, timed on the machine that it names. It is drawn from a
# committed record, `docs/records/bench_predict.json`; `linalg-cnn bench predict` writes a record of your machine.

# %%
record = json.loads(Path("../docs/records/bench_predict.json").read_text())
gpu.predict_picture(record)

# %% [markdown]
# Look for three things. How far apart are a network and its map? How near does the best method come to the floor, and
# at which batch size? And what does *taking out the skips* gain (ResNet34 with skips, and with its skips removed), when
# batch norms are folded and the network is compiled in both?
#
# On this machine, a ResNet34 and its map are hundreds to thousands of times apart, at any batch size. From a thousand
# images on, the predictor takes four to six times as long as reading; in a batch of one, the methods with a collapsed
# network spend nearly all of their time on overhead. Taking out the skips gains one to seventeen percent, which is no
# more than the difference between copies of the same network (the lines through the marks): the position of its weights
# in memory matters as much.
#
# ## When collapsing does not pay
#
# A collapsed network is one dense matrix, with as many entries as inputs times outputs. The matrix of a convolution is
# nearly all zeros, and a convolution does not multiply by them. So collapsing pays when there are *few outputs*, as in
# classification, and does not pay when the output is an image. Here are two convolutions whose output is an image of
# the same size:


# %%
def two_convolutions(side):
    """Return a small network from an image to an image, its MACs, and those of its map."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)
    ).eval()
    return network, gpu.trace(network, (1, side, side)).multiply_adds, side**4


sides = [4, 6, 8, 12, 16, 24, 32]
work = {"the network": [], "one matrix": []}
for side in sides:
    _, network_adds, matrix_adds = two_convolutions(side)
    work["the network"].append(network_adds)
    work["one matrix"].append(matrix_adds)

# %% jupyter={"source_hidden": true} tags=["hide-input"]
curves_picture(
    {name: (sides, adds) for name, adds in work.items()},
    x="side of the image",
    y="MACs",
    log=True,
)

# %% [markdown]
# The network's work grows with the number of pixels, and the matrix's with its *square*. They are equal where an image
# has as many pixels as the network has MACs per pixel. `gpu.collapse` also counts, and its report says what to expect:

# %%
network, network_adds, matrix_adds = two_convolutions(32)
report = gpu.collapse(network, (1, 32, 32)).report
for size, verdict in report.verdict.items():
    print(f"batch {size}: {'cheaper' if verdict['cheaper'] else 'not cheaper'} collapsed")
assert not report.verdict["64"]["cheaper"]

# %% [markdown]
# Some networks with many outputs are narrow in the middle. Their map can be kept as *two* factors, W = W₂ W₁, cut where
# the network is narrowest, and `gpu.collapse` does so by default where that is less work:

# %%
narrow = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 26 * 26, 20), nn.Linear(20, 784)
).eval()
found = gpu.collapse(narrow, SHAPE)
print(found)
assert len(found.factors) == 2

# %% [markdown]
# ## Exercises
#
# 1. What is the floor on your machine, in microseconds, for a colour image of 224x224 pixels as bytes? What is it for
#    floats?
# 2. From which side of the image on does one matrix cost more than `two_convolutions`? Find it by reasoning with MACs
#    per pixel, then by counting.
# 3. How exact are the scores with two digit slices instead of three? And what would you say to someone who proposes a
#    single slice, "8-bit quantisation"?

# %% [markdown] jp-MarkdownHeadingCollapsed=true tags=["solution"]
# ### Solutions

# %% [markdown] tags=["hide-cell", "solution"]
# **1.** The floor is 3 · 224 · 224 = 150,528 bytes divided by the bandwidth, and four times as long for floats. It only
# holds if the image comes from memory: a single image fits into a cache.

# %% tags=["hide-cell", "solution"]
bandwidth = pixels.numel() / reading
for name, size in [("bytes", 1), ("floats", 4)]:
    print(f"{name}: {1e6 * 150_528 * size / bandwidth:.1f} us")

# %% [markdown] tags=["hide-cell", "solution"]
# **2.** Each of the two convolutions has 4 · 9 = 36 MACs per pixel, so together they have 72, and a little less at the
# borders. One matrix has as many per pixel as there are pixels. So the costs are equal near 72 pixels, between 8x8 = 64
# and 9x9 = 81. At the borders, where the kernel extends beyond the image, the network has fewer MACs, so the crossing
# comes earlier.

# %% tags=["hide-cell", "solution"]
crossing = next(
    side for side in range(2, 20) if two_convolutions(side)[2] > two_convolutions(side)[1]
)
print("one matrix costs more from a side of", crossing)
assert crossing == 8

# %% [markdown] tags=["hide-cell", "solution"]
# **3.** Each slice has 8 bits, so each slice that is left out makes the error 256 times as large. Two slices give about
# four decimal digits, which is often enough to find the class. A single slice is what is called 8-bit quantisation of
# the weights: it changes the scores, here by less than a percent of the largest score, and must be checked on data.
# Three slices are at least as exact as float32.

# %% tags=["hide-cell", "solution"]
for count in (1, 2, 3):
    fewer = slice_digits(raw.W, bits=8, slices=count)
    scores = (
        some.flatten(1).double().numpy()
        @ np.einsum("pi,pij->ij", fewer.unit, fewer.digits).T
        + raw.B
    )
    error = np.abs(scores - exact.numpy()).max() / np.abs(exact.numpy()).max()
    print(f"{count} digit slices: {error:.1e} of the largest score")
    assert error < 256.0 ** (1 - count)
