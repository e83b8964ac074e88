"""Logs of Inspect: four that version 0.3.285 wrote with its mock model, and others made by hand.

Their package is not installed with those of development, so a reader of the same shape stands in for it here; where it
is installed it reads them as well.
"""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from saying import names, says

import steadytune as st
from steadytune.errors import UserError
from steadytune.external.logs.inspect_log import log_of

LOGS = Path(__file__).parent / "logs"


def spaced(content):
    """Return JSON as objects with the attributes of the package's own, of which missing ones are None."""

    class Space(SimpleNamespace):
        def __getattr__(self, name):
            return None

    def made(value, key=""):
        if isinstance(value, list):
            return [made(one) for one in value]
        if not isinstance(value, dict):
            return value
        entries = {name: made(one, name) for name, one in value.items()}
        return entries if key in ("scores", "task_args") or (key == "value") else Space(**entries)

    return made(content)


@pytest.fixture
def reader(monkeypatch):
    module = ModuleType("inspect_ai.log")
    module.read_eval_log = lambda path: spaced(json.loads(Path(path).read_text()))
    monkeypatch.setitem(sys.modules, "inspect_ai", ModuleType("inspect_ai"))
    monkeypatch.setitem(sys.modules, "inspect_ai.log", module)


def check_choices(cohort):
    assert (cohort.kind, cohort.task) == ("choice", "toy_choice")
    assert cohort.predictions.tolist() == [[1, 1, 0, 1], [0, 2, 0, 1]]
    assert cohort.labels.tolist() == [0, 1, 2, 0]
    np.testing.assert_allclose(cohort.scores, [1 / 4, 1 / 4])
    assert st.profile(cohort).last("disagreement").value == pytest.approx(2 / 4)


def check_texts(cohort):
    """Two epochs of three samples; what ends in its target is right: "it is 1" is, in both epochs."""
    assert (cohort.kind, cohort.metric) == ("generation", "exact_match")
    assert cohort.generations[1] == ("it is 0", "it is 1", "it is 1", "it is 1", "it is 2", "it is 1")
    assert cohort.groups.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(cohort.scores, [2 / 6, 2 / 6])
    assert names(" ".join(cohort.notes), "2 epochs", "match", "includes", "--set filter=")


def test_logs_of_the_real_package_are_read(reader):
    assert len(list(LOGS.glob("*.json"))) == 4
    check_choices(st.read_runs(LOGS, columns={"task": "toy_choice"}))
    check_texts(st.read_runs(LOGS, columns={"task": "toy_text"}))


def test_the_real_package_reads_them_so_too():
    pytest.importorskip("inspect_ai", reason="inspect_ai conflicts with the pinned versions of development")
    check_choices(st.read_runs(LOGS, columns={"task": "toy_choice"}))
    check_texts(st.read_runs(LOGS, columns={"task": "toy_text"}))


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with pytest.raises(UserError, match=says(".json", "steadytune[eval-logs]")):
        st.read_runs(LOGS)


def test_a_file_that_the_package_cannot_read_is_named(tmp_path, reader):
    for name in "ab":
        (tmp_path / f"{name}.eval").write_text("{")
    with pytest.raises(UserError, match=says("a.eval", "cannot be read")):
        st.read_runs(tmp_path)


def sample(at, answer, value, target="A", epoch=1, choices=("x", "y", "z"), **scores):
    return {
        "id": at,
        "epoch": epoch,
        "input": [{"text": f"question {at}"}],
        "choices": list(choices),
        "target": target,
        "output": {"completion": f"ANSWER: {answer}"},
        "scores": {"choice": {"value": value, "answer": answer}} | {n: {"value": v} for n, v in scores.items()},
    }


def log(samples, **changes):
    about = {"task": "quiz", "task_version": 0, "task_args": {}, "model": "m", "config": {"epochs": 1}} | changes
    return {"version": 2, "status": "success", "eval": about, "samples": samples}


