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
# # Skip connections: one matrix all the same
#
# **After this notebook you can** read the paper's equation (10); write a network with a skip connection as W x + B,
# where every entry of W and B is a formula in the kernels' letters and the skip's strength t; and prove theorem 3.1
# with a short program.
#
# You need [notebook 1](01_convolution_is_a_matrix.ipynb), and from [notebook 2](02_padding_and_resampling.ipynb) the
# padding and resampling matrices. The paper is [Joyce & Verschelde 2024](https://arxiv.org/abs/2408.07815). The
# notebook takes about 25 minutes. [The glossary](../docs/glossary.md) explains the terms of both fields.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
import numpy as np
import sympy

from linalg_cnn import Conv, ResampleTo, SkipNetwork, shared_skip_weights, symbolic
from linalg_cnn.display import (
    entries_formula,
    equation_picture,
    explore_skip,
    layer_formula,
    letter_colors,
    matrix_picture,
    named_entries,
    network_picture,
    side_by_side,
)

# %% [markdown]
# ## Without skips, matrices multiply
#
# Take two layers, each of the form W x + B, one after the other:
#
# $$\begin{aligned}
# & W^{(2)}\,(W^{(1)} x + B^{(1)}) + B^{(2)} \\
# &= (W^{(2)} W^{(1)})\,x + (W^{(2)} B^{(1)} + B^{(2)})
# \end{aligned}$$
#
# The result has the same form. Adding a third layer, and so on, gives the paper's equations (1) to (5).
#
# ## A skip connection mixes what came before
#
# In a network with a skip connection, a layer reads not only the output of the layer before it, but also an earlier
# value. The paper calls the output of layer i $f^{(i)}$, with $f^{(0)} = x$, the image. Our network has two layers, and
# a skip of strength t around the first: the second layer reads the mixture $(1-t)\,f^{(1)} + t\,f^{(0)}$.

# %%
a, b, c, d, p, q, t = sympy.symbols("a b c d p q t")
first = Conv([[[[a, b], [c, d]]]], bias=[p], padding="same")
second = Conv([[[[1, 0, -1]]]], bias=[q], padding=(0, 1))  # left minus right neighbour
skip = shared_skip_weights([(0, 1)], t)
network = SkipNetwork((1, 3, 3), [first, second], skip)
network_picture(network)

# %% [markdown]
# **Equation (10)** in full:
#
# $$\begin{aligned}
# & f^{(i)}(x) = \\
# & W^{(i)} P^{(i)} \Big(\sum_{k=0}^{i-1} t^{(k,i-1)} R^{(k,i-1)} f^{(k)}(x)\Big) + B^{(i)}
# \end{aligned}$$
#
# Here $t^{(k,i-1)}$ is the weight of $f^{(k)}$ in the input of layer i; the second index is i - 1 because the sum
# replaces $f^{(i-1)}$. (In the code the key (0, 1) is $t^{(0,1)}$.) For our two layers the equation becomes:

# %%
layer_formula(network, 1)

# %%
layer_formula(network, 2)

# %% [markdown]
# In general, layer i reads $\sum_k t^{(k,i-1)} R^{(k,i-1)} f^{(k)}$: *all* earlier values, each resampled by an R where
# its size differs, with weights that sum to 1. The layer then applies its padding P, its matrix W and its bias B.
#
# Every part of the equation is a matrix, a sum, or a constant. Here are the two matrices, with their paddings. The
# first kernel has letters, each with its colour, the second has numbers:

# %% jupyter={"source_hidden": true} tags=["hide-input"]
greys = {0: "#ffffff", 1: "#dfe3e7", -1: "#9aa3ab"}
side_by_side(
    matrix_picture(first, (1, 3, 3), title="W(1) P(1)"),
    matrix_picture(second, (1, 3, 3), color="entry", palette=greys, title="W(2) P(2)"),
    gap=40,
)

