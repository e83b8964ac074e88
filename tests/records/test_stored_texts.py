"""The texts of a folder's examples: kept, checked, and written again."""

import json

import pytest
from made_runs import EXAMPLES, made_store, made_study
from saying import says

from steadytune.errors import FolderWarning, UserError


@pytest.fixture
def store(tmp_path):
    return made_store(tmp_path / "out", made_study(recipes=["standard", "mmr"]))


def test_the_texts_of_the_examples_are_kept_in_any_script(store):
    spec = store.records()[0].spec
    store.write_examples(spec, "choice", ["東京 – 'naïve'"], ["a", "b"], ["読んだ"])
    assert store.examples(spec) == {
        "kind": "choice",
        "texts": ["東京 – 'naïve'"],
        "labels": ["a", "b"],
        "data": ["読んだ"],
        "references": [],
    }
    store.write_examples(spec, "generation", ["a?", "b?"], [], references=[("c", "d"), ("é",)])
    assert store.examples(spec)["references"] == [["c", "d"], ["é"]]


def test_texts_that_were_changed_are_not_shown_and_those_of_older_versions_are(store):
    spec = store.records()[0].spec
    (file,) = (store.path / "examples").iterdir()
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "labels": ["yes", "no"]}))
    with pytest.raises(UserError, match=says(file.name, "steadytune run")):
        store.examples(spec)
    del content["sha256"]
    file.write_text(json.dumps(content))
    with pytest.warns(FolderWarning, match=says(file.name, "checksum")) as caught:
        assert store.examples(spec)["labels"] == store.examples(spec)["labels"] == ["no", "yes"]
    assert len(caught) == 1


@pytest.mark.filterwarnings("ignore::steadytune.errors.FolderWarning")
@pytest.mark.parametrize(
    "change",
    [
        {"texts": ["a"]},
        {"texts": "abcdef"},
        {"texts": [1, 2, 3, 4, 5, 6]},
        {"labels": {"no": "yes"}},
        {"labels": [None, None]},
        {"kind": "sorcery"},
        {"kind": ["choice"]},
        {"data": "all well"},
        {"references": "abcdef"},
        {"references": ["abc", "def"]},
        {"references": [[1]]},
    ],
)
def test_texts_whose_checksum_was_taken_out_are_looked_at(store, change):
    (file,) = (store.path / "examples").iterdir()
    content = json.loads(file.read_text())
    del content["sha256"]
    file.write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError, match=says(file.name, "steadytune run")):
        store.cohorts()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "classification"}'])
def test_broken_texts_are_named_and_written_again_by_the_same_command(store, content):
    spec = store.records()[0].spec
    (file,) = (store.path / "examples").iterdir()
    whole = file.read_bytes()
    file.write_text(content)
    with pytest.raises(UserError, match=says(file.name, "steadytune run")):
        store.cohort("standard")
    store.write_examples(spec, "classification", [f"text {n}" for n in range(EXAMPLES)], ["no", "yes"])
    assert file.read_bytes() == whole
