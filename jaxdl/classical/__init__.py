"""Models before deep nets, fitted to their optimum: regressions, the perceptron, deep linear nets (Lecture rows A1-A5).

Every fit is a pure function of arrays that can be jitted and vmapped; numbers among its options (C, tolerance, ...)
may be traced. Nothing is standardised: gradient descent needs features of like scale, Newton and the closed form
do not. float16 and bfloat16 are fitted, and returned, in float32.

The regressions can also be differentiated in every mode, with respect to data, targets, C: the derivative is that of
the optimum, by the implicit function theorem, and does not depend on the method that found it. `iterations`,
`converged` and `separable` have none.
"""

from jaxdl.classical.deep_linear import collapse_linear, deep_linear
from jaxdl.classical.linear import LinearFit, linear_regression
from jaxdl.classical.logistic import ClassifierFit, logistic_regression, softmax_regression
from jaxdl.classical.threshold import PerceptronFit, perceptron

__all__ = [
    "ClassifierFit",
    "LinearFit",
    "PerceptronFit",
    "collapse_linear",
    "deep_linear",
    "linear_regression",
    "logistic_regression",
    "perceptron",
    "softmax_regression",
]