# %% [markdown]
# ## W and B as formulas
#
# Substitute the first equation into the second and collect the terms with x:
#
# $$\begin{aligned}
# W &= W^{(2)}P^{(2)}\big((1-t)\,W^{(1)}P^{(1)} + t\,\mathbf 1\big) \\
# B &= (1-t)\,W^{(2)}P^{(2)} B^{(1)} + B^{(2)}
# \end{aligned}$$
#
# Below, both are computed in letters, once by these formulas and once by the library:

# %%
W1, W2 = first.exact_matrix((1, 3, 3)), second.exact_matrix((1, 3, 3))
B1, B2 = sympy.Matrix([p] * 9), sympy.Matrix([q] * 9)
W = (W2 * ((1 - t) * W1 + t * sympy.eye(9))).expand()
B = ((1 - t) * W2 * B1 + B2).expand()

composed = network.compose()
assert composed.W == W
assert composed.B == B
composed

# %% [markdown]
# Every entry is a polynomial, of degree one in the letters and in t. Each different polynomial has a colour, the same
# as in the picture above, and gets a letter:

# %%
short, formulas = named_entries(W)
palette = letter_colors(list(formulas))
matrix_picture(short, (1, 3, 3), (1, 3, 3), palette=palette, title="W, in letters")

# %%
entries_formula(formulas, between=t)

# %% [markdown]
# The next matrix is B in the shape of the output. The biases p cancel except at the two borders, where one of the
# neighbours is a padded zero:

# %%
B.reshape(3, 3).applyfunc(lambda entry: sympy.collect(entry, p))

# %% [markdown]
# ## Is W a convolution?
#
# Almost. In the middle of an image, two convolutions in sequence are a single convolution with a larger kernel, and the
# skip only adds t to one entry of that kernel and -t to another. So write down this 2x4 kernel, and subtract its matrix
# from W:

# %%
above, below = [(1 - t) * a + t, (1 - t) * b], [(1 - t) * c, (1 - t) * d]
rows = [[*row, *(-entry for entry in row)] for row in (above, below)]
joint = Conv([[rows]])
around = symbolic.pad_matrix((1, 3, 3), [(0, 1), (1, 2)])  # below; left and right
one_convolution = joint.exact_matrix((1, 4, 6)) * around
letter_of = {formula: letter for letter, formula in formulas.items()}
difference = (W - one_convolution).expand()
missing = difference.applyfunc(lambda entry: letter_of.get(entry, entry))
matrix_picture(missing, (1, 3, 3), (1, 3, 3), palette=palette, title="the difference")

# %%
assert missing.free_symbols == set(sympy.symbols("w_2 w_4"))

# %% [markdown]
# The two differ in the outputs at the left border, by the entries $w_2 = -b\,(1-t)$ and $w_4 = -d\,(1-t)$. There the
# second layer reads a padded zero. One large convolution would read there what the first layer computes from the nearby
# pixels, which is not zero. (At the right border nothing is missing: the first kernel extends to the right and down, so
# beyond that edge it meets only zeros.) **Padding between two layers is what makes W more than a convolution.** W is
# still a matrix, and that is all the theorem says.
#
# ## Both ends of t
#
# At t = 0 there is no skip, and W is the product of the two matrices. At t = 1 the first layer is cut out, and W is the
# second matrix alone. In between, W follows the straight line from one to the other:

# %%
assert W.subs(t, 0) == (W2 * W1).expand()
assert W.subs(t, 1) == W2
assert ((1 - t) * W.subs(t, 0) + t * W.subs(t, 1)).expand() == W

# %% [markdown]
# (With several skips that all have the strength t, W can be a polynomial of a higher degree in t: a curve.) The slider
# moves along the line, here in numbers, with a blur as the first layer:

# %%
blur = Conv(np.array([[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]]) / 16, padding=1)
difference = Conv([[[[1, 0, -1]]]], padding=(0, 1))


