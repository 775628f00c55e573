"""Classical models, fitted to their optimum: regressions, the perceptron and deep linear networks.

Every fit is a pure function of arrays that can be jitted and vmapped, and numeric options (C, tolerance, ...) may be
traced. Features are not standardised: gradient descent needs features of similar scale, Newton's method and the closed
form do not. float16 and bfloat16 data are fitted in float32, and the fit is returned in float32.

The regressions support every mode of differentiation with respect to data, targets and C. By the implicit function
theorem the derivative is that of the optimum and does not depend on the method that found it. `iterations`, `converged`
and `separable` have no derivative. [Lecture rows A1-A5]
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
