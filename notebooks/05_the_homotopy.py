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
# # The homotopy
#
# **After this notebook you can** reduce the strength of a network's skips while it trains, remove the skips without
# changing a bit of its output, bring back an accuracy that is lost in evaluation mode, and say what three figures of
# the paper show and what they do not.
#
# Section 4 of [the paper](https://arxiv.org/abs/2408.07815) gives every skip a strength t. A layer whose inputs are the
# layer before, $f$, and a skip, $s$, reads
#
# $$(1 - t)\, f + t\, s .$$
#
# (The paper's equation (23) has the two weights exchanged, which contradicts the text around it: see [erratum
# 3](../docs/errata.md).)
#
# t = 0 is the network without skips, t = 1 leaves out the layers that a skip passes, and the values in between are a
# path from one network to the other: a **homotopy**. Skips help a deep network to train, but cost time when it
# predicts. So start the training with skips, and end it without them.
#
# You should have read [notebook 3](03_skip_connections.ipynb). This one takes about 25 minutes. [The
# glossary](../docs/glossary.md) explains the terms of both fields.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
import copy
import json
from pathlib import Path

import numpy as np
import torch

import gpu
from gpu.schedules import PAPER_FROM_09, Cosine, Exponential, Linear, Listed
from linalg_cnn import compose
from linalg_cnn.display import Explorer, curves_picture, network_picture, rows_picture

# %% [markdown]
# ## t as a slider
#
# Start with a linear network, where the whole path can be seen: train the 3-layer CNN at t = 0.5, then collapse it at
# eleven values of t. To save time, this notebook trains on 1,200 of the 4,000 digits, in small batches.

# %%
digits, held_out = gpu.load_digits()
training = gpu.Digits(digits.images[:1200], digits.labels[:1200])


def trained(model, epochs=3, **options):
    history = gpu.train(
        model, training, held_out, epochs=epochs, batch_size=16, progress=False, **options
    )
    return [epoch["validation_accuracy"] for epoch in history]


def accuracy(model):
    return gpu.accuracy_of(gpu.predict_scores(model, held_out.images), held_out.labels)


def accuracies_along(model, strengths):
    found = []
    for t in strengths:
        gpu.set_skip_strength(model, t)
        found.append(accuracy(model))
    return found


linear = gpu.three_layer_cnn(channels=4, t=0.5)
trained(linear)
network_picture(linear.to_network())

# %%
strengths = [round(0.1 * n, 1) for n in range(11)]
maps = {}
for t in strengths:
    gpu.set_skip_strength(linear, t)
    maps[t] = compose(linear.to_network())

pixels, labels = held_out.images.flatten(1).numpy() / 255, held_out.labels.numpy()
largest = max(np.abs(map_.W).max() for map_ in maps.values())


# %% jupyter={"source_hidden": true} tags=["hide-input"]
def rows_at(t):
    right = np.mean(maps[t](pixels).argmax(1) == labels)
    return rows_picture(maps[t], limit=largest, longest=84).with_title(
        f"t = {t}: {right:.1%} of the held-out digits"
    )


Explorer(rows_at, {"t": strengths}, start={"t": 0.5}, static=[{"t": 0.5}, {"t": 1.0}])

# %% [markdown]
# At t = 0.5 the network is the one that was trained. Towards t = 1 the second convolution and all that it has learnt
# fade out: what is left are pale rows, which read fewer digits correctly. The path is simple: the network has one skip,
# so W is a polynomial in t of degree 1, and the homotopy is a **straight line** between two matrices:

# %%
for t in strengths:
    assert np.allclose(maps[t].W, (1 - t) * maps[0.0].W + t * maps[1.0].W)

# %% [markdown]
# This also follows from theorem 3.1, without numbers. W is a sum over the paths through the network ([notebook
# 3](03_skip_connections.ipynb)), and each layer that skips enter gives every path that reaches it one factor, 1 - t or
# a share of t. So the degree of W in t is at most the number of these layers, however many skips there are.
#
# ## Changing t without training
#
# The next network is the paper's 6-layer CNN, with ReLUs and ten skips. It is trained for three epochs at t = 0.5.
# After that, t is set to other values in one step:

# %%
recipe = {"epochs": 3, "learning_rate": 2e-3, "seed": 2}


