"""Which samples of lm-evaluation-harness are the runs, of which tasks, and whether they fit each other."""

import json

import numpy as np
import pytest
from lm_eval_samples import ACCURACIES, GOLDS, STAMPS, choice, quiz, save
from saying import names, says
from typer.testing import CliRunner

import steadytune as st
from steadytune.cli.main import app
from steadytune.errors import UserError
from steadytune.external import Choices, read_run, read_source, runs_of, tasks_of


def test_documents_that_a_run_lacks_are_named_and_left_aside_by_all(tmp_path):
    def rows(run):
        return [
            choice(doc, [-1.0, -2.0], 0, 1.0) if doc % 2 else choice(doc, [-2.0, -1.0], 0, 0.0) for doc in range(20)
        ]

    runs = [rows(0), rows(1)[:-1]]
    save(tmp_path, runs)
    cohort = st.read_runs(tmp_path)
    # Of 19 documents 9 are odd.
    np.testing.assert_allclose(cohort.scores, 9 / 19)
    assert names(" ".join(cohort.notes), "seed1", "lacks 1 of 20", "(19)")
    save(tmp_path, [rows(0), rows(1)[:15]])
    with pytest.raises(UserError, match=says("seed1", "5 of 20", "15, 16, 17")):
        st.read_runs(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"doc_hash": "another"}, ["seed1", "1 of 4", "(2)", "version"]),
        ({"doc_id": 3}, ["seed1", "line 4", "document 3", "twice"]),
        (
            {"arguments": {f"gen_args_{at}": {"arg_0": "question 2", "arg_1": f" {at}"} for at in range(3)}},
            ["seed1", "choices", "(2)"],
        ),
        ({"doc_id": None}, ["seed1", "line 3", "'doc_id'", "None"]),
        ({"filter": ["strict"]}, ["seed1", "line 3", "'filter'"]),
        ({"filtered_resps": "text"}, ["seed1", "line 3", "'filtered_resps'"]),
        ({"filtered_resps": ["a text"], "arguments": {}}, ["seed0", "seed1", "chosen answers", "generated texts"]),
    ],
)
def test_runs_that_do_not_fit_are_refused(tmp_path, change, said):
    runs = [quiz(0), quiz(1)]
    runs[1][2] |= change
    save(tmp_path, runs)
    with pytest.raises(UserError, match=says(*said)):
        st.read_runs(tmp_path)


def test_a_truncated_line_is_named(tmp_path):
    files = save(tmp_path, [quiz(0), quiz(1)])
    files[1].write_text(files[1].read_text()[:-40])
    with pytest.raises(UserError, match=says("seed1", "line 4", "JSON")):
        st.read_runs(tmp_path)


def test_other_prompts_are_said_and_other_numbers_of_shots_refused(tmp_path):
    runs = [quiz(0), quiz(1)]
    for row in runs[1]:
        row["prompt_hash"] = "shots: " + row["prompt_hash"]
    files = save(tmp_path, runs)
    assert names(" ".join(st.read_runs(tmp_path).notes), "prompts", "4 of 4", "few-shot")
    for file, stamp, shots in zip(files, STAMPS, (0, 5), strict=False):
        file.with_name(f"results_{stamp}.json").write_text(json.dumps({"n-shot": {"quiz": shots}}))
    with pytest.raises(UserError, match=says("seed1", "few-shot examples: 5", "0 in", "seed0")):
        st.read_runs(tmp_path)


def test_of_one_folder_the_newest_is_measured(tmp_path):
    for runs, stamps in (
        ([quiz(0), quiz(0)], STAMPS),
        ([quiz(1), quiz(2)], [f"2026-02-{day:02}T00-00-00" for day in (1, 2)]),
    ):
        save(tmp_path, runs, stamps=stamps)
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.scores, ACCURACIES[1:])
    assert names(" ".join(cohort.notes), "newest", STAMPS[0])
    # Given one by one they are runs.
    files = sorted((tmp_path / "seed0" / "model").iterdir())
    cohort = st.read_runs(files)
    np.testing.assert_allclose(cohort.scores, ACCURACIES[:2])
    assert not any("newest" in note for note in cohort.notes)
    with pytest.raises(UserError, match=says("single run", "newest", "give the files")):
        st.read_runs(tmp_path / "seed0")
    assert len(set(cohort.seeds)) == 2


