"""Random hostile programs: modules as source code whose right answer is known, because the source is run as it is.

A program is a forward of a few statements, each drawn from `PIECES`, possibly within a context, a branch or a helper.
It computes in float64. A program that was drawn with ``affine=True`` consists of pieces that are affine in each sample,
so that `gpu.trace` has to give its map; in another one, `REFUSED` pieces may make it something else. A program that was
drawn with ``activations=True`` comes with a twin, the same program without its activations.
"""

import linecache
import random
import re
from dataclasses import dataclass, field
from itertools import pairwise
from types import FunctionType

import numpy as np
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn

NAME = re.compile(r"p\d+_\d+|f\d+_\d+|Block\d+|Double\d+")
"""The names that pieces give to parts, functions and classes of their own."""

HEADER = """\
import functools, operator, random
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

KEPT, CACHE = [], {}
"""

NET = """
class Net(nn.Module):
    table, calls = None, []

    def __init__(self):
        super().__init__()
        self.flag, self.grid, self.count = True, None, 0
        self.register_buffer("kind", torch.zeros(1), persistent=False)  # says that all computes in float64
        INIT

    def forward(self, x, scale=None, flag=True):
        FORWARD
        return RESULT


def make():
    torch.default_generator.manual_seed(SEED)
    net = Net()
    for name, tensor in net.named_buffers():
        if "running_mean" in name:
            tensor.normal_()
        elif "running_var" in name:
            tensor.uniform_(0.5, 2)
    MAKE
    return net.double().eval()
"""


@dataclass(frozen=True)
class Program:
    """The source of a program, which defines ``make()``, and what is known about it.

    Attributes
    ----------
    source : str
    in_shape : tuple of int
    affine : bool
        Whether every piece is affine in each sample, and known to `gpu.trace`.
    twin : str
        The source without the activations.
    """

    source: str
    in_shape: tuple[int, ...]
    affine: bool
    twin: str

    def _repr_pretty_(self, printer, _cycle):
        """Show the source when a test fails: it can be run as it stands."""
        printer.text(f"for inputs of shape {self.in_shape}:\n\n{self.source}\n")


@dataclass
class Value:
    """A variable of a program: its name, its shape for a batch of two, and which axis counts the samples."""

    name: str
    shape: tuple[int, ...]
    batch: int

    @property
    def free(self):
        """The axes that do not count the samples."""
        return [axis for axis in range(len(self.shape)) if axis != self.batch]


@dataclass
class Piece:
    """Lines of a program; those of the twin are the same if not given."""

    lines: list[str]
    init: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    make: list[str] = field(default_factory=list)
    twin: list[str] | None = None
    twin_init: list[str] | None = None
    affine: bool = True


class DoesNotFitError(Exception):
    """A value has no axis, or no layer, that a piece needs."""


class Scene:
    """What a piece is written for: a value ``v``, another ``w`` of its shape, and the name ``o`` of a new one."""

    def __init__(self, draw, number, v, w):
        self.draw, self.number = draw, number
        self.v, self.w, self.shape, self.batch, self.free = v.name, w.name, v.shape, v.batch, v.free
        self.o, self.init, self.outside, self.made = f"v{number}", [], [], 0

    def pick(self, options):
        options = list(options)
        if not options:
            raise DoesNotFitError
        return self.draw(st.sampled_from(options))

    def axis(self, least=1):
        """Return a free axis of at least some length."""
        return self.pick([axis for axis in self.free if self.shape[axis] >= least])

    def at(self, axis, index):
        """Return an index on one axis."""
        return ", ".join([":"] * axis + [index])

    def name(self):
        self.made += 1
        return f"p{self.number}_{self.made}"

    def part(self, code):
        name = self.name()
        self.init.append(f"self.{name} = {code}")
        return f"self.{name}"

    def constant(self, *shape):
        name = self.name()
        self.init.append(f'self.register_buffer("{name}", torch.randn({", ".join(map(str, shape))}))')
        return f"self.{name}"

    def function(self, *body, arguments="v", decorator=""):
        name = f"f{self.number}_{len(self.outside)}"
        self.outside.append(
            "\n".join([*decorator.split(), f"def {name}({arguments}):", *(f"    {line}" for line in body), ""])
        )
        return name

    def kind(self, name, *body):
        name = f"{name}{self.number}"
        self.outside.append("\n".join([f"class {name}(nn.Module):", *(f"    {line}" for line in body), ""]))
        return name

    @property
    def is_image(self):
        return len(self.shape) == 4 and self.batch == 0

    def piece(self, *lines, **options):
        """Return a piece, with those of the parts and functions made so far that it uses."""
        text = "\n".join(lines)
        init = [line for line in self.init if NAME.search(line).group() in text]
        text += "\n".join(init)
        return Piece(
            list(lines), init, [block for block in self.outside if NAME.search(block).group() in text], **options
        )