def six_layers(t=0.5, seed=2):
    return gpu.six_layer_cnn(channels=4, activation="relu", t=t, seed=seed)


static = six_layers()
history = {"static, t = 0.5": trained(static, **recipe)}
turned = accuracies_along(static, strengths)

# %% jupyter={"source_hidden": true} tags=["hide-input"]
curves_picture(
    {"trained at t = 0.5": (strengths, turned)},
    x="t, changed after training",
    y="validation accuracy",
)

# %% [markdown]
# The accuracy is high where the network was trained. At t = 0, where the skips could be removed, much of it is lost,
# because the layers were never trained to work without skips.
#
# ## Changing t while training
#
# Therefore t moves in small steps, with an epoch of training after each. The path is given by a schedule: t as a
# function of the epoch. The library has the paper's two lists and several functions.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
curves_picture(
    {
        "Listed(PAPER_FROM_09)": [Listed(PAPER_FROM_09)(step) for step in range(10)],
        "Linear(0.5, steps=9)": [Linear(0.5, steps=9)(step) for step in range(10)],
        "Cosine(0.5, steps=9)": [Cosine(0.5, steps=9)(step) for step in range(10)],
        "Exponential(0.5, 0.6, steps=9)": [
            Exponential(0.5, 0.6, steps=9)(step) for step in range(10)
        ],
    },
    x="epoch",
    y="t",
)

# %% [markdown]
# The next network is trained for three epochs, at t = 0.5, 0.25 and 0. It is compared with a network that never had
# skips:

# %%
walked = six_layers()
history["t from 0.5 to 0"] = trained(
    walked, schedule=gpu.SkipSchedule(walked, Linear(0.5, steps=2)), **recipe
)
never = six_layers(t=0.0)
history["t = 0 from the start"] = trained(never, **recipe)
curves_picture(history, x="epoch", y="validation accuracy")

# %%
print(f"trained at t = 0.5, then set to t = 0:   {turned[0]:.1%}")
print(f"moved to t = 0 while training:           {history['t from 0.5 to 0'][-1]:.1%}")
print(f"never had skips:                         {history['t = 0 from the start'][-1]:.1%}")

# %% [markdown]
# The schedule keeps the accuracy that the single step lost: its curve covers that of the network which keeps its skips.
# The network without skips has not learnt anything: from these initial weights, six layers with ReLUs do not begin to
# train, and guess one digit in ten. On a small scale, this is the paper's argument for the homotopy.
#
# It is also a result from **one** seed and one learning rate. Exercise 2 changes both, and then the network without
# skips learns. When a figure compares training curves, ask how many seeds are behind each.
#
# ## Taking the skips out
#
# At t = 0 the skips still cost time: their values are kept, resampled, multiplied by 0 and added. `gpu.remove_skips`
# returns a network that has **no code** for them. It refuses a network in which some t is not 0, and its result
# computes the same bits.

# %%
try:
    gpu.set_skip_strength(static, 0.5)
    gpu.remove_skips(static)
except ValueError as error:
    print(error)

# %%
bare = gpu.remove_skips(walked)
assert torch.equal(
    gpu.predict_scores(bare, held_out.images), gpu.predict_scores(walked, held_out.images)
)
print(
    f"{len(gpu.skip_strengths(walked))} layers were entered by skips, "
    f"{len(gpu.skip_strengths(bare))} are"
)

# %% [markdown]
# ## An accuracy that vanishes, and comes back
#
# The paper's own network is deeper, and has batch normalisations, which behave in two ways. In training mode, each one
# subtracts the mean of its **batch** and divides by the batch's standard deviation. In evaluation mode it uses
# **running statistics** instead: averages over the batches of the training so far.
#
# Train a ResNet18 for two epochs, at t = 0.5 and at t = 0, on 640 digits, and take out its skips. It loses the 1x1
# convolutions on its skips, too. `recalibration_images=0` trains as everyone does: running statistics stay as training
# leaves them.

