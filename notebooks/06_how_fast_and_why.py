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
# # How fast, and why
#
# **After this notebook you can** say how fast a prediction could be at best, before you time anything; tell from two counts whether collapsing
# a network pays; and explain how a matrix product with bytes can be both faster and more exact than one with floats.
#
# You need to have seen a network collapse (notebook 3 or 4). It takes about 15 minutes.

# %%
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import gpu
from gpu.predict import Predictor
from gpu.predict.digit_slices import split
from linalg_cnn import AffineMap
from linalg_cnn.display import curves_picture, image_picture, side_by_side

SHAPE = (1, 28, 28)
# so that the times do not depend on who else is at work on this machine
torch.set_num_threads(1)

# %% [markdown]
# ## Count before you time
#
# Nearly all that a network computes is multiply-adds: a weight times a number, added to a sum. `gpu.trace` reads a torch module as a graph of
# operations, and the graph counts them. What falls on padded zeros is not counted. (The small network is trained a little, so that there will be something to see.)

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
    print(f"{name:12} {count:>12,} multiply-adds an image")

# %% [markdown]
# The linear ResNet34 and the small CNN have a W of the same size. What differs is the way there: collapsing saves a factor of about 100 for the one, and
# of more than 4,000 for the other.
#
# ## Then time
#
# The same predictions, by the 3-layer CNN as it is and by the one linear layer it collapses to, for batches of several sizes:

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
curves_picture(
    {name: (powers, values) for name, values in times.items()},
    x="images in a batch, as a power of 2",
    y="us per image",
    log=True,
)

# %% [markdown]
# Both fall, then level off. A batch of one pays for *starting*: each operation of torch takes a microsecond or more before it touches a number.
# From a batch of some tens on, it is the work that counts. (Each step to the right is a batch four times as large.) The paper's
# 2.06 us per image, 64 at a time, are 132 us a batch, for half a million multiply-adds: work that a GPU does in about a microsecond. Nearly all of it is starting.
#
# ## The floor: one must at least read the image
#
# However clever the program, it has to read the pixels. An image of 28x28 bytes is 784 bytes; divide by how many bytes a second the memory gives, and that is the
# floor. Measure it where the numbers cannot come from a cache: on more images than fit there.

# %%
pixels = torch.randint(0, 256, (40_000, *SHAPE), dtype=torch.uint8)


def seconds_of(function, runs=5):
    """The median of some runs, after one that does not count."""
    taken = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))


words = pixels.view(-1).view(torch.int64)
reading = seconds_of(words.amax)
print(f"reading: {1e6 * reading / len(pixels):.4f} us an image")
print(f"{pixels.numel() / reading / 1e9:.0f} GB a second")

# %% [markdown]
# And what do people write? Pixels come as bytes, networks want floats in [0, 1], or normalised ones. So one converts, divides, and multiplies:

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
        f"{name:30} {1e6 * taken / len(pixels):8.4f} us an image, "
        f"{taken / seconds['reading the bytes']:6.1f} times reading"
    )

# %% [markdown]
# The first way makes four arrays of floats, each four times as large as the bytes, and writes and reads each of them. The product itself is the least of
# it. Folding the normalisation into W and B (it is affine, so it can be) leaves only the conversion: three of the four are gone. The predictor does without
# the last one, too.
#
# ## What is timed there?
#
# Before a ratio of times is believed, ask what the slow side spends its time on. Each of these arrays is new. When it is freed, the C library may give its memory
# back to the operating system, and takes memory for the next one, which the system clears page by page before it hands it out. `gpu.kept_memory` lets the C library keep what is freed:

# %%
with gpu.kept_memory() as kept:
    after = {name: seconds_of(way) for name, way in ways.items()}
print("freed memory is kept" if kept else "this C library cannot keep it: the same again")
for name, taken in after.items():
    print(
        f"{name:30} {1e6 * taken / len(pixels):8.4f} us an image, "
        f"{taken / seconds[name]:6.2f} of the time before"
    )

# %% [markdown]
# Where memory is kept, the first way is several times as fast as before; the predictor, which works in blocks that fit into the caches, hardly changes. So much of the
# time was the operating system's, and a ratio to it says less about the product than it seems. Both ratios are honest, if one says which. The benchmark behind the
# next picture keeps memory, in favour of the networks, and reports both for the bytes.
#
# ## A product with bytes, without rounding
#
# Pixels are *integers*, 0 to 255. If W were integers, too, the product would be exact. So make it so: scale each row so that its largest
# weight is a whole number of 24 bits, and round. Then write each number with three digits of 8 bits, as one writes 1234 with four digits of base 10. Here is one
# row of W, and its three digits, each an image of its own:

# %%
planes = split(raw.W, bits=8, planes=3)
row = 3
digits = [
    image_picture(planes.digits[p, row].reshape(28, 28), color="value", title=name)
    for p, name in [(2, "first digit"), (1, "second digit"), (0, "third digit")]
]
side_by_side(
    image_picture(raw.W[row], SHAPE, color="value", title="a row of W"), "=", *digits
)

# %% [markdown]
# The first digit looks like the row itself, but coarse: 255 steps. The second holds what the first one missed, and looks like noise; so does the third. Put
# together, they are the row, up to one part in 2^24 of its largest weight:

