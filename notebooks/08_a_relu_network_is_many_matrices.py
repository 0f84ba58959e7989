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
# # A ReLU network is many matrices
#
# **After this notebook you can** write a small ReLU network as the difference of two maxima, and read its pieces from a
# picture; find the matrix that a trained network is around a digit, and say what changes where this matrix ends; find
# every matrix on the way from one digit to another; and say why two padded convolutions are not one, and how they
# become one operation all the same.
#
# The matrices of the earlier notebooks belong to networks without activations. Here the activations are back. You need
# notebooks [3](03_skip_connections.ipynb) and [4](04_a_trained_network.ipynb). This one takes about 25 minutes. [The
# glossary](../docs/glossary.md) explains the terms of both fields.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
import json
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from torch import nn

import gpu
from linalg_cnn import (
    Conv,
    Dense,
    PiecewiseGraph,
    ReLU,
    SkipNetwork,
    equivalent_kernel,
    region,
    segment,
    slice_regions,
)
from linalg_cnn.display import (
    curves_picture,
    image_picture,
    local_maps_picture,
    rows_picture,
    segment_picture,
    side_by_side,
    slice_picture,
    stacked,
    tropical_picture,
    zonotope_picture,
)
from linalg_cnn.tropical import Zonotope, tropical_form

# %% [markdown]
# ## One pixel, two ReLUs
#
# ReLU replaces negative numbers by 0: ReLU(x) = max(0, x). The image of our first network has one pixel x, from 0
# (black) to 1 (white), and the network has two ReLUs:
#
# $$f(x) = \mathrm{ReLU}(x) - 2\,\mathrm{ReLU}(x - \tfrac12)$$
#
# Each ReLU either passes its input on or gives 0. If you know which ones pass, f is an ordinary affine map:
#
# | pixel | ReLU(x) | ReLU(x - ½) | f(x) | W | B |
# |---|---|---|---|---|---|
# | x < 0 | is 0 | is 0 | 0 | 0 | 0 |
# | 0 < x < ½ | passes | is 0 | x | 1 | 0 |
# | x > ½ | passes | passes | 1 - x | -1 | 1 |
#
# So f has three **pieces**, each with its own W and B. Where two of them meet, at 0 and at ½, both give the same value.
# The library finds W and B of the piece that an input lies in:

# %%
one_pixel = PiecewiseGraph((1,))
hidden = one_pixel.add(ReLU(), one_pixel.add(Dense([[1], [1]], [0, -0.5]), 0))
one_pixel.add(Dense([[1, -2]]), hidden)
W, B = one_pixel.local_maps([[-0.25], [0.25], [0.75]])
assert W.ravel().tolist() == [0, 1, -1]
assert B.ravel().tolist() == [0, 0, 1]

# %% [markdown]
# The network answers a question that no single W and B can: is the pixel grey? Black and white both give 0, and an
# affine map that is 0 for both of them is 0 for grey, too.
#
# ## A difference of two maxima
#
# Sort the terms of f by their sign. Twice a maximum is the maximum of twice its arguments, so
#
# $$f(x) = \underbrace{\max(0,\; x)}_{F(x)} \;-\; \underbrace{\max(0,\; 2x - 1)}_{G(x)} .$$

# %%
xs = np.array([-0.5, 0, 0.5, 1, 1.5])
F, G = tropical_form(one_pixel)
positive, negative = (part.evaluate(xs[:, np.newaxis]).astype(float) for part in (F, G))
network_values = one_pixel(xs[:, np.newaxis])
assert np.array_equal(positive - negative, network_values)

# %% jupyter={"source_hidden": true} tags=["hide-input"]
curves_picture(
    {
        "F": (xs, positive.ravel()),
        "G": (xs, negative.ravel()),
        "f = F - G": (xs, network_values.ravel()),
    },
    x="pixel x",
    y="value",
)

