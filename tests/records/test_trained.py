import pytest
import yaml
from made_runs import VERSIONS, made_store, made_study
from saying import names, says

from steadytune.errors import FolderWarning
from steadytune.records import RunStore
from steadytune.records.trained import as_trained
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