# %%
few = gpu.Digits(digits.images[:640], digits.labels[:640])
torch.manual_seed(0)
resnet = gpu.resnet(18)
gpu.train(
    resnet,
    few,
    held_out,
    epochs=2,
    batch_size=32,
    schedule=gpu.SkipSchedule(resnet, Linear(0.5, steps=1)),
    recalibration_images=0,
    progress=False,
)
as_trained = gpu.remove_skips(resnet)
assert torch.equal(
    gpu.predict_scores(as_trained, held_out.images),
    gpu.predict_scores(resnet, held_out.images),
)
print(
    f"{sum(p.numel() for p in resnet.parameters()):,} parameters, "
    f"{sum(p.numel() for p in as_trained.parameters()):,} without skips"
)

# %% [markdown]
# Nothing was lost with the skips. But is this network any good? That depends on its mode. `gpu.recalibrate` runs the
# network over training images once more, and replaces the running statistics by those of the network as it is now:


# %%
def accuracy_in_training_mode(model, size=50):
    # a copy: in training mode, the running statistics change as well
    model = copy.deepcopy(model).train()
    with torch.no_grad():
        scores = [model(images.float() / 255) for images in held_out.images.split(size)]
    return gpu.accuracy_of(torch.cat(scores), held_out.labels)


recalibrated = copy.deepcopy(as_trained)
gpu.recalibrate(recalibrated, few.images, layer_by_layer=True)
by_batch = accuracy_in_training_mode(as_trained)
before, after = accuracy(as_trained), accuracy(recalibrated)
assert after > before + 0.3
print(f"training mode, statistics of each batch:  {by_batch:.1%}")
print(f"evaluation mode, as training left it:     {before:.1%}")
print(f"evaluation mode, recalibrated:            {after:.1%}")

# %% [markdown]
# The weights are the same in all three lines. As training left it, the network guesses in evaluation mode, or nearly
# so, and it takes no more training to bring its accuracy back.
#
# Where is it lost? A batch normalisation divides by the standard deviation that it remembers. Compare it with the
# standard deviation of what arrives. Their ratio is 1 where the running statistics are right:


# %%
def arriving_over_remembered(model):
    ratios = []

    def note(norm, inputs):
        ratio = inputs[0].std((0, 2, 3)) / norm.running_var.sqrt()  # one for each channel
        ratios.append(float(ratio.median()))

    model = copy.deepcopy(model).eval()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.register_forward_pre_hook(note)
    gpu.predict_scores(model, held_out.images[:200])
    return ratios


# %% jupyter={"source_hidden": true} tags=["hide-input"]
curves_picture(
    {
        "as training left it": arriving_over_remembered(as_trained),
        "recalibrated": arriving_over_remembered(recalibrated),
    },
    x="batch normalisation, from the input on",
    y="arriving / remembered",
    start=1,
)

# %% [markdown]
# Running statistics lag behind weights that still change. Without skips, every layer reads only what the one before it
# gives, so that an error is passed on, and grows from layer to layer. In the last blocks, where the feature maps are
# 1x1, a normalisation also sees only one number per channel and image.
#
# This is what happens to the paper's schedule at full scale, with all 60,000 images: in evaluation mode ResNet34 ended
# at 54 % on a GPU and at 10 % on a CPU (means of five trials each). Recalibrated layer by layer, the five of the CPU
# have 99.0 %, where the paper has 98.57 % ([erratum 16](../docs/errata.md)). So `gpu.train` recalibrates before each
# validation unless it is told not to, and its history has both accuracies. Do the same, layer by layer, after every
# `gpu.set_skip_strength` that is not followed by training.
#
# ## The paper's figures, from our records
#
# What follows was not computed in this notebook, because it takes a GPU or hours. It is drawn from [the
# records](../docs/records), which also name the machine and the settings. The paper's own points are drawn beside ours.


# %%
def record(name):
    return json.loads((Path("../docs/records") / f"{name}.json").read_text())


gpu.record_picture(record("figure1_h200"))

# %% [markdown]
# **Figure 1, linear networks**, at the paper's scale. The order is the paper's: the linear ResNet34 is ahead. But the
# curve "average pooling" is the lowest. There the max pooling is replaced by average pooling, which makes the network
# affine, and only this ResNet34 can be collapsed ([erratum 4](07_reading_a_paper_closely.ipynb)).

# %%
gpu.record_picture(record("figure2"))

