"""Pictures with sliders: ipywidgets while a notebook runs, and HTML with a short script in pages made from it."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any

from linalg_cnn.display.equations import equation_picture
from linalg_cnn.display.live import check_start, live_html
from linalg_cnn.display.matrices import matrix_picture
from linalg_cnn.display.operations import operation_picture
from linalg_cnn.display.picture import Picture, message
from linalg_cnn.ops.conv import Conv
from linalg_cnn.ops.resample import Resample
from linalg_cnn.skip_network import SkipNetwork
from linalg_cnn.types import Shape

FOR_PAGES = "LINALG_CNN_LIVE"
"""Environment variable that is set while notebooks run only to become web pages."""


class Explorer:
    """A picture with one slider for each of its settings.

    A notebook shows the sliders (ipywidgets) and below them the picture. The picture is an output of its own, which
    remains where ipywidgets is missing and where no kernel runs.

    For a web page, `html` returns the picture with sliders that need no kernel. A notebook that runs with the
    environment variable ``LINALG_CNN_LIVE=1`` shows these instead, so that they work in the page that is made from it,
    as by ``jupyter nbconvert --execute --to html``.

    Parameters
    ----------
    draw : function
        Function that returns a `Picture`, given one keyword argument per setting.
    choices : mapping {name: sequence}
        Values of each slider.
    start : mapping {name: choice}, optional
        Initial values of the sliders; by default the first choices.
    static : sequence of mappings {name: choice}, optional
        Settings whose pictures are shown below each other until a slider is moved; by default ``start`` alone.

    Attributes
    ----------
    controls : dict {name: ipywidgets.SelectionSlider}
        The sliders; empty where ipywidgets is missing.

    Raises
    ------
    ValueError
        If a setting has no choices, or ``start`` names a setting or a value that is not among the choices.

    Examples
    --------
    >>> from linalg_cnn import resample_matrix
    >>> explorer = Explorer(lambda size: matrix_picture(resample_matrix((1, 2), size)), {"size": [2, 3, 4]})
    >>> explorer.picture().alt
    'A matrix of size 2 x 2, coloured by input pixel. Row 0 has 1 in column 0. Row 1 has 1 in column 1.'
    >>> explorer.picture(size=3).alt[:23]
    'A matrix of size 3 x 2,'
    >>> page = explorer.html()
    >>> page.count("<input"), page.count("<svg")
    (1, 1)
    """

    def __init__(
        self,
        draw: Callable[..., Picture],
        choices: Mapping[str, Sequence[Any]],
        start: Mapping[str, Any] | None = None,
        static: Iterable[Mapping[str, Any]] | None = None,
    ) -> None:
        self._draw = draw
        self.choices = {name: list(values) for name, values in choices.items()}
        self.start = check_start(self.choices, start)
        self.static = [self.start | dict(setting) for setting in (static or [{}])]
        self.controls: dict[str, Any] = {}
        self._shown: list[Any] = []  # IPython's handles of the pictures in notebooks
        self._sliders = self._make_sliders()

    def _make_sliders(self) -> Any:
        """Fill ``controls`` and return the sliders as one widget, or None where ipywidgets is missing."""
        try:
            import ipywidgets
        except ImportError:
            return None
        for name, values in self.choices.items():
            self.controls[name] = ipywidgets.SelectionSlider(
                options=[(str(value), value) for value in values],
                value=self.start[name],
                description=name.replace("_", " "),
                style={"description_width": "7em"},
            )
            self.controls[name].observe(self._redraw, names="value")
        return ipywidgets.VBox(list(self.controls.values()))

    def __repr__(self) -> str:
        """Show the settings and how many choices each has."""
        return f"Explorer({', '.join(f'{name}: {len(values)} choices' for name, values in self.choices.items())})"

    def picture(self, **settings: Any) -> Picture:
        """Return the picture for some settings; the others are read from the sliders.

        If the library refuses the settings, the picture is the error's text: sliders can ask for a kernel that is
        larger than the image.
        """
        now = {name: control.value for name, control in self.controls.items()} or self.start
        try:
            return self._draw(**(now | settings))
        except ValueError as error:
            return message(str(error))

    def html(self) -> str:
        """Return the picture and its sliders as an HTML fragment that works without a kernel. See `live_html`.

        All pictures are drawn for it, and they are part of it: a fragment of a hundred pictures of small matrices takes
        a second and 100 kB.
        """
        return live_html(self.picture, self.choices, self.start)

    def _redraw(self, change: Any) -> None:
        del change
        for shown in self._shown:
            shown.update(self.picture())

    def _repr_html_(self) -> str:
        """Show the static pictures in a notebook."""
        parts = []
        for setting in self.static:
            at = ", ".join(f"{name.replace('_', ' ')} = {value}" for name, value in setting.items())
            picture = self.picture(**setting)
            parts.append(picture.captioned(at).with_alt(f"{at}: {picture.alt}").svg)
        return "<br>".join(parts)

    def _ipython_display_(self) -> None:
        """Show the sliders in a notebook, and the picture as an output of its own."""
        from IPython.display import HTML, display

        if os.environ.get(FOR_PAGES):
            display(HTML(self.html()))
            return
        if self._sliders is not None:
            bundle = {kind: data for kind, data in self._sliders._repr_mimebundle_().items() if kind != "text/plain"}
            names = ", ".join(name.replace("_", " ") for name in self.choices)
            bundle["text/html"] = f"<p><small>Run the notebook for sliders: {escape(names)}.</small></p>"
            display({"text/plain": repr(self), **bundle}, raw=True)
        self._shown.append(display(HTML(self._repr_html_()), display_id=True))


def explore_convolution(
    kernel: Any,
    in_shape: Shape,
    *,
    strides: Sequence[int] = (1, 2, 3),
    paddings: Sequence[int] = (0, 1, 2),
    dilations: Sequence[int] = (1, 2),
    x: Any = None,
) -> Explorer:
    """Return an explorer of a convolution: sliders move the kernel over the image and change stride, padding, dilation.

    Parameters
    ----------
    kernel : array_like (C_out, C_in, *k)
        Kernel with one or two spatial axes.
    in_shape : tuple of int
        Shape of the image: (channels, width) or (channels, height, width).
    strides, paddings, dilations : sequence of int
        Choices of the sliders.
    x : array_like, optional
        Labels of the pixels; by default their numbers in the ravel.

    Examples
    --------
    >>> explorer = explore_convolution([[[1.0, -1.0]]], (1, 4))
    >>> explorer.picture(column=2).alt[:58]
    'Conv on an image of shape (1, 4). Output pixel (0, 2), row'
    >>> explorer.picture(stride=3).alt[:58]
    'Conv on an image of shape (1, 4). Output pixel (0, 0), row'
    """
    axes = len(in_shape) - 1
    positions = {"row": range(in_shape[1] + 2 * max(paddings))} if axes == 2 else {}
    positions["column"] = range(in_shape[-1] + 2 * max(paddings))

    @lru_cache(maxsize=1024)  # many settings of the sliders share a picture
    def drawn(stride: int, padding: int, dilation: int, position: tuple[int, ...]) -> Picture:
        layer = Conv(kernel, stride=stride, padding=padding, dilation=dilation)
        return operation_picture(layer, in_shape, (0, *position), x=x)

    def draw(stride: int, padding: int, dilation: int, column: int, row: int = 0) -> Picture:
        out = Conv(kernel, stride=stride, padding=padding, dilation=dilation).out_shape(in_shape)
        # The sliders reach to the end of the largest output; in a smaller one the kernel stops at the last position.
        return drawn(stride, padding, dilation, (min(row, out[1] - 1), min(column, out[-1] - 1))[-axes:])

    choices = {**positions, "stride": strides, "padding": paddings, "dilation": dilations}
    return Explorer(draw, choices)


def explore_resampling(
    x: Any,
    in_shape: Shape,
    sizes: Sequence[int],
    modes: Sequence[str] = ("nearest-exact", "nearest", "linear"),
) -> Explorer:
    """Return an explorer of a resampling: sliders change size and mode, the picture is the equation R x = y.

    Parameters
    ----------
    x : array_like
        The image: numbers or letters.
    in_shape : tuple of int
        Shape of the image: (channels, width) or (channels, height, width).
    sizes : sequence of int
        Choices of the output's size, the same on every spatial axis.
    modes : sequence of str
        Choices of the mode, as in `Resample`.

    Examples
    --------
    >>> explorer = explore_resampling([5, 7], (1, 2), [3, 4])
    >>> explorer.picture(mode="nearest").alt[-50:]
    'x is the vector (5, 7). y is the vector (5, 5, 7).'
    """

    def draw(size: int, mode: str) -> Picture:
        return equation_picture(Resample(size, mode), x, in_shape)

    return Explorer(draw, {"size": sizes, "mode": modes})


def explore_skip(
    network_at: Callable[[float], SkipNetwork], strengths: Sequence[float], static: Sequence[float] | None = None
) -> Explorer:
    """Return an explorer of a network's W: a slider changes the strength t of the skips.

    Parameters
    ----------
    network_at : function
        Function that returns the network with skips of strength t, given t.
    strengths : sequence of float
        Choices of t; W has one colour scale for all of them.
    static : sequence of float, optional
        Values of t whose pictures are shown below each other until the slider is moved; by default the first.

    Examples
    --------
    >>> from linalg_cnn import shared_skip_weights
    >>> layers = [Conv([[[0.0, 2.0, 0.0]]], padding=1), Conv([[[1.0]]])]
    >>> explorer = explore_skip(lambda t: SkipNetwork((1, 2), layers, shared_skip_weights([(0, 1)], t)), [0.0, 1.0])
    >>> for t in (0.0, 1.0):
    ...     explorer.picture(t=t).alt
    'A matrix of size 2 x 2, coloured by value. Row 0 has 2 in column 0. Row 1 has 2 in column 1.'
    'A matrix of size 2 x 2, coloured by value. Row 0 has 1 in column 0. Row 1 has 1 in column 1.'
    """
    maps = {t: network_at(t).compose() for t in strengths}
    limit = max(float(abs(map_.W).max()) for map_ in maps.values())

    def draw(t: float) -> Picture:
        map_ = maps[t]
        shapes = map_.in_shape, map_.out_shape
        return matrix_picture(map_.W, *shapes, color="value", limit=limit, labels=False, longest=320)

    return Explorer(draw, {"t": strengths}, static=None if static is None else [{"t": t} for t in static])