# Pieces that are affine in each sample. A piece that does not fit a value is not taken.


def views(s):
    i, axis = s.pick(range(len(s.shape))), s.axis()
    long, pair = [a for a in s.free if s.shape[a] > 1], [a for a, b in pairwise(s.free) if b == a + 1]
    options = [
        f"{s.v}.transpose({i}, {axis})",
        f"{s.v}.movedim({i}, {axis})",
        f"{s.v}.permute({', '.join(map(str, s.draw(st.permutations(range(len(s.shape))))))})",
        f"{s.v}.unsqueeze({axis})",
        f"{s.v}.detach()",
        f"{s.v}.view_as({s.v})",
        f"{s.v}.contiguous()",
        f"{s.v}",
        f"{s.v}.expand_as({s.v})",
        f"{s.v}.flip({axis})",
        f"{s.v}.roll(1, {axis})",
    ]
    for a in long:
        options += [
            f"{s.v}[{s.at(a, '1:')}]",
            f"{s.v}[{s.at(a, '::2')}]",
            f"{s.v}[{s.at(a, '0')}]",
            f"{s.v}[{s.at(a, '[1, 0, 1]')}]",
            f"{s.v}.narrow({a}, 1, 1)",
            f"{s.v}.unbind({a})[1]",
            f"{s.v}.chunk(2, {a})[0]",
            f"{s.v}.select({a}, -1)",
            f"{s.v}.index_select({a}, torch.tensor([1, 0]))",
        ]
    options += [f"{s.v}.flatten({a}, {a + 1})" for a in pair]
    options += [f"{s.v}.unflatten({a}, (2, -1))" for a in s.free if s.shape[a] % 2 == 0]
    options += [f"{s.v}.squeeze({a})" for a in s.free if s.shape[a] == 1]
    if len(long) > 1:
        options += [f"{s.v}.diagonal(0, {long[0]}, {long[1]})"]
    return s.piece(f"{s.o} = {s.pick(options)}")


def in_place(s):
    axis = s.axis(2)
    first, second = s.at(axis, ":1"), s.at(axis, "1:2")
    return s.piece(
        s.pick([
            f"{s.v} *= 2",
            f"{s.v} += 1",
            f"{s.v} -= {s.w}",
            f"{s.v}.add_({s.w}, alpha=0.5)",
            f"{s.v}.neg_()",
            f"{s.v}.copy_({s.w} * 2)",
            f"{s.v}[{first}] *= 2",
            f"{s.v}[{first}] = {s.w}[{second}]",
            f"{s.v}[{second}] += {s.v}[{first}]",
            f"{s.v}[{s.at(axis, '0')}].zero_()",
            f"{s.v}[{s.at(axis, '0')}] = 3.0",
            f"{s.v}.select({axis}, 1).sub_(1)",
            f"{s.v}.transpose({axis}, {s.axis()}).mul_(3)",
            f"{s.v}.detach().mul_(2)",
            f"{s.o} = {s.v}; {s.o} += 1",
            f"{s.o} = {s.v}.mul_(0.5)",
            f"{s.o} = {s.v}.clone().unsqueeze_({axis})",
            f"{s.o} = {s.v}.clone().transpose_({axis}, {s.axis()})",
            f"{s.v}.masked_fill_(torch.arange({s.shape[-1]}) == 0, 0.5)"
            if s.batch != len(s.shape) - 1
            else f"{s.v} /= 2",
            f"{s.v}.lerp_({s.w}, 0.25)",
            f"{s.v}.clone().mul_(2)",
        ])
    )


