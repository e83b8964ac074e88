import gzip
import json

import numpy as np
import pandas as pd
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.external import read_run

NUMBERED = "id,label,logit_1,logit_0,text\na,1,2.5,-1,first\nb,0,0.5,1e0,\n"


def test_columns_become_arrays_in_the_order_of_the_classes(tmp_path):
    (tmp_path / "run.csv").write_text(NUMBERED)
    run = read_run(tmp_path / "run.csv")
    assert run.logits.tolist() == [[-1, 2.5], [1, 0.5]]
    assert run.labels.tolist() == [1, 0]
    assert run.ids == ("a", "b")
    assert run.texts == ("first", "")
    assert run.label_names is None


def test_every_format_says_the_same(tmp_path):
    frame = pd.DataFrame({"id": ["a", "b"], "label": [1, 0], "prob_0": [0.25, 1], "prob_1": [0.75, 0]})
    frame.to_csv(tmp_path / "run.csv", index=False)
    frame.to_csv(tmp_path / "run.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "run.parquet")
    lines = "".join(json.dumps(row) + "\n" for row in frame.to_dict("records"))
    (tmp_path / "run.jsonl").write_text(lines)
    (tmp_path / "run.csv.gz").write_bytes(gzip.compress((tmp_path / "run.csv").read_bytes()))
    for suffix in ("csv", "tsv", "parquet", "jsonl", "csv.gz"):
        run = read_run(tmp_path / f"run.{suffix}")
        np.testing.assert_array_equal(run.probabilities, [[0.25, 0.75], [1, 0]])
        assert run.logits is None
        assert run.labels.tolist() == [1, 0]
        assert run.ids == ("a", "b")


def test_named_classes_may_stand_in_any_order_and_labels_are_their_names(tmp_path):
    (tmp_path / "a.csv").write_text("label,logit_yes,logit_no\nyes,2,1\nno,3,4\n")
    (tmp_path / "b.csv").write_text("logit_no,logit_yes,label\n1,2,yes\n4,3,no\n")
    a, b = read_run(tmp_path / "a.csv"), read_run(tmp_path / "b.csv")
    for run in (a, b):
        assert run.label_names == ("no", "yes")
        assert run.logits.tolist() == [[1, 2], [4, 3]]
        assert run.labels.tolist() == [1, 0]


def test_more_than_ten_classes_are_in_order_of_their_numbers(tmp_path):
    names = [f"logit_{number}" for number in range(12)]
    (tmp_path / "run.csv").write_text(f"{','.join(sorted(names))}\n{','.join(name[6:] for name in sorted(names))}\n")
    assert read_run(tmp_path / "run.csv").logits.tolist() == [list(range(12))]


def test_generated_texts_are_read(tmp_path):
    (tmp_path / "run.jsonl").write_text('{"generation": "a cat", "reference": "the cat"}\n{"generation": ""}\n')
    run = read_run(tmp_path / "run.jsonl")
    assert run.generations == ("a cat", "")
    assert run.references == ("the cat", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["run.csv", "empty"]),
        ("label,logit_0,logit_1\n", ["run.csv", "rows"]),
        ("label,score\n1,2\n", ["run.csv", "logit_0, logit_1", "prob_0", "'generation'", "label, score"]),
        ("label,logit_0,logit_2\n1,2,3\n", ["run.csv", "logit_0, logit_2", "logit_1"]),
        ("label,logit_0,logit_1\n1,2,3\n0,x,1\n", ["run.csv, line 3", "'logit_0'", "'x'", "number"]),
        ("label,logit_0,logit_1\n1,2,\n", ["run.csv, line 2", "'logit_1'", "missing"]),
        ("label,logit_0,logit_1\n1,2,nan\n", ["run.csv, line 2", "'logit_1'", "nan"]),
        ("label,logit_0,logit_1\nyes,2,3\n", ["line 2", "'label'", "'yes'", "number", "columns"]),
        ("label,logit_no,logit_yes\n1,2,3\n", ["line 2", "'label'", "'1'", "no, yes"]),
        ("label,logit_0,logit_1\n1,2\n", ["run.csv, line 2", "2 fields", "3 fields"]),
    ],
)
def test_a_table_that_is_wrong_is_named_with_the_line(tmp_path, text, said):
    (tmp_path / "run.csv").write_text(text)
    with pytest.raises(UserError, match=says(*said)):
        read_run(tmp_path / "run.csv")
