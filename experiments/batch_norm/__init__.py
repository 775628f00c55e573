"""Batch norm: how soon, how well and at which rates a net learns with and without it, and what its units see.

    python -m experiments.batch_norm           # 2,500 steps, about ten minutes
    python -m experiments.batch_norm --full    # the paper's 50,000 steps, hours

The lectures say that batch norm trains sooner, more accurately and at larger rates, that it steadies the inputs of
every unit, that it belongs before the non-linearity, and that it needs batches of the order of a hundred. The net is
that of the paper's first figure: binarised MNIST, three hidden layers of 100 sigmoids, batches of 60, plain gradient
descent. Each side first trains at nine rates for a third of the steps; the rate that is then best on development
examples trains for all steps and is judged on test examples. Evaluation uses the statistics of training examples. Test
images on a grey background show a shift. Batches of 2 to 256 see equally many examples, at their best of six rates.
With --full the first test is after 833 steps, when all have learnt, so that it does not tell which does sooner.

(Lecture row G5.)
"""

from experiments.batch_norm import command
from experiments.batch_norm.command import Config
from jaxdl import demonstrations

__all__ = ["DEMONSTRATION", "Config", "main", "write"]

DEMONSTRATION = command.DEMONSTRATION
main, write = demonstrations.commands(DEMONSTRATION, __doc__)