def save(folder, logs):
    folder.mkdir(exist_ok=True)
    files = [folder / f"{at}.eval" for at in range(len(logs))]
    for file, content in zip(files, logs, strict=True):
        file.write_text(json.dumps(content))
    return folder


def test_no_answer_and_several_are_one_answer_that_is_wrong(tmp_path, reader):
    first = [sample(0, "A", "C"), sample(1, "", "N"), sample(2, "A, B", "I")]
    second = [sample(0, "A", "C"), sample(1, "A", "C"), sample(2, "", "I")]
    cohort = st.read_runs(save(tmp_path, [log(first, model="one"), log(second, model="two")]))
    assert cohort.seeds == ("one", "two")
    assert cohort.predictions.tolist() == [[0, 3, 3], [0, 0, 3]]
    np.testing.assert_allclose(cohort.scores, [1 / 3, 2 / 3])
    assert any("No answer" in note for note in cohort.notes)


def test_several_right_choices_are_compared_as_texts(tmp_path, reader):
    runs = [[sample(0, "A, B", "C", ["A", "B"])], [sample(0, "A", "I", ["A", "B"])]]
    cohort = st.read_runs(save(tmp_path, list(map(log, runs))))
    assert (cohort.kind, cohort.generations) == ("generation", (("A, B",), ("A",)))
    np.testing.assert_allclose(cohort.scores, [1, 0])


def test_grades_are_means_and_other_scorers_are_further_scores(tmp_path, reader):
    runs = [
        [sample(at, f"text {run}", grade, "", choices=(), other=float(run)) for at, grade in enumerate(grades)]
        for run, grades in enumerate([["P", "C"], [7, "3"], ["C", "I"]])
    ]
    cohort = st.read_runs(save(tmp_path / "shares", [log(runs[0]), log(runs[2])]))
    np.testing.assert_allclose(cohort.scores, [3 / 4, 1 / 2])
    assert names(" ".join(cohort.notes), "other")
    cohort = st.read_runs(save(tmp_path / "grades", [log(runs[1]), log(runs[1])]), metric="choice")
    np.testing.assert_allclose(cohort.scores, 5)


def test_values_by_name_are_scores_of_their_own(tmp_path, reader):
    runs = [[sample(0, "text", {"style": run, "fact": "C"}, "", choices=())] for run in (0.25, 0.75)]
    folder = save(tmp_path, list(map(log, runs)))
    np.testing.assert_allclose(st.read_runs(folder, metric="choice/style").scores, [0.25, 0.75])


def test_a_sample_that_failed_is_left_aside_and_an_early_end_is_said(tmp_path, reader):
    full = [sample(at, "A", "C") for at in range(20)]
    failed = [*full[:-1], {**full[-1], "scores": None}]
    cohort = st.read_runs(save(tmp_path, [log(full), {**log(failed), "status": "error"}]))
    np.testing.assert_allclose(cohort.scores, [1, 1])
    assert names(" ".join(cohort.notes), "1.eval", "error", "lacks 1 of 20", "(19)")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (log([]), ["1.eval", "no scored samples", "success"]),
        (log([sample(0, "A", "C")], task_args={"shots": 5}), ["1.eval", "arguments of the task", "shots"]),
        (log([sample(0, "A", "C")], config={"epochs": 3}), ["1.eval", "epochs: 3"]),
        (log([sample(0, "A", "C", choices=("x", "y"))]), ["1.eval", "1 of 1", "(0)", "version"]),
    ],
)
def test_logs_that_do_not_fit_are_refused(tmp_path, reader, other, said):
    save(tmp_path, [log([sample(0, "A", "C")]), other])
    with pytest.raises(UserError, match=says(*said)):
        st.read_runs(tmp_path)


def test_a_score_that_is_not_there_is_no_score():
    """NaN marks what a scorer left unscored."""
    found = log_of(Path("a.eval"), spaced(log([sample(0, "text", float("nan"), "", choices=(), other=1)])))
    assert found.parts["choice"][0].scores == {"other": 1.0}
