"""Cohorts drawn from populations of runs and examples, by which intervals are judged."""

import numpy as np

from steadytune.records import Cohort


def draw_cohort(model, runs, examples, generator):
    """Draw runs on new examples of two classes.

    Every example has a margin. "independent": each run has its own luck on each example. "spread": runs differ in
    quality. "shared": runs move along a direction in which examples differ. "collapse": the same, and one run in seven
    answers with class 1 throughout.
    """
    labels = (generator.random(examples) < 0.6).astype(int)
    margin = generator.normal(1.2, 1.5, examples)
    own = generator.normal(size=(runs, examples))
    quality = generator.normal(size=(runs, 1))
    if model == "independent":
        right = margin + 0.6 * own
    elif model == "spread":
        right = margin + 0.4 * quality + 0.3 * own
    else:
        right = margin + 0.5 * quality * generator.normal(size=examples) + 0.2 * own
    towards = np.where(labels == 1, right, -right)
    if model == "collapse":
        towards[generator.random(runs) < 1 / 7] = 3.0
    logits = np.stack([-towards / 2, towards / 2], axis=-1)
    return Cohort(
        scores=(logits.argmax(axis=-1) == labels).mean(axis=1), logits=logits, labels=labels, metric="accuracy"
    )
