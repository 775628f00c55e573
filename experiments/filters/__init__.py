"""Filters, fixed and learnt: photographs, X or no X, noise under pools, a noisy sensor, feature maps by depth.

    python -m experiments.filters

The lectures sharpen a photograph and find its edges, and its "strong" edges, by 3×3 kernels; find the strokes of an X
that is deformed, where a comparison of pixels fails; pool feature maps; smooth a noisy sensor by a weighted average of
its last samples; stack 64 to 256 kernels to a 1-D network; and show maps that get less local with depth. Measured are
the answers to crops of scikit-learn's photographs; the worked 9×9 X and its published answer; X against O, shifted and
spotted, by the nearest template in pixels and in strokes; the noise that each pool of 2×2 leaves in a photograph; the
error of a sine after each window and after a trained 1-D network; and how much of the variance at each depth of S's
MNIST net lies between the classes. A minute or two on two cores.

(Lecture rows H1, H2, H4, H5.)
"""

from experiments.filters import command
from experiments.filters.command import Config
from jaxdl import demonstrations

__all__ = ["DEMONSTRATION", "Config", "main", "write"]

DEMONSTRATION = command.DEMONSTRATION
main, write = demonstrations.commands(DEMONSTRATION, __doc__)
