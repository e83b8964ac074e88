import pytest
from made_runs import made_arrays, made_record, made_specs
from transformers import TrainingArguments

import steadytune as st
from steadytune.doctor import diagnose
from steadytune.doctor.findings import Finding
from steadytune.doctor.remedies import _TABLE, remedies, usage
from steadytune.doctor.setup import Setup
from steadytune.records import RunStore
from steadytune.stabilizers import STABILIZERS
from steadytune.study import Study

CALLING = {"warm-up", "learning-rate", "epochs", "collapsed", "diverged", "majority"}


def names(*rules, severity="high", **setup):
    """Names of what is worth trying where one way of training breaks rules."""
    findings = [Finding(rule, severity, "title", "here", "found", "why", "source", "advice") for rule in rules]
    return [one.stabilizer for one in remedies(findings, [made_setup(**setup)])]


def made_setup(**fields):
    return Setup(**{"where": "here", "stock": False, "learning_rate": 2e-5, "layers": 12, **fields})


def test_every_remedy_is_a_stabilizer_and_answers_what_calls_for_one():
    assert {row.remedy.stabilizer for row in _TABLE} <= set(STABILIZERS)
    assert frozenset().union(*(row.rules for row in _TABLE)) == CALLING


@pytest.mark.parametrize("layers", [6, 12, 24, None])
@pytest.mark.parametrize("rule", sorted(CALLING))
def test_each_finding_alone_gets_three(rule, layers):
    assert len(names(rule, layers=layers)) == 3


def test_those_that_answer_most_findings_come_first_and_are_three_at_most():
    assert names("collapsed", "epochs")[0] == "reinit"
    assert len(names(*CALLING)) == 3


def test_none_stands_where_nothing_calls_for_it():
    assert names("seeds", "evaluation-size") == []
    assert names("epochs", severity="check") == []


def test_mixout_is_for_large_models():
    assert "mixout" in names("majority", layers=24)
    assert "mixout" not in names("majority", layers=6)
    assert "mixout" not in names("majority", layers=None)


def test_a_frozen_encoder_gets_what_works_on_one():
    for rule in ("collapsed", "majority"):
        assert names(rule, full=False) == ["surt", "mhloss"]
    assert names("diverged", full=False) == []


def test_a_kind_of_task_gets_what_serves_it():
    assert "lp_ft" in names("diverged", kind="tokens")
    assert "lp_ft" not in names("diverged", kind="generation")
    assert names("collapsed", full=False, kind="generation") == ["surt"]


def test_what_the_recipe_has_is_no_remedy_for_it():
    assert "reinit" in names("collapsed")
    assert "reinit" not in names("collapsed", stabilizers=("reinit",))


@pytest.fixture
def judged(tiny_model, tiny_task, tmp_path):
    """Diagnose a study of recipes with one run each, of which those that are named stay at chance."""

    def judge(collapsed, recipes):
        content = {"model": str(tiny_model), "task": str(tiny_task), "recipes": recipes, "seeds": 1}
        # No other finding calls for a remedy.
        study = Study.parse({**content, "training": {"epochs": 20}})
        store = RunStore.create(tmp_path / "out", study, {})
        for spec in made_specs(study):
            score = 0.5 if spec.recipe in collapsed else 0.9
            curves = {"step": [1, 2], "task_loss": [0.7, 0.7]}
            store.write_examples(spec, "classification", ["text"] * 6, ["no", "yes"])
            store.write(made_record(spec, score=score, scores={"accuracy": score}, curves=curves), made_arrays(spec))
        return [one.stabilizer for one in diagnose(tmp_path / "out").remedies]

    return judge


def test_what_a_failed_recipe_had_is_not_tried_again(judged):
    assert "reinit" not in judged(["reinit"], ["standard", "reinit"])


def test_what_one_of_several_failed_recipes_had_is_not_tried_again(judged):
    assert "reinit" not in judged(["standard", "reinit"], ["standard", "reinit"])


def test_what_a_healthy_recipe_has_is_worth_trying(judged):
    assert "reinit" in judged(["standard"], ["standard", "reinit"])


def test_the_arguments_of_a_script_get_python_that_runs(tmp_path):
    file = tmp_path / "args.json"
    file.write_text(TrainingArguments(output_dir=str(tmp_path), report_to="none").to_json_string())

    diagnosis = diagnose(file)

    assert [one.stabilizer for one in diagnosis.remedies] == ["llrd", "lp_ft", "cngc"]
    assert "stabilizers=[st.LLRD()]" in diagnosis.usage
    assert "then st.LPFT(), st.CNGC()" in diagnosis.usage
    assert "steadytune run" not in diagnosis.usage
    assert all(hasattr(st, word) for word in ("LLRD", "LPFT", "CNGC"))


def test_a_study_gets_the_command_and_nothing_gets_nothing():
    chosen = remedies([Finding("warm-up", "high", "t", "here", "f", "w", "s", "a")], [made_setup()])
    assert usage(chosen, stock=False).startswith("steadytune run ... --recipe standard --recipe llrd --recipe lp_ft")
    assert usage((), stock=True) == ""
