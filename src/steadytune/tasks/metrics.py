"""Metrics: what a task's `score` means, from logits and labels to one number.

Shares (accuracy, F1, exact match) lie in [0, 1], correlations in [-1, 1]. Where a formula divides by zero the value is
defined: a correlation (Matthews, Pearson, Spearman) is 0 when predictions or labels are constant, an F1 is 0 when
nothing is predicted and nothing is there. Logits that are not finite make every metric NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError, unknown_name
from steadytune.tasks.base import Examples, Kind

Logits = NDArray[np.float64]
CLASSES: tuple[Kind, ...] = ("classification",)
DISCRETE: tuple[Kind, ...] = ("classification", "choice")
TARGETS: tuple[Kind, ...] = ("regression",)


@dataclass(frozen=True)
class Metric:
    """One entry of the registry.

    Attributes:
        function: (logits (N, C), examples) -> value.
        kinds: Task kinds that it is defined for.
        binary: It speaks of class 1 against class 0, so there are exactly two classes.
        grouped: It reads `Examples.groups`.
        credited: It reads `Examples.credit`.
    """

    function: Callable[[Logits, Examples], float]
    kinds: tuple[Kind, ...]
    binary: bool = False
    grouped: bool = False
    credited: bool = False

    def fits(self, kind: Kind, num_classes: int, examples: Examples) -> bool:
        """Tell whether the metric is defined for such a task."""
        return (
            kind in self.kinds
            and (not self.binary or num_classes == 2)
            and (not self.grouped or examples.groups is not None)
            and (not self.credited or examples.credit is not None)
        )


def _accuracy(logits: Logits, examples: Examples) -> float:
    return float(np.mean(logits.argmax(axis=1) == examples.labels))


def _f1(logits: Logits, examples: Examples) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(examples.labels, logits.argmax(axis=1), pos_label=1, average="binary", zero_division=0.0))


def _f1_macro(logits: Logits, examples: Examples) -> float:
    # As in the official CB script, the mean is over the classes that are predicted or present.
    from sklearn.metrics import f1_score

    return float(f1_score(examples.labels, logits.argmax(axis=1), average="macro", zero_division=0.0))


def _matthews(logits: Logits, examples: Examples) -> float:
    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():
        # One class throughout is the case defined as 0 above, not a reason to warn at every evaluation.
        warnings.simplefilter("ignore", UserWarning)
        return float(matthews_corrcoef(examples.labels, logits.argmax(axis=1)))


def _correlation(function: Callable[..., tuple[float, float]], logits: Logits, examples: Examples) -> float:
    predictions, targets = logits[:, 0], examples.labels
    if len(targets) < 2 or np.ptp(predictions) == 0 or np.ptp(targets) == 0:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = float(function(predictions, targets)[0])
    return value if np.isfinite(value) else 0.0


def _pearson(logits: Logits, examples: Examples) -> float:
    from scipy.stats import pearsonr

    return _correlation(pearsonr, logits, examples)


def _spearman(logits: Logits, examples: Examples) -> float:
    from scipy.stats import spearmanr

    return _correlation(spearmanr, logits, examples)


def _groups(examples: Examples) -> NDArray[np.int64]:
    if examples.groups is None:
        raise ValueError("the metric reads groups of examples, and there are none")
    return examples.groups


def _exact_match(logits: Logits, examples: Examples) -> float:
    _, group = np.unique(_groups(examples), return_inverse=True)
    wrong = np.bincount(group, weights=logits.argmax(axis=1) != examples.labels)
    return float(np.mean(wrong == 0))


def _chosen(logits: Logits, examples: Examples) -> NDArray[np.int64]:
    """Return the index of each group's example with the highest positive-class probability, the first among equals."""
    groups = _groups(examples)
    order = np.lexsort((logits[:, 0] - logits[:, 1], groups))
    _, first = np.unique(groups[order], return_index=True)
    return order[first]


def _record_em(logits: Logits, examples: Examples) -> float:
    return float(np.mean(examples.labels[_chosen(logits, examples)] == 1))


def _record_f1(logits: Logits, examples: Examples) -> float:
    if examples.credit is None:
        raise ValueError("the metric reads the credit of examples, and there is none")
    return float(np.mean(examples.credit[_chosen(logits, examples)]))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, DISCRETE),
    "f1": Metric(_f1, CLASSES, binary=True),
    "f1_macro": Metric(_f1_macro, CLASSES),
    "matthews": Metric(_matthews, CLASSES),
    "pearson": Metric(_pearson, TARGETS),
    "spearman": Metric(_spearman, TARGETS),
    # MultiRC's F1 over all answers is the binary F1; the name is the one its papers report.
    "f1a": Metric(_f1, CLASSES, binary=True, grouped=True),
    "exact_match": Metric(_exact_match, CLASSES, grouped=True),
    "record_f1": Metric(_record_f1, CLASSES, binary=True, grouped=True, credited=True),
    "record_em": Metric(_record_em, CLASSES, binary=True, grouped=True, credited=True),
}


def find_metric(name: str) -> Metric:
    """Return a metric by name.

    Raises:
        UserError: There is none of that name.
    """
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name]


def check_metric(name: str, kind: Kind, num_classes: int, examples: Examples) -> None:
    """Refuse a metric that is unknown or not defined for a task.

    Args:
        name: Name in the registry.
        kind: The task's kind.
        num_classes: Number of classes; of positions for "choice"; 0 for a regression.
        examples: The evaluation examples.

    Raises:
        UserError: Naming the metrics that fit.
    """
    if not find_metric(name).fits(kind, num_classes, examples):
        fitting = ", ".join(other for other, metric in METRICS.items() if metric.fits(kind, num_classes, examples))
        what = f"{kind} task" + (f" with {num_classes} classes" if kind == "classification" else "")
        raise UserError(f"metric '{name}' is not defined for a {what}: use one of {fitting}")


def evaluate(metrics: Iterable[str], kind: Kind, logits: NDArray[np.floating], examples: Examples) -> dict[str, float]:
    """Score predictions.

    Args:
        metrics: Names in the registry.
        kind: The task's kind.
        logits: (N, C) class logits, (N, choices) for "choice", (N, 1) predictions for "regression".
        examples: The N examples.

    Returns:
        Metric name -> value; NaN for all when any logit is not finite.

    Raises:
        UserError: A name is unknown.
        ValueError: The logits do not belong to the examples, or a metric is not defined for them.
    """
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 2 or len(scores) != len(examples) or not len(examples):
        raise ValueError(f"logits of shape {scores.shape} do not fit {len(examples)} examples")
    finite = bool(np.isfinite(scores).all())
    result: dict[str, float] = {}
    for name in metrics:
        metric = find_metric(name)
        if kind not in metric.kinds:
            raise ValueError(f"metric '{name}' is not defined for a {kind} task")
        result[name] = metric.function(scores, examples) if finite else float("nan")
    return result


def majority_score(metric: str, kind: Kind, examples: Examples) -> float:
    """Score the predictor that gives the same answer to every example.

    The answer is the most frequent class, or position for "choice", of `examples` itself. A grouped metric that chooses
    one example per group chooses the first one, as all are equal. A constant regression scores 0 by definition.
    """
    if kind == "regression":
        return evaluate([metric], kind, np.zeros((len(examples), 1)), examples)[metric]
    counts = np.bincount(examples.labels, minlength=2)
    constant = np.eye(len(counts))[[counts.argmax()] * len(examples)]
    return evaluate([metric], kind, constant, examples)[metric]
