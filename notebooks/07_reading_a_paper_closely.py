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
# # Reading a paper closely
#
# **After this notebook you can** turn a statement of a paper into a computation of a few lines. If the statement is
# wrong, you can say which kind of mistake it is: a convention, a formula, a number, or a claim.
#
# The paper is Joyce & Verschelde, *Algebraic Representations for Faster Predictions in Convolutional Neural Networks*
# (2024, [arXiv:2408.07815](https://arxiv.org/abs/2408.07815)), which this library is built on. Its theorem is right,
# and it is a good paper. At fourteen points the text disagrees with PyTorch, with arithmetic, or with itself, and at
# three more its experiments depend on something that it does not say. They were found by testing each sentence as the
# cells below do. The numbers are those of [the list of errata](../docs/errata.md). [The glossary](../docs/glossary.md)
# explains the terms of both fields.
#
# Four habits are enough:
#
# 1. **Recompute** every number that can be recomputed.
# 2. **Take the smallest example** for which a formula says anything at all.
# 3. **Look at both ends**: t = 0 and t = 1, the first index and the last.
# 4. **Ask where each hypothesis is used**, and whether the experiment meets it.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
import numpy as np
import sympy
import torch
import torchvision
from torch import nn

import gpu
from gpu.schedules import PAPER_FROM_05, PAPER_FROM_05_AS_PRINTED, PAPER_FROM_09
from linalg_cnn import (
    Conv,
    Dense,
    Pad,
    SkipNetwork,
    compose,
    conv_matrix,
    pad_matrix,
    resample_matrix,
    shared_skip_weights,
)
from linalg_cnn.display import (
    curves_picture,
    image_picture,
    matrix_picture,
    side_by_side,
)

# %% [markdown]
# ## Conventions: run the software that the text names
#
# ### Erratum 1. Which rows does equation (6) copy?
#
# The paper resamples a 2x2 image to 3x4 and says that its matrix does what PyTorch does. Two rows have to become three.
# The printed matrix copies the rows 0, 1, 1. Which rows does PyTorch copy?

# %%
image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def resized(mode):
    return nn.functional.interpolate(image[None, None], size=(3, 4), mode=mode)[0, 0]


resized("nearest"), resized("nearest-exact")

# %% [markdown]
# PyTorch's default copies 0, 0, 1. The printed equation is the mode `nearest-exact`, which was added later and agrees
# with Pillow and scikit-image. The paper calls the other choice "an equally valid approach", which is right. Only
# PyTorch's default is not the choice that it prints. Here are both matrices, with a colour for each pixel:

# %% tags=["hide-input"] jupyter={"source_hidden": true}
side_by_side(
    *(
        matrix_picture(
            resample_matrix((1, 2, 2), (3, 4), mode), (1, 2, 2), (1, 3, 4), title=mode
        )
        for mode in ("nearest", "nearest-exact")
    ),
    gap=60,
)

# %%
for mode in ("nearest", "nearest-exact"):
    ours = resample_matrix((1, 2, 2), (3, 4), mode) @ image.numpy().ravel()
    assert np.array_equal(ours.reshape(3, 4), resized(mode))

# %% [markdown]
# ### Erratum 2. How many zeros keep the size?
#
# The paper pads a 2x2 image by 1 on each side, applies a 2x2 kernel, and states that the result is 2x2 again; in
# general it asks for k - 1 zeros on each side. The smallest example is the printed one:

# %%
P = pad_matrix((1, 2, 2), 1)
K = conv_matrix(np.ones((1, 1, 2, 2)), (1, 4, 4))
P.shape, K.shape, (K @ P).shape  # 9 rows: a 3x3 image

# %% [markdown]
# Padding by p zeros in all turns n pixels into n + p, and a kernel of size k removes k - 1. So k - 1 zeros *in all*
# keep the size. If k - 1 is odd, the extra zero goes after the image: this is PyTorch's `padding="same"`.