def arithmetic(s):
    axis = s.axis()
    return s.piece(
        f"{s.o} = "
        + s.pick([
            f"{s.v} + {s.w}",
            f"{s.v} - 0.5 * {s.w}",
            f"1 - {s.v}",
            f"-{s.v} / 3",
            f"torch.cat([{s.v}, {s.w}], {axis})",
            f"torch.stack([{s.v}, {s.w}], {axis})",
            f"torch.lerp({s.v}, {s.w}, 0.25)",
            f"{s.v}.sum({axis})",
            f"{s.v}.mean({axis}, keepdim=True)",
            f"{s.v} - {s.v}.mean({axis}, keepdim=True)",
            f"{s.v}.cumsum({axis})",
            f"{s.v} * {s.constant(*(1 if a == s.batch else n for a, n in enumerate(s.shape)))}",
            f"{s.v} + {s.constant(*(1 if a == s.batch else n for a, n in enumerate(s.shape)))}.sigmoid()",
            f"torch.where(torch.arange({s.shape[axis]}){'[:, None]' * (len(s.shape) - 1 - axis)} > 0, {s.v}, {s.w})",
            f"torch.stack([2 * part for part in {s.v}.unbind({axis})], {axis})",
            f"sum({s.v}.unbind({axis}))",
            f"{s.v}.new_ones({s.v}.shape) + {s.v}",
            f"operator.mul({s.v}, 2)",
            f"torch.Tensor.add({s.v}, 1)",
            f'getattr(torch, "neg")({s.v})',
        ])
    )


def layers(s):
    if s.is_image:
        _, c, h, _ = s.shape
        options = [
            f"nn.Conv2d({c}, {s.pick([2, 3])}, {s.pick([1, (min(2, h), 1)])}, bias={s.pick([True, False])})",
            f"nn.Conv2d({c}, {c}, 3, padding=1, groups={c})",
            f"nn.ConvTranspose2d({c}, 2, 2)",
            f"nn.BatchNorm2d({c})",
            "nn.AvgPool2d(2, 1, 1)",
            "nn.AdaptiveAvgPool2d(2)",
            "nn.Upsample((3, 4), mode='bilinear')",
            f"nn.Sequential(nn.Dropout(), nn.Identity(), nn.Conv2d({c}, 2, 1))",
            "nn.ZeroPad2d((1, 0, 0, 1))",
        ]
    else:
        options = []
    if s.batch != len(s.shape) - 1:
        options += [f"nn.Linear({s.shape[-1]}, {s.pick([1, 2, 3])})"]
    layer = s.part(s.pick(options))
    return s.piece(f"{s.o} = {layer}({s.v})")


def shared(s):
    """One module, or one weight, in two places."""
    n = s.shape[-1] if s.batch != len(s.shape) - 1 else None
    a, b = s.part(f"nn.Linear({n}, {n})"), s.part(f"nn.Linear({n}, {n})")
    s.init.append(s.pick([f"{b} = {a}", f"{b}.weight = {a}.weight", f"{b}.bias = {a}.bias"]))
    return s.piece(f"{s.o} = {a}({b}({a}({s.v})))")


def parametrized(s):
    n = s.shape[-1] if s.batch != len(s.shape) - 1 else None
    if s.pick([True, False]) and s.is_image:
        n = s.shape[1]
        part, weight = s.part(f"nn.Conv2d({n}, {n}, 1)"), f"({n}, {n}, 1, 1)"
    else:
        part, weight = s.part(f"nn.Linear({n}, {n})"), f"({n}, {n})"
    double = s.kind("Double", "forward = lambda self, weight: 2 * weight")
    s.init.append(
        s.pick([
            f"parametrizations.weight_norm({part})",
            f"parametrizations.spectral_norm({part})",
            f"parametrize.register_parametrization({part}, 'weight', {double}())",
            f"parametrize.register_parametrization({part}, 'bias', {double}())",
            f"prune.l1_unstructured({part}, 'weight', amount=0.5)",
            f"prune.custom_from_mask({part}, 'weight', torch.ones{weight})",
            f"nn.utils.spectral_norm({part})",
        ])
    )
    return s.piece(f"{s.o} = {part}({s.v})")


def hooked(s):
    n = s.shape[-1] if s.batch != len(s.shape) - 1 else None
    part = s.part(f"nn.Linear({n}, {n})")
    s.init.append(
        part
        + s.pick([
            ".register_forward_pre_hook(lambda module, args: (args[0] * 2,))",
            ".register_forward_hook(lambda module, args, output: output + args[0])",
            ".register_forward_hook(lambda module, args, output: output.mul_(2))",
            ".register_forward_hook(lambda module, args, output: KEPT.append(output))",
            ".register_forward_hook(lambda module, args, output: KEPT.append(tuple(output.shape)))",
            ".register_forward_hook(lambda module, args, output: Net.calls.append(len(output)))",
            ".register_forward_hook(lambda module, args, kwargs, output: output / 2, with_kwargs=True)",
            ".register_full_backward_hook(lambda module, inputs, outputs: None)",
        ])
    )
    return s.piece(f"{s.o} = {part}({s.v})")