# %%
together = np.einsum("pi,pij->ij", planes.unit, planes.digits)
print(
    "W rounded to  ",
    f"{np.abs(together - raw.W).max() / np.abs(raw.W).max():.1e}",
    "of its largest weight",
)
assert np.abs(planes.digits).max() <= 128

# %% [markdown]
# Now each digit times the pixels is a sum of products of small integers, and processors have instructions for just that, several times as fast as floats. The
# sums are whole numbers: nothing is rounded. Only at the end are the three sums put together and rounded once. So it is *more* exact than float32, which rounds at each of its 784
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
# The planes are not always the way to take. `way_for` says what is chosen and why: a single image is done before the planes have begun, and with
# hundreds of outputs the work, not the reading, is what counts.
#
# ## All the ways in one picture
#
# The ways a user could choose from, timed on the one machine that the title names. It is a committed record, `docs/records/bench_predict.json`; `linalg-cnn bench predict` makes another on yours.

# %%
record = json.loads(Path("../docs/records/bench_predict.json").read_text())
gpu.predict_picture(record)

# %% [markdown]
# Look for three things. How far apart are the networks and what they collapse to? How near does the best way come to the floor, and at which batch size? And what does *taking out the skips* gain
# (the last two rows), once batch norms are folded and the network is compiled in both?
#
# On this machine: hundreds to thousands of times between a ResNet34 and its map, at any batch size. The predictor takes some six times as long as reading,
# from a thousand images on; at a batch of one, whatever is collapsed pays for starting alone. And taking out the skips gains a few percent as a rule, no more than
# copies of one and the same network are apart (the lines through the marks): where its weights happen to lie in memory matters as much.
#
# ## When collapsing does not pay
#
# A collapsed network is one dense matrix, inputs times outputs. A convolution never is: its matrix is nearly all zeros, and it skips them. So collapsing pays when
# there are *few outputs*, as in classification, and does not when an image comes out. Two convolutions that give back an image of the
# same size:


# %%
def two_convolutions(side):
    """A small network from an image to an image."""
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
curves_picture(
    {name: (sides, adds) for name, adds in work.items()},
    x="side of the image",
    y="multiply-adds",
    log=True,
)

# %% [markdown]
# The network's work grows with the number of pixels, the matrix's with its *square*. They cross where an image has as many pixels as the network has multiply-adds per pixel.
# `collapse` counts, too, and its report says what to expect:

# %%
network, network_adds, matrix_adds = two_convolutions(32)
report = gpu.collapse(network, (1, 32, 32)).report
for size, verdict in report.verdict.items():
    print(f"batch {size}: {'cheaper' if verdict['cheaper'] else 'not cheaper'} collapsed")
assert not report.verdict["64"]["cheaper"]

# %% [markdown]
# In between lie networks that are narrow somewhere. They may be kept as *two* factors, W = W₂ W₁, cut where they are narrowest, and `collapse` does so by
# itself where that is less work:

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
# 1. A colour image of 224x224 pixels, as bytes: what is the floor on your machine, in microseconds? And as floats?
# 2. From which side on does one matrix cost more than `two_convolutions`? Find it by reasoning with multiply-adds per pixel, then by counting.
# 3. Two planes of digits instead of three: how exact are the scores then? And what would you say to someone who proposes one plane, "8-bit quantisation"?
#
# The solutions are folded below.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Solutions

# %% [markdown] tags=["hide-cell"]
# **1.** 3 · 224 · 224 = 150,528 bytes over the bandwidth; four times as long if they are floats. The time of the floor is exact only if the image comes from memory: one image alone
# fits into a cache.

# %% tags=["hide-cell"]
bandwidth = pixels.numel() / reading
for name, size in [("bytes", 1), ("floats", 4)]:
    print(f"{name}: {1e6 * 150_528 * size / bandwidth:.1f} us")

# %% [markdown] tags=["hide-cell"]
# **2.** Each of the two convolutions has 4 · 9 = 36 multiply-adds per pixel, so 72 in all, a little less at the borders. One matrix has as many per pixel as there are pixels. So
# they cross near 72 pixels, between 8x8 = 64 and 9x9 = 81; the borders, where the kernel hangs over, make it come sooner.

# %% tags=["hide-cell"]
crossing = next(
    side for side in range(2, 20) if two_convolutions(side)[2] > two_convolutions(side)[1]
)
print("one matrix costs more from a side of", crossing)
assert crossing == 8

# %% [markdown] tags=["hide-cell"]
# **3.** Each plane has 8 bits, so that each one left out costs a factor of 256. Two planes give about four digits, which is often enough to find the class. One plane is what is
# called 8-bit quantisation of the weights: it changes the answers, here by a percent or so of the largest score, and wants to be checked on data. Three are at least as exact as float32.

# %% tags=["hide-cell"]
for count in (1, 2, 3):
    fewer = split(raw.W, bits=8, planes=count)
    scores = (
        some.flatten(1).double().numpy()
        @ np.einsum("pi,pij->ij", fewer.unit, fewer.digits).T
        + raw.B
    )
    error = np.abs(scores - exact.numpy()).max() / np.abs(exact.numpy()).max()
    print(f"{count} planes: {error:.1e} of the largest score")
    assert error < 256.0 ** (1 - count)
