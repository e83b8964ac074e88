"""One function per rule: takes a way of training, returns a finding or None. An unknown value breaks no rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean, stdev

import numpy as np
from scipy import stats

from steadytune.analysis.sentences import points
from steadytune.doctor.findings import Finding
from steadytune.doctor.setup import Setup

Rule = Callable[[Setup], Finding | None]

_MOSBACH = "Mosbach et al., arXiv 2006.04884; from memory; observed there on models with 24 blocks"
_DEEP = 24
_SMALL = 10_000
_LONG = 20
_WARM = 0.06
_HARDLY_WARM = 0.01
_FEW_STEPS = 6
"""Enough warm-up steps for a training of fewer than a hundred steps; our own choice."""
_UNSCALED = {"sgd", "schedule_free_sgd", "lomo"}
"""Optimizers whose steps are proportional to the gradient; all others in transformers normalize it."""
_WANTED = 0.02
"""Difference between two accuracies that a comparison should be able to detect; our own choice."""
_NORMAL = 1.96


def _finding(setup: Setup, severity: str, rule: str, title: str, **words: str) -> Finding:
    return Finding(rule=rule, severity=severity, title=title, where=setup.where, **words)


def warmup(setup: Setup) -> Finding | None:
    """Report too little warm-up: the learning rate must rise before it falls."""
    share, steps = setup.warmup, setup.warmup_steps
    if not setup.full:
        return None
    if share is None:
        if steps is None or steps >= _FEW_STEPS:
            return None
        none, found = (
            True,
            f"warmup_steps={steps}: 6 % of {steps / _WARM:.0f} steps, a smaller share of a longer training",
        )
    else:
        if share >= _WARM:
            return None
        # With one warm-up step the rate is 0 in that step and at its peak in the next.
        none = share < _HARDLY_WARM or steps == 1
        found = f"the learning rate rises during {100 * share:.2g} % of the steps"
    deep = setup.layers is None or setup.layers >= _DEEP
    return _finding(
        setup,
        ("high" if deep else "medium") if none else "low",
        "warm-up",
        ("almost no warm-up" if share or steps else "no warm-up") if none else "little warm-up",
        found=found,
        why=(
            "Adam takes its largest steps first, on gradients from a random head. Published recipes warm up over 6 % "
            "of "
            "the steps (RoBERTa) to 10 %."
        ),
        source=f"{_MOSBACH}; 6 %: Liu et al., arXiv 1907.11692, from memory",
        advice=(
            "set warmup_steps=0.1, with lr_scheduler_type='linear'"
            if setup.stock
            else "set training.warmup: 0.1, and remove no_warmup from the stabilizers"
        ),
    )


def learning_rate(setup: Setup) -> Finding | None:
    """Report a learning rate that is high for the depth: deeper models start to fail at lower rates."""
    if not setup.full or setup.adapter or "bitfit" in setup.stabilizers:
        # The rates are of all weights; biases and adapters alone take higher ones.
        return None
    least, limit, provoking, why, source = next(row for row in _RATES if setup.layers is None or setup.layers >= row[0])
    rate = setup.learning_rate
    if rate <= limit:
        return None
    if setup.layers is None:
        severity, depth = "check", "model depth unknown"
        why = f"If the model has {least} blocks or more: {why} Adapters such as LoRA take higher rates."
    else:
        severity = "high" if provoking is not None and rate >= provoking else "medium"
        depth = f"{setup.layers} blocks"
    return _finding(
        setup,
        severity,
        "learning-rate",
        "learning rate too high for the depth",
        found=f"{rate:.3g}, {depth}",
        why=why,
        source=source,
        advice=f"use {limit:.0e} or less".replace("e-0", "e-"),
    )


_RATES: tuple[tuple[int, float, float | None, str, str], ...] = (
    (
        _DEEP,
        2e-5,
        3e-5,
        "5e-5 (BERT-large) and 3e-5 (RoBERTa-large) were used to provoke failed runs; 2e-5 was the working rate.",
        "Du & Nguyen, arXiv 2302.07778, known from its public summary",
    ),
    (
        12,
        5e-5,
        None,
        "BERT was tuned with rates from 2e-5 to 5e-5; what happens above that is not established.",
        "Devlin et al., arXiv 1810.04805, from memory",
    ),
    (
        0,
        1e-4,
        3e-4,
        "with 6 blocks of width 384, disagreement on 1000 examples of CoLA was .061 at 5e-5 and .175 at 3e-4.",
        "measured with the offline model, five seeds each; other shallow models were not tested",
    ),
)
"""(least depth, highest safe rate, rate at which failures were observed, what was observed, source)."""


def half_precision(setup: Setup) -> Finding | None:
    """Report 16-bit weights, which lose small updates; transformers 5 loads a checkpoint in its stored precision."""
    if setup.half is None and not setup.stock:
        return None
    return _finding(
        setup,
        "check" if setup.stock else "low",
        "precision",
        "half-precision weights",
        found=(
            "the arguments do not show the precision in which the weights are loaded"
            if setup.stock
            else f"the checkpoint is stored in {setup.half}; here it is loaded in float32"
        ),
        why=(
            "from_pretrained defaults to dtype='auto': a checkpoint stored in half precision then trains in "
            "half precision, which loses updates below about 1/256 (bfloat16) or 1/2048 (float16) of a weight."
        ),
        source="measured on transformers 5; the fractions follow from the 8 and 11 bits of the two formats",
        advice="load the model with from_pretrained(..., dtype=torch.float32), and use bf16=True for speed",
    )


def bias_correction(setup: Setup) -> Finding | None:
    """Report missing bias correction: without it the first steps are too long, as the moments start at zero."""
    if "no_bias_correction" in setup.stabilizers:
        found = "no_bias_correction among the stabilizers"
        why = (
            "Without correction, step t of Adam is (1 - 0.9^t) / sqrt(1 - 0.999^t) times as long: 3.2 times at step 1, "
            "at most 6.6 times (at step 12), and still twice at step 280."
        )
    elif setup.optimizer.startswith("rmsprop"):
        found = f"optim={setup.optimizer}"
        why = "Its running mean of squares starts at 0 and is not corrected: the first step is 10 times as long."
    else:
        return None
    return _finding(
        setup,
        "high",
        "bias-correction",
        "no bias correction",
        found=found,
        why=why,
        source=f"{_MOSBACH}; Zhang et al., arXiv 2006.05987, from memory; the factors are computed",
        advice="use standard AdamW: remove no_bias_correction, or set optim='adamw_torch_fused'",
    )


def accumulation(setup: Setup) -> Finding | None:
    """Report gradient accumulation: the stock Trainer sums the losses of many models, not averages.

    It hands a model the number of labels of all passes and trusts it to divide by that. Causal language models do.
    """
    # With label smoothing the Trainer computes the loss itself, as a mean.
    if not setup.stock or setup.accumulation < 2 or setup.label_smoothing:
        return None
    unscaled = setup.optimizer in _UNSCALED
    return _finding(
        setup,
        "high" if unscaled else "medium",
        "accumulation",
        "gradients grow with accumulation",
        found=f"batch {setup.batch_size} x gradient_accumulation_steps {setup.accumulation}",
        why=(
            "For classifiers of texts or tokens, and for T5 and BART that write, the gradient is "
            f"{setup.accumulation} times that of batch {setup.batch_size * setup.accumulation}: the loss is not "
            "divided by the number of passes. "
            + (
                f"So is each step of {setup.optimizer}, until the norm is clipped."
                if unscaled
                else f"The steps of {setup.optimizer} hardly change, as they are relative to the gradient's norm; but "
                "clipping at a fixed norm affects other steps, and the logged loss and norm are scaled too."
            )
        ),
        source=(
            "measured on transformers 5 (batch 2 x 4 against batch 8), and tested here; 20 steps of AdamW travel "
            "equally far to within 1 %; causal language models are not affected, nor is a classifier's loss with label "
            "smoothing"
        ),
        advice="use StableTrainer, which averages the loss, instead of Trainer; or use one batch of the full size",
    )


def head_seed(setup: Setup) -> Finding | None:
    """Report a head that may be drawn before the seed is set: it then ignores the seed."""
    if not setup.stock:
        return None
    return _finding(
        setup,
        "check",
        "head-seed",
        "head drawn before the seed is set",
        found="the arguments do not show whether the script passes model= or model_init=",
        why=(
            "Trainer sets `seed` in its constructor. A model loaded before that has a head, and LoRA matrices, drawn "
            "from an arbitrary random state: two runs with the same seed differ."
        ),
        source="measured on transformers 5",
        advice=(
            "use model_init= instead of model=, or call set_seed(seed) right before from_pretrained and get_peft_model"
        ),
    )


def hidden_nan(setup: Setup) -> Finding | None:
    """Report a log that hides non-finite losses: a diverged run then looks healthy."""
    if not setup.hides_nan:
        return None
    return _finding(
        setup,
        "medium",
        "hidden-nan",
        "NaN losses are not logged",
        found="logging_nan_inf_filter=True, the default",
        why="A loss that is NaN or infinite is replaced by the mean of the others before it is logged or checked.",
        source="documented by transformers, and tested here",
        advice="set logging_nan_inf_filter=False, and stop the run when the loss is not finite",
    )


def evaluation_size(setup: Setup) -> Finding | None:
    """Report an evaluation set so small that more seeds cannot make up for it."""
    size = setup.measured_examples
    if not size:
        return None
    accuracy = fmean(setup.accuracies) if setup.accuracies else 0.5
    spread = math.sqrt(accuracy * (1 - accuracy))
    # Examples of one group are hard for the same reasons: at worst a group is worth a single example.
    fewest = setup.measured_groups or size
    error, visible = (factor * spread / math.sqrt(fewest) for factor in (1, _NORMAL * math.sqrt(2)))
    if visible <= _WANTED:
        return None
    at = f"{'' if setup.accuracies and fewest == size else 'at most '}{points(error)} points"
    if fewest < size:
        at += f", or {points(spread / math.sqrt(size))} if examples in a group were independent"
    of_groups, about, unit = (f" in {fewest} groups", "up to", "groups") if fewest < size else ("", "about", "examples")
    seeds = ""
    if len(setup.accuracies) > 1:
        by_seeds = stdev(setup.accuracies) / math.sqrt(len(setup.accuracies))
        more = "; more seeds will not help" if by_seeds < error else ""
        seeds = f" The seeds add an error of {points(by_seeds)} points{more}."
    needed = math.ceil(2 * (_NORMAL * spread / _WANTED) ** 2)
    return _finding(
        setup,
        "medium",
        "evaluation-size",
        "evaluation set too small to detect the difference",
        found=f"{size} measured examples{of_groups}"
        + (f", mean accuracy {points(accuracy)} over {len(setup.accuracies)} runs" if setup.accuracies else ""),
        why=(
            f"Sampling {size} examples{of_groups} alone gives the accuracy a standard error of {at}.{seeds} Two "
            f"recipes must differ by {about} {points(visible)} points to be distinguishable on new examples, less if "
            "they make the same errors."
        ),
        source="binomial error, computed: sqrt(p (1 - p) / n), and 1.96 sqrt(2) times that for a difference",
        advice=f"measure on about {needed} {unit} to detect {points(_WANTED)} points, or claim only larger differences",
    )


def epochs(setup: Setup) -> Finding | None:
    """Report few epochs on a small training set, which needs many."""
    size = setup.train_examples
    if not setup.full or (size is not None and size > _SMALL) or (found := _few_passes(setup)) is None:
        return None
    return _finding(
        setup,
        "check" if size is None else "medium",
        "epochs",
        "few steps for a small training set",
        found=found,
        why=(
            f"On tasks with 2500 to 8600 examples ({_SMALL} or fewer count as small here), {_LONG} epochs at 2e-5 "
            "made runs differ less than the usual 3 did."
        ),
        source=_MOSBACH,
        advice=("set num_train_epochs=20, without max_steps" if setup.stock else "set training.epochs: 20")
        + ", or as many as time allows",
    )


def _few_passes(setup: Setup) -> str | None:
    """Describe how many passes the training set gets; None if unknown or enough."""
    size = setup.train_examples
    if setup.steps is not None and size is None:
        together = setup.batch_size * setup.accumulation
        largest = setup.steps * together // _LONG
        if largest >= _SMALL:
            return None
        return (
            f"{setup.steps} steps of {together} examples per device: {_LONG} epochs of {largest}, fewer of a larger set"
        )
    if setup.epochs is None or setup.epochs >= _LONG:
        return None
    if size is None:
        return f"{setup.epochs:g} epochs, size of the training set unknown"
    steps = math.ceil(setup.epochs * math.ceil(size / setup.batch_size))
    return f"{setup.epochs:g} epochs of {size} examples, {steps} steps"


def seeds(setup: Setup) -> Finding | None:
    """Report too few seeds to estimate a spread."""
    if setup.seeds is None or setup.seeds >= 10:
        return None
    count = setup.seeds
    if count == 1:
        why = "One run shows no spread at all."
    else:
        low, high = np.sqrt((count - 1) / stats.chi2.ppf([0.975, 0.025], count - 1))
        why = f"The 95 % interval of the SD reaches from {low:.2f} to {high:.2g} times the estimate."
    why += f" A failure that affects one run in ten goes unnoticed with probability {100 * 0.9**count:.0f} %."
    return _finding(
        setup,
        "medium" if count > 2 else "high",
        "seeds",
        "few seeds",
        found=f"{count} seed{'' if count == 1 else 's'}",
        why=why,
        source="computed: chi-square interval of normal scores, 0.9^K; Du & Nguyen, arXiv 2302.07778, use 10 to 20",
        advice="use --seeds 10 or more; existing runs are kept",
    )


RULES: tuple[Rule, ...] = (
    warmup,
    bias_correction,
    learning_rate,
    accumulation,
    epochs,
    evaluation_size,
    seeds,
    hidden_nan,
    half_precision,
    head_seed,
)
"""In display order within one severity."""
