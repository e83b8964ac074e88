"""All metrics that can be computed, and what is known of scores that others computed, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from steadytune.errors import unknown_name
from steadytune.kinds import KINDS, find_kind
from steadytune.metrics import classes, questions, ranking, targets, texts
from steadytune.metrics.base import Answers, Metric, Scale, Scores

_DISCRETE = ("classification", "choice")
_CLASSES = ("classification",)
_TARGETS = ("regression",)
_TEXTS = ("generation",)
_PREDICTIONS = ("predictions", "labels")
_POSITIVE = (*_PREDICTIONS, "positive_class")
_RANKED = ("probabilities", "labels", "positive_class")


def _metric(
    name: str, function: Callable[[Answers], Scores], kinds: tuple[str, ...], *needs: str, **more: Any
) -> Metric:
    facts: dict[str, Any] = {"unit": "points", "lowest": 0.0, "highest": 1.0, "higher_is_better": True}
    return Metric(name, function=function, kinds=kinds, needs=needs, **(facts | more))


_CORRELATION = {"lowest": -1.0}
_ERROR = {"unit": "", "highest": None, "higher_is_better": False}

_EVERY = (
    _metric("accuracy", classes.accuracy, _DISCRETE, *_PREDICTIONS),
    _metric("f1", classes.f1, _CLASSES, *_POSITIVE, binary=True, title="F1"),
    _metric("f1_macro", classes.f1_macro, _CLASSES, *_PREDICTIONS, title="macro F1"),
    _metric("f1_weighted", classes.f1_weighted, _CLASSES, *_PREDICTIONS, title="weighted F1"),
    # With one label per example every false positive is another class's false negative, so it is the accuracy.
    _metric("f1_micro", classes.accuracy, _CLASSES, *_PREDICTIONS, title="micro F1"),
    _metric("balanced_accuracy", classes.balanced_accuracy, _CLASSES, *_PREDICTIONS),
    _metric("matthews", classes.matthews, _CLASSES, *_PREDICTIONS, **_CORRELATION, title="Matthews' correlation"),
    _metric("roc_auc", ranking.roc_auc, _CLASSES, *_RANKED, title="ROC AUC"),
    _metric("average_precision", ranking.average_precision, _CLASSES, *_RANKED),
    _metric("log_loss", ranking.log_loss, _DISCRETE, "log_probabilities", "labels", **_ERROR),
    _metric("pearson", targets.pearson, _TARGETS, "logits", "labels", **_CORRELATION, title="Pearson's correlation"),
    _metric("spearman", targets.spearman, _TARGETS, "logits", "labels", **_CORRELATION, title="Spearman's correlation"),
    _metric("mse", targets.mse, _TARGETS, "logits", "labels", **_ERROR, title="mean squared error"),
    _metric("rmse", targets.rmse, _TARGETS, "logits", "labels", **_ERROR, title="RMSE"),
    _metric("mae", targets.mae, _TARGETS, "logits", "labels", **_ERROR, title="mean absolute error"),
    _metric("r2", targets.r2, _TARGETS, "logits", "labels", lowest=None, title="R2"),
    # MultiRC's F1 over all answers is the binary F1; the name is the one its papers report.
    _metric("f1a", classes.f1, _CLASSES, *_POSITIVE, "questions", binary=True, title="F1 of answers"),
    _metric("exact_match", questions.exact_match, _CLASSES, *_PREDICTIONS, "questions"),
    _metric("record_f1", questions.record_f1, _CLASSES, "outputs", "labels", "questions", "credit", binary=True),
    _metric("record_em", questions.record_em, _CLASSES, "outputs", "labels", "questions", binary=True),
)
METRICS = {metric.name: metric for metric in _EVERY}
"""Of classes, choices and targets."""

_OF_TEXTS = (
    _metric("exact_match", texts.exact_match, _TEXTS, "texts", "references"),
    _metric("chrf", texts.chrf, _TEXTS, "texts", "references", title="chrF"),
)
TEXT_METRICS = {metric.name: metric for metric in _OF_TEXTS}

_SAME = {
    "acc": "accuracy", "accuracy_score": "accuracy", "mcc": "matthews", "matthews_correlation": "matthews",
    "matthews_corrcoef": "matthews", "macro_f1": "f1_macro", "weighted_f1": "f1_weighted", "micro_f1": "f1_micro",
    "f1_score": "f1", "auc": "roc_auc", "auroc": "roc_auc", "auprc": "average_precision", "pr_auc": "average_precision",
    "pearsonr": "pearson", "pearson_correlation": "pearson", "spearmanr": "spearman", "spearman_rho": "spearman",
    "spearman_correlation": "spearman", "mean_squared_error": "mse", "root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae", "r2_score": "r2", "r_squared": "r2", "em": "exact_match", "chrf_score": "chrf",
    "balanced_acc": "balanced_accuracy", "crossentropy": "loss", "cross_entropy": "loss", "ppl": "perplexity",
    "brier_score": "brier", "macro_f": "f1_macro",
}  # fmt: skip
_SHARES = (
    "precision", "recall", "sensitivity", "specificity", "jaccard", "iou", "hit_rate", "f1_binary", "f2", "map", "mrr",
    "ndcg", "precision_macro", "precision_micro", "precision_weighted", "recall_macro", "recall_micro",
    "recall_weighted", "top1", "top5", "top_1_accuracy", "top_5_accuracy", "top5_accuracy", "combined_score",
)  # fmt: skip
# Of these nobody can tell a fraction from per cent: they are shown as they are.
_EITHER = ("bleu", "sacrebleu", "rouge", "rouge1", "rouge2", "rougel", "rougelsum", "rouge_1", "rouge_2", "rouge_l")
_HIGHER = (*_EITHER, "meteor", "gleu", "bertscore", "bleurt", "comet", "throughput")
_LOWER: dict[str, tuple[float | None, float | None]] = {
    "loss": (None, None), "nll": (None, None), "perplexity": (1.0, None), "wer": (0.0, None), "cer": (0.0, None),
    "ter": (0.0, None), "brier": (0.0, 2.0), "ece": (0.0, None), "mce": (0.0, None), "error": (0.0, None),
    "error_rate": (0.0, None), "mape": (0.0, None), "hamming_loss": (0.0, 1.0), "hinge_loss": (0.0, None),
    "msle": (0.0, None), "kl": (0.0, None), "eer": (0.0, None), "bits_per_byte": (0.0, None), "bpc": (0.0, None),
}  # fmt: skip
_PREFIX = re.compile(r"^(eval|test|val|validation|valid|predict|dev|best)[_/ -]")
_NO_SCORE = re.compile(
    r"^train_|(^|_)(runtime|samples_per_second|steps_per_second|epoch|step|global_step|seed|jit_compilation_time|"
    r"model_preparation_time|flos|total_flos|learning_rate|lr|grad_norm|mem_\w+|samples|seconds|time|gen_len)$"
)


def find_metric(name: str, kind: str | None = None) -> Metric:
    """Return a metric by name.

    Args:
        name: As in `METRICS` or `TEXT_METRICS`.
        kind: Name of the kind of task that it shall score.

    Raises:
        UserError: There is none of that name.
    """
    table = TEXT_METRICS if find_kind(kind).has_texts else METRICS
    if name in table:
        return table[name]
    if kind is None and name in TEXT_METRICS:
        return TEXT_METRICS[name]
    raise unknown_name("metric", name, table)


def plain_name(name: str) -> str:
    """Return the name of a recorded score without the prefix of its split, as the tables here have it."""
    short = name.strip().lower().replace("-", "_").replace(" ", "_")
    while (cut := _PREFIX.sub("", short)) != short:
        short = cut
    return _SAME.get(short, short)


def is_score(name: str) -> bool:
    """Tell whether a recorded number can be a score, and is no time, rate or count."""
    return _NO_SCORE.search(plain_name(name)) is None


def recorded(name: str, kind: str | None = None) -> Scale:
    """Return what is known of a score that somebody computed, under the name that they gave it.

    A name that nobody knows has no unit, range or direction.
    """
    short = plain_name(name)
    table = TEXT_METRICS if find_kind(kind).has_texts else METRICS
    known = table.get(short) or METRICS.get(short) or TEXT_METRICS.get(short)
    if known is not None:
        return Scale(name, known.unit, known.lowest, known.highest, known.higher_is_better)
    if short in _SHARES:
        return Scale(name, "points", 0.0, 1.0, True)
    if short in ("kappa", "cohen_kappa", "kendall", "kendalltau"):
        return Scale(name, "points", -1.0, 1.0, True)
    if short in _HIGHER:
        return Scale(name, "", 0.0 if short in _EITHER else None, 100.0 if short in _EITHER else None, True)
    if short in _LOWER or short.endswith("_loss"):
        lowest, highest = _LOWER.get(short, (None, None))
        return Scale(name, "", lowest, highest, False)
    return Scale(name)


def preferred(names: Sequence[str], kind: str) -> str | None:
    """Return which of several recorded scores is the natural one: never a time, and a loss only where there is no more.

    Returns:
        A name, or None where nothing is a score. Among equals the first.
    """
    natural = KINDS[kind].metrics

    def rank(name: str) -> tuple[int, int]:
        short = plain_name(name)
        if short in natural:
            return 0, natural.index(short)
        better = recorded(name, kind).higher_is_better
        return (1 if better or name == "score" else 3 if better is False else 2), 0

    chosen = sorted((name for name in names if is_score(name)), key=rank)
    return chosen[0] if chosen else None
