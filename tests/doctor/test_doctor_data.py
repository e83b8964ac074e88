import json

import pytest
from saying import names

from steadytune.doctor import diagnose
from steadytune.doctor.data import _ADVICE, data_findings
from steadytune.doctor.setup import Setup


@pytest.fixture
def findings(tiny_model, tmp_path):
    """Return a function from rows of both splits to the doctor's findings about them, and what it says it read."""

    def look(train, validation, **content):
        for name, rows in (("train", train), ("validation", validation)):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        file = tmp_path / "study.yaml"
        file.write_text(json.dumps({"model": str(tiny_model), "task": str(tmp_path), **content}))
        found = diagnose(file)
        return {one.rule: one for one in found.findings if one.rule in _ADVICE}, found.data

    return look


def rows(count, text="anna sees hat", label=lambda n: n % 2, **more):
    return [{"sentence": f"{text} {n}", "label": label(n), **more} for n in range(count)]


def test_measured_examples_that_are_trained_on_are_found_with_what_to_do(findings):
    found, read = findings(rows(20), rows(10))
    assert found.keys() == {"trained-on-measured"}
    assert found["trained-on-measured"].severity == "high"
    assert names(found["trained-on-measured"].found, "10 of", "10", "100 %")
    assert names(read[0], "20", "10")


def test_inputs_that_are_cut_are_found(findings):
    validation = rows(10, "ben reads the very good book of the house")
    found, _ = findings(rows(20), validation, training={"max_length": 6})
    assert found["cut-inputs"].severity == "high"
    assert names(found["cut-inputs"].found, "0 %", "100 %", "6")
    assert "cut-inputs" not in findings(rows(20), validation)[0]


def test_a_one_class_validation_set_is_found(findings):
    found, _ = findings(rows(20), rows(10, "ben", label=lambda n: 1))
    assert names(found["one-class"].found, "10", "'1'")


def test_the_label_in_the_inputs_is_found_where_a_user_put_it_there(findings, tmp_path):
    train = [{**row, "name": ("no", "yes")[row["label"]]} for row in rows(40)]
    validation = [{**row, "name": ("no", "yes")[row["label"]]} for row in rows(20, "ben")]
    task = {"name": str(tmp_path), "columns": ["sentence", "name"]}
    found, read = findings(train, validation, task=task)
    assert "'name'" in found["label-leak"].found
    assert "name" in read[0]


def test_of_unknown_data_nothing_is_said():
    assert data_findings(Setup("args.json", stock=True, learning_rate=1e-5)) == []