def network_at(strength):
    """Return the network with a skip of this strength around the blur."""
    weights = shared_skip_weights([(0, 1)], strength)
    return SkipNetwork((1, 4, 4), [blur, difference], weights)


strengths = [round(0.1 * i, 1) for i in range(11)]
explore_skip(network_at, strengths, static=[0.0, 0.5, 1.0])

# %% [markdown]
# ## The proof, step by step
#
# **Claim 3.1.** A linear CNN with any number of layers and skips is f(x) = W x + B. (Theorem 3.1, below, adds what W
# and B are.)
#
# *Proof by induction.* The **base**: $f^{(0)}(x) = x$ is affine, with $W = \mathbf 1$ and $B = 0$. The **step**:
# suppose that $f^{(0)}, \ldots, f^{(i-1)}$ are affine. By equation (10), $f^{(i)}$ is made of them in four ways:
#
# 1. a matrix times an affine map: the resampling R of each $f^{(k)}$, and later P and W of the sum;
# 2. a number times an affine map: the weight of each $f^{(k)}$;
# 3. the sum of two affine maps, one $f^{(k)}$ after the other;
# 4. an affine map plus a constant: the bias.
#
# If each of the four makes an affine map of affine maps, then $f^{(i)}$ is affine, too. That remains to be shown for
# each of the four. Here they are, as functions of pairs (W, B):


# %%
def matrix_times(M, f):
    W, B = f
    return M * W, M * B


def number_times(t, f):
    W, B = f
    return t * W, t * B


def sum_of(f, g):
    return f[0] + g[0], f[1] + g[1]


def plus_constant(f, b):
    W, B = f
    return W, B + b


# %% [markdown]
# Are these pairs the right ones? No example can show it, but algebra can. Let W, B and the others be symbols for
# matrices of *any* sizes r, m, n, of which sympy knows that sums and products of matrices obey the distributive law,
# and that the order of factors matters. Each line below is one step of the proof: on the left the new pair, applied to
# x, on the right what the network does with the values. The last two lines show that such a check can fail.

# %%
r, m, n = sympy.symbols("r m n", integer=True, positive=True)
x = sympy.MatrixSymbol("x", n, 1)
f = sympy.MatrixSymbol("W", m, n), sympy.MatrixSymbol("B", m, 1)
g = sympy.MatrixSymbol("V", m, n), sympy.MatrixSymbol("C", m, 1)
M, bias = sympy.MatrixSymbol("M", r, m), sympy.MatrixSymbol("b", m, 1)


def at(pair, x):
    """Return the value of an affine map, given as a pair (W, B)."""
    W, B = pair
    return (W * x + B).expand()


identity = sympy.Identity(n), sympy.ZeroMatrix(n, 1)
assert at(identity, x) == x
assert at(matrix_times(M, f), x) == (M * at(f, x)).expand()
assert at(number_times(t, f), x) == (t * at(f, x)).expand()
assert at(sum_of(f, g), x) == (at(f, x) + at(g, x)).expand()
assert at(plus_constant(f, bias), x) == at(f, x) + bias

wrong = M * f[0], f[1]  # M is missing before B
assert at(wrong, x) != (M * at(f, x)).expand()

# %% [markdown]
# That completes the proof, for networks of any size and depth, and any weights. ∎
#
# ## The proof, as a program
#
# The induction is also a way to compute: start with the base, and take the step once for each layer. The program has no
# other operations than the four that were proved:


# %%
def prove(net):
    """Return (W, B) of f(0), ..., f(L), by the steps of the proof."""
    n = int(np.prod(net.in_shape))
    pairs = [(sympy.eye(n), sympy.zeros(n, 1))]  # the base
    for i, layer in enumerate(net.layers, start=1):
        shape = net.shapes[i - 1]  # shape of the layer's input
        m = int(np.prod(shape))
        mixed = sympy.zeros(m, n), sympy.zeros(m, 1)
        for k, f_k in enumerate(pairs):
            R = ResampleTo(shape).exact_matrix(net.shapes[k])
            weight = sympy.nsimplify(net.skip_weights.get((k, i - 1), 0))
            mixed = sum_of(mixed, number_times(weight, matrix_times(R, f_k)))
        WP = layer.exact_matrix(shape)  # padding and kernel
        bias = sympy.Matrix(layer.exact().bias_vector(shape))
        W, B = plus_constant(matrix_times(WP, mixed), bias)
        pairs.append((W.expand(), B.expand()))
    return pairs


