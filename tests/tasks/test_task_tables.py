import gzip
import json

import pandas as pd
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.tasks import tables
from steadytune.tasks.split_files import TRAIN_NAMES, VALIDATION_NAMES, read_split

ROWS = {"text": ['a, "b"', "tab\there", "line\nbreak", "ünï"], "label": [0, 1, 0, 1]}


def put(folder, name, content):
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_every_format_gives_the_same_texts(tmp_path, suffix, packed):
    frame = pd.DataFrame(ROWS)
    if suffix in {"jsonl", "json"}:
        content = frame.to_json(orient="records", lines=True, force_ascii=False)
    else:
        content = frame.to_csv(index=False, sep="," if suffix == "csv" else "\t")
    put(tmp_path, f"train.{suffix}{packed}", content)
    table = read_split(tmp_path, TRAIN_NAMES)
    assert table.columns["text"] == ROWS["text"]
    assert [int(value) for value in table.columns["label"]] == ROWS["label"]
    assert len(table) == 4


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_parquet_keeps_types_and_missing_values(tmp_path, packed):
    file = tmp_path / f"train.parquet{packed}"
    table = pd.DataFrame({"text": ["a", None], "label": [0.5, float("nan")]}).to_parquet()
    file.write_bytes(gzip.compress(table) if packed else table)
    table = read_split(tmp_path, TRAIN_NAMES)
    assert table.columns["text"] == ["a", None]
    assert table.columns["label"][0] == 0.5
    assert table.where(1) == f"{file}, row 2"


def test_parts_are_joined_in_order(tmp_path):
    for part in (1, 0):
        pd.DataFrame({"text": [f"part {part}"]}).to_parquet(tmp_path / f"train-{part:05}-of-00002.parquet")
    assert read_split(tmp_path, TRAIN_NAMES).columns["text"] == ["part 0", "part 1"]


def test_a_missing_part_is_noticed(tmp_path):
    pd.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "train-00000-of-00002.parquet")
    with pytest.raises(UserError, match=says("1 of", "2 parts", "train")):
        read_split(tmp_path, TRAIN_NAMES)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_the_validation_file_has_several_names(tmp_path, name):
    put(tmp_path, f"{name}.csv", "text,label\na,0\n")
    assert read_split(tmp_path, VALIDATION_NAMES).columns == {"text": ["a"], "label": ["0"]}


def test_texts_that_look_like_numbers_or_nothing_stay_texts(tmp_path):
    put(tmp_path, "train.csv", "text,label\n007,0\nNA,1\nnull,0\n")
    assert read_split(tmp_path, TRAIN_NAMES).columns["text"] == ["007", "NA", "null"]


def test_unquoted_tab_separated_files_may_have_stray_quotation_marks(tmp_path):
    put(tmp_path, "train.tsv", 'text\tlabel\n"Not closed\t0\n"Closed" he said\t1\nmid"dle\t0\n')
    table = read_split(tmp_path, TRAIN_NAMES)
    assert table.columns["text"] == ['"Not closed', '"Closed" he said', 'mid"dle']


def test_a_text_may_be_longer_than_the_csv_module_allows(tmp_path):
    put(tmp_path, "train.csv", f"text,label\n{'word ' * 50_000},0\n")
    assert len(read_split(tmp_path, TRAIN_NAMES).columns["text"][0]) == 250_000


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    put(tmp_path, "train.csv", "\ufefftext,label\na,0\n")
    assert list(read_split(tmp_path, TRAIN_NAMES).columns) == ["text", "label"]


def test_rows_know_the_line_where_they_begin(tmp_path):
    put(tmp_path, "train.csv", 'text,label\n"one\ntwo",0\n\nthree,1\n')
    table = read_split(tmp_path, TRAIN_NAMES)
    assert table.numbers == [2, 5]
    assert table.where(1) == f"{tmp_path / 'train.csv'}, line 5"


