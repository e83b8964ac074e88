import json

import pytest
from made_runs import made_arrays, made_record, made_specs, made_store
from saying import names, says
from transformers import TrainingArguments

from steadytune.doctor import diagnose
from steadytune.doctor.findings import SEVERITIES, Finding, in_order
from steadytune.doctor.setup import arguments_setup, study_setups
from steadytune.errors import UserError
from steadytune.external import record_run
from steadytune.records import RunStore
from steadytune.study import Study


def finding(rule, severity="high", where="here"):
    return Finding(rule, severity, "title", where, "found", "why", "source", "advice")


@pytest.fixture
def study(tiny_model, tiny_task):
    def make(**content):
        return Study.parse({"model": str(tiny_model), "task": str(tiny_task), **content})

    return make


@pytest.fixture
def arguments(tmp_path):
    def write(**given):
        file = tmp_path / "args.json"
        file.write_text(TrainingArguments(output_dir=str(tmp_path), report_to="none", **given).to_json_string())
        return file

    return write


def test_a_study_is_looked_at_with_its_model_and_its_task(study):
    recipes = {"standard": {}, "no_warmup": None, "slow": {"training": {"epochs": 9, "warmup": 0.2}}}
    setups, unknown = study_setups(study(recipes=recipes, seeds=3, training={"train_size": 30}))

    assert unknown == ()
    standard, without, slow = setups.values()
    assert (standard.where, standard.layers, standard.half, standard.seeds) == ("standard", 2, None, 3)
    assert (standard.train_examples, standard.measured_examples) == (30, 24)
    assert (standard.warmup, without.warmup, slow.warmup, slow.epochs) == (0.1, 0.0, 0.2, 9)
    assert without.stabilizers == ("no_warmup",)


def test_half_of_the_examples_are_measured_where_the_other_half_picks_the_epoch(study):
    (setup,) = study_setups(study(training={"select_checkpoint": True}), {})[0].values()
    assert setup.measured_examples == 12


def test_what_cannot_be_had_is_not_known_and_the_rest_is_said(study, tmp_path):
    setups, unknown = study_setups(study(model=str(tmp_path / "nowhere")), {})
    (setup,) = setups.values()
    assert (setup.layers, setup.train_examples) == (None, 40)
    assert len(unknown) == 1
    assert "nowhere" in unknown[0]


def test_recipes_of_several_tasks_are_named_in_full(study, tiny_task):
    setups, _ = study_setups(study(task=[str(tiny_task), "acceptability"]), {})
    (model,) = study().model
    assert [setup.where for setup in setups.values()] == [
        f"{model} / {task} / standard" for task in (tiny_task, "acceptability")
    ]


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({}, 0.0),
        ({"warmup_steps": 0.1}, 0.1),
        ({"warmup_steps": 20, "max_steps": 200}, 0.1),
        ({"warmup_steps": 20}, None),
        ({"warmup_steps": 0.1, "lr_scheduler_type": "constant"}, 0.0),
        ({"warmup_steps": 0.1, "lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"}, 0.0),
        ({"warmup_steps": 0.1, "lr_scheduler_type": "greedy", "eval_strategy": "epoch"}, 0.0),
        ({"warmup_steps": 0.1, "lr_scheduler_type": "constant_with_warmup"}, 0.1),
    ],
)
def test_warmup_is_read_as_the_trainer_reads_it(arguments, given, share):
    assert arguments_setup(arguments(**given)).warmup == share


def test_the_ratio_of_transformers_4_is_read(arguments):
    file = arguments()
    file.write_text(json.dumps({**json.loads(file.read_text()), "warmup_ratio": 0.06}))
    assert arguments_setup(file).warmup == 0.06


def test_the_arguments_of_a_script_are_read(arguments):
    setup = arguments_setup(
        arguments(
            learning_rate=1e-3,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=4,
            optim="rmsprop",
            logging_nan_inf_filter=False,
            num_train_epochs=7,
        )
    )
    assert setup.stock
    assert (setup.learning_rate, setup.batch_size, setup.accumulation, setup.epochs) == (1e-3, 2, 4, 7)
    assert (setup.optimizer, setup.hides_nan) == ("rmsprop", False)
    assert setup.steps is None
    few = arguments_setup(arguments(max_steps=5, warmup_steps=3, label_smoothing_factor=0.1))
    assert (few.epochs, few.steps, few.warmup, few.warmup_steps, few.label_smoothing) == (None, 5, 0.6, 3, 0.1)


