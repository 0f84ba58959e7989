"""Pictures with sliders (ipywidgets), each of which is a static picture where widgets do not run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from linalg_cnn.display.equations import equation_picture
from linalg_cnn.display.matrices import matrix_picture
from linalg_cnn.display.operations import operation_picture
from linalg_cnn.display.picture import Picture, message
from linalg_cnn.ops.conv import Conv
from linalg_cnn.ops.resample import Resample
from linalg_cnn.skip_network import SkipNetwork
from linalg_cnn.types import Shape


class Explorer:
    """A picture and one slider for each thing that can be changed in it.

    A notebook shows the sliders (ipywidgets) and below them the picture, which is an output of its own: it stays where
    ipywidgets is missing, or where no kernel runs and sliders do nothing, as in a page made from the notebook.

    Parameters
    ----------
    draw : function
        Called with one keyword argument per choice; returns a `Picture`.
    choices : mapping {name: sequence}
        What each slider can be set to.
    start : mapping {name: choice}, optional
        Where the sliders stand at first; at the first choices if not given.
    static : sequence of mappings {name: choice}, optional
        The settings to show below each other until a slider is moved; ``start`` alone if not given.

    Attributes
    ----------
    controls : dict {name: ipywidgets.SelectionSlider}
        Empty where ipywidgets is missing.

    Raises
    ------
    ValueError
        If something has no choices, or ``start`` is none of them.

    Examples
    --------
    >>> from linalg_cnn import resample_matrix
    >>> explorer = Explorer(lambda size: matrix_picture(resample_matrix((1, 2), size)), {"size": [2, 3, 4]})
    >>> explorer.picture().alt
    '2 x 2 matrix, coloured by input pixel: row 0: 1 in column 0; row 1: 1 in column 1'
    >>> explorer.picture(size=3).alt[:12]
    '3 x 2 matrix'
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
        for name, values in self.choices.items():
            if not values:
                raise ValueError(f"choices: expected at least one for {name!r}, got none")
        self.start = {name: values[0] for name, values in self.choices.items()} | dict(start or {})
        for name, value in self.start.items():
            if value not in self.choices.get(name, []):
                raise ValueError(f"start: expected one of {self.choices.get(name, [])} for {name!r}, got {value!r}")
        self.static = [self.start | dict(setting) for setting in (static or [{}])]
        self.controls: dict[str, Any] = {}
        self._shown: list[Any] = []  # IPython's handles of the pictures that notebooks show
        self._sliders: Any = None
        try:
            import ipywidgets
        except ImportError:
            return
        for name, values in self.choices.items():
            self.controls[name] = ipywidgets.SelectionSlider(
                options=[(str(value), value) for value in values],
                value=self.start[name],
                description=name.replace("_", " "),
                style={"description_width": "7em"},
            )
            self.controls[name].observe(self._redraw, names="value")
        self._sliders = ipywidgets.VBox(list(self.controls.values()))

    def __repr__(self) -> str:
        """Show what can be changed."""
        return f"Explorer({', '.join(f'{name}: {len(values)} choices' for name, values in self.choices.items())})"

    def picture(self, **settings: Any) -> Picture:
        """Return the picture for some settings; for what is not given, where the sliders stand.

        What the library refuses becomes a picture of its message: with sliders, one can ask for a kernel that is
        larger than the image.
        """
        now = {name: control.value for name, control in self.controls.items()} or self.start
        try:
            return self._draw(**(now | settings))
        except ValueError as error:
            return message(str(error))

    def _redraw(self, change: Any) -> None:
        del change
        for shown in self._shown:
            shown.update(self.picture())

    def _repr_html_(self) -> str:
        """Show the pictures of ``static``."""
        parts = []
        for setting in self.static:
            at = ", ".join(f"{name.replace('_', ' ')} = {value}" for name, value in setting.items())
            picture = self.picture(**setting)
            parts.append(picture.captioned(at).with_alt(f"{at}: {picture.alt}").svg)
        return "<br>".join(parts)

    def _ipython_display_(self) -> None:
        """Show the sliders, and the picture as an output of its own."""
        from IPython.display import HTML, display

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
    """Return a convolution to play with: move the kernel over the image, see its row light up; change the options.

    Parameters
    ----------
    kernel : array_like (C_out, C_in, *k)
        With one or two spatial axes.
    in_shape : tuple of int
        (channels, width) or (channels, height, width).
    strides, paddings, dilations : sequence of int
        To choose from.
    x : array_like, optional
        What is written on the pixels.

    Examples
    --------
    >>> explorer = explore_convolution([[[1.0, -1.0]]], (1, 4))
    >>> explorer.picture(column=2).alt[:58]
    'Conv on an image of shape (1, 4): output pixel (0, 2), row'
    >>> explorer.picture(stride=3).alt[:58]
    'Conv on an image of shape (1, 4): output pixel (0, 0), row'
    """
    axes = len(in_shape) - 1
    places = {"row": range(in_shape[1] + 2 * max(paddings))} if axes == 2 else {}
    places["column"] = range(in_shape[-1] + 2 * max(paddings))

    def draw(stride: int, padding: int, dilation: int, column: int, row: int = 0) -> Picture:
        layer = Conv(kernel, stride=stride, padding=padding, dilation=dilation)
        out = layer.out_shape(in_shape)
        # The sliders reach as far as the largest output; in a smaller one the kernel stops at the last place.
        place = [min(row, out[1] - 1), min(column, out[-1] - 1)][-axes:]
        return operation_picture(layer, in_shape, (0, *place), x=x)

    choices = {**places, "stride": strides, "padding": paddings, "dilation": dilations}
    return Explorer(draw, choices)