def cached(s):
    """A constant that the forward makes on its first run."""
    n = f"{s.v}.shape[-1]"
    if s.batch == len(s.shape) - 1:
        return arithmetic(s)
    made = f"torch.linspace(-1, 1, {n}, dtype=torch.float64)"
    memo = s.function(f"return {made.replace(n, 'n')}", arguments="n", decorator="@functools.lru_cache")
    first = f"    seen.append({made.replace(s.v, 'v')})"
    seen = s.function("if not seen:", first, "return v * seen[0]", arguments="v, seen=[]")
    key = s.pick([f'"{s.o}"', f'("{s.o}", {s.v}.shape)', f'("{s.o}", {n})'])
    return s.pick([
        s.piece(f"if {key} not in CACHE:", f"    CACHE[{key}] = {made}", f"{s.o} = {s.v} * CACHE[{key}]"),
        s.piece(f"{s.o} = {s.v} * {memo}({n})"),
        s.piece(f"{s.o} = {seen}({s.v})"),
        s.piece(f"if self.__dict__.get('{s.o}') is None:", f"    self.{s.o} = {made}", f"{s.o} = {s.v} + self.{s.o}"),
        s.piece("if Net.table is None:", f"    Net.table = {made}", f"{s.o} = {s.v} + Net.table"),
    ])


def leaves(s):
    """What a forward leaves behind, and what it draws without using it."""
    return s.piece(
        s.pick([
            "self.count += 1",
            f"KEPT.append({s.v})",
            f"KEPT.append({s.v}.shape)",
            "self.calls.append(len(x))",
            "_ = torch.rand(2)",
            "_ = random.random() + np.random.rand()",
            f"CACHE['last'] = {s.v}.detach()",
            f"self.last = {s.v}",
        ])
    )


def dtypes(s):
    wide = ["double()", "to(torch.float64)", "type_as(x)", "to(x)", "to(x.device)", "to(x.dtype, copy=True)"]
    return s.piece(f"{s.o} = {s.v}.{s.pick(wide)}")


def helpers(s):
    function = s.function("v = v * 2", "v += 1", "return v")
    lambda_part = s.part("lambda v: v - 1")
    partial = s.part("functools.partial(torch.add, other=1)")
    block = s.kind(
        "Block",
        "def __init__(self, inner):",
        "    super().__init__()",
        "    self.inner = inner",
        "def forward(self, v, twice=None):",
        "    if twice is None:",
        "        v = v * 2",
        "    return self.inner(v) + v",
    )
    block = s.part(f"nn.ModuleList([{block}({block}(nn.Identity()))])")
    return s.piece(
        f"{s.o} = "
        + s.pick([
            f"{function}({s.v})",
            f"{lambda_part}({s.v})",
            f"{partial}({s.v})",
            f"{block}[0]({s.v})",
            f"torch.utils.checkpoint.checkpoint({function}, {s.v}, use_reentrant=False)",
        ])
    )


PIECES = [views, views, in_place, in_place, arithmetic, arithmetic, layers, layers]
PIECES += [shared, parametrized, hooked, cached, leaves, dtypes, helpers]

CONTEXTS = [
    "torch.no_grad()",
    "torch.enable_grad()",
    "torch.set_grad_enabled(False)",
    "torch.inference_mode()",
    'torch.autocast("cpu", enabled=False)',
    'torch.profiler.record_function("here")',
    'torch.device("cpu")',
    "torch.random.fork_rng()",
]

CONDITIONS = [
    "self.flag",
    "flag",
    "scale is None",
    "not self.training",
    "isinstance(V, torch.Tensor)",
    "torch.is_tensor(V)",
    'hasattr(V, "shape")',
    "V.dim() == DIM",
    "len(V.shape) == DIM",
    "V.shape[AXIS] == LENGTH",
    "V.size(AXIS) < 99",
    "V.dtype == torch.float64",
    "V.is_floating_point()",
    "V.numel() > 0",
    'V.device.type == "cpu"',
    "len(x) > 0",
    "not torch.jit.is_scripting()",
]
"""Conditions that hold whenever the program runs, also when it is exported."""

