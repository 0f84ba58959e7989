"""Readers with any of the three kinds of colour blindness can tell the colours apart."""

from itertools import combinations

import numpy as np
import pytest

from linalg_cnn.display.classes import TEN, softened
from linalg_cnn.display.colors import HUES, grid_colors, to_rgb

# Appearance of red, green and blue light: Machado, Oliveira & Fernandes 2009, at full severity.
SEEN = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(color, seen):
    """Return a colour as it is seen in CIE L*a*b*; side by side, readers notice differences from about 2."""
    channels = to_rgb(color) / 255
    light = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.asarray(seen) @ light, 0, 1) / XYZ.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
@pytest.mark.parametrize(
    ("colors", "apart"),
    [
        (grid_colors((7,)), 15),
        (grid_colors((3, 3)), 12),
        (HUES, 7),
        ([*grid_colors((3, 3)), "#ffffff"], 8),
        (TEN, 15),
        ([softened(color) for color in TEN], 9),
    ],
    ids=["seven", "3x3", "hues", "3x3 on white", "ten", "ten softened"],
)
def test_every_two_colours_are_told_apart(colors, seen, apart):
    points = [lab(color, seen) for color in colors]
    assert min(np.linalg.norm(a - b) for a, b in combinations(points, 2)) >= apart


def test_a_bad_pair_would_be_found():
    red, green = (lab(color, SEEN["deuteranopia"]) for color in ("#a05a32", "#7a6b32"))
    assert np.linalg.norm(red - green) < 7 < np.linalg.norm(lab("#a05a32", np.eye(3)) - lab("#7a6b32", np.eye(3)))