# %%
n, k = 5, 4
for name, pair in {
    "k - 1 on each side": (k - 1, k - 1),
    "k - 1 in all": ((k - 1) // 2, k // 2),
}.items():
    print(
        f"{name}: {n} pixels become "
        f"{Conv(np.ones((1, 1, k))).out_shape(Pad([pair]).out_shape((1, n)))[1]}"
    )
assert Conv(np.ones((1, 1, k)), padding="same").out_shape((1, n)) == (1, n)

# %% [markdown]
# ### Erratum 10. Does counting start at 0 or at 1?
#
# $X_i = M_{\lfloor i/w \rfloor,\ i \bmod w}$ for $i \in \{1, \dots, hw\}$, the paper says. Look at both ends: the first
# pixel is lost, and the last index does not exist.

# %%
M = np.arange(6).reshape(2, 3)
h, w = M.shape
assert [M[i // w, i % w] for i in range(h * w)] == list(M.ravel())
try:
    M[h * w // w, h * w % w]
except IndexError as error:
    print(error)

# %% [markdown]
# ### Erratum 12. Is every convolution a Toeplitz matrix?
#
# *"The convolutional layers are viewed as Toeplitz matrices."* A Toeplitz matrix is constant along its diagonals. A
# convolution of one channel in one dimension at stride 1 has such a matrix. Now give it a stride of 2, or a second
# channel:

# %%
taps = np.array([1.0, 2.0, 3.0])

# %% tags=["hide-input"] jupyter={"source_hidden": true}
side_by_side(
    matrix_picture(Conv(taps.reshape(1, 1, 3)), (1, 7), title="stride 1"),
    matrix_picture(Conv(taps.reshape(1, 1, 3), stride=2), (1, 7), title="stride 2"),
    matrix_picture(
        Conv(np.arange(1.0, 7.0).reshape(2, 1, 3)), (1, 7), title="two output channels"
    ),
    gap=40,
)

# %% [markdown]
# The stride drops every second row, so the diagonals are flatter. The two channels are blocks below each other: each
# block is Toeplitz, but the whole matrix is not. For this reason the library has no function called `toeplitz_matrix`.


# %%
def is_toeplitz(A):
    return np.array_equal(A[1:, 1:], A[:-1, :-1])


one = conv_matrix(taps.reshape(1, 1, 3), (1, 7)).toarray()
strided = conv_matrix(taps.reshape(1, 1, 3), (1, 7), stride=2).toarray()
two = conv_matrix(np.arange(1.0, 7.0).reshape(2, 1, 3), (1, 7)).toarray()
assert is_toeplitz(one)
assert not is_toeplitz(strided)
assert np.array_equal(strided, one[::2])
assert not is_toeplitz(two)
assert is_toeplitz(two[:5])
assert is_toeplitz(two[5:])

# %% [markdown]
# ## Formulas: substitute both ends
#
# ### Erratum 3. What does t weigh?
#
# Equation (23) mixes the layer before, $x^{(i-1)}$, with a skip, $x^{(j)}$: $t\, x^{(i-1)} + (1 - t)\, x^{(j)}$. The
# text says: *"when t = 0, we get a network with no skip connections"*. Substitute t = 0: the formula leaves **only**
# the skip. In letters, with a first layer a and a second layer b:

# %%
a, b, t = sympy.symbols("a b t")
layers = [Conv([[[a]]]), Conv([[[b]]])]
as_printed = SkipNetwork((1, 1), layers, {(1, 1): t, (0, 1): 1 - t}).compose().W[0]
as_meant = SkipNetwork((1, 1), layers, {(1, 1): 1 - t, (0, 1): t}).compose().W[0]
sympy.Matrix([[as_printed.subs(t, 0), as_meant.subs(t, 0)]])  # on the left a is gone

# %% [markdown]
# The sentence, the schedules that end in 0, and figure 2 all need t as the weight of the skip, so the two weights in
# the formula are exchanged. The library follows the sentence:

# %%
assert shared_skip_weights([(0, 1)], t) == {(0, 1): t, (1, 1): 1 - t}

# %% [markdown]
# ### Erratum 8. Is t = 1/2 a ResNet?
#
# *"When t = 0.5, we get the standard setup for skip connections."* ResNet computes x + F(x), and half of each term
# gives half of that:

# %%
torch.manual_seed(0)
F, x = nn.Conv2d(2, 2, 3, padding=1).requires_grad_(False), torch.randn(8, 2, 6, 6)
torch.testing.assert_close(x + F(x), 2 * (0.5 * x + 0.5 * F(x)))

# %% [markdown]
# A following batch normalisation divides by the factor again. At the end of a network there is none: the last block's
# output goes into a linear layer, whose scores change.

# %%
norm = nn.BatchNorm2d(2, eps=1e-12)
torch.testing.assert_close(norm(x + F(x)), norm(0.5 * x + 0.5 * F(x)), rtol=1e-5, atol=1e-5)

# %% [markdown]
# ### Erratum 11. Where do the sums start?
#
# In the proof, equations (17) to (21), the sums over k start at 1; in equation (10) they start at 0. Does one term
# matter? $f^{(0)}$ is the input, and the term k = 0 is the skip from it:

# %%
from_zero = as_meant
from_one = (1 - t) * a * b  # the sum over k = 1 alone
sympy.expand(from_zero - from_one)  # what the proof would lose

# %% [markdown]
# The same section calls the last layer n in some places and L in others; L is meant.
#
# ### Erratum 14. Does the induction reach its conclusion?
#
# Claim 3.1 says that all $f^{(i)}$ are affine. The step supposes that $f^{(0)}, \dots, f^{(i-1)}$ are affine, and
# concludes that $f^{(i-1)}$ is affine, which was already supposed. The step must conclude that $f^{(i)}$ is affine,
# with the bias $B^{(i)}$ of its own layer, and the same lines prove this. To check that nothing is missing, compare a
# network that has a bias in every layer with its map. (The paper's W is $f_W(\mathbf 1)$, *"with all bias terms
# removed"*. The formula that it prints for $f_W$ has the plain $f^{(k)}$ in its sum, with the biases of the layers
# before; equation (21) has $f_W^{(k)}$, which is right.)

# %%
rng = np.random.default_rng(0)
network = SkipNetwork(
    (1, 6),
    [
        Conv(rng.standard_normal((2, 1, 3)), rng.standard_normal(2)),
        Dense(rng.standard_normal((3, 8)), rng.standard_normal(3)),
    ],
)
affine, images = network.compose(), rng.standard_normal((5, 1, 6))
assert np.allclose(affine(images[:, 0]), network(images), atol=1e-13)
assert np.allclose(affine.B, network(np.zeros((1, 6))))

# %% [markdown]
# ## Numbers: recompute them
#
# ### Erratum 6. Which speedup?
#
# The paper reports *"a speedup of over 98%"*, *"approximately 22%"* and *"a 46% speedup"*. Recompute them from the
# microseconds that it prints:

# %%
for before, after in ((104.91, 2.06), (106.83, 83.1), (30.72, 16.44)):
    print(
        f"{before:6.2f} -> {after:5.2f} us: {1 - after / before:.1%} of the time saved, "
        f"{before / after:.2f} times faster"
    )

# %% [markdown]
# They are shares of the time that is saved, and as such correct. A "speedup of 98 %" would be 1.98 times faster; this
# is 50.9 times. The mistake makes the paper's own result look *smaller*. A ratio cannot be misread in this way.
#
# ### Erratum 7. Does t fall?
#
# Section 5.3 has two schedules. Draw them before you believe them:

# %% tags=["hide-input"] jupyter={"source_hidden": true}
curves_picture(
    {
        "from 0.9": PAPER_FROM_09,
        "from 0.5, as printed": PAPER_FROM_05_AS_PRINTED,
        "from 0.5, as meant?": PAPER_FROM_05,
    },
    x="epoch",
    y="t, the strength of the skips",
)

# %%
printed, meant = np.array(PAPER_FROM_05_AS_PRINTED), np.array(PAPER_FROM_05)
assert list(np.flatnonzero(np.diff(printed) > 0)) == [7]  # it rises once, from 0.01 to 0.05
assert np.all(np.diff(meant) < 0)
printed[printed != meant], meant[printed != meant]

# %% [markdown]
# 0.005 would continue the halving; probably a zero was lost. We cannot know which of the two was used, so the library
# offers both.
#
# ### Erratum 9. What are the 34 layers?
#
# The paper says that ResNet34 *"has 34 convolutional layers"*, with *"one convolution before and after"* the blocks.
# Count them:

# %%
resnet34 = torchvision.models.resnet34()
convolutions = [
    name for name, module in resnet34.named_modules() if isinstance(module, nn.Conv2d)
]
on_skips = [name for name in convolutions if "downsample" in name]
main_path = [name for name in convolutions if "downsample" not in name]
assert [name for name in main_path if not name.startswith("layer")] == ["conv1"]
assert isinstance(list(resnet34.children())[-1], nn.Linear)
(
    f"{len(main_path)} convolutions on the main path, "
    f"{len(on_skips)} on skips, and one linear layer at the end"
)

# %% [markdown]
# 1 + 32 convolutions and a linear layer make 34. By convention, the three 1x1 convolutions on the skips are not
# counted.
#
# ### Erratum 13. Are the cross-references right?
#
# *"In Section 4, we introduced a method to pre-compute CNNs with skip connections"*: this is section 3, and the outlook
# is section 6, not 4. There is nothing to compute here; one finds such mistakes by following each reference.
#
# ## Claims: where is the hypothesis used?
#
# ### Erratum 4. Is figure 1's ResNet34 affine?
#
# The paper removes the ReLUs from a ResNet34, calls the rest linear, and reports 98.7 % on MNIST. Theorem 3.1 requires
# **every** layer to be affine. Is that so after the ReLUs are removed? For an affine f, the gap
# $f(x + y) - f(x) - f(y) + f(0)$ is 0:

# %%
x, y = torch.randn(2, 1, 1, 28, 28)


def gap(f):
    f = f.eval()
    with torch.inference_mode():
        return float(
            (f(x + y) - f(x) - f(y) + f(torch.zeros_like(x))).abs().max() / f(x).abs().max()
        )


for pool in ("max", "avg"):
    print(
        f"{pool} pooling: "
        f"{gap(gpu.resnet(34, activation='identity', stem_pool=pool)):.1e} of the largest score"
    )

# %% [markdown]
# A max pooling follows the first convolution, and a maximum is not affine. The library names the place:

# %%
try:
    gpu.trace(gpu.resnet(34, activation="identity", stem_pool="max").eval(), (1, 28, 28))
except gpu.NotAffineError as error:
    print(error)

# %% [markdown]
# The accuracy agrees with this. An affine classifier of MNIST's pixels reaches about 92 %, whatever it was collapsed
# from (on 10,000 held-out images; notebook 4 has 5,000 digits). 98.7 % is far beyond what one matrix can reach.
# **Estimating a number before reading it** reveals such mistakes.
#
# So the figure compares a network that cannot be collapsed with two that can. The theorem is not affected: with average
# pooling the same ResNet34 is affine and can be collapsed.
#
# ### Erratum 5. Which is better, the CNN or the perceptron?
#
# *"Both the 3-layer network and the linearized ResNet34 produce better performance than the single-layer perceptron."*
# But the collapsed 3-layer network **is** a single-layer perceptron:

# %%
cnn = gpu.three_layer_cnn(channels=2).eval()
affine = cnn.to_network().compose()
perceptron = nn.Linear(784, 10)
with torch.no_grad():
    perceptron.weight.copy_(torch.from_numpy(affine.W))
    perceptron.bias.copy_(torch.from_numpy(affine.B))
    digits = torch.rand(20, 1, 28, 28)
    torch.testing.assert_close(
        perceptron(digits.flatten(1)), cnn(digits), rtol=1e-4, atol=1e-5
    )

# %% [markdown]
# The measured gap is real, but it comes from *training*: in ten epochs, 784 x 10 free weights improve less than the
# same map written as a product. The networks do not differ in what they can express.
#
# ## Experiments: rebuild them from the text alone
#
# A text that is right in every sentence can still leave out what its experiment depends on. Build the experiment from
# the text and from nothing else, run it in full, and look at what the network sees.
#
# ### Erratum 15. What does ResNet34 see when t is 1?
#
# In figure 2 the skips grow from t = 0 to t = 1. At t = 1 nothing but skips is left, and the paper's ResNet34 still
# reaches 40 %. Linear and with average pooling, that network is one matrix W. A column of W that is 0 belongs to a
# pixel that no score depends on:

# %%
only_skips = gpu.resnet(34, t=1.0, activation="identity", stem_pool="avg").eval()
W = compose(gpu.trace(only_skips, (1, 28, 28))).W
seen = np.any(W != 0, axis=0).reshape(28, 28)
assert seen[:6, :6].all()
assert seen.sum() == 36
image_picture(
    seen, color="value", labels=False, title="pixels that a score depends on at t = 1"
)

# %% [markdown]
# torchvision's first layers shrink 28x28 to 7x7, and three projections of stride 2 then keep the first position of
# these. That position sees 36 pixels in a corner, which are blank in nearly all digits. However it is trained, such a
# network is right on at most 12.85 % of MNIST's test images.
#
# ### Errata 16 and 17. In which mode was it validated, and with which stem?
#
# The last feature map of that network is 1x1. The running statistics of its batch normalisations then lag behind the
# weights: at full scale the paper's schedule ended at 54 % in evaluation mode on a GPU, and at 10 % on a CPU, means of
# five trials each. With statistics estimated anew, layer by layer, the five of the CPU have 99.0 %. [Notebook
# 5](05_the_homotopy.ipynb) shows this with an example. A first convolution of stride 1 keeps a map of 2x2, on which
# evaluation mode kept 98 % (one trial), at 5.2 times the work. Neither the mode nor the stem is in the paper, and none
# of the five stems that were tried gives its 40 % at t = 1.
#
# ## Summary
#
# | kind | errata | how they were found |
# |---|---|---|
# | a convention | 1, 2, 10, 12 | by running the software that the text names |
# | a formula | 3, 8, 11, 14 | by substituting the smallest case and both ends |
# | a number, a pointer | 6, 7, 9, 13 | by computing it again, drawing it, or following the reference |
# | a claim | 4, 5 | by asking where each hypothesis is used |
# | an experiment | 15, 16, 17 | by building it from the text alone and looking at what the network sees |
#
# Only the last two rows concern the paper's conclusions, and even there the theorem remains true.
#
# ## Exercises
#
# 1. A text says that a kernel of k numbers, moved over n pixels by steps of s, gives (n - k) / s + 1 outputs. Find the
#    smallest n, k and s for which this is wrong. What do all wrong cases have in common, and which habit finds them?
# 2. `gap` is 0 for every affine function. Find a function that is *not* affine, and whose gap is 0 for every pair of
#    images with pixels in [0, 1]. What does this say about testing with numbers?
# 3. The demo's record says that a network took 28.86 us per image and its map 0.463 us. Write the sentence for the
#    abstract, once with the paper's wording and once with a ratio. Which of the two can a reader misunderstand? And
#    what else must be stated before anyone can compare the number with the paper's?

# %% [markdown] tags=["solution"] jp-MarkdownHeadingCollapsed=true
# ### Solutions

# %% [markdown] tags=["hide-cell", "solution"]
# **1.** Wherever s does not divide n - k, the formula gives no whole number: it lacks the rounding down. At s = 1 it is
# right, so examples without a stride do not show the mistake. The smallest example for which the formula says anything
# about s has s = 2: two pixels and a kernel of one number make 1 output, not 1.5.

# %% tags=["hide-cell", "solution"]
wrong = []
for n, k, s in np.ndindex(6, 6, 6):
    n, k, s = n + 1, k + 1, s + 1
    if k <= n:
        outputs = nn.functional.conv1d(torch.zeros(1, 1, n), torch.zeros(1, 1, k), stride=s)
        if outputs.shape[-1] != (n - k) / s + 1:
            wrong.append((n, k, s))
assert wrong[0] == (2, 1, 2)
assert all((n - k) % s != 0 for n, k, s in wrong)

# %% [markdown] tags=["hide-cell", "solution"]
# **2.** relu(x + 1) is x + 1 wherever x is at least -1. No set of images with pixels in [0, 1], nor of sums of two of
# them, shows that it is not affine. Therefore `gpu.trace` reads the network's operations, one by one, and refuses those
# that are not affine by name.

# %% tags=["hide-cell", "solution"]
f = nn.Sequential(nn.Flatten(), nn.ReLU())


def hidden(images):
    return f(images + 1)


x, y = torch.rand(2, 1, 1, 28, 28)
assert (
    float((hidden(x + y) - hidden(x) - hidden(y) + hidden(torch.zeros_like(x))).abs().max())
    < 1e-6
)
# the affine x + 1 would give -1
assert float(hidden(torch.full_like(x, -2.0)).abs().max()) == 0

# %% [markdown] tags=["hide-cell", "solution"]
# **3.** "A speedup of 98 %" and "62 times faster" describe the same measurement. The first can be read as 1.98 times.
# The batch size and the machine must be stated, too.

# %% tags=["hide-cell", "solution"]
before, after = 28.86, 0.463
print(f"{1 - after / before:.0%} of the time saved; {before / after:.0f} times faster")