CONDITIONS_OF_LUCK = [
    "type(V) is torch.Tensor",
    "not torch.compiler.is_compiling()",
    "not torch.compiler.is_exporting()",
    "V.__class__.__name__ == 'Tensor'",
]
"""Conditions that hold whenever the program runs, but not when it is exported."""


def wrapped(draw, s, piece, conditions):
    """Return a piece as it is, or within a context, a branch, a loop or an attempt."""
    kind = draw(st.sampled_from(["plain"] * 4 + ["context", "branch", "loop", "attempt"]))
    if kind == "context":
        heads = [f"with {draw(st.sampled_from(CONTEXTS))}:"], []
    elif kind == "branch":
        condition = draw(st.sampled_from(conditions))
        for name, value in {"DIM": len(s.shape), "AXIS": s.free[0], "LENGTH": s.shape[s.free[0]]}.items():
            condition = condition.replace(name, str(value))
        heads = [f"if {condition.replace('V', s.v)}:"], ["else:", f"    {s.o} = {s.v} = {s.w} * 5"]
    elif kind == "loop":
        heads = ["for _ in range(2):"], []
    elif kind == "attempt":
        heads = ["try:"], ["except ValueError:", f"    {s.o} = {s.v} * 5"]
    else:
        return piece

    def inside(lines):
        return None if lines is None else [*heads[0], *(f"    {line}" for line in lines), *heads[1]]

    piece.lines, piece.twin = inside(piece.lines), inside(piece.twin)
    return piece


# Pieces that are not affine, or mix the samples


def refused(s):
    b, axis, last = s.batch, s.axis(), s.at(s.axis(), ":1")
    return s.piece(
        s.pick([
            f"{s.o} = {s.v}.relu()",
            f"{s.v}.relu_()",
            f"{s.v}[{last}].abs_()",
            f"{s.v}[{last}] = {s.v}[{last}].abs()",
            f"{s.v}.clamp_(min=0)",
            f"{s.o} = {s.v} * {s.w}",
            f"{s.o} = {s.v} * {s.v}.detach()",
            f"{s.v} *= {s.w}",
            f"{s.o} = {s.v}.clamp(-9, 9)",
            f"{s.o} = torch.where({s.v} > 0, {s.v}, {s.w})",
            f"{s.o} = {s.v}.softmax({axis})",
            f"{s.o} = {s.v}.sort({axis})[0]",
            f"{s.o} = {s.v}.round()",
            f"{s.o} = {s.v}.amax({axis}, keepdim=True)",
            f"{s.o} = {s.v} / (1 + {s.v}.abs())",
            f"{s.o} = {s.v}.int().double()",
            f"{s.o} = {s.v}.float().double()",
            f"{s.o} = {s.v}.to(torch.bfloat16).type_as(x)",
            f"{s.o} = ({s.v} > 0).double()",
            f"{s.o} = torch.maximum({s.v}, {s.w})",
            f"{s.o} = {s.v} * 2 if {s.v}.sum() > 0 else {s.v}",
            f"{s.o} = {s.v} * float({s.v}.sum())",
            f"{s.o} = {s.v} ** 2",
            f"{s.o} = {s.v} + {s.v}.norm()",
            f"{s.o} = {s.v} - {s.v}.mean()",
            f"{s.o} = {s.v} - {s.v}.mean({b}, keepdim=True)",
            f"{s.o} = {s.v}.flip({b})",
            f"{s.o} = {s.v}.roll(1, {b})",
            f"{s.o} = {s.v}.cumsum({b})",
            f"{s.v}[{s.at(b, '0')}] = 0",
            f"{s.v}[{s.at(b, '-1')}] += 1",
            f"{s.o} = {s.v}[{s.at(b, '[-1]')}].expand_as({s.v})",
            f"{s.o} = {s.v}.transpose({b}, {axis}).reshape({s.v}.shape)",
            f"{s.o} = {s.v}.reshape(-1).flip(0).reshape({s.v}.shape)",
            f"{s.o} = {s.v} / len(x)",
            f"{s.o} = {s.v} * {s.v}.shape[{b}]",
            f"{s.o} = F.layer_norm({s.v}, {s.v}.shape[-1:])",
            f"{s.o} = {s.v} + torch.rand_like({s.v})",
            f"{s.o} = F.dropout({s.v}, 0.5, True)",
            f"self.count += 1; {s.o} = {s.v} * self.count",
            f"{s.o} = {s.v} * (1 + len(KEPT)); KEPT.append(0)",
            f"{s.o} = {s.v} + random.random()",
        ]),
        affine=False,
    )


