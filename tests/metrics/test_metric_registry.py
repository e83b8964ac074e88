"""A metric under another name gets the numbers of the original: scores, intervals, tests and tables."""

from dataclasses import replace

import numpy as np
import pytest
from saying import says

import steadytune as st
from steadytune.analysis.comparison.compare import compare
from steadytune.metrics import METRICS, Answers, constant_score, recorded
from steadytune.study import TaskSpec
from steadytune.tasks import load_task


@pytest.fixture
def mine():
    with METRICS.added(replace(METRICS["matthews"], name="mine", title="Mine")):
        yield "mine"


def cohorts(metric):
    labels = np.random.default_rng(0).integers(0, 2, 60)
    return [
        st.Cohort(
            logits=np.eye(2)[labels] + np.random.default_rng(seed).normal(size=(6, 60, 2)),
            labels=labels,
            metric=metric,
            recipe=recipe,
        )
        for seed, recipe in ((1, "standard"), (2, "mmr"))
    ]


def test_a_copy_gives_every_number_of_the_original(mine):
    one, other = compare(cohorts(mine)), compare(cohorts("matthews"))
    assert [tuple(map(str, row)) for row in one.measures_rows()] == [
        tuple(map(str, row)) for row in other.measures_rows()
    ]
    assert [tuple(map(str, row)) for row in one.difference_rows()] == [
        tuple(map(str, row)) for row in other.difference_rows()
    ]
    for mine_row, row in zip(one.rows(), other.rows(), strict=True):
        assert (mine_row.mean, mine_row.failed, mine_row.sd_ratio) == (row.mean, row.failed, row.sd_ratio) or all(
            np.isnan(mine_row.sd_ratio)
        )
        assert mine_row.scale == replace(row.scale, name=mine)
        assert mine_row.profile.cohort.majority_score == row.profile.cohort.majority_score


def test_it_is_the_metric_of_a_task_of_files_and_of_recorded_scores(mine, tmp_path):
    assert load_task(TaskSpec(name="acceptability", metric=mine)).metric == mine
    for run, cohort in enumerate(cohorts(mine)):
        st.record_run(tmp_path / f"run{run}.safetensors", logits=cohort.logits[0], labels=cohort.labels, seed=run)
    read = st.read_runs([tmp_path], metric=mine)
    assert read.metric == mine
    assert np.allclose(read.scores, [cohort.scores[0] for cohort in cohorts("matthews")])
    assert recorded(f"eval_{mine}").lowest == -1


@pytest.mark.parametrize(("name", "labels"), [("mae", [0.0, 1.0, 5.0]), ("log_loss", [0, 1, 1])])
def test_a_copy_has_the_constant_answer_of_the_original(name, labels):
    kind = METRICS[name].kinds[0]
    answers = Answers(kind, np.zeros((1, 3, 1 if kind == "regression" else 2)), labels=np.array(labels))
    assert constant_score(replace(METRICS[name], name="mine"), answers) == constant_score(METRICS[name], answers)


def test_names_that_stand_for_something_else_are_refused():
    for name in ("accuracy", "score"):
        with pytest.raises(st.UserError), METRICS.added(replace(METRICS["f1"], name=name)):
            pass


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda answers: lambda weights: np.full((len(weights), answers.runs), 3.25), ("3.25", "0 to 1")),
        (lambda answers: lambda weights: np.full((len(weights), answers.runs), -0.5), ("-0.5", "0 to 1")),
        (lambda answers: lambda weights: np.zeros((len(weights), 2)), ("(2,)", "6 runs")),
        (lambda answers: {}["gone"], ("KeyError", "gone")),
        (lambda answers: 3, ("TypeError",)),
    ],
)
def test_a_metric_of_another_package_that_is_wrong_is_named_and_gives_no_number(function, said):
    mine = replace(METRICS["accuracy"], name="mine", function=function)
    with METRICS.added(mine), pytest.raises(st.UserError, match=says("'mine'", *said)):
        cohorts("mine")


def test_a_metric_that_is_undefined_is_not_said_to_be_missing():
    mine = replace(
        METRICS["accuracy"],
        name="mine",
        function=lambda answers: lambda weights: np.full((len(weights), answers.runs), np.nan),
    )
    with METRICS.added(mine):
        notes = st.profile(cohorts("mine")[0], resamples=100).notes
    assert any("mine" in note and "SD" in note for note in notes)
    assert not any("compute" in note for note in notes)


def texts(recipe, seed, metric):
    generator = np.random.default_rng(seed)
    words = np.array(["the cat sat on a mat", "the dogs sat on it", "no", "a cat is on the mat"])
    return st.Cohort(
        generations=words[generator.integers(0, 4, (5, 20))].tolist(),
        references=words[np.arange(20) % 4].tolist(),
        target_log_probabilities=-generator.exponential(size=(5, 50)),
        token_counts=np.arange(20) % 4 + 1,
        metric=metric,
        recipe=recipe,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chrf", "token_f1", "bleu", "rouge1", "rouge2", "rougel", "target_loss"])
def test_a_copy_of_a_metric_of_texts_gives_every_number_of_the_original(name):
    def rows(metric):
        found = compare([texts(recipe, seed, metric) for recipe, seed in (("standard", 1), ("mmr", 2))])
        return [tuple(map(str, row)) for row in (*found.measures_rows(), *found.difference_rows())]

    with METRICS.added(replace(METRICS[name], name="mine")):
        mine = rows("mine")
    assert mine == rows(name)
    # The score is drawn anew with the examples.
    assert texts("standard", 1, name).scale.unit == METRICS[name].unit