# %% [markdown]
# *Every* network of affine layers and ReLUs is such a difference of two maxima of affine functions, whatever its depth:
# negative weights exchange the two parts, and max(F - G, 0) = max(F, G) - G. `tropical_form` does this in exact
# fractions.
#
# There is an arithmetic in which "plus" is the maximum and "times" is the usual sum. In it, 2x = x + x is the square of
# x, so 2x - 1 is a monomial of degree 2 with the coefficient -1, and G, the maximum of 0 and 2x - 1, is a polynomial.
# It is called **tropical**. Here is G. On the left are its two monomials, in colour where they are the largest. On the
# right, each monomial is a point: its exponent and its coefficient.

# %%
tropical_picture(G.polynomials[0], title="G")

# %% [markdown]
# From the first point to the second, the line falls by 1 over a width of 2. Its slope is -½, and minus the slope is ½,
# where G breaks. So one can read the breaks of a polynomial from its coefficients without evaluating it.
#
# ## Two pixels: walls are lines
#
# The next network has two pixels and the sum of three ReLUs:
#
# $$\begin{aligned}
# \mathrm{ReLU}(x_1 + x_2 - 1) &+ \mathrm{ReLU}(2 x_1 - x_2) \\
# &+ \mathrm{ReLU}(2 x_2 - x_1)
# \end{aligned}$$
#
# Each ReLU divides the plane by a line: on one side it passes its input on, on the other it gives 0. The lines are
# **walls**. The parts between them are **regions**, in each of which the network is one affine map. Here are seven. A
# different monomial of F is the largest in each region, and on the walls two of them are equal. The walls together are
# a **tropical curve**:

# %%
two_pixels = PiecewiseGraph((2,))
units = Dense([[1, 1], [2, -1], [-1, 2]], [-1, 0, 0])
hidden = two_pixels.add(ReLU(), two_pixels.add(units, 0))
two_pixels.add(Dense([[1, 1, 1]]), hidden)
F, G = tropical_form(two_pixels)
print("monomials of F and G:", len(F.polynomials[0]), len(G.polynomials[0]))
tropical_picture(F.polynomials[0])

# %% [markdown]
# The panel on the right has a point for each region: the exponents of its monomial. Regions that share a wall are
# joined by a line, and this line is perpendicular to the wall. Around each crossing of two walls are four regions, and
# on the right is a parallelogram with these four corners. (G has a single monomial, so it adds no walls.)
#
# The outline on the right is the **Newton polygon**. Without computing any region, one can build it from the weights: a
# ReLU contributes a segment with the direction of its weights, and the polygon is the sum of the segments, a
# **zonotope**:

# %%
zonotope_picture(Zonotope.of(F.polynomials[0]))

# %% [markdown]
# ## A trained network
#
# Next, the digits, and a network with what a single matrix cannot do: ReLUs, max pooling, and a skip around a ReLU.
# (*Max pooling* keeps the largest of 2x2 numbers, so it has pieces, too: which of the four is kept.) The network is
# small, so that its regions can be seen.


