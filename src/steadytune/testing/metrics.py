"""Conformance checks of metrics, on small generated answers."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.kinds import KINDS
from steadytune.metrics import Answers, Metric, constant_score

_RUNS, _EXAMPLES = 3, 12
_CLOSE = 1e-9
_BY_EXAMPLE = ("labels", "questions", "credit")
_BY_RUN = ("logits", "given_probabilities", "given_predictions")


def check_metric(metric: Metric) -> None:
    """Check that a metric behaves as scores, intervals and tests require, for every kind of answers that it supports.

    Its facts are complete; scores have the right shape and range; right answers score better than wrong ones,
    according to its direction; an example of weight 2 counts as two; neither the order of the runs nor that of the
    examples matters; one class, one example and constant answers give a number or NaN and no exception; a second call
    gives the same; a run whose outputs are not finite has no score.

    Args:
        metric: The metric, as named by an entry point.

    Raises:
        AssertionError: It breaks a requirement; says which.
    """
    name = metric.name
    assert re.fullmatch("[a-z][a-z0-9_]*", name), f"metric '{name}': its name must be one word in lower case"
    assert metric.kinds, f"metric '{name}': it must name the kinds of answers that it supports"
    assert metric.unit in ("points", ""), f'metric \'{name}\': its unit must be "points" or ""'
    if metric.unit:
        assert metric.highest == 1, f"metric '{name}': a metric in points must have 1 as its highest value"
    assert metric.higher_is_better is not None, f"metric '{name}': it must say whether higher is better"
    for kind in metric.kinds:
        assert metric.needs_of(kind), f"metric '{name}': it must say what it needs for {kind} answers"
        _check_kind(metric, kind)


def made(kind: str, runs: int = _RUNS, examples: int = _EXAMPLES, seed: int = 0) -> Answers:
    """Return answers of a kind to examples, with two examples per question.

    Args:
        kind: Kind of task.
        runs: K.
        examples: N.
        seed: Seed of the random answers.
    """
    generator = np.random.default_rng(seed)
    of = KINDS[kind]
    if of.has_texts:
        words = np.array(["a cat sat on a mat", "a dog sat on a mat", "two dogs"])
        references = tuple(words[np.arange(examples) % 3].tolist())
        drawn = words[generator.integers(0, 3, (runs, examples))].tolist()
        counts = np.arange(examples) % 3 + 1
        tokens = -generator.exponential(size=(runs, int(counts.sum())))
        return Answers(
            kind, texts=drawn, references=references, target_log_probabilities=list(tokens), token_counts=counts
        )
    if of.has_numbers:
        return Answers(kind, generator.normal(size=(runs, examples, 1)), labels=generator.normal(size=examples))
    if of.has_sets:
        sets = (np.arange(examples)[:, None] >> np.arange(3)) & 1
        return Answers(kind, generator.normal(size=(runs, examples, 3)), labels=sets)
    labels = np.arange(examples) % 2
    logits = generator.normal(size=(runs, examples, 2))
    questions, credit = np.arange(examples) // 2, labels.astype(np.float64)
    # Tags by which every word is an entity or none, so that their order in a sentence does not matter.
    return Answers(kind, logits, labels=labels, questions=questions, credit=credit, label_names=("O", "B-X"))


def right(answers: Answers) -> Answers:
    """Return a copy in which every answer is right."""
    runs = _RUNS
    of = KINDS[answers.kind]
    if of.has_texts:
        references: Any = answers.references
        certain = list(np.zeros_like(np.asarray(answers.target_log_probabilities)))
        return replace(answers, texts=[list(references)] * runs, target_log_probabilities=certain)
    labels = np.asarray(answers.labels)
    logits = labels[:, None].astype(np.float64) if of.has_numbers else 20.0 * labels - 10
    if of.has_classes:
        logits = 20 * np.eye(2)[labels]
    return replace(answers, logits=np.stack([logits] * runs))


def _rows(answers: Answers, rows: NDArray[np.int64]) -> Answers:
    """Return the answers to some of the examples."""
    changes: dict[str, Any] = {
        name: getattr(answers, name)[rows] for name in _BY_EXAMPLE if getattr(answers, name) is not None
    }
    changes |= {name: getattr(answers, name)[:, rows] for name in _BY_RUN if getattr(answers, name) is not None}
    if answers.texts is not None and answers.references is not None:
        changes["texts"] = [[run[row] for row in rows] for run in answers.texts]
        changes["references"] = tuple(answers.references[row] for row in rows)
    if answers.target_log_probabilities is not None and answers.token_counts is not None:
        ends = np.cumsum(answers.token_counts)
        places = np.concatenate([np.arange(ends[row] - answers.token_counts[row], ends[row]) for row in rows])
        changes["target_log_probabilities"] = np.asarray(answers.target_log_probabilities)[:, places]
        changes["token_counts"] = answers.token_counts[rows]
    return replace(answers, **changes)


def _check_kind(metric: Metric, kind: str) -> None:
    where, answers = f"metric '{metric.name}' on {kind} answers", made(kind)
    missing = metric.missing(answers)
    assert missing is None, f"{where}: answers of this kind have no {missing}"
    ones = np.ones((1, _EXAMPLES))
    found = metric.scores(answers)(ones)
    assert found.shape == (1, _RUNS), f"{where}: (R, N) weights must give (R, K) scores, not {found.shape}"
    assert np.array_equal(found, metric.scores(made(kind))(ones)), f"{where}: a second call gives different scores"
    lowest = -math.inf if metric.lowest is None else metric.lowest
    highest = math.inf if metric.highest is None else metric.highest
    best = metric.scores(right(answers))(ones)
    for scores in (found, best):
        inside = (scores >= lowest - _CLOSE) & (scores <= highest + _CLOSE)
        assert inside.all(), f"{where}: a score is outside [{lowest:g}, {highest:g}]"
    better = [metric.better(float(one), float(other)) for one, other in zip(best[0], found[0], strict=True)]
    assert all(better), f"{where}: perfect answers score {best[0][0]:g}, no better than {found[0].max():g}"
    _check_examples(metric, where, answers, found)
    for size in (1, _EXAMPLES):
        few = _rows(answers, np.zeros(size, dtype=np.int64))
        assert not np.isinf(metric.plain(few, size)).any(), f"{where}: {size} identical examples give an infinite score"
    constant_score(metric, answers)
    if answers.logits is not None:
        broken = answers.logits.copy()
        broken[0, 0] = math.nan
        with np.errstate(all="ignore"):
            lost = metric.plain(replace(answers, logits=broken), _EXAMPLES)
        assert np.isnan(lost[0]), f"{where}: a run with outputs that are not finite has a score, not NaN"
        assert np.allclose(lost[1:], found[0, 1:]), (
            f"{where}: a run with outputs that are not finite changes the scores of other runs"
        )


def _check_examples(metric: Metric, where: str, answers: Answers, found: NDArray[np.float64]) -> None:
    order = np.random.default_rng(1).permutation(_EXAMPLES)
    mixed = metric.plain(_rows(answers, order), _EXAMPLES)
    assert np.allclose(mixed, found[0]), f"{where}: it depends on the order of the examples"
    # For metrics of questions, whole questions are drawn.
    grouped = metric.grouped(answers.kind)
    counts = np.random.default_rng(2).integers(1, 4, _EXAMPLES)[np.arange(_EXAMPLES) // (2 if grouped else 1)]
    repeated = np.repeat(np.arange(_EXAMPLES), counts)
    again = _rows(answers, repeated)
    if grouped:
        # A question drawn twice counts as two questions.
        copies = np.concatenate([np.arange(count) for count in counts])
        again = replace(again, questions=np.asarray(again.questions) * 10 + copies)
    weighted = metric.scores(answers)(counts[None].astype(np.float64))[0]
    assert np.allclose(weighted, metric.plain(again, len(repeated))), (
        f"{where}: a weight must act like repeating the example that often"
    )
    given = [name for name in ("logits", "texts", "target_log_probabilities") if getattr(answers, name) is not None]
    turned = {name: getattr(answers, name)[::-1] for name in given}
    scores = metric.plain(replace(answers, **turned), _EXAMPLES)
    assert np.allclose(scores[::-1], found[0]), f"{where}: a run's score depends on the order of the runs"
