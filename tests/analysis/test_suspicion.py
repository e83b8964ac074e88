import numpy as np
import pytest
from saying import names

import steadytune as st
from steadytune.analysis.suspicion import copies, suspicious

EXAMPLES, CLASSES = 60, 3


def made_logits(runs=3):
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=EXAMPLES)
    logits = rng.normal(size=(runs, EXAMPLES, CLASSES)) + 3 * np.eye(CLASSES)[labels]
    return logits, labels


def test_runs_that_are_the_same_to_the_last_bit_are_said_to_be_and_have_no_interval():
    logits, labels = made_logits()
    fine = st.profile(st.Cohort(logits=logits, labels=labels))
    assert not fine.first_notes
    assert np.isfinite(fine.last("disagreement").low)
    copied = st.Cohort(logits=logits[[0, 1, 0]], labels=labels)
    assert copies(copied) == [[0, 2]]
    found = st.profile(copied)
    assert "identical" in found.notes[0]
    assert all(np.isnan([value.low, value.high]).all() for value in (found.mean, *found.values))
    assert np.isfinite(found.last("disagreement").value)


def test_equal_replicates_are_what_one_machine_gives_and_no_evidence_either():
    logits, labels = made_logits()
    seeds = ("0/0/0", "1/0/0", "0/0/0/0/0/1")
    (note,) = suspicious(st.Cohort(logits=logits[[0, 1, 0]], labels=labels, seeds=seeds))
    assert names(note, "0/0/0/0/0/1", "replicates", "hardware", "interval")
    # Copies of another seed are not replicates.
    (note,) = suspicious(st.Cohort(logits=logits[[0, 0, 1]], labels=labels, seeds=seeds))
    assert "replicates" not in note
    (note,) = suspicious(st.Cohort(logits=logits[[0, 1, 0]], labels=labels))
    assert "replicates" not in note


def test_copies_are_no_evidence_in_a_comparison_nor_of_runs_that_do_not_fail():
    logits, labels = made_logits(12)
    baseline = st.Cohort(logits=logits[:6], labels=labels, recipe="standard")
    alone, copied = (st.Cohort(logits=logits[runs], labels=labels, recipe="mmr") for runs in (range(6, 12), [6] * 6))
    for other, known in ((alone, True), (copied, False)):
        comparison = st.compare([baseline, other])
        (row,) = [row for row in comparison.rows() if row.recipe == "mmr"]
        assert np.isfinite(row.differences["mean"].interval.value)
        assert np.isfinite(row.differences["mean"].interval.low) == known
        tested = [name for name, difference in row.differences.items() if np.isfinite(difference.significance.p)]
        assert bool(tested) == known
        assert any(names(note, "fail", "95 %") for note in row.profile.notes) == known


def test_equal_answers_without_outputs_are_copies_only_if_errors_are_shared():
    labels = np.arange(EXAMPLES) % 2
    wrong = np.where(np.arange(EXAMPLES) % 5 == 0, 1 - labels, labels)
    assert copies(st.Cohort(predictions=[wrong, wrong, labels], labels=labels)) == [[0, 1]]
    assert copies(st.Cohort(predictions=[labels, labels], labels=labels)) == []
    # Runs that collapsed to one answer are alike for another reason.
    assert copies(st.Cohort(predictions=[0 * labels, 0 * labels], labels=labels)) == []
    constant = np.tile([0.5, 0.5], (2, EXAMPLES, 1))
    assert copies(st.Cohort(probabilities=constant, labels=labels)) == []


@pytest.mark.parametrize("labelled", [True, False])
def test_a_run_whose_classes_are_in_another_order_is_named_with_the_order(labelled):
    logits, labels = made_logits()
    # What the others call 0, 1, 2 this run calls 1, 2, 0.
    logits[2] = logits[2][:, [2, 0, 1]]
    (note,) = suspicious(st.Cohort(logits=logits, labels=labels if labelled else None))
    assert "0 -> 1 -> 2 -> 0" in note
    assert ("chance" in note) == labelled


def test_a_renaming_of_hardly_any_examples_each_is_no_finding():
    answers = np.arange(EXAMPLES)
    turned = np.roll(answers, 1)
    assert not suspicious(st.Cohort(predictions=[answers, answers + (answers % 7 == 0), turned]))


def test_runs_that_collapsed_or_are_merely_bad_are_not_said_to_have_their_classes_turned():
    logits, labels = made_logits(4)
    logits[1] = [0.0, 5.0, 0.0]
    logits[2] = np.random.default_rng(5).normal(size=(EXAMPLES, CLASSES))
    assert not suspicious(st.Cohort(logits=logits, labels=labels))


def test_the_same_states_with_other_scores_are_no_copies():
    states = np.random.default_rng(0).normal(size=(1, 12, 4))
    assert copies(st.Cohort(representations=[states] * 3, scores=[0.9, 0.9, 0.5])) == [[0, 1]]


def test_runs_under_another_seed_of_another_recipe_are_copies_and_nothing_is_tested():
    logits, labels = made_logits(8)
    old = st.Cohort(logits=logits[:5], labels=labels, recipe="old")
    for seeds, tested in ((tuple("abcde"), False), (tuple("01234"), True)):
        new = st.Cohort(logits=logits[[0, 1, 5, 6, 7]], labels=labels, recipe="new", seeds=seeds)
        row = st.compare([old, new]).rows()[1]
        assert bool(row.shared_copies) != tested
        assert np.isfinite(row.differences["mean"].significance.p) == tested
        assert np.isfinite(row.differences["mean"].interval.value)