def test_a_number_of_steps_reaches_the_rules(arguments):
    told = {one.rule: one for one in diagnose(arguments(max_steps=50, warmup_steps=1)).findings}
    assert names(told["epochs"].found, "50 steps", "8 examples")
    assert told["warm-up"].severity == "high"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", ["JSON"]),
        ("[1]", ["TrainingArguments", "args.to_json_string()"]),
        ('{"model": "minilm"}', ["TrainingArguments", "args.to_json_string()"]),
        ('{"learning_rate": "fast", "num_train_epochs": 3}', ["learning_rate", "number", "'fast'"]),
        ('{"learning_rate": NaN, "num_train_epochs": 3}', ["learning_rate", "number", "nan"]),
        ('{"learning_rate": 1e-5, "num_train_epochs": 3, "warmup_steps": true}', ["warmup_steps", "number", "True"]),
        (f'{{"learning_rate": 1{"0" * 400}, "num_train_epochs": 3}}', ["learning_rate", "number", "1000"]),
        ('{"learning_rate": null, "num_train_epochs": 3}', ["learning_rate", "number", "None"]),
        ('{"learning_rate": -1e-5, "num_train_epochs": 3}', ["learning_rate", "0", "-1e-05"]),
        ('{"learning_rate": 1e-5, "num_train_epochs": -1}', ["num_train_epochs", "0", "-1"]),
        ('{"learning_rate": 1e-5, "num_train_epochs": 3, "warmup_ratio": "0.1"}', ["warmup_ratio", "number", "'0.1'"]),
        (
            '{"learning_rate": 1, "num_train_epochs": 3, "gradient_accumulation_steps": 0}',
            ["gradient_accumulation_steps", "1", "0"],
        ),
    ],
)
def test_a_json_file_that_holds_no_arguments_is_refused(tmp_path, content, said):
    file = tmp_path / "args.json"
    file.write_text(content)
    with pytest.raises(UserError, match=says("args.json", *said)):
        diagnose(file)


def test_a_file_of_arguments_says_what_it_does_not_hold(arguments):
    diagnosis = diagnose(arguments())
    silent = ["model", "training set", "evaluation set", "seeds"]
    assert [word in said for word, said in zip(silent, diagnosis.unknown, strict=True)] == [True] * 4
    assert any("warm-up" in said for said in diagnose(arguments(warmup_steps=500)).unknown)


def test_recorded_runs_bring_their_failures_scores_and_what_is_missing(study, tmp_path):
    asked = study(seeds=3, recipes=["standard", "mmr"])
    store = RunStore.create(tmp_path / "out", asked, {})
    for spec, score in zip(made_specs(asked)[:5], (0.5, 0.75, 0.75, 0.75, 0.85), strict=True):
        store.write_examples(spec, "classification", ["text"] * 6, ["no", "yes"])
        curves = {"step": [1, 2], "loss": [0.7, 0.7]}
        store.write(made_record(spec, score=score, scores={"accuracy": score}, curves=curves), made_arrays(spec))

    diagnosis = diagnose(tmp_path / "out")

    told = {(one.rule, one.where): one for one in diagnosis.findings}
    # Seeds are trained one after the other, standard before mmr.
    assert names(told["collapsed", "standard"].found, "1 of 3", "seed 0", "accuracy 50.0", "0.693")
    assert names(told["evaluation-size", "standard"].found, "accuracy 70.0", "3 runs")
    assert names(told["evaluation-size", "mmr"].found, "accuracy 75.0", "2 runs")
    (unknown,) = diagnosis.unknown
    assert names(unknown, "1", "runs")
    assert diagnosis.findings[0].rule == "collapsed"


def test_a_folder_whose_model_and_task_are_gone_is_still_read(tmp_path):
    made_store(tmp_path / "out")
    diagnosis = diagnose(tmp_path / "out")
    assert any("a-model" in text for text in diagnosis.unknown)
    assert any("a/task" in text for text in diagnosis.unknown)


def test_findings_come_worst_first_and_once_for_all_recipes():
    given = [finding("b", severity) for severity in reversed(SEVERITIES)] + [finding("b", "high", "there")]
    told = in_order(given)
    assert [one.severity for one in told] == list(SEVERITIES)
    assert told[0].where == "here, there"


def test_recordings_have_no_curves_and_are_measured(tmp_path):
    for seed in range(2):
        record_run(tmp_path / f"seed{seed}.safetensors", logits=[[0.0, 1.0]], labels=[1], seed=seed)
    for target in (tmp_path, tmp_path / "seed0.safetensors"):
        with pytest.raises(UserError, match=says(str(tmp_path), "curves", f"steadytune measure {tmp_path}")):
            diagnose(target)
