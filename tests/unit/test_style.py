"""The figures' colours: seen on light and dark pages, told apart by colour-blind readers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nbkit.figures import style
from nbkit.figures.lost_time import LOSS_COLOURS
from nbkit.figures.lost_time import USEFUL_COLOUR as USEFUL_WORK_COLOUR
from nbkit.figures.machine_picture import GATHER_COLOUR
from nbkit.figures.roofline import LIMIT_COLOUR, ROOF_COLOUR
from nbkit.figures.scaling import IDEAL_COLOUR

LIGHT, DARK, DARKEST = "#FFFFFF", "#212121", "#111111"
"""What JupyterLab's light and dark themes draw notebooks and cells on (``--jp-layout-color0`` and ``1``)."""
LEAST_CONTRAST = 3.0
"""WCAG 2.2, 1.4.11, of graphical objects."""
LEAST_DIFFERENCE = 10.0
"""In CIE 1976 L*a*b*: several times what is just seen."""
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Of linear RGB, at full severity: Machado, Oliveira and Fernandes 2009, 'A physiologically-based model for
simulation of color vision deficiency', table 1."""
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)

PALETTE = set(style.RANK_COLOURS)


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted(float(TO_XYZ[1] @ linear(each)) for each in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def seen(colour: str, blindness: str) -> np.ndarray:
    """In L*a*b*, under the daylight of sRGB."""
    rgb = np.clip(np.array(COLOUR_BLINDNESS[blindness]) @ linear(colour), 0, 1)
    xyz = TO_XYZ @ rgb / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_contrast_is_that_of_wcag():
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


def test_all_figures_take_their_colours_from_one_palette():
    used = {
        *(*style.RUN_COLOURS, *style.PART_COLOURS.values(), *LOSS_COLOURS.values()),
        *(style.TOTAL_COLOUR, style.USEFUL_COLOUR, style.COMPUTED_COLOUR, style.WASTE_COLOUR),
        *(USEFUL_WORK_COLOUR, GATHER_COLOUR, IDEAL_COLOUR, LIMIT_COLOUR, ROOF_COLOUR),
    }
    assert used <= PALETTE


@pytest.mark.parametrize("page", [LIGHT, DARK, DARKEST])
def test_every_colour_is_seen_on_light_and_on_dark_pages(page):
    assert {colour: contrast(colour, page) for colour in PALETTE if contrast(colour, page) < LEAST_CONTRAST} == {}


@pytest.mark.parametrize("blindness", COLOUR_BLINDNESS)
def test_colours_are_told_apart_however_they_are_seen(blindness):
    differences = {
        (one, other): float(np.linalg.norm(seen(one, blindness) - seen(other, blindness)))
        for one, other in itertools.combinations(style.RANK_COLOURS, 2)
    }
    assert {pair: found for pair, found in differences.items() if found < LEAST_DIFFERENCE} == {}


def test_parts_of_the_time_of_one_colour_have_other_patterns():
    """But for turning text into tokens and back, which lie at the two ends of a batch."""
    looks = [
        (colour, style.PART_PATTERNS.get(part)) for part, colour in style.PART_COLOURS.items() if part != "detokenise"
    ]
    assert len(set(looks)) == len(looks)