# Activations, with the lines of the twin


def activations(s):
    form = s.pick([
        "{}.relu()",
        "F.relu({})",
        "torch.relu({})",
        "torch.tanh({})",
        "F.gelu({})",
        "F.leaky_relu({}, 0.2)",
    ])
    in_place_form = s.pick(["{}.relu_()", "F.relu({}, inplace=True)", "torch.relu_({})", "F.elu_({})"])
    module = s.part(s.pick(["nn.ReLU()", "nn.Sigmoid()", "nn.Softplus()"]))
    kept = s.part(
        s.pick(["F.relu", "torch.relu", "torch.Tensor.relu", "functools.partial(F.leaky_relu, negative_slope=0.1)"])
    )
    function = s.function(f"return {form.format('v')} + 1")
    fresh = [f"{s.o} = {s.v} * 1.0"]
    options = [
        s.piece(f"{s.o} = {form.format(s.v)}", twin=fresh),
        s.piece(f"{s.o} = {in_place_form.format(s.v)}", twin=[f"{s.o} = {s.v}"]),
        s.piece(in_place_form.format(s.v), twin=["pass"]),
        s.piece(f"{s.o} = {module}({s.v})", twin=fresh),
        s.piece(f"{s.o} = {kept}({s.v})", twin=fresh),
        s.piece(f"{s.o} = {function}({s.v})", twin=[f"{s.o} = {s.v} + 1"]),
        s.piece("if self.training:", f"    {s.v} = F.relu({s.v})", twin=[f"{s.v} = {s.v} * 1.0"]),
    ]
    if s.batch != len(s.shape) - 1:
        n = s.shape[-1]
        a, b, c = s.part(f"nn.Linear({n}, {n})"), s.part(f"nn.Linear({n}, {n})"), s.constant(n)
        options += [
            s.piece(f"{s.o} = {a}({s.v}) * torch.sigmoid({b}({s.v}))"),
            s.piece(f"{s.o} = {s.v} * torch.sigmoid({c})"),
        ]
    if s.is_image and min(s.shape[2:]) > 1:
        options += [
            s.piece(f"{s.o} = F.max_pool2d({s.v}, 2, 1)", twin=[f"{s.o} = F.avg_pool2d({s.v}, 2, 1)"]),
            s.piece(
                f"{s.o} = {s.part('nn.MaxPool2d(2, stride=1)')}({s.v})", twin=[f"{s.o} = F.avg_pool2d({s.v}, 2, 1)"]
            ),
        ]
    return s.pick(options)


# Programs from pieces


