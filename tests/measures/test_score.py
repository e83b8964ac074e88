"""The spread of the scores against values worked out by hand and against the published table."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from saying import says

from steadytune.measures import score_spread

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "published.json"


def counts_with(total, squares, runs):
    """Find whole numbers with the given sum and sum of squares, by moving units from small ones to large ones."""
    counts = sorted([total // runs + 1] * (total % runs) + [total // runs] * (runs - total % runs))
    missing = squares - sum(c * c for c in counts)
    while missing > 0:
        gain, high, low = max(
            (2 * (counts[h] - counts[i] + 1), h, i)
            for h in range(runs)
            for i in range(runs)
            if h != i and 0 < 2 * (counts[h] - counts[i] + 1) <= missing
        )
        counts[high] += 1
        counts[low] -= 1
        missing -= gain
    return counts


def test_spread_is_the_sample_standard_deviation():
    # Deviations -2, 0, 2: squares sum to 8, divided by 2.
    assert score_spread([3, 5, 7]) == pytest.approx(2.0)


def test_published_spread_divides_by_the_number_of_runs():
    assert score_spread([3, 5, 7], definition="published") == pytest.approx(math.sqrt(8 / 3))


def test_equal_scores_have_no_spread():
    assert score_spread([0.7] * 4) == 0


def test_a_single_run_shows_no_spread():
    assert math.isnan(score_spread([0.7]))
    assert math.isnan(score_spread([0.7], definition="published"))


def test_scores_may_be_half_precision_tensors():
    assert score_spread(torch.tensor([1.0, 3.0], dtype=torch.bfloat16)) == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("scores", [[], [[0.1, 0.2]], [0.1, math.nan], [0.1, math.inf], ["a", "b"], 0.5])
def test_bad_scores_are_rejected_in_one_line(scores):
    with pytest.raises(ValueError, match=r"\Ascores [^\n]*\Z"):
        score_spread(scores)


def test_a_score_that_is_nan_is_named_by_its_run():
    with pytest.raises(ValueError, match=says("scores", "NaN", "run 1")):
        score_spread([0.1, math.nan, 0.3])


def test_an_unknown_definition_is_rejected():
    with pytest.raises(ValueError, match=says("definition 'textbook'", "'corrected'", "'published'")):
        score_spread([0.1, 0.2], definition="textbook")


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the published values, in shared/golden beside the checkout")
def test_published_spreads_of_accuracy_reappear_from_counts_of_correct_answers():
    rows = [row for row in json.loads(GOLDEN.read_text())["table"] if row["metric"] == "accuracy"]
    assert len(rows) == 12
    for row in rows:
        runs, examples = row["runs"], row["examples"]
        total = row["score"] * runs * examples
        squares = row["score_sd"] ** 2 * examples**2 * runs + total**2 / runs
        # Whole to 1e-5 of a number near 1e5: only a division by K makes it so.
        assert squares == pytest.approx(round(squares), abs=1e-5)
        correct = counts_with(round(total), round(squares), runs)
        assert score_spread(np.array(correct) / examples, definition="published") == pytest.approx(row["score_sd"])