def test_files_of_another_sort_in_the_folders_of_runs_come_first(tmp_path):
    save(tmp_path, [quiz(run) for run in range(2)])
    for seed in range(2):
        (tmp_path / f"seed{seed}" / "predictions.csv").write_text(f"label,prediction\n0,{seed}\n1,1\n")
    np.testing.assert_allclose(st.read_runs(tmp_path).scores, [1, 1 / 2])


def test_one_log_is_a_run(tmp_path):
    (file,) = save(tmp_path, [quiz(0)])
    assert read_run(file).labels.tolist() == GOLDS


def test_a_run_without_samples_is_refused(tmp_path):
    save(tmp_path, [quiz(0), quiz(1)])
    (tmp_path / "seed2").mkdir()
    (tmp_path / "seed2" / f"results_{STAMPS[2]}.json").write_text("{}")
    with pytest.raises(UserError, match=says("seed2", "--log_samples")):
        st.read_runs(tmp_path)
    with pytest.raises(UserError, match=says("seed2", "--log_samples")):
        st.read_runs([tmp_path / "seed2", tmp_path / "seed0"])


def several_tasks(folder):
    save(folder, [quiz(run) for run in range(3)], "quiz_one")
    save(folder, [quiz(run) for run in (2, 1)], "quiz_two")
    save(folder, [quiz(0)], "rare")
    return folder


def test_several_tasks_are_chosen_from_or_measured_one_by_one(tmp_path):
    several_tasks(tmp_path)
    with pytest.raises(UserError, match=says("quiz_one, quiz_two", "--set task=NAME")):
        st.read_runs(tmp_path)
    np.testing.assert_allclose(st.read_runs(tmp_path, columns={"task": "quiz_two"}).scores, [ACCURACIES[2], 1])
    with pytest.raises(UserError, match=says("'quiz_to'", "quiz_two")):
        st.read_runs(tmp_path, columns={"task": "quiz_to"})
    with pytest.raises(UserError, match=says("single run")):
        st.read_runs(tmp_path, columns={"task": "rare"})


@pytest.mark.slow
def test_the_command_measures_every_task_on_one_page(tmp_path):
    several_tasks(tmp_path / "runs")
    found = CliRunner().invoke(app, ["measure", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    assert names(found.output, "task: quiz_one", "task: quiz_two", "rare", "75.0", "runs on quiz_two")
    page = (tmp_path / "out" / "report.html").read_text()
    assert names(page, "quiz_one", "quiz_two", "question 0")
    chosen = CliRunner().invoke(app, ["measure", str(tmp_path / "runs"), "--set", "task=quiz_two"])
    assert chosen.exit_code == 0
    assert "quiz_one" not in chosen.output


def test_folders_of_logs_are_compared(tmp_path):
    save(tmp_path / "old", [quiz(0), quiz(1)])
    save(tmp_path / "new", [quiz(2), quiz(1)])
    rows = st.compare([tmp_path / "old", tmp_path / "new"]).rows()
    assert [row.profile.cohort.recipe for row in rows] == ["old", "new"]
    assert [row.profile.cohort.scores.tolist() for row in rows] == [ACCURACIES[:2], [ACCURACIES[2], 1]]


def test_logs_and_other_files_are_not_mixed(tmp_path):
    files = save(tmp_path, [quiz(0), quiz(1)])
    (tmp_path / "run.csv").write_text("label,prediction\n0,0\n1,1\n")
    with pytest.raises(UserError, match=says("run.csv", "seed0", "apart")):
        st.read_runs([*files, tmp_path / "run.csv"])
    with pytest.raises(UserError, match=says("run.csv", "task")):
        st.read_runs([tmp_path / "run.csv", tmp_path / "run.csv.gz"][:1], columns={"task": "quiz"})


def test_the_sources_of_tasks_that_are_no_logs_are_one(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("label,prediction\n0,0\n1,1\n")
    sources = [read_source(tmp_path / f"{name}.csv") for name in "ab"]
    assert tasks_of(sources, Choices()) == [("", sources)]
    assert len(runs_of(sources)) == 2