# %% [markdown]
# **Figure 2, accuracy against t**, at a small scale: 4,000 of the 60,000 images, two epochs, three trials for each t,
# recalibrated layer by layer. The ResNet34 does worse towards t = 0, as the paper's does, and the ResNets learn nothing
# at t = 1, because all blocks are cut out. It does not show the paper's shallow networks that drop at high t.

# %%
gpu.record_picture(record("figure3_h200"))

# %% [markdown]
# **Figure 3, the homotopy**, at the paper's scale, in evaluation mode as training left the networks. The figure
# compares static t = 0.5 with the two schedules. Where the skips become weak, the accuracy of the schedule from 0.9
# falls to that of guessing, as it did above, and that of the schedule from 0.5 drops in some trials (the band around
# its curve). The paper's does not. The next picture is from two CPU cores, recalibrated layer by layer: 4,000 images,
# three trials.

# %%
gpu.record_picture(record("figure3"))

# %% [markdown]
# Where the skips become weak, the accuracy stays. The schedule from 0.9 ends without skips and is not behind the
# network that keeps them; the one from 0.5 ends a little lower. These are three trials on few images, and they say no
# more than that. [The page on the experiments](../docs/experiments.md) has five trials at full scale, and [the one on
# two cores](../docs/two_cores.md) a comparison of ways to a network without skips.
#
# ## Exercises
#
# 1. The linear 6-layer CNN has skips into its layers 3, 4, 5 and 6. What is the degree of its W in t? Predict W at t =
#    0.95 from five other values of t, and compare.
# 2. Train the network without skips once more, from `seed=0` and with `learning_rate=1e-3`. What can be concluded from
#    the comparison above, and what cannot?
# 3. At t = 1 the 3-layer CNN does not read its second convolution. Show this: overwrite the weights of that
#    convolution, and compare W.

# %% [markdown] jp-MarkdownHeadingCollapsed=true tags=["solution"]
# ### Solutions

# %% [markdown] tags=["hide-cell", "solution"]
# **1.** Skips enter four layers, and each brings a factor of degree 1, so the degree is 4. Five values of t determine a
# polynomial of degree 4 (Lagrange).

# %% tags=["hide-cell", "solution"]
six = gpu.six_layer_cnn(channels=2)


def W_at(t):
    gpu.set_skip_strength(six, t)
    return compose(six.to_network()).W


nodes, goal = [0.0, 0.25, 0.5, 0.75, 1.0], 0.95
weights = [np.prod([(goal - m) / (n - m) for m in nodes if m != n]) for n in nodes]
predicted = sum(weight * W_at(n) for weight, n in zip(weights, nodes, strict=True))
assert np.allclose(predicted, W_at(goal), atol=1e-10)
too_few = [np.prod([(goal - m) / (n - m) for m in nodes[:4] if m != n]) for n in nodes[:4]]
assert not np.allclose(
    sum(weight * W_at(n) for weight, n in zip(too_few, nodes[:4], strict=True)),
    W_at(goal),
    atol=1e-10,
)

# %% [markdown] tags=["hide-cell", "solution"]
# **2.** It learns. Two things changed at once, so it is open which of them was responsible: try each alone. In any
# case, skips are not *needed* at six layers. They make training depend less on the initial weights and on the learning
# rate, and a schedule keeps this advantage. To say how much less, one needs many seeds, and a network deep enough to
# need skips: the paper's ResNet34.

# %% tags=["hide-cell", "solution"]
lucky = six_layers(t=0.0, seed=0)
print(
    "without skips, another seed: "
    f"{trained(lucky, **recipe | {'seed': 0, 'learning_rate': 1e-3})[-1]:.1%}"
)

# %% [markdown] tags=["hide-cell", "solution"]
# **3.** At t = 1 the third layer reads $1 \cdot f^{(1)} + 0 \cdot f^{(2)}$, and the second convolution computes
# $f^{(2)}$.

# %% tags=["hide-cell", "solution"]
gpu.set_skip_strength(linear, 1.0)
before = compose(linear.to_network()).W
with torch.no_grad():
    _, second, _ = (part for part in linear.modules() if isinstance(part, torch.nn.Conv2d))
    second.weight.fill_(7.0)
assert np.allclose(compose(linear.to_network()).W, before)