def explore_resampling(
    x: Any,
    in_shape: Shape,
    sizes: Sequence[int],
    modes: Sequence[str] = ("nearest-exact", "nearest", "linear"),
) -> Explorer:
    """Return a resampling to play with: its size and mode, and the equation R x = y.

    Parameters
    ----------
    x : array_like
        Numbers or letters.
    in_shape : tuple of int
        (channels, width) or (channels, height, width).
    sizes : sequence of int
        For every spatial axis.
    modes : sequence of str

    Examples
    --------
    >>> explorer = explore_resampling([5, 7], (1, 2), [3, 4])
    >>> explorer.picture(mode="nearest").alt[-46:]
    'times the vector (5, 7) = the vector (5, 5, 7)'
    """

    def draw(size: int, mode: str) -> Picture:
        return equation_picture(Resample(size, mode), x, in_shape)

    return Explorer(draw, {"size": sizes, "mode": modes})


def explore_skip(
    network_at: Callable[[float], SkipNetwork], strengths: Sequence[float], static: Sequence[float] | None = None
) -> Explorer:
    """Return W of a network as its skips grow from nothing to everything.

    Parameters
    ----------
    network_at : function
        Returns the network with skips of strength t.
    strengths : sequence of float
        The values of t; W is drawn on one scale for all of them.
    static : sequence of float, optional
        The values to show below each other until the slider is moved; the first if not given.

    Examples
    --------
    >>> from linalg_cnn import shared_skip_weights
    >>> layers = [Conv([[[0.0, 2.0, 0.0]]], padding=1), Conv([[[1.0]]])]
    >>> explorer = explore_skip(lambda t: SkipNetwork((1, 2), layers, shared_skip_weights([(0, 1)], t)), [0.0, 1.0])
    >>> for t in (0.0, 1.0):
    ...     explorer.picture(t=t).alt
    '2 x 2 matrix, coloured by value: row 0: 2 in column 0; row 1: 2 in column 1'
    '2 x 2 matrix, coloured by value: row 0: 1 in column 0; row 1: 1 in column 1'
    """
    maps = {t: network_at(t).compose() for t in strengths}
    limit = max(float(abs(map_.W).max()) for map_ in maps.values())

    def draw(t: float) -> Picture:
        map_ = maps[t]
        shapes = map_.in_shape, map_.out_shape
        return matrix_picture(map_.W, *shapes, color="value", limit=limit, labels=False, longest=320)

    return Explorer(draw, {"t": strengths}, static=None if static is None else [{"t": t} for t in static])
