"""Figures for papers, notebooks and reports: each function takes arrays and returns a matplotlib ``Figure``.

Figures use matplotlib's object interface, never ``pyplot``, so they need no global state, window or backend. Show one
in a notebook by ending a cell with it, or write it with `save`. Colours are the Okabe-Ito palette and matplotlib's
``Blues`` and ``PuOr``, which colour-blind readers can tell apart. Names are drawn literally: a ``$`` does not start a
formula, and a character that the font lacks appears as its code point.
"""

from jaxdl.plots.drawing import COLORS, DPI, Curve, animation, png, save, shorten, vector
from jaxdl.plots.networks import network
from jaxdl.plots.runs import confusion_matrix, curves, filters, image_grid, learning_curves
from jaxdl.plots.studies import Band, Whisker, contours, intervals, overlay, panels, tally

__all__ = [
    "COLORS",
    "DPI",
    "Band",
    "Curve",
    "Whisker",
    "animation",
    "confusion_matrix",
    "contours",
    "curves",
    "filters",
    "image_grid",
    "intervals",
    "learning_curves",
    "network",
    "overlay",
    "panels",
    "png",
    "save",
    "shorten",
    "tally",
    "vector",
]