# %% [markdown]
# Run it on a deeper network: three layers and three skips, without padding. So $f^{(1)}$ is 2x3 and $f^{(2)}$ is 2x2,
# and the skips must be resampled:

# %%
s, u = sympy.symbols("s u")
layers = [
    Conv([[[[a], [b]]]], bias=[p]),  # 3x3 -> 2x3
    Conv([[[[c, d]]]], bias=[q]),  # 2x3 -> 2x2
    Conv([[[[1, 1], [1, 1]]]], bias=[0]),  # 2x2 -> 1x1: the sum
]
weights = {(0, 1): t, (1, 1): 1 - t, (0, 2): s, (1, 2): u, (2, 2): 1 - s - u}
deep = SkipNetwork((1, 3, 3), layers, weights)
network_picture(deep)

# %%
layer_formula(deep, 3)

# %% [markdown]
# $R^{(0,2)}$ is the matrix that resamples the 3x3 image to the 2x2 of $f^{(2)}$ (in the mode `nearest`, PyTorch's
# default):

# %%
image = np.array(sympy.symbols("x_:3_:3")).reshape(3, 3)
equation_picture(ResampleTo((1, 2, 2)), image, (1, 3, 3), title="R(0,2) x")

# %% [markdown]
# Run the program, and compare each pair with the network itself: evaluate its first i layers, layer by layer, on an
# image of letters. (This checks the program, and that the layers do what equation (10) says. The proof is above.)

# %%
letters = sympy.Matrix(image.ravel())
for i, (W_i, B_i) in enumerate(prove(deep)):
    if i > 0:
        skips = {(k, j): weight for (k, j), weight in weights.items() if j < i}
        first_layers = SkipNetwork((1, 3, 3), layers[:i], skips)
        directly = sympy.Matrix(first_layers(image[np.newaxis]).ravel())
        assert (W_i * letters + B_i).expand() == directly.expand()
    print(f"f({i}) is affine, its W is {W_i.rows} x {W_i.cols}")

# %% [markdown]
# The last pair is what `compose` returns. W is one row, with a polynomial for each pixel. The polynomial of the first
# pixel, sorted by kernel entries, has one term for each *path* from the pixel to the output: through layers 1 and 2 (a
# c), through one of them (a or c), or around both. The coefficient of each path is the product of the weights along it:
#
# $$\begin{aligned}
# W_{00} &= s + u\,a + t\,(1-s-u)\,c \\
# &+ (1-t)(1-s-u)\,a\,c
# \end{aligned}$$

# %%
W_deep, B_deep = prove(deep)[-1]
assert W_deep == deep.compose().W
assert B_deep == deep.compose().B
paths = s + u * a + t * (1 - s - u) * c + (1 - t) * (1 - s - u) * a * c
assert W_deep[0, 0] == sympy.expand(paths)

# %% [markdown]
# ## The theorem's own formula: push the identity through
#
# **Theorem 3.1** says what W and B are: $f(X) = f_W(\mathbf 1)\,X + f(\mathbf 0)$. **B is the network's output for the
# zero image, and the columns of W are its outputs for images of a single pixel**, without the biases. In the symbols of
# the proof, where the identity matrix holds all images of a single pixel:

# %%
no_bias = f[0], sympy.ZeroMatrix(m, n)
assert at(f, sympy.ZeroMatrix(n, 1)) == f[1]
assert at(no_bias, sympy.Identity(n)) == f[0]

