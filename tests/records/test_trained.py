import pytest
import yaml
from made_runs import EXAMPLES, VERSIONS, made_arrays, made_record, made_specs, made_store, made_study
from saying import names, says
from typer.testing import CliRunner

from steadytune.cli.main import app
from steadytune.doctor import diagnose
from steadytune.errors import FolderWarning
from steadytune.records import RunStore
from steadytune.records.trained import as_trained, retrained_apart
from steadytune.reporting.blocks import Entries, Text
from steadytune.reporting.facts import facts

RECIPES = {"standard": {}, "strong": {"stabilizers": [{"mmr": {"alpha": 0.3}}], "training": {"epochs": 7}}}


@pytest.fixture
def store(tmp_path):
    return made_store(tmp_path / "out", made_study(recipes=RECIPES))


def edited(store, change):
    """Change study.yaml as an editor would."""
    file = store.path / "study.yaml"
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))
    return RunStore(store.path)


def test_a_study_that_says_what_its_runs_do_is_what_it_was(store):
    study, said = as_trained(store.study, store.records())
    assert (study, said) == (store.study, ())


def change_alpha(content):
    content["recipes"]["strong"]["stabilizers"] = [{"mmr": {"alpha": 0.9}}]


def change_epochs(content):
    content["recipes"]["strong"]["training"]["epochs"] = 1


def change_rate(content):
    content["training"]["learning_rate"] = 1e-3


def take_out(content):
    del content["recipes"]["strong"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (change_alpha, ["stabilizers", "'strong'"]),
        (change_epochs, ["training.epochs", "'strong'"]),
        (change_rate, ["training.learning_rate", "'standard'"]),
        (take_out, ["recipe 'strong'"]),
    ],
)
def test_where_study_yaml_was_edited_the_runs_count_and_it_is_said(store, change, what):
    before = facts(store.study, store.records())
    store = edited(store, change)
    with pytest.warns(FolderWarning, match=says("study.yaml", "runs", *what)):
        records = store.records()
    study, said = as_trained(store.study, records)
    assert any(names(each, *what) for each in said)
    after = facts(study, records, otherwise=said)
    assert any(names(block.words, *what) for block in after if isinstance(block, Text))
    (strong,) = (block.entries["strong"] for block in after if isinstance(block, Entries))
    assert "alpha 0.3" in strong
    assert "epochs 7" in strong
    assert study.recipe_training("standard").resolved("a-model").learning_rate == 2e-5
    (held,) = (block.entries["strong"] for block in before if isinstance(block, Entries))
    assert held.partition(";")[0] == strong.partition(";")[0]


def test_a_folder_of_an_older_version_is_read_whatever_its_recipes_are_called(tmp_path):
    store = made_store(tmp_path / "out", made_study())
    edited(store, lambda content: content.update(recipes={"\x1b[31mred": {}, "standard": {}}))
    assert len(RunStore(store.path).records()) == 2
    RunStore.create(store.path, made_study(), VERSIONS)


def test_runs_that_began_with_weights_of_two_retrainings_are_no_silent_cohort(tmp_path):
    """The objective of SURT changed for BART, but no spec and no id of a run."""
    study = made_study(recipes=["standard"])

    def noted(folder, *moved):
        store = RunStore.create(tmp_path / folder, study, VERSIONS)
        for spec, far in zip(made_specs(study), moved, strict=True):
            store.write(made_record(spec, measurements={"surt_distance": far}), made_arrays(spec))
            store.write_examples(spec, "classification", ["text"] * EXAMPLES, ["no", "yes"])
        return store.cohort("standard").notes

    assert noted("one", 1.0, 1.0) == ()
    (note,) = noted("two", 1.0, 1.25)
    assert names(note, "surt", "0 and 1", "new folder")
    # Another training subset has other texts.
    first, other = (made_record(spec, measurements={"surt_distance": 1.0}) for spec in made_specs(study))
    spec = other.spec.model_copy(update={"seeds": other.spec.seeds.model_copy(update={"data": 7})})
    assert (
        retrained_apart([first, other.model_copy(update={"spec": spec, "measurements": {"surt_distance": 2.0}})]) == ()
    )


def test_of_runs_that_do_not_record_what_a_constant_answer_scores_no_word_says_that_they_did_not_fail(tmp_path):
    study = made_study(recipes=["standard"])
    store = RunStore.create(tmp_path / "out", study, VERSIONS)
    for spec, constant in zip(made_specs(study), (None, 0.75), strict=True):
        store.write(made_record(spec, majority_score=constant), made_arrays(spec))
        store.write_examples(spec, "classification", ["text"] * EXAMPLES, ["no", "yes"])

    assert [row["failed"] for row in (record.row() for record in store.records())] == [None, True]
    for text in (store.summary(), CliRunner().invoke(app, ["ls", str(store.path)]).output):
        assert names(text, "1 ", "whether 1 failed is not recorded")
    assert any(names(text, "whether 1 of 2 runs", "standard") for text in diagnose(store.path).unknown)