# %%
class Skip(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


torch.manual_seed(0)
model = nn.Sequential(
    nn.AvgPool2d(2),  # 14x14
    nn.Conv2d(1, 8, 4, stride=2),  # 8 channels of 6x6
    nn.MaxPool2d(2),  # 3x3
    nn.ReLU(),
    Skip(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(72, 10),
)
training, held_out = gpu.load_digits()
history = gpu.train(
    model,
    training,
    held_out,
    epochs=6,
    batch_size=32,
    learning_rate=5e-3,
    progress=False,
)
print(f"{history[-1]['validation_accuracy']:.1%} of the held-out digits")

# %% [markdown]
# `gpu.trace` translates the PyTorch network into the library's operations, with `piecewise=True` also those that have
# pieces. In the piece that a digit x lies in, the network is an affine map, W(x) and B(x), where W(x) has 10 rows of
# 784 numbers. Compare it with PyTorch in double precision, on 100 digits:

# %%
graph = gpu.trace(model.double(), (1, 28, 28), piecewise=True)
images, labels = held_out.images.double() / 255, held_out.labels.numpy()
with torch.no_grad():
    scores = model(images).numpy()
images = images.numpy()

W, B = graph.local_maps(images[:100])
mapped = np.einsum("noi,ni->no", W, images[:100].reshape(100, 784)) + B
error = np.abs(mapped - scores[:100]).max()
print(f"W(x) x + B(x) differs from the network by at most {error:.0e}")
assert error < 1e-12

# %% [markdown]
# The rows of W(x) are also the gradients of the scores at x, which PyTorch computes by backpropagation:

# %%
gradients = torch.autograd.functional.jacobian(model, torch.from_numpy(images[:1]))
assert np.allclose(gradients.reshape(10, 784), W[0], rtol=0, atol=1e-12)

# %% [markdown]
# A gradient does not show that the network *equals* its affine map in a whole region around x. Take a digit of each of
# three classes. Below each are its rows of W(x) for the three classes:

# %%
classes = [3, 8, 5]
digits = np.stack([
    images[np.flatnonzero((labels == k) & (scores.argmax(1) == k))[0]] for k in classes
])
local_maps_picture(graph, digits, rows=classes, names=["a three", "an eight", "a five"])

# %% [markdown]
# In a linear network, a class has one row, which serves all images. Here each digit has its own: compare the pictures
# from left to right. Orange pixels are those where a little more ink would raise the score *of this digit* for the
# class. (Pixels come in blocks of 2x2, because the network begins with their mean.)
#
# ## Across a wall
#
# How far does W(x) reach? The region is bounded by walls, one for each decision of the network: is this number
# positive, is this one of the four the largest? `region` has them as inequalities.

# %%
three = digits[0]
around = region(graph, three)
print(around)
print("the first wall through x:", around.wall(around.ties[0]))

# %% [markdown]
# The digit lies *on* some of its walls. On the black background, the four numbers of a pooling window are the same, so
# none of them is the only largest one: a **tie**. Clean images have ties wherever their background is constant.
# `distance` skips the walls through x, and finds the nearest of the others:

# %%
nearest = around.distance()
print(f"the nearest other wall: {nearest.wall}, at a distance of {nearest:.1e}")

# %% [markdown]
# Take the shortest path to this wall, and stop at two points of it, one hundredth before the wall and one hundredth
# beyond. (The digit itself will not do: ties are decided as soon as one leaves it.) From one point to the other, a
# single decision changes, and with it W jumps:

# %%
inside, beyond = (three + share * (nearest.point - three) for share in (0.99, 1.01))
changed = [
    int(np.sum(before != after))
    for before, after in zip(graph.pieces(inside), graph.pieces(beyond), strict=True)
]
print("decisions that change in each operation:", changed)
assert sum(changed) == 1

(W_inside, W_beyond), _ = graph.local_maps(np.stack([inside, beyond]))
jump = W_beyond - W_inside

# %% jupyter={"source_hidden": true} tags=["hide-input"]
stacked(
    image_picture(
        nearest.wall.normal[0],
        color="value",
        title="the direction to the wall",
        longest=112,
    ),
    rows_picture(jump[classes], [str(k) for k in classes], in_shape=(1, 28, 28)).with_title(
        "the jump of three rows of W"
    ),
)

# %% [markdown]
# The rows jump, and each by a multiple of the direction of the wall: where the factor is negative, orange and violet
# are exchanged. The jump is a matrix of rank one. It has to be, because the network is continuous: W and B jump
# together such that both maps agree everywhere on the wall.

# %%
singular_values = np.linalg.svd(jump, compute_uv=False)
assert singular_values[1] < 1e-12 * singular_values[0]
print(f"largest jump of an entry of W: {np.abs(jump).max():.2f}")
print(f"largest change of a score:     {np.abs(graph(beyond) - graph(inside)).max():.1e}")

# %% [markdown]
# W jumps, and the scores hardly change. **This is geometry, not a certificate of robustness.** A near wall does not
# mean that the network is about to err, and a far one would not mean that it is safe: beyond a wall there is only
# another matrix. The class changes much farther away, as the next section shows.
#
# ## From one digit to another
#
# Fade the three into the eight: (1 - t) · three + t · eight. On the way the network is affine between one wall and the
# next. `segment` finds all the breaks, layer by layer:

# %%
path = segment(graph, digits[0], digits[1])
print(f"{path.regions} regions")
segment_picture(path)

# %% [markdown]
# The curves are the ten scores: straight lines between the breaks, which are the ticks below them. At most of the
# breaks one sees no bend. In the middle, the image is neither digit. Where the class changes, the distance from the
# three is thousands of times that of the nearest wall:

# %%
whole = np.linalg.norm(digits[1] - digits[0])
for change in path.class_changes:
    print(
        f"t = {change.t:.4f}: from {change.before} to {change.after}, "
        f"at a distance of {change.t * whole:.2f}; the nearest wall was at {nearest:.1e}"
    )

# %% [markdown]
# Could one find the regions by trying many points? Look at 500 of them, and count the changes of pieces:

# %%
ts = np.linspace(0, 1, 500)
states = [np.concatenate([p.ravel() for p in graph.pieces(path.input_at(t))]) for t in ts]
seen = 1 + sum(not np.array_equal(*pair) for pair in pairwise(states))
print(f"{seen} regions seen at 500 points, {path.regions} exist")
assert seen <= path.regions

# %% [markdown]
# Between two of the points there may be a region that they miss, and no number of points excludes it.
#
# A third digit spans a triangle, in which every point is a mixture of the three. `slice_regions` cuts it by the walls
# of one layer after the other. Each polygon is one matrix, and the colours show the class:

# %%
regions = slice_regions(
    graph, digits[0], digits[1] - digits[0], digits[2] - digits[0], shape="triangle"
)
print(regions)
assert np.isclose(regions.covered, 1)  # the areas of the polygons add up
slice_picture(regions, marks={"three": (0, 0), "eight": (1, 0), "five": (0, 1)})

# %% [markdown]
# The first walls are those of the max pooling. They are straight, and end only where a third number of their window
# becomes the largest. Those of later layers bend where they cross an earlier one, because their inputs bend there. The
# borders between the classes bend in the same way. They are not walls: on both sides of them, the network is the same
# matrix. [The page on piecewise-linear networks](../docs/piecewise.md) says what else one can ask, of which networks,
# and where the limits are.
#
# ## Two padded convolutions are not one
#
# The rest of the notebook is about what lies between two ReLUs, which is affine. If there are two convolutions, are
# they one? In the middle of an image, they are. Take two sums over 3x3 pixels, each padded with zeros, and look at the
# weights that three output pixels give to the pixels of the input:

# %%
box = Conv(np.ones((1, 1, 3, 3)), padding=1)
twice = SkipNetwork((1, 7, 7), [box, box]).compose()


# %% jupyter={"source_hidden": true} tags=["hide-input"]
def weights_of(row, column):
    title = f"of output pixel ({row}, {column})"
    image = twice.W[7 * row + column].reshape(7, 7)
    return image_picture(image, color="value", limit=9, title=title)


side_by_side(weights_of(3, 3), weights_of(0, 3), weights_of(0, 0), gap=30)

# %% [markdown]
# A convolution has the same weights everywhere, except that some fall outside the image. On the left are its weights
# for a pixel in the middle. For one in the first row, their two upper rows would fall outside, and 3, 6, 9, 6, 3 would
# remain at the top. But the picture in the middle has 2, 4, 6, 4, 2 there. Beyond the border the second sum reads a
# padded zero, where the one large convolution would read a sum of pixels. `equivalent_kernel` gives the convolution
# that a map is, or the reason why it is none:

# %%
try:
    equivalent_kernel(twice)
except ValueError as error:
    print(fill(str(error), 88))

# %% [markdown]
# To see where, take the 5x5 convolution from two sums without padding, which are one. Pad it by 2, and add up in each
# row by how much its weights are too large:

# %%
bare = Conv(np.ones((1, 1, 3, 3)))
joint = equivalent_kernel(SkipNetwork((1, 7, 7), [bare, bare]).compose())
one_convolution = Conv(joint.kernel, padding=2).matrix((1, 7, 7)).toarray()
too_much = one_convolution - twice.W

# %% jupyter={"source_hidden": true} tags=["hide-input"]
side_by_side(
    image_picture(joint.kernel[0, 0], color="value", title="the 5x5 kernel"),
    image_picture(
        too_much.sum(1).reshape(7, 7), title="where it is too much", color="value"
    ),
    gap=40,
)

# %% [markdown]
# It is wrong on the outermost pixels only. Methods that merge the layers of a network usually accept this error, and
# train the network again to make up for it. But the error is itself an affine map, with entries at the border only: so
# subtract it, and **one convolution and a small matrix for the border** are the same map as the two convolutions.
#
# ## Merging a network
#
# `gpu.merge` does this with a trained network, for every affine stretch between two nonlinearities. Stretches become
# longer if ReLUs are left out. So train a network with three ReLUs for two epochs, then turn the first ReLU into the
# identity, train another epoch, and take it out:

# %%
torch.manual_seed(0)
plain = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(8, 8, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(8, 16, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(784, 10),
)


def train(epochs):
    options = {"batch_size": 32, "learning_rate": 3e-3, "progress": False}
    return gpu.train(plain, training, held_out, epochs=epochs, **options)[-1]


def accuracy(network):
    return gpu.accuracy_of(gpu.predict_scores(network, held_out.images), held_out.labels)


train(epochs=2)
print(f"three ReLUs:           {accuracy(plain):.1%}")
gpu.set_activation_slope(plain, {"1": 1})  # slope 0 is ReLU, slope 1 the identity
print(f"without the first one: {accuracy(plain):.1%}")
train(epochs=1)
print(f"trained once more:     {accuracy(plain):.1%}")
fewer = gpu.remove_activations(plain)

# %% [markdown]
# Its first two convolutions are now a stretch. `gpu.merge` composes each stretch, times several exact forms of it and
# of its parts on this machine, and takes the fastest. On another machine, or a busy one, this may be another form. Here
# are the forms of the first stretch, with the work that each of them does for an image. The chain is the two
# convolutions, one after the other:

# %%
merged = gpu.merge(fewer, (1, 28, 28))
first = merged.report.stretches[0]
print(first.place)
for form, costs in first.forms.items():
    print(f"{form:30} {costs['multiply_adds']:9,} MACs")
print("the fastest:", first.form)

# %%
before = gpu.predict_scores(fewer, held_out.images)
after = gpu.predict_scores(merged.module, held_out.images)
difference = float((after - before).abs().max() / before.abs().max())
print(f"largest difference of a score: {difference:.0e} of the largest score")
assert difference < 1e-5
assert torch.equal(after.argmax(1), before.argmax(1))

# %% [markdown]
# It is the same function, at the borders too: the differences are those of single precision.
#
# ## From one matrix to the whole network
#
# Each ReLU that is left out saves work and may cost accuracy. Without any, the network is the one matrix of [notebook
# 4](04_a_trained_network.ipynb); with all, it is the network that we began with. Between them is a front: for each
# number of ReLUs, the best accuracy and the time of a prediction. The accuracies above say nothing about it: the last
# one belongs to a network that was trained for longer. `linalg-cnn experiment front` measures it with several seeds. It
# also asks which ReLUs to leave out, and whether to take them out slowly, at once, or never to put them in: see [the
# front](../docs/front.md).

# %%
gpu.record_picture(json.loads(Path("../docs/records/front.json").read_text()))

# %% [markdown]
# **The front of a plain CNN** with eight convolutions, on 5,000 digits: with one ReLU left it is some seven times
# faster than the whole network at its fastest, and about as accurate in its five seeds. Without any it is the one
# matrix, and falls to the accuracy of a perceptron. The taught networks also learn from the scores of the whole one.
#
# ## Exercises
#
# 1. Into how many regions do n lines divide the plane, if no two are parallel and no three meet in a point? Find the
#    formula, and check it for five ReLUs with the library.
# 2. How far is it from the three to another class, on a shorter way than that to the eight? In one region, the shortest
#    path is the one of [notebook 4](04_a_trained_network.ipynb), exercise 2. Repeat it with the local map of each point
#    that it leads to, and compare the distance with that of the nearest wall.
# 3. Change two numbers of the network of two 3x3 sums such that it *is* one convolution, with an output of the same
#    size. Which output pixels change?

# %% [markdown] jp-MarkdownHeadingCollapsed=true tags=["solution"]
# ### Solutions

# %% [markdown] tags=["hide-cell", "solution"]
# **1.** The first line divides the plane in 2. The n-th line crosses n - 1 others, which cut it into n parts, and each
# part divides a region in two. So there are $1 + 1 + 2 + \dots + n = 1 + n + n(n-1)/2$ regions: 7 for three lines, 16
# for five. In F, each region has a monomial of its own.

# %% tags=["hide-cell", "solution"]
weights = [[3, 0], [1, 3], [-2, 2], [-2, -2], [1, -3]]
five_units = PiecewiseGraph((2,))
hidden = five_units.add(ReLU(), five_units.add(Dense(weights, [-3] * 5), 0))
five_units.add(Dense(np.ones((1, 5))), hidden)
polynomial = tropical_form(five_units)[0].polynomials[0].pruned()
assert len(polynomial) == 1 + 5 + 5 * 4 // 2
tropical_picture(polynomial)

# %% [markdown] tags=["hide-cell", "solution"]
# **2.** Each step goes to where another score would overtake that of the three, if the network were its local map
# everywhere. It is not, so several steps may be needed. (The method is known as DeepFool.) The change is shorter than
# the way to the eight, hundreds of times as long as the way to the nearest wall, and need not be the shortest that
# there is.

# %% tags=["hide-cell", "solution"]
point, steps = three, 0
while graph(point).argmax() == 3:
    (W_point,), (B_point,) = graph.local_maps(point[np.newaxis])
    lead = graph(point)[3] - graph(point)
    normals = W_point - W_point[3]
    distances = np.full(10, np.inf)
    others = np.arange(10) != 3
    distances[others] = lead[others] / np.linalg.norm(normals[others], axis=1)
    k = distances.argmin()
    step = 1.01 * lead[k] / (normals[k] @ normals[k]) * normals[k]
    point, steps = point + step.reshape(point.shape), steps + 1
far = np.linalg.norm(point - three)
print(f"class {graph(point).argmax()} after {steps} steps, {far:.2f} from the three")
print(f"{far / nearest:,.0f} times as far as the nearest wall")
assert nearest < far < whole
side_by_side(
    image_picture(three[0], title="read as 3"),
    image_picture((point - three)[0], color="value", title="what is added"),
    image_picture(point[0], color="gray", title=f"read as {graph(point).argmax()}"),
    gap=24,
)

# %% [markdown] tags=["hide-cell", "solution"]
# **3.** Pad the first sum by 2 and the second by 0. Then the second sum finds around the image what it lacked: the sums
# of the pixels near the border. The outermost pixels change, and no others. Some methods of merging do this: they move
# the padding to the front, which is another function.

# %% tags=["hide-cell", "solution"]
moved = SkipNetwork(
    (1, 7, 7), [Conv(np.ones((1, 1, 3, 3)), padding=2), Conv(np.ones((1, 1, 3, 3)))]
).compose()
assert np.array_equal(equivalent_kernel(moved).kernel, joint.kernel)
different = np.abs(moved.W - twice.W).sum(1).reshape(7, 7) > 0
assert different.sum() == 24
assert not different[1:-1, 1:-1].any()