class Draft:
    """A program under construction: its pieces so far, and what its variables are."""

    def __init__(self, in_shape, seed):
        self.in_shape, self.seed, self.pieces = in_shape, seed, []
        self.values = [Value("x", (2, *in_shape), 0)]

    def source(self, result, *, twin=False):
        """Return the source of the program, or of its twin, with what its forward returns."""
        lines = {
            "INIT": [line for p in self.pieces for line in p.init],
            "FORWARD": [line for p in self.pieces for line in (p.twin if twin and p.twin is not None else p.lines)],
            "MAKE": [line for p in self.pieces for line in p.make],
        }
        net = NET.replace("RESULT", result).replace("SEED", str(self.seed))
        for word, filled in lines.items():
            [indent] = [line.partition(word)[0] for line in net.splitlines() if line.strip() == word]
            net = net.replace(f"{indent}{word}\n", "".join(f"{indent}{line}\n" for line in filled))
        return HEADER + "".join(f"\n{line}" for p in self.pieces for line in p.outside) + net

    def tried(self, piece):
        """Add a piece if the program then runs for two samples and for three."""
        self.pieces.append(piece)
        try:
            values = self._values()
        except Exception:  # a statement that does not fit its values may raise any error
            values = []
        if values:
            self.values = values
        else:
            self.pieces.pop()

    def _values(self):
        net = run(self.source("dict(locals())"))["make"]()
        two, three = net(self.inputs(2)), net(self.inputs(3))
        values = []
        for name, tensor in two.items():
            if not isinstance(tensor, torch.Tensor) or name.startswith("_") or not tensor.is_floating_point():
                continue
            pairs = list(zip(tensor.shape, three[name].shape, strict=True))
            differing = [axis for axis, (a, b) in enumerate(pairs) if a != b]
            if (
                len(differing) == 1
                and pairs[differing[0]] == (2, 3)
                and 1 < len(pairs) < 6
                and 0 < tensor.numel() < 999
            ):
                values.append(Value(name, tuple(tensor.shape), differing[0]))
        return values

    def runs(self, program):
        """Return whether a whole program runs for any batch, with and without gradients, and in training mode."""
        net = run(program.source)["make"]()
        try:
            for count in (1, 2, 3, 5):
                net(self.inputs(count))
                with torch.no_grad():
                    net(self.inputs(count))
            net.train()(self.inputs(3))
        except Exception:  # for example of a parameter that is changed in place
            return False
        return True

    def inputs(self, count):
        return torch.randn(count, *self.in_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


def run(source):
    """Execute the source of a program, so that tracebacks show its lines, and return its names."""
    file = f"<program {abs(hash(source))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace = {"__name__": "hostile_program"}
    exec(compile(source, file, "exec"), namespace)
    return namespace


@st.composite
def programs(draw, affine=True, activated=False, conditions=tuple(CONDITIONS)):
    """Return a `Program` of up to eight pieces.

    Parameters
    ----------
    affine : bool
        Whether all pieces are affine in each sample, but for activations.
    activated : bool
        Whether some pieces are activations.
    conditions : sequence of str
        The conditions of branches.
    """
    in_shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    draft = Draft(in_shape, draw(st.integers(0, 99)))
    kinds = [*PIECES, *[activations] * 6 * activated, *[refused] * 4 * (not affine)]
    before = random_state()
    for number in range(1, draw(st.integers(2, 9))):
        value = draw(st.sampled_from(draft.values[-3:]))
        partners = [other for other in draft.values if (other.shape, other.batch) == (value.shape, value.batch)]
        scene = Scene(draw, number, value, draw(st.sampled_from(partners)))
        kind = draw(st.sampled_from(kinds))
        try:
            piece = kind(scene)
        except DoesNotFitError:
            continue
        draft.tried(wrapped(draw, scene, piece, conditions))
    fronts = [v.name if v.batch == 0 else f"{v.name}.movedim({v.batch}, 0)" for v in draft.values]
    result = fronts[-1]
    if draw(st.booleans()):  # every statement matters
        result = f"torch.cat([{', '.join(f'{front}.flatten(1)' for front in fronts)}], 1)"
    program = Program(
        draft.source(result), in_shape, all(piece.affine for piece in draft.pieces), draft.source(result, twin=True)
    )
    runs = draft.runs(program)
    set_random_state(before)
    assume(runs)
    return program


def random_state():
    """Return the states of the random generators."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - a forward may use it


def set_random_state(before):
    """Set the states of the random generators."""
    random.setstate(before[0])
    np.random.set_state(before[1])  # noqa: NPY002
    torch.set_rng_state(before[2])


def frozen(value):
    """Return something that compares equal as long as a value, and what it holds, stays what it is."""
    if isinstance(value, torch.Tensor):
        plain = type(value) in {torch.Tensor, nn.Parameter}
        return type(value), value.dtype, tuple(value.shape), value.detach().numpy().tobytes() if plain else b""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, nn.Module):
        return type(value), frozen(vars(value))
    if isinstance(value, dict):
        return [(name, frozen(part)) for name, part in value.items()]
    if isinstance(value, (list, tuple, set)):
        return type(value), [frozen(part) for part in value]
    if isinstance(value, FunctionType):
        return id(value), frozen(value.__defaults__)
    return value if isinstance(value, (int, float, str, type(None))) else id(value)


def everything(namespace, net):
    """Return what a run of a program may change: the network, globals, the class, default arguments, random states."""
    own = {name: value for name, value in namespace.items() if not name.startswith("__")}
    classes = {name: dict(vars(value)) for name, value in own.items() if isinstance(value, type)}
    return {
        "network": frozen(net),
        "globals": frozen(own),
        "classes": frozen(classes),
        "random": frozen(random_state()),
    }
