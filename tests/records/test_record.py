import json

import pytest
from made_runs import made_record, made_specs, made_study
from pydantic import ValidationError
from saying import says

from steadytune.files import CorruptFile, canonical_json, sha256
from steadytune.records import RunRecord


@pytest.fixture
def record():
    study = made_study(recipes={"both": {"stabilizers": ["surt", {"mhloss": {"heads": 3}}]}})
    return made_record(made_specs(study)[0], notes=("a note",), arrays={"logits": (6, 2)}, checksums={"a": "b"})


def written(content):
    """What a file would hold whose author knows the checksum."""
    content = {key: value for key, value in content.items() if key != "sha256"}
    return json.dumps({**content, "sha256": sha256(canonical_json(content))})


def test_a_record_survives_the_way_to_json_and_back(record):
    assert RunRecord.from_json(record.to_json()) == record


def test_the_json_names_the_run_and_everything_that_determined_it(record):
    content = json.loads(record.to_json())
    assert content["id"] == record.spec.id
    assert content["format"] == 1
    assert content["spec"]["stabilizers"] == [
        record.spec.stabilizers[0].entry(),
        {"mhloss": {"heads": 3, "reduction": "sum"}},
    ]
    assert content["spec"]["training"]["learning_rate"] == 2e-5


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("score",), 0.99),
        (("scores", "accuracy"), 0.99),
        (("status",), "crashed"),
        (("spec", "seeds", "init"), 7),
        (("curves", "loss"), [0.1, 0.1]),
        (("checksums", "a"), "c"),
        (("sha256",), "0" * 64),
    ],
)
def test_a_record_that_was_edited_is_not_read(record, path, value):
    content = json.loads(record.to_json())
    *above, last = path
    place = content
    for part in above:
        place = place[part]
    assert place[last] != value
    place[last] = value
    with pytest.raises(CorruptFile, match=says("run.json", "checksum")):
        RunRecord.from_json(json.dumps(content))


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[1]", '"text"', "{}", '{"sha256": "x"}', '{"score": NaN, "sha256": "x"}']
)
def test_text_that_is_no_record_is_not_read(text):
    with pytest.raises(CorruptFile, match=r"run\.json"):
        RunRecord.from_json(text)


def test_a_record_cut_short_anywhere_is_not_read(record):
    text = record.to_json()
    for length in range(0, len(text), 50):
        with pytest.raises(CorruptFile):
            RunRecord.from_json(text[:length])


def test_a_record_of_another_format_or_version_is_not_read(record):
    content = json.loads(record.to_json())
    with pytest.raises(CorruptFile, match=says("run.json", "format 2", "1")):
        RunRecord.from_json(written({**content, "format": 2}))
    with pytest.raises(CorruptFile, match=says("run.json", "steadytune")):
        RunRecord.from_json(written({**content, "colour": "blue"}))
    # A setting that this version does not know changes the id.
    with pytest.raises(CorruptFile, match=says("run.json", "steadytune")):
        RunRecord.from_json(written({**content, "id": "0" * 16}))


def test_a_run_at_or_below_the_majority_score_is_a_failed_run(record):
    def failed(**fields):
        return record.model_copy(update=fields).failed

    assert not failed(score=0.51)
    assert failed(score=0.5)
    assert failed(score=0.4)
    assert failed(score=None)
    # What a constant answer scores is unknown, as of texts in records of older versions.
    assert failed(majority_score=None) is None
    assert failed(score=None, majority_score=None)
    assert not record.model_copy(update={"majority_score": None}).at_chance


def test_a_number_that_is_not_one_cannot_be_recorded(record):
    for field, value in (("score", float("nan")), ("curves", {"loss": [float("inf")]}), ("timings", {"total": -1.0})):
        with pytest.raises(ValidationError):
            RunRecord.model_validate({**record.model_dump(), field: value})
    assert '"loss": [' in record.to_json()
    assert "null" in record.to_json()


def test_the_seconds_of_a_run_are_its_total(record):
    assert record.seconds == 2.0
    assert record.model_copy(update={"timings": {}}).seconds == 0.0


def test_what_older_versions_called_failed_is_read_as_crashed(record):
    lost = record.model_copy(update={"status": "crashed", "score": None})
    content = json.loads(lost.to_json())
    assert RunRecord.from_json(written({**content, "status": "failed"})) == lost


def test_a_run_at_chance_finished_and_is_no_better_than_one_answer(record):
    assert not record.at_chance
    assert record.model_copy(update={"score": 0.5}).at_chance
    crashed = record.model_copy(update={"status": "crashed", "score": None})
    assert crashed.failed
    assert not crashed.at_chance
