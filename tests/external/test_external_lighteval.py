"""Details of lighteval, in the form in which version 0.13.0 writes them; all values by hand."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from saying import names, says

import steadytune as st
from steadytune.errors import UserError

STAMPS = ["2026-01-05T10-00-00.111111", "2026-01-05T11-00-00.222222"]


def row(doc, choices, gold, scores, texts=(), logprobs=(), processed=None, prompt=None):
    """Return one row of details."""
    return {
        "doc": {
            "query": f"question {doc}",
            "choices": choices,
            "gold_index": gold,
            "specific": None,
            "id": str(doc),
            "task_name": "quiz",
        },
        "metric": scores,
        "model_response": {
            "input": prompt or f"question {doc}",
            "text": list(texts),
            "text_post_processed": processed,
            "logprobs": list(logprobs),
        },
    }


def save(folder, runs, task="quiz|0"):
    """Write the details of every run, as `lighteval --output-dir FOLDER/seedN --save-details` does."""
    for seed, (rows, stamp) in enumerate(zip(runs, STAMPS, strict=False)):
        place = folder / f"seed{seed}" / "details" / "our" / "model" / stamp
        place.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(pa.Table.from_pylist(rows), place / f"details_{task}_{stamp}.parquet")
        results = folder / f"seed{seed}" / "results" / "our" / "model"
        results.mkdir(parents=True, exist_ok=True)
        (results / f"results_{stamp}.json").write_text("{}")
    return folder


def quiz(logprobs, **changes):
    return [
        row(
            doc,
            [f"a{doc}", f"b{doc}"],
            doc % 2,
            {"acc": float(own.index(max(own)) == doc % 2)},
            logprobs=own,
            **changes,
        )
        for doc, own in enumerate(logprobs)
    ]


# Right are 0, 1, 0, 1.
RUNS = [
    [[-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.0], [-2.0, -1.0]],
    [[-1.0, -2.0], [-2.0, -1.0], [-2.0, -1.0], [-2.0, -1.0]],
]


def test_a_multiple_choice_has_its_accuracies_and_disagreement(tmp_path):
    cohort = st.read_runs(save(tmp_path, list(map(quiz, RUNS))))
    assert (cohort.kind, cohort.task, cohort.seeds) == ("choice", "quiz", ("seed0", "seed1"))
    np.testing.assert_allclose(cohort.scores, [3 / 4, 3 / 4])
    np.testing.assert_allclose(cohort.logits, RUNS)
    assert cohort.labels.tolist() == [0, 1, 0, 1]
    assert st.profile(cohort).last("disagreement").value == pytest.approx(2 / 4)


def test_log_likelihoods_without_the_context_are_not_choices(tmp_path):
    doubled = [[[*own, -9.0, -1.0] for own in run] for run in RUNS]
    rows = [
        [row(doc, ["a", "b"], doc % 2, {"acc": 1.0}, logprobs=own) for doc, own in enumerate(run)] for run in doubled
    ]
    cohort = st.read_runs(save(tmp_path, rows))
    np.testing.assert_allclose(cohort.logits, RUNS)
    # The right choice is stated, so a score that takes another one is reported.
    np.testing.assert_allclose(cohort.scores, [3 / 4, 3 / 4])
    assert names(" ".join(cohort.notes), "acc", "contradicts")


def test_several_right_choices_leave_the_score_as_recorded(tmp_path):
    rows = [[row(doc, ["a", "b"], [0, 1], {"acc": 1.0}, logprobs=own) for doc, own in enumerate(run)] for run in RUNS]
    cohort = st.read_runs(save(tmp_path, rows))
    assert cohort.labels is None
    np.testing.assert_allclose(cohort.scores, 1)


def test_generated_texts_are_right_where_the_harness_says_so(tmp_path):
    texts, right = [["<b>4</b>", "9"], ["4", "8"]], [[1.0, 1.0], [1.0, 0.0]]
    rows = [
        [
            row(doc, [f"= {text}"], [0], {"extractive_match": score}, [f"I think {text}"], processed=[text])
            for doc, (text, score) in enumerate(zip(*own, strict=True))
        ]
        for own in zip(texts, right, strict=True)
    ]
    for own in rows:
        own[1]["doc"]["choices"] = ["= 9"]
        own[0]["doc"]["choices"] = ["= 4"]
    cohort = st.read_runs(save(tmp_path, rows))
    assert (cohort.kind, cohort.metric) == ("generation", "exact_match")
    assert cohort.generations == tuple(map(tuple, texts))
    np.testing.assert_allclose(cohort.scores, [1, 1 / 2])
    assert names(" ".join(cohort.notes), "lighteval", "extractive_match")


def test_a_task_asked_in_two_ways_has_one_measured(tmp_path):
    rows = [[*quiz(run), *(row(doc, ["a"], 0, {"em": 1.0}, ["a"]) for doc in range(2))] for run in RUNS]
    save(tmp_path, rows)
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.scores, [3 / 4, 3 / 4])
    assert names(" ".join(cohort.notes), "choices", "texts", "--set filter=")
    assert st.read_runs(tmp_path, columns={"filter": "texts"}).generations == (("a", "a"), ("a", "a"))


def test_the_number_of_shots_must_agree(tmp_path):
    save(tmp_path, [quiz(RUNS[0])], "quiz|0")
    save(tmp_path / "more", [quiz(RUNS[1])], "quiz|5")
    with pytest.raises(UserError, match=says("few-shot examples: 0", "5 in")):
        st.read_runs(tmp_path)


def test_a_document_that_occurs_twice_is_refused(tmp_path):
    save(tmp_path, [quiz(RUNS[0]), [*quiz(RUNS[1]), *quiz(RUNS[1])]])
    with pytest.raises(UserError, match=says("seed1", "row 5", "document 0", "twice")):
        st.read_runs(tmp_path)


def test_results_without_details_are_refused(tmp_path):
    (tmp_path / "results" / "model").mkdir(parents=True)
    (tmp_path / "results" / "model" / f"results_{STAMPS[0]}.json").write_text("{}")
    with pytest.raises(UserError, match=says("results", "--save-details")):
        st.read_runs(tmp_path)


def test_older_details_are_refused(tmp_path):
    old = pa.table({"full_prompt": ["a"], "predictions": [["b"]], "gold_index": [[0]], "metrics": [{"em": 1}]})
    pa.parquet.write_table(old, tmp_path / f"details_lighteval|quiz|0_{STAMPS[0]}.parquet")
    with pytest.raises(UserError, match=says("0.11", "again")):
        st.read_runs(tmp_path)