# %% [markdown]
# So one can find the matrix of *any* such network without looking inside, by evaluating it:

# %%
rng = np.random.default_rng(0)
one = Conv(rng.standard_normal((4, 1, 3, 3)), bias=rng.standard_normal(4), padding=1)
two = Conv(rng.standard_normal((3, 4, 3, 3)))
numeric = SkipNetwork((1, 8, 8), [one, two], {(0, 1): 0.25, (1, 1): 0.75})
pixels = np.eye(64).reshape(64, 1, 8, 8)  # 64 images of one white pixel each
B = numeric(np.zeros((1, 8, 8))).ravel()
W = (numeric(pixels).reshape(64, -1) - B).T
assert np.allclose(W, numeric.compose().W)
matrix_picture(W, (1, 8, 8), numeric.out_shape, title="W, found pixel by pixel")

# %% [markdown]
# Eight by eight pixels took 64 images. `compose` works in the same way on large networks, with one improvement: if the
# output is smaller than the input, it pulls the rows of W back from the output instead. For ten digit classes these are
# 10 rows instead of 784 columns; [notebook 4](04_a_trained_network.ipynb) does it with a trained network.
#
# ## Exercises
#
# 1. The proof does not use that the weights of each layer sum to 1. What is this condition good for? Let the layers of
#    `deep` do nothing (kernels with the single entry 1, no biases), and find W for all weights.
# 2. What is the largest rank that the W of the first network, `network`, can have, for any kernel and any t? Say where
#    the rank is lost.
# 3. Take the first network. Replace the padded zeros by copies of the border (`padding_mode="replicate"`), and give
#    both kernels entries that sum to 1 (this excludes "left minus right", which sums to 0). Show, in letters, that an
#    image of a single grey keeps that grey, for every strength of the skip.

# %% [markdown] jp-MarkdownHeadingCollapsed=true tags=["solution"]
# ### Solutions

# %% [markdown] tags=["hide-cell", "solution"]
# **1.** If no layer does anything, W is the identity times the sum of the products along all paths. The weights of each
# layer sum to 1, so these products do, too, and W is the identity: mixing alone changes nothing, whatever the strength
# of the skips. With other weights, the image would become brighter or darker.

# %% tags=["hide-cell", "solution"]
assert sympy.expand(s + u + t * (1 - s - u) + (1 - t) * (1 - s - u)) == 1
nothing = [Conv([[[[1]]]]) for _ in range(3)]
W = SkipNetwork((1, 3, 3), nothing, weights).compose().W
assert list(W) == list(sympy.eye(9))

# %% [markdown] tags=["hide-cell", "solution"]
# **2.** A product cannot have a larger rank than its factors. The second layer's matrix has rank 6: on each image row
# it is a 3x3 matrix whose transpose is -1 times itself, and such a matrix of odd size is singular. (It sends an image
# that is x, 0, x on each row to zero.) The first layer and the skip cannot change that.

# %% tags=["hide-cell", "solution"]
assert W2.T == -W2
assert W2.rank() == 6
half = sympy.Rational(1, 2)
assert composed.W.subs({a: 1, b: 2, c: 3, d: 4, t: half}).rank() == 6

# %% [markdown] tags=["hide-cell", "solution"]
# **3.** An image of a single grey is a multiple of the vector of ones, and each matrix maps ones to ones, because its
# rows sum to 1. Sums with weights that sum to 1 have the same property, and so do products.

# %% tags=["hide-cell", "solution"]
e = sympy.Symbol("e")
mean = Conv([[[[a, b], [c, 1 - a - b - c]]]], padding="same", padding_mode="replicate")
other = Conv([[[[d, e, 1 - d - e]]]], padding=(0, 1), padding_mode="replicate")
grey = SkipNetwork((1, 3, 3), [mean, other], skip).compose()
assert (grey.W * sympy.ones(9, 1)).expand() == sympy.ones(9, 1)
