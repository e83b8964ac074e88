"""The package in the hand: names, mistakes in one line, results that print shortly."""

import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from commands import command
from made_runs import made_store
from saying import names, says

import steadytune as st
from steadytune.analysis.comparison import verdict as verdict_module
from steadytune.theory.loo.head import leave_one_out

LABELS = np.arange(12) % 2
COHORT = st.Cohort(logits=np.random.default_rng(0).normal(size=(4, 12, 2)), labels=LABELS, recipe="standard")

MISTAKES = {
    "Study(sedes=3)": (lambda folder: st.Study(sedes=3), ("'sedes'", "'seeds'")),
    "Study(3)": (lambda folder: st.Study(3), ("Study", "model, task, seeds, training, recipes")),
    "Study(training={'epoch': 1})": (
        lambda folder: st.Study(model="minilm", task="acceptability", training={"epoch": 1}),
        ("'epoch'", "'epochs'"),
    ),
    "Study(recipes=['mrr'])": (
        lambda folder: st.Study(model="minilm", task="acceptability", recipes=["mrr"]),
        ("'mrr'", "'mmr'"),
    ),
    "Study(seeds='many')": (
        lambda folder: st.Study(model="minilm", task="acceptability", seeds="many"),
        ("seeds:", "many"),
    ),
    "Training(learning_rate=-1)": (lambda folder: st.Training(learning_rate=-1), ("learning_rate", "-1")),
    "Seeds(init=0)": (lambda folder: st.Seeds(init=0), ("order:", "missing")),
    "Recipe(stabilizers='mmr+')": (lambda folder: st.Recipe(stabilizers=["mmr", "mmr"]), ("'mmr'",)),
    "MMR(alfa=1)": (lambda folder: st.MMR(alfa=1), ("'alfa'", "'alpha'")),
    "MMR(0.1)": (lambda folder: st.MMR(0.1), ("MMR", "alpha")),
    "MMR(alpha='x')": (lambda folder: st.MMR(alpha="x"), ("alpha", "'x'")),
    "SURT(texts='gone')": (lambda folder: st.SURT(texts=str(folder / "gone.txt")), ("gone.txt",)),
    "run('study.yaml')": (lambda folder: st.run(folder / "study.yaml", folder / "x"), ("file", "study.yaml")),
    "run(3)": (lambda folder: st.run(3, folder / "x"), ("study", "int")),
    "run({})": (lambda folder: st.run({"sedes": 3}, folder / "x"), ("'sedes'", "'seeds'")),
    "RunStore('x')": (st.RunStore, ("no study.yaml",)),
    "compare(3)": (lambda folder: st.compare(3), ("int",)),
    "compare([])": (lambda folder: st.compare([]), ("nothing",)),
    "compare('x')": (st.compare, ("no study.yaml",)),
    "profile([cohort])": (lambda folder: st.profile([COHORT]), ("one cohort", "list")),
    "profile.last('foo')": (lambda folder: st.profile(COHORT).last("disagrement"), ("'disagrement'", "'disagreement'")),
    "report('x')": (st.report, ("no study.yaml",)),
    "report([cohort])": (lambda folder: st.report([COHORT]), ("out",)),
    "validate(3)": (lambda folder: st.validate(3), ("int",)),
    "to_frame('x')": (lambda folder: st.compare(COHORT).to_frame("x"), ("'x'", "measures")),
    "run_command('true')": (
        lambda folder: st.run_command("true", seeds=2, out=folder / "y"),
        ("{seed}", "--seed {seed}"),
    ),
    "run_command(3)": (lambda folder: st.run_command(3, seeds=2, out=folder / "y"), ("command", "int")),
    "run_command(seeds=1.5)": (
        lambda folder: st.run_command("true {seed} {out}", seeds=1.5, out=folder / "y"),
        ("seeds", "1.5"),
    ),
    "run_command(values={'lr': 'ab'})": (
        lambda folder: st.run_command("true {seed} {out} {lr}", seeds=2, out=folder / "y", values={"lr": "ab"}),
        ("lr", "list", "'ab'"),
    ),
    "CommandStore('x')": (st.CommandStore, ("no sweep.yaml", "steadytune sweep")),
    "read_runs('x')": (lambda folder: st.read_runs(folder / "x"), ("file or folder",)),
    "run()": (lambda folder: st.run(), ("run", "study", "out")),
    "compare(one, other)": (lambda folder: st.compare(COHORT, COHORT), ("baseline", "Cohort")),
    "compare(baselin=)": (lambda folder: st.compare(COHORT, baselin="a"), ("'baselin'", "'baseline'")),
    "profile(mesures=)": (lambda folder: st.profile(COHORT, mesures=["sd"]), ("'mesures'", "'measures'")),
    "profile(cohort, 0.9)": (lambda folder: st.profile(COHORT, 0.9), ("positional", "level")),
    "profile(level='x')": (lambda folder: st.profile(COHORT, level="x"), ("level", "'x'")),
    "profile(resamples='x')": (lambda folder: st.profile(COHORT, resamples="x"), ("resamples", "'x'")),
    "profile(resamples=10**12)": (lambda folder: st.profile(COHORT, resamples=10**12), ("resamples", "10,000,000")),
    "profile(seed=-1)": (lambda folder: st.profile(COHORT, seed=-1), ("seed", "-1")),
    "profile(measures='sd')": (lambda folder: st.profile(COHORT, measures="sd"), ("measures", "'sd'")),
    "profile(measures=[])": (lambda folder: st.profile(COHORT, measures=[]), ("measures", "empty")),
    "profile(measures=[3])": (lambda folder: st.profile(COHORT, measures=[3]), ("measure", "int")),
    "report(out=3)": (lambda folder: st.report(COHORT, out=3), ("out", "int")),
    "validate([])": (lambda folder: st.validate([]), ("nothing",)),
    "read_runs(3)": (lambda folder: st.read_runs(3), ("path", "int")),
    "record_run(3)": (lambda folder: st.record_run(3), ("path", "int")),
    "RunStore(3)": (lambda folder: st.RunStore(3), ("path", "int")),
    "ensemble(3)": (lambda folder: st.ensemble(3), ("cohort", "int")),
    "compare_runs(3, 4)": (lambda folder: st.compare_runs(3, 4), ("path", "int")),
    "seeds_to_pin_sd('x')": (lambda folder: st.seeds_to_pin_sd("x"), ("number", "'x'")),
    "seeds_to_detect_difference('x')": (
        lambda folder: st.seeds_to_detect_difference("x", sd=1),
        ("difference", "'x'"),
    ),
    "Cohort(scorse=)": (lambda folder: st.Cohort(scorse=[1, 2]), ("'scorse'", "'scores'")),
    "Cohort(metric=3)": (lambda folder: st.Cohort(scores=[0.1, 0.2], metric=3), ("metric", "3")),
    "Cohort(model=3)": (lambda folder: st.Cohort(scores=[0.1, 0.2], model=3), ("model", "3")),
    "Cohort(notes='abc')": (lambda folder: st.Cohort(scores=[0.1, 0.2], notes="abc"), ("notes", "list")),
    "Cohort(lost=3)": (lambda folder: st.Cohort(scores=[0.1, 0.2], lost=3), ("lost", "list")),
    "Cohort(label_names=3)": (lambda folder: st.Cohort(scores=[0.1, 0.2], label_names=3), ("label_names", "list")),
    "Cohort(read=3)": (lambda folder: st.Cohort(scores=[0.1, 0.2], read=3), ("read", "mapping")),
    "Cohort(majority_score='x')": (
        lambda folder: st.Cohort(scores=[0.1, 0.2], majority_score="x"),
        ("majority_score", "'x'"),
    ),
    "Cohort(label_names of other length)": (
        lambda folder: st.Cohort(logits=np.zeros((2, 12, 2)), labels=LABELS, label_names=["a", "b", "c"]),
        ("label_names", "3", "2 columns"),
    ),
    "Cohort(label_names of too few classes)": (
        lambda folder: st.Cohort(predictions=[LABELS, LABELS], labels=LABELS, label_names=["a"]),
        ("label_names", "1"),
    ),
    "Cohort(failed=['yes', 'no'])": (
        lambda folder: st.Cohort(scores=[0.1, 0.2], failed=["yes", "no"]),
        ("failed", "'yes'"),
    ),
    "Cohort(failed=[0, 2])": (lambda folder: st.Cohort(scores=[0.1, 0.2], failed=[0, 2]), ("failed", "2")),
    "Cohort(frozen_encoder='x')": (
        lambda folder: st.Cohort(scores=[0.1, 0.2], frozen_encoder="x"),
        ("frozen_encoder", "'x'"),
    ),
    "run(st.Study)": (lambda folder: st.run(st.Study, folder / "x"), ("the class Study",)),
    "validate(one run)": (
        lambda folder: st.validate(st.Cohort(scores=[0.5], metric="accuracy")),
        ("two finished runs",),
    ),
    "validate(layers='x')": (lambda folder: st.validate(COHORT, layers="x"), ("layers", "'x'", "all, last")),
    "Cohort()": (lambda folder: st.Cohort(), ("cohort", "logits")),
    "Cohort(labels of other size)": (
        lambda folder: st.Cohort(logits=np.zeros((2, 3, 2)), labels=[0, 1]),
        ("labels", "(2,)"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_said_in_a_line_or_two(mistake, tmp_path):
    make, said = MISTAKES[mistake]
    with pytest.raises(st.UserError) as raised:
        make(tmp_path)
    assert names(str(raised.value), *said)
    assert len(str(raised.value).splitlines()) <= 2
    assert "pydantic" not in str(raised.value)


def test_the_package_lists_what_there_is_and_loads_it_when_asked():
    found = dir(st)
    assert all(name == "__version__" or not name.startswith("_") for name in found)
    assert all(getattr(st, name) is not None for name in found)
    assert {"compare", "validate", "measures", "metrics", "theory", "__version__"} <= set(found)
    assert st.__version__ == version("steadytune")
    code = "import sys, steadytune as st; st.__version__, dir(st); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_line_says_its_version():
    result = command("--version")
    assert (result.code, result.out) == (0, f"steadytune {version('steadytune')}\n")


def test_results_print_shortly_and_are_data_frames(tmp_path):
    store = made_store(tmp_path / "out")
    cohort = store.cohort(recipe="standard")
    comparison = st.compare(store)
    features = np.random.default_rng(1).normal(size=(12, 3)) + 2 * LABELS[:, None]
    shown = {
        "store": (store, len(store.records())),
        "cohort": (cohort, len(cohort)),
        "profile": (st.profile(cohort), 1 + len(st.profile(cohort).values)),
        "comparison": (comparison, len(comparison.measures_rows())),
        "study": (store.study, sum(1 for _ in store.study.grid())),
        "stability": (leave_one_out(features, LABELS, seeds=range(2), steps=20), 4),
        **{f"validation {key}": (found, None) for key, found in st.validate(comparison).items()},
    }
    for name, (result, rows) in shown.items():
        assert 2 <= len(repr(result).splitlines()) <= 20, name
        assert repr(result).splitlines()[0] in result.summary(), name
        frame = result.to_frame()
        assert isinstance(frame, pd.DataFrame), name
        assert rows is None or len(frame) == rows, name
        assert "<table" in result._repr_html_(), name


@pytest.mark.slow
def test_every_door_takes_a_folder_its_path_or_cohorts(tmp_path):
    store = made_store(tmp_path / "out")
    frames = [st.compare(given).to_frame() for given in (store, store.path, str(store.path), store.cohorts())]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])
    assert len(st.compare(store.cohorts()[0]).profiles) == 1
    assert st.report(str(store.path)).is_file()
    assert st.validate(store.path).keys() == st.validate(st.compare(store).profiles).keys()


def test_a_profile_takes_level_draws_seed_and_measures():
    whole = st.profile(COHORT)
    narrow = st.profile(COHORT, level=0.5)
    for value, other in zip(whole.values, narrow.values, strict=True):
        assert value.value == other.value or np.isnan(value.value)
        if np.isfinite(value.low):
            assert value.low < other.low < other.high < value.high
    assert "50 % intervals" in repr(narrow)
    few = st.profile(COHORT, measures=["disagreement"], resamples=200, seed=1)
    assert [value.measure for value in few.values] == ["disagreement"]
    assert few.last("disagreement").low != whole.last("disagreement").low
    assert few.last("disagreement").low == st.profile(COHORT, resamples=200, seed=1).last("disagreement").low
    for wrong, said in (
        ({"measures": ["x"]}, says("measure", "'x'")),
        ({"level": 95}, says("level", "95")),
        ({"resamples": 3}, says("resamples", "3")),
    ):
        with pytest.raises(st.UserError, match=said):
            st.profile(COHORT, **wrong)


def test_one_is_singular_and_an_unknown_layer_is_an_empty_cell():
    one = st.Cohort(logits=np.zeros((1, 12, 2)), labels=LABELS, recipe="one")
    assert "1 run," in repr(one)
    assert "1 run," in repr(st.profile(one, resamples=100))
    assert repr(st.compare(one)).splitlines()[0].endswith("1 cohort")
    assert "None" not in st.profile(COHORT, resamples=100)._repr_html_()


def test_the_folder_of_a_study_is_not_read_as_files_of_runs(tmp_path):
    store = made_store(tmp_path / "out")
    with pytest.raises(st.UserError, match=says("out", "study", "st.compare")):
        st.read_runs(store.path)


def test_a_notebook_computes_the_verdict_of_a_comparison_once(monkeypatch):
    computed = []
    real = verdict_module.verdict
    monkeypatch.setattr(verdict_module, "verdict", lambda comparison: computed.append(1) or real(comparison))
    found = st.compare([COHORT])
    assert COHORT.recipe in found._repr_html_()
    assert computed == [1]


def test_a_name_cannot_steer_a_terminal():
    odd = st.Cohort(logits=np.zeros((2, 12, 2)), labels=LABELS, recipe="a\x1b[31m\u202eb")
    assert not {"\x1b", "\u202e"} & set(repr(odd))


def test_a_validation_of_scores_only_is_plotted_or_says_that_there_is_nothing():
    found = st.validate(st.Cohort(scores=[0.5, 0.6, 0.7], metric="accuracy", recipe="sc"))
    for one in found.values():
        with pytest.raises(st.UserError):
            one.plot()