def test_blank_lines_and_unusual_line_separators_do_not_split_json(tmp_path):
    put(tmp_path, "train.jsonl", '{"text": "a\u2028b\x85c"}\r\n\n{"text": "d", "more": 1}\n')
    table = read_split(tmp_path, TRAIN_NAMES)
    assert table.columns == {"text": ["a\u2028b\x85c", "d"], "more": [None, 1]}
    assert table.numbers == [1, 3]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train.jsonl", '{"a": 1}\n{"a": 2\n', ["train.jsonl, line 2", "JSON"]),
        ("train.jsonl", '[{"a": 1}, 2]', ["row 2", "JSON object"]),
        ("train.jsonl", "\n \n", ["train.jsonl", "empty"]),
        ("train.jsonl", b'{"a": 1}\n{"a": "\xff"}', ["line 2", "UTF-8", "0xff"]),
        ("train.csv", "", ["train.csv", "empty"]),
        ("train.csv", "text,label\n", ["train.csv", "rows"]),
        ("train.csv", "text,label\na,0\nb\n", ["line 3", "1 field", "2 fields"]),
        ("train.csv", 'text,label\na,0\n"b,1\n', ["train.csv, line 3", "unexpected end of data"]),
        ("train.csv", "text,text\na,0\n", ["train.csv", "text, text"]),
        ("train.tsv", "text\tlabel\na\n", ["line 2", "1 field", "2 fields"]),
        ("train.parquet", "no parquet", ["train.parquet", " parquet"]),
    ],
)
def test_what_cannot_be_parsed_is_named_with_its_line(tmp_path, name, content, said):
    put(tmp_path, name, content)
    with pytest.raises(UserError, match=says(*said)) as error:
        read_split(tmp_path, TRAIN_NAMES)
    assert str(error.value).count("\n") == 0


def test_a_broken_gzip_file_is_named(tmp_path):
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * 100)[:-20])
    with pytest.raises(UserError, match=says("train.jsonl.gz", "gzip")):
        read_split(tmp_path, TRAIN_NAMES)
    (tmp_path / "train.jsonl.gz").write_text(json.dumps({"a": 1}))
    with pytest.raises(UserError, match=says("train.jsonl.gz", "gzip")):
        read_split(tmp_path, TRAIN_NAMES)


def test_a_folder_with_the_name_of_a_file_cannot_be_read(tmp_path):
    (tmp_path / "train.csv").mkdir()
    with pytest.raises(UserError, match=says("train.csv", "Is a directory")):
        read_split(tmp_path, TRAIN_NAMES)


def test_a_missing_file_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=says("validation", "valid", "val", "dev", ".csv")):
        read_split(tmp_path, VALIDATION_NAMES)


def test_two_files_for_one_split_are_refused(tmp_path):
    put(tmp_path, "dev.csv", "a\n1\n")
    put(tmp_path, "validation.jsonl", '{"a": 1}')
    with pytest.raises(UserError, match=says("dev.csv, validation.jsonl", "validation")):
        read_split(tmp_path, VALIDATION_NAMES)


def test_a_missing_folder_and_a_file_in_its_place_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere") as error:
        read_split(tmp_path / "nowhere", TRAIN_NAMES)
    assert "folder" in str(error.value)
    with pytest.raises(UserError, match=says("train.csv", "file", "folder")):
        read_split(put(tmp_path, "train.csv", "a\n1\n"), TRAIN_NAMES)


def test_a_parquet_file_of_more_rows_than_are_read_is_refused_by_what_it_says_of_itself(tmp_path, monkeypatch):
    pd.DataFrame({"text": ["a"] * 20, "label": [0] * 20}).to_parquet(tmp_path / "train.parquet")
    monkeypatch.setattr(tables, "_collect", None)
    for limit in ("_MOST_CELLS", "LARGEST_TEXT"):
        with monkeypatch.context() as patch:
            patch.setattr(tables, limit, 39)
            with pytest.raises(UserError, match=says("20 rows", "2 columns")):
                tables.read_table(tmp_path / "train.parquet")
