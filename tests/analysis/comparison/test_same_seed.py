"""What a recipe changes at the same seed, beside what another seed changes."""

import numpy as np
import pytest
from saying import names

from steadytune import Cohort, compare
from steadytune.analysis.comparison.same_seed import describe_same_seed, same_seed
from steadytune.analysis.comparison.verdict import verdict
from steadytune.reporting.tables import difference_lines

LABELS = np.arange(100) % 2


def runs(*wrong, recipe="standard", seeds=None, **fields):
    """A cohort whose run k is wrong on the examples `wrong[k]`."""
    answers = np.tile(LABELS, (len(wrong), 1))
    for run, places in zip(answers, wrong, strict=True):
        run[list(places)] = 1 - run[list(places)]
    seeds = seeds or tuple(map(str, range(len(wrong))))
    return Cohort(predictions=answers, labels=LABELS, recipe=recipe, seeds=seeds, **fields)


# Two seeds of the baseline differ on 40, 60 and 60 examples, seed by seed the recipe on 1, 0 and 2.
BASELINE = range(0, 20), range(20, 40), range(40, 80)
NEXT_TO_NOTHING = range(0, 21), range(20, 40), range(40, 78)
OTHER = range(10, 40), range(50, 60), range(0, 5)


def test_the_change_by_the_recipe_stands_beside_the_change_by_the_seed():
    found = same_seed(runs(*NEXT_TO_NOTHING, recipe="mmr"), runs(*BASELINE))
    # Of the recipe's seeds: {0..20} with {20..39} share 20, so 39; with {40..77} 59; {20..39} with {40..77} 58.
    assert found.recipe == pytest.approx(0.01)
    assert found.seed == pytest.approx((40 + 60 + 60 + 39 + 59 + 58) / 600)
    assert found.pairs == 3
    assert found.next_to_nothing


def test_seeds_are_paired_by_name_and_only_shared_ones_count():
    other = runs(NEXT_TO_NOTHING[2], NEXT_TO_NOTHING[0], range(90), recipe="mmr", seeds=("2", "0", "7"))
    found = same_seed(other, runs(*BASELINE))
    assert (found.pairs, found.recipe) == (2, pytest.approx(0.015))


def test_a_recipe_that_changes_as_much_as_a_seed_is_not_called_out():
    found = same_seed(runs(*OTHER, recipe="mmr"), runs(*BASELINE))
    assert found.recipe == pytest.approx((30 + 30 + 45) / 300)
    assert not found.next_to_nothing
    assert describe_same_seed(found) == ""


def test_without_two_shared_seeds_nothing_is_known():
    baseline = runs(*BASELINE)
    assert same_seed(runs(*BASELINE, seeds=("0", "8", "9")), baseline) is None
    assert same_seed(Cohort(scores=[0.5, 0.6, 0.7]), baseline) is None


def test_outputs_that_are_equal_to_the_last_bit_are_called_nothing_at_all():
    logits = np.random.default_rng(0).normal(size=(3, 100, 2))
    one, other = (Cohort(logits=logits, labels=LABELS, recipe=name) for name in ("standard", "mixout"))
    equal = describe_same_seed(same_seed(other, one))
    assert names(equal, "outputs", "bit")
    nudged = Cohort(logits=logits * 1.001, labels=LABELS, recipe="mixout")
    assert "same answers" in describe_same_seed(same_seed(nudged, one))
    assert "same answers" not in equal


def test_outputs_of_a_regression_are_compared_by_their_root_mean_square_difference():
    outputs = np.zeros((2, 4, 1))
    outputs[1] = 3.0
    one = Cohort(logits=outputs, labels=np.arange(4.0), scores=[0.5, 0.5], kind="regression", metric="pearson")
    other = Cohort(logits=outputs + 0.3, labels=np.arange(4.0), scores=[0.5, 0.5], kind="regression", metric="pearson")
    found = same_seed(other, one)
    assert (found.recipe, found.seed) == (pytest.approx(0.3), pytest.approx(3.0))
    assert found.share == pytest.approx(0.1)


def test_texts_are_compared_as_they_are():
    said = [["a", "b", "c", "d"], ["a", "x", "y", "d"]]
    one = Cohort(generations=said, references=["a"] * 4)
    other = Cohort(generations=[["a", "b", "c", "e"], said[1]], references=["a"] * 4)
    found = same_seed(other, one)
    # {b, c} between the seeds of the one, {b, c, d} of the other; d at seed 0 between the two.
    assert (found.recipe, found.seed) == (pytest.approx(1 / 8), pytest.approx((2 + 3) / 8))


def test_no_claim_of_the_verdict_stands_without_what_the_recipe_changed():
    # Every run of the recipe mends one example: a paired test tells the two apart.
    seeds = [range(10 * k, 10 * k + 10 + k) for k in range(8)]
    mended = [list(wrong)[1:] for wrong in seeds]
    comparison = compare([runs(*seeds), runs(*mended, recipe="mmr")])
    sentence = next(words for words in verdict(comparison)["", ""] if words.startswith("mmr"))
    assert names(sentence, "same seed", "1 %", "answers", "seed", "ccuracy", "higher")
    headings, ((_, cells),) = difference_lines(comparison.rows())
    (heading,) = [name for name, cell in zip(headings, cells, strict=True) if cell.value == "1 %"]
    assert "same seed" in heading
