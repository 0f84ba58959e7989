"""Pictures with sliders that need no kernel: one HTML fragment with the pictures of all settings and a short script."""

import base64
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import product
from typing import Any

from linalg_cnn.display.picture import Picture

# The pictures of neighbouring settings share most of their elements. Each different element is therefore stored once,
# and a picture is a list of numbers of elements; what remains is compressed, and every browser since 2023 unpacks it.
SCRIPT = """\
(async (live) => {
  if (!("DecompressionStream" in window)) return;
  const packed = Uint8Array.from(atob(live.dataset.pictures), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const { values, numbers, pictures, elements } = await new Response(stream).json();
  const [controls, picture] = live.children;
  const sliders = [...controls.querySelectorAll("input")];
  const show = () => {
    let setting = 0;
    sliders.forEach((slider, i) => {
      const choice = slider.valueAsNumber;
      setting = setting * values[i].length + choice;
      slider.nextElementSibling.value = values[i][choice];
      slider.setAttribute("aria-valuetext", values[i][choice]);
    });
    picture.innerHTML = pictures[numbers[setting]].map((number) => elements[number]).join("");
  };
  controls.addEventListener("input", show);
  controls.hidden = false;
})(document.currentScript.parentElement);
"""

ELEMENT = re.compile(r"(?=<)")
"""Where an SVG is cut into its elements."""


def live_html(
    draw: Callable[..., Picture], choices: Mapping[str, Sequence[Any]], start: Mapping[str, Any] | None = None
) -> str:
    """Return a picture with sliders as one HTML fragment, which works in a web page without a kernel.

    The fragment holds the pictures of all settings and a script of about twenty lines. The sliders are the browser's
    own, so that the arrow keys and touch move them. Without JavaScript the fragment shows the picture of ``start``.
    `Explorer.html` returns the fragment of an explorer.

    Parameters
    ----------
    draw : function
        Function that returns a `Picture`, given one keyword argument per setting. It is called once for each
        combination of the choices.
    choices : mapping {name: sequence}
        Values of each slider.
    start : mapping {name: choice}, optional
        Initial values of the sliders; by default the first choices.

    Returns
    -------
    str
        A ``<div>`` to put into an HTML page. It loads nothing, and several of them can stand in one page.

    Raises
    ------
    ValueError
        If a setting has no choices, or ``start`` names a setting or a value that is not among the choices.

    Examples
    --------
    >>> from linalg_cnn import resample_matrix
    >>> from linalg_cnn.display import matrix_picture
    >>> fragment = live_html(lambda size: matrix_picture(resample_matrix((1, 2), size)), {"size": [2, 3, 4]})
    >>> fragment[:48], fragment.count("<input"), fragment.count("<svg")
    ('<div class="live-picture" role="group" aria-labe', 1, 1)
    """
    start = check_start(choices, start)
    settings = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    drawn: dict[str, int] = {}
    numbers = [drawn.setdefault(draw(**setting).svg, len(drawn)) for setting in settings]
    elements: dict[str, int] = {}
    pictures = [[elements.setdefault(element, len(elements)) for element in ELEMENT.split(svg)] for svg in drawn]
    values = [[str(value) for value in options] for options in choices.values()]
    content = {"values": values, "numbers": numbers, "pictures": pictures, "elements": list(elements)}
    packed = base64.b64encode(zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9)).decode()
    names = [name.replace("_", " ") for name in choices]
    first = list(drawn)[numbers[settings.index(start)]]
    sliders = "".join(
        _slider(name, [str(value) for value in options], list(options).index(start[key]))
        for name, (key, options) in zip(names, choices.items(), strict=True)
    )
    at = ", ".join(f"{name} = {start[key]}" for name, key in zip(names, choices, strict=True))
    return (
        f'<div class="live-picture" role="group" aria-label="{escape("a picture with sliders: " + ", ".join(names))}" '
        f'data-pictures="{packed}"><div hidden>{sliders}</div><div>{first}</div>'
        f"<noscript><p><small>{escape(at)}. With JavaScript, sliders change the picture.</small></p></noscript>"
        f"<script>{SCRIPT}</script></div>"
    )


def check_start(choices: Mapping[str, Sequence[Any]], start: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the initial setting of some sliders: the first choices, apart from those that ``start`` names.

    Raises
    ------
    ValueError
        If a setting has no choices, or ``start`` names a setting or a value that is not among the choices.

    Examples
    --------
    >>> check_start({"size": [2, 3], "mode": ["linear"]}, {"size": 3})
    {'size': 3, 'mode': 'linear'}
    """
    for name, values in choices.items():
        if not len(values):
            raise ValueError(f"choices[{name!r}]: expected at least one choice, got none")
    setting = {name: values[0] for name, values in choices.items()} | dict(start or {})
    for name, value in setting.items():
        if name not in choices:
            raise ValueError(f"start: expected settings among {list(choices)}, got {name!r}")
        if value not in choices[name]:
            raise ValueError(f"start[{name!r}]: expected one of {list(choices[name])}, got {value!r}")
    return setting


def _slider(name: str, values: Sequence[str], number: int) -> str:
    """Return one slider with its name before it and its value after it."""
    value = escape(values[number])
    return (
        '<label style="display:flex;align-items:center;gap:0.7em;max-width:30em">'
        f'<span style="flex:0 0 6em">{escape(name)}</span>'
        f'<input type="range" autocomplete="off" min="0" max="{len(values) - 1}" value="{number}" '
        f'aria-valuetext="{value}" style="flex:1;min-width:0;height:2.2em">'
        f'<output style="flex:0 0 5em">{value}</output></label>'
    )
