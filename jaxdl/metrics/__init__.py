"""Metrics as sums and counts, so that batches and devices can be added up.

What a batch gives (`Ratio`, `RegressionSums`, `CalibrationBins`, `ScoreHistogram`, a confusion matrix) is a tree of
arrays. It adds over batches by `+` and `sum`, and over devices by `jax.lax.psum`; `ratio`, `scores`,
`regression_scores`, `calibration_error`, `reliability` and the curves turn the total into figures:

    total = sum(metrics.accuracy(logits, labels, weights=weights) for logits, labels, weights in batches)
    print(metrics.ratio(total))

* `weights` weigh the examples. Weight 0 removes an example, whatever is in it: it pads a last batch.
* Sums are float32 (float64 for float64), exact for up to 16.7 million examples.
* Equal logits rank in the order of their classes, as in `argmax`.
* NaN logits and labels that no class has give NaN, not a wrong or, worse, a right answer.

[Lecture row C7]
"""

from typing import TYPE_CHECKING

from jaxdl import counterparts
from jaxdl.metrics.binary import binary_accuracy, binary_confusion_matrix, subset_accuracy
from jaxdl.metrics.calibration import (
    CalibrationBins,
    Reliability,
    binary_calibration_bins,
    calibration_bins,
    calibration_error,
    reliability,
)
from jaxdl.metrics.classification import (
    Scores,
    accuracy,
    confusion_matrix,
    rank_of_label,
    scores,
    top_k_accuracy,
    top_k_classes,
)
from jaxdl.metrics.curves import (
    PrecisionRecallCurve,
    RocCurve,
    ScoreHistogram,
    area_under_curve,
    average_precision,
    histogram_examples,
    precision_recall_curve,
    roc_auc,
    roc_curve,
    score_histogram,
)
from jaxdl.metrics.ensembles import average_members, majority_vote
from jaxdl.metrics.regression import RegressionScores, RegressionSums, regression_scores, regression_sums
from jaxdl.metrics.sums import Ratio, mean, ratio

__all__ = [
    "CalibrationBins",
    "PrecisionRecallCurve",
    "Ratio",
    "RegressionScores",
    "RegressionSums",
    "Reliability",
    "RocCurve",
    "ScoreHistogram",
    "Scores",
    "accuracy",
    "area_under_curve",
    "average_members",
    "average_precision",
    "binary_accuracy",
    "binary_calibration_bins",
    "binary_confusion_matrix",
    "calibration_bins",
    "calibration_error",
    "confusion_matrix",
    "histogram_examples",
    "majority_vote",
    "mean",
    "precision_recall_curve",
    "rank_of_label",
    "ratio",
    "regression_scores",
    "regression_sums",
    "reliability",
    "roc_auc",
    "roc_curve",
    "score_histogram",
    "scores",
    "subset_accuracy",
    "top_k_accuracy",
    "top_k_classes",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
