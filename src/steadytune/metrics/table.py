"""Tables, by name, of all metrics and of known scores that others computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from steadytune.kinds import KINDS
from steadytune.metrics.base import Metric, Scale
from steadytune.registry import Registry


def _check(name: str, given: Any) -> str:
    return "" if isinstance(given, Metric) and given.name == name else f"is not a Metric with name = {name!r}"


METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "accuracy": "metrics.classes:ACCURACY",
        "f1": "metrics.classes:F1",
        "f1_macro": "metrics.classes:F1_MACRO",
        "f1_weighted": "metrics.classes:F1_WEIGHTED",
        "f1_micro": "metrics.classes:F1_MICRO",
        "balanced_accuracy": "metrics.classes:BALANCED_ACCURACY",
        "matthews": "metrics.classes:MATTHEWS",
        "roc_auc": "metrics.ranking:ROC_AUC",
        "average_precision": "metrics.ranking:AVERAGE_PRECISION",
        "log_loss": "metrics.ranking:LOG_LOSS",
        "pearson": "metrics.targets:PEARSON",
        "spearman": "metrics.targets:SPEARMAN",
        "mse": "metrics.targets:MSE",
        "rmse": "metrics.targets:RMSE",
        "mae": "metrics.targets:MAE",
        "r2": "metrics.targets:R2",
        "f1a": "metrics.classes:F1A",
        "entity_f1": "metrics.entities:ENTITY_F1",
        "subset_accuracy": "metrics.sets:SUBSET_ACCURACY",
        "hamming_loss": "metrics.sets:HAMMING_LOSS",
        "exact_match": "metrics.texts:EXACT_MATCH",
        "record_f1": "metrics.questions:RECORD_F1",
        "record_em": "metrics.questions:RECORD_EM",
        "chrf": "metrics.texts:CHRF",
        "token_f1": "metrics.overlap:TOKEN_F1",
        "bleu": "metrics.overlap:BLEU",
        "rouge1": "metrics.overlap:ROUGE1",
        "rouge2": "metrics.overlap:ROUGE2",
        "rougel": "metrics.overlap:ROUGEL",
        "target_loss": "metrics.tokens:TARGET_LOSS",
    },
    _check,
    # A score whose metric is unknown.
    reserved=("score",),
)
"""All built-in and added metrics, by name."""

_SAME = {
    "acc": "accuracy", "accuracy_score": "accuracy", "mcc": "matthews", "matthews_correlation": "matthews",
    "matthews_corrcoef": "matthews", "macro_f1": "f1_macro", "weighted_f1": "f1_weighted", "micro_f1": "f1_micro",
    "f1_score": "f1", "auc": "roc_auc", "auroc": "roc_auc", "auprc": "average_precision", "pr_auc": "average_precision",
    "pearsonr": "pearson", "pearson_correlation": "pearson", "spearmanr": "spearman", "spearman_rho": "spearman",
    "spearman_correlation": "spearman", "mean_squared_error": "mse", "root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae", "r2_score": "r2", "r_squared": "r2", "em": "exact_match", "chrf_score": "chrf",
    "balanced_acc": "balanced_accuracy", "crossentropy": "loss", "cross_entropy": "loss", "ppl": "perplexity",
    "brier_score": "brier", "macro_f": "f1_macro", "exact_match_ratio": "subset_accuracy", "sacrebleu": "bleu",
    "rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougel",
}  # fmt: skip
_SHARES = (
    "precision", "recall", "sensitivity", "specificity", "jaccard", "iou", "hit_rate", "f1_binary", "f2", "map", "mrr",
    "ndcg", "precision_macro", "precision_micro", "precision_weighted", "recall_macro", "recall_micro",
    "recall_weighted", "acc_norm", "acc_bytes", "acc_mutual_info", "extractive_match", "top1", "top5", "top_1_accuracy",
    "top_5_accuracy", "top5_accuracy", "combined_score",
)  # fmt: skip
# Others record these as fractions and in per cent alike, and compute them in many variants.
_EITHER = ("bleu", "rouge", "rouge1", "rouge2", "rougel", "rougelsum")
_HIGHER = ("meteor", "gleu", "bertscore", "bleurt", "comet", "throughput")
_LOWER: dict[str, tuple[float | None, float | None]] = {
    "loss": (None, None), "nll": (None, None), "perplexity": (1.0, None),
    "word_perplexity": (1.0, None), "byte_perplexity": (1.0, None), "wer": (0.0, None), "cer": (0.0, None),
    "ter": (0.0, None), "brier": (0.0, 2.0), "ece": (0.0, None), "mce": (0.0, None), "error": (0.0, None),
    "error_rate": (0.0, None), "mape": (0.0, None), "hinge_loss": (0.0, None),
    "msle": (0.0, None), "kl": (0.0, None), "eer": (0.0, None), "bits_per_byte": (0.0, None), "bpc": (0.0, None),
}  # fmt: skip
_PREFIX = re.compile(r"^(eval|test|val|validation|valid|predict|dev|best)[_/ -]")
_NO_SCORE = re.compile(
    r"^train_|(^|_)(runtime|samples_per_second|steps_per_second|epoch|step|global_step|seed|jit_compilation_time|"
    r"model_preparation_time|flos|total_flos|learning_rate|lr|grad_norm|mem_\w+|samples|seconds|time|gen_len)$"
)


def known_metric(name: str) -> Metric | None:
    """Return the metric that a recorded score is named after, ignoring its prefix; None if there is none."""
    short = plain_name(name)
    if short not in METRICS:
        return None
    return METRICS[short]


def plain_name(name: str) -> str:
    """Return the name of a recorded score without the prefix of its split, as used in these tables."""
    if name in METRICS:
        return name
    short = name.strip().lower().replace("-", "_").replace(" ", "_")
    while (cut := _PREFIX.sub("", short)) != short:
        short = cut
    return _SAME.get(short, short)


def is_score(name: str) -> bool:
    """Return whether a recorded number can be a score, not a time, rate or count."""
    return _NO_SCORE.search(plain_name(name)) is None


def varies_by_tool(name: str) -> bool:
    """Return whether others record a score of this name in several variants, as fractions and in per cent."""
    return plain_name(name) in _EITHER


def recorded(name: str) -> Scale:
    """Return the scale of a score that somebody else computed, by the name they gave it.

    An unknown name has no unit, range or direction.
    """
    short, known = plain_name(name), known_metric(name)
    if known is not None:
        return Scale(name, known.unit, known.lowest, known.highest, known.higher_is_better)
    if short in _SHARES or short in _EITHER:
        return Scale(name, "points", 0.0, 1.0, True)
    if short in ("kappa", "cohen_kappa", "kendall", "kendalltau"):
        return Scale(name, "points", -1.0, 1.0, True)
    if short in _HIGHER:
        return Scale(name, higher_is_better=True)
    if short in _LOWER or short.endswith("_loss"):
        lowest, highest = _LOWER.get(short, (None, None))
        return Scale(name, "", lowest, highest, False)
    return Scale(name)


def preferred(names: Sequence[str], kind: str) -> str | None:
    """Return the preferred one of several recorded scores: never a time, and a loss only if there is nothing else.

    Returns:
        A name, or None if nothing is a score. The first in case of ties.
    """
    natural = KINDS[kind].metrics

    def rank(name: str) -> tuple[int, int]:
        short = plain_name(name)
        if short in natural:
            return 0, natural.index(short)
        better = recorded(name).higher_is_better
        return (1 if better or name == "score" else 3 if better is False else 2), 0

    chosen = sorted((name for name in names if is_score(name)), key=rank)
    return chosen[0] if chosen else None
