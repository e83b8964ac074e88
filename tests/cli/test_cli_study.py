"""What the options of the command line make of a study."""

import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.terminal.study_options import study_content


def content(*settings, study=None, vary=None, **options):
    return study_content(study, {"model": "minilm", "task": ["x"], **options}, settings, vary=vary)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, ["task.name=y"]),
        ({}, ["task=y"]),
        ({}, ["model=y"]),
        ({"seeds": 2}, ["seeds=1"]),
        ({"seeds": 2, "vary": "init"}, ["seeds.values=1"]),
        ({"vary": "init"}, ["seeds.vary=order"]),
        ({}, ["training.epochs=1", "training.epochs=2"]),
        ({}, ["training.epochs=1", "training={epochs: 2}"]),
        ({}, ["training={epochs: 2}", "training.epochs=1"]),
    ],
)
def test_a_command_line_that_contradicts_itself_is_refused(options, settings):
    with pytest.raises(UserError, match=r"^--set [^\n]*: [^\n]* and [^\n]*$"):
        content(*settings, **options)


def test_what_is_said_twice_alike_or_of_different_keys_is_no_contradiction():
    assert content("seeds=2", "seeds=2", seeds=2)["seeds"] == 2
    assert content("task.label=y", "task.metric=f1")["task"] == {"name": "x", "label": "y", "metric": "f1"}
    assert content("training={epochs: 2}", "training.warmup=0")["training"] == {"epochs": 2, "warmup": 0}


def test_the_command_line_goes_before_the_file(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("task: y\nmodel: m\nseeds: {vary: init, values: 3}\ntraining: {epochs: 5}\n")
    given = content("training.epochs=2", "seeds.values=4", study=file)
    assert (given["task"], given["training"], given["seeds"]["values"]) == (["x"], {"epochs": 2}, 4)


@pytest.mark.parametrize("number", ["1:30", "1_0", "010", "1_0.5", "0b1"])
def test_a_number_that_yaml_reads_in_a_way_of_its_own_is_refused(number):
    with pytest.raises(UserError, match=says("--set seeds:", number, "number")):
        content(f"seeds={number}")
    assert content(f"task.no_label='{number}'")["task"]["no_label"] == number


def test_the_command_line_goes_before_what_an_older_version_wrote(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("training: {setting: full, epochs: 5}\nrecipes:\n  a: {training: {setting: full}}\n  b:\n")
    given = content("training.mode=head", "recipes.a.training.mode=head", study=file)
    assert given["training"] == {"mode": "head", "epochs": 5}
    assert given["recipes"] == {"a": {"training": {"mode": "head"}}, "b": None}
