"""Depth: whether plain nets degrade as they get deeper, whether residual nets do not, and what each layer still knows.

    python -m experiments.depth           # a quarter of the channels, 320 steps: some five minutes on one core
    python -m experiments.depth --full    # the paper's nets and 64,000 steps: days on a CPU

The lectures say that deeper nets are better until, "after some depth, the performance degrades", that residual nets
solve this, and that information about the label can only be lost from layer to layer. Nets of 20 and 32 layers learn
CIFAR-10 with and without shortcuts: momentum, padded crops and flips, a rate divided by 10 after a half and
three quarters of the steps. Each net begins at three rates and goes on at the one that is best on development images
after a quarter. Degradation is a matter of the training error, and of nets that have had time: in a short run, a deeper
net may just be slower, so the gap at the end is held against that at half time. Probes are ridge classifiers on the
means of a 2×2 grid of every block's output. They read what is linearly readable, which may grow with depth although
information cannot. The paper's test errors, 8.75 % and 7.51 %, are held to --full only.

(Lecture row I.)
"""

from experiments.depth import command
from experiments.depth.command import Config
from jaxdl import demonstrations

__all__ = ["DEMONSTRATION", "Config", "main", "write"]

DEMONSTRATION = command.DEMONSTRATION
main, write = demonstrations.commands(DEMONSTRATION, __doc__)
