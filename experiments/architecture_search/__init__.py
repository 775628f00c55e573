"""Architecture search: random, evolutionary and differentiable, on a table of small nets that are all trained.

    python -m experiments.architecture_search           # 108 architectures, some six minutes on one core
    python -m experiments.architecture_search --full    # 324 of up to 1024 filters in both layers, days on a CPU

The lectures ask whether good architectures can be learnt, and give a space: kernels of 3×3, 5×5 and 7×7, and 32 to 1024
filters, of which many are "prone to overfitting". Here every net of two convolutions trains on 500 digits of MNIST at
14×14 pixels, at both of two rates, of which development examples choose one. The first convolution is kept narrower, so
that the table takes minutes. Searches on the table are then free and are repeated hundreds of times: random search and
regularised evolution, whose regret is the development error of what they find over the least one in the table. A net
that returns counts again.

The differentiable search trains one net that mixes all choices, as DARTS does: outputs of all kernels, weighed by a
softmax, and masks that fade filters in and out. It relaxes the choice of one net with weights of its own to a mixture
of nets that share theirs, and takes the likeliest choices in the end. Its cost counts multiplications, in trainings of
a mean net of the table.

(Lecture row G12.)
"""

from experiments.architecture_search import command
from experiments.architecture_search.command import Config
from jaxdl import demonstrations

__all__ = ["DEMONSTRATION", "Config", "main", "write"]

DEMONSTRATION = command.DEMONSTRATION
main, write = demonstrations.commands(DEMONSTRATION, __doc__)
