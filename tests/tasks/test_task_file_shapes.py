"""Shapes in which people have their tables, beside the plain ones."""

import gzip
import json
import os

import pandas as pd
import pytest
from saying import names, says

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks import load_task
from steadytune.tasks.split_files import TRAIN_NAMES, VALIDATION_NAMES, read_split
from steadytune.tasks.tables import Format, read_number, read_table


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_an_unquoted_tab_separated_file_keeps_every_line_as_a_row(tmp_path):
    texts = ['"Well begun', "half done", 'said he."', '"Both"', 'in "the" middle', "plain"] * 2
    lines = "".join(f"{text}\t{i % 2}\n" for i, text in enumerate(texts))
    table = read_table(put(tmp_path, "train.tsv", f"sentence\tlabel\n{lines}"))
    assert table.columns["sentence"] == texts
    assert table.columns["label"] == ["0", "1"] * 6


def test_texts_that_stand_in_quotation_marks_keep_them_where_nothing_is_quoted(tmp_path):
    table = read_table(put(tmp_path, "train.tsv", 'text\tlabel\n"Go."\t0\nstay\t1\n'))
    assert table.columns["text"] == ['"Go."', "stay"]


@pytest.mark.parametrize(
    "content", ['text\tlabel\n"say ""go"""\t0\nstay\t1\n', '"text"\t"label"\n"say ""go"""\t"0"\n"stay"\t"1"\n']
)
def test_a_quoted_tab_separated_file_is_read_as_such(tmp_path, content):
    assert read_table(put(tmp_path, "train.tsv", content)).columns == {
        "text": ['say "go"', "stay"],
        "label": ["0", "1"],
    }


def test_a_quoted_text_may_hold_tabs_and_lines(tmp_path):
    frame = pd.DataFrame({"text": ['a\tb "c"', "d\ne", "f"], "label": [0, 1, 0]})
    frame.to_csv(tmp_path / "train.tsv", sep="\t", index=False)
    assert read_table(tmp_path / "train.tsv").columns["text"] == frame["text"].tolist()


def test_a_quotation_mark_that_joins_rows_of_a_comma_separated_file_is_refused(tmp_path):
    content = 'text,label\nfirst,0\n"second,1\nthird,0\nfourth",1\nfifth,0\n'
    with pytest.raises(UserError, match=says("train.csv, line 3", "3 lines")):
        read_table(put(tmp_path, "train.csv", content))


def _joined(row, delimiter=","):
    """Return the lines of a file in which the text of row 2 begins with a quotation mark and that of row 5 ends so."""
    texts = [f"text {n}" for n in range(12)]
    texts[2], texts[5] = f'"{texts[2]}', f'{texts[5]}"'
    return "".join(delimiter.join(map(str, row(n, text))) + "\n" for n, text in enumerate(texts))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", "text,score\n" + _joined(lambda n, text: (text, f"0.{n + 11}"))),
        ("train.csv", "id,score,text\n" + _joined(lambda n, text: (n, f"0.{n + 11}", text))),
        ("train.csv", "label,text\n" + _joined(lambda n, text: (n % 2, '"a, b"' if n == 8 else text))),
        ("train.csv", "label,text\n" + _joined(lambda n, text: (("no", "yes")[n % 2], '"a, b"' if n == 8 else text))),
        ("train.tsv", "label\ttext\n" + _joined(lambda n, text: (n % 2, text + "\tx" * (n == 4)), "\t")),
    ],
)
def test_rows_that_a_quotation_mark_joins_are_refused_whatever_stands_in_them(tmp_path, name, content):
    with pytest.raises(UserError, match=says(f"{name}, line 4", "4 lines")):
        read_table(put(tmp_path, name, content))


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("quoting", [0, 1, 2])  # what needs it, all, all but numbers
@pytest.mark.parametrize("order", [["text", "score"], ["score", "text"]])
def test_quoted_texts_of_several_lines_are_read(tmp_path, suffix, quoting, order):
    texts = ["Dear Sir,\nthanks", "one, 1\ntwo", 'a "b"\n\nc\td', "bye, 5", "not so", "so\r\nit, 5\r\nis, 7, x"]
    if quoting:
        texts[5] = "1,2\n3,4\n5"
    frame = pd.DataFrame({"text": texts, "score": [0.5, 1, 2, 3, 4, 5]})[order]
    frame.to_csv(tmp_path / f"train.{suffix}", sep="," if suffix == "csv" else "\t", index=False, quoting=quoting)
    assert read_table(tmp_path / f"train.{suffix}").columns["text"] == texts


def test_a_quoted_text_of_several_lines_is_one_row(tmp_path):
    table = read_table(put(tmp_path, "train.csv", 'text,label\n"Dear Sir,\nthanks",0\nbye,1\n'))
    assert table.columns == {"text": ["Dear Sir,\nthanks", "bye"], "label": ["0", "1"]}


def test_semicolons_and_decimal_commas_are_read_and_said(tmp_path):
    table = read_table(put(tmp_path, "run.csv", "label;prob_0;prob_1\n0;0,90;,1\n1;0,20;8e-1\n".replace("8e-1", "0,8")))
    assert table.figures("prob_0") == [0.9, 0.2]
    assert table.figures("prob_1") == [0.1, 0.8]
    assert "semicolons" in table.notes[0]


def test_a_point_in_a_column_means_that_its_commas_are_no_decimals(tmp_path):
    table = read_table(put(tmp_path, "run.csv", "a;b\n0.5;1\n0,5;2\n"))
    with pytest.raises(UserError, match=says("run.csv, line 3", "'a'", "'0,5'", "number")):
        table.figures("a")


def test_thousands_between_tabs_are_a_question(tmp_path):
    table = read_table(put(tmp_path, "run.tsv", "a\tb\n1,234\t1\n5,678\t2\n"))
    with pytest.raises(UserError, match=says("line 2", "'a'", "'1,234'", "decimal", "thousands")):
        table.figures("a")


def test_spaces_after_commas_are_no_part_of_names_and_values(tmp_path):
    table = read_table(put(tmp_path, "run.csv", 'label, prob_0, text\n0, 0.60, "a, b"\n1, 0.10, c\n'))
    assert table.columns == {"label": ["0", "1"], "prob_0": ["0.60", "0.10"], "text": ["a, b", "c"]}


def test_a_space_that_begins_a_text_stays_where_the_header_has_none(tmp_path):
    assert read_table(put(tmp_path, "run.csv", "label,text\n0, a\n")).columns["text"] == [" a"]


def test_the_first_line_may_say_the_delimiter(tmp_path):
    table = read_table(put(tmp_path, "run.csv", "sep=;\r\ntext;label\r\na, b;0\r\n"))
    assert (table.columns, table.numbers) == ({"text": ["a, b"], "label": ["0"]}, [3])


def test_empty_columns_at_the_end_are_left_out(tmp_path):
    assert read_table(put(tmp_path, "run.csv", "label,text,,\n0,a,,\n")).columns == {"label": ["0"], "text": ["a"]}


@pytest.mark.parametrize(
    ("spelled", "number"), [("1", 1), (" -2.50 ", -2.5), (".5", 0.5), ("1e-3", 0.001), (3, 3), (0.5, 0.5), ("+7", 7)]
)
def test_numbers_are_read_as_people_spell_them(spelled, number):
    assert read_number(spelled) == number


@pytest.mark.parametrize("word", ["1_0", "0x10", "1,5", "", "one", True, "１", "1 2", "--1", "1.2.3"])
def test_what_spells_no_number_is_none(word):
    with pytest.raises(ValueError, match=says(repr(word), "number")):
        read_number(word)


@pytest.mark.parametrize("suffix", ["json", "JSON", "jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        [{"text": "a", "label": 0}, {"text": "b", "label": 1}],
        {"data": [{"text": "a", "label": 0}, {"text": "b", "label": 1}]},
        {"version": "1.1", "data": [{"text": "a", "label": 0}, {"text": "b", "label": 1}]},
        {"0": {"text": "a", "label": 0}, "1": {"text": "b", "label": 1}},
        {"columns": ["text", "label"], "index": [0, 1], "data": [["a", 0], ["b", 1]]},
        {"text": ["a", "b"], "label": [0, 1]},
        {"text": {"0": "a", "1": "b"}, "label": {"0": 0, "1": 1}},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_may_be_an_array_or_columns(tmp_path, suffix, content, indent):
    path = put(tmp_path, f"train.{suffix}", json.dumps(content, indent=indent))
    assert read_table(path).columns == {"text": ["a", "b"], "label": [0, 1]}


def test_columns_that_are_numbers_are_no_rows(tmp_path):
    for content in ({"0": {"0": "a", "1": "b"}, "1": {"0": 0, "1": 1}}, {"0": ["a", "b"], "1": [0, 1]}):
        path = put(tmp_path, "train.json", json.dumps(content))
        assert read_table(path).columns == {"0": ["a", "b"], "1": [0, 1]}
    row = {"data": [1, 2], "label": 0}
    assert read_table(put(tmp_path, "train.jsonl", json.dumps(row))).columns == {"data": [[1, 2]], "label": [0]}


def test_a_key_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(UserError, match=says("train.jsonl, line 2", "'label'")):
        read_table(put(tmp_path, "train.jsonl", '{"label": 0}\n{"label": 0, "label": 1}\n'))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_utf_16_is_recognised(tmp_path, encoding):
    table = read_table(put(tmp_path, "train.csv", "text,label\nünï,0\n".encode(encoding)))
    assert table.columns == {"text": ["ünï"], "label": ["0"]}
    assert bool(table.notes) == ("16" in encoding)


def test_latin_1_is_a_question_with_the_option_that_settles_it(tmp_path):
    path = put(tmp_path, "train.csv", "text,label\nok,1\nünï,0\n".encode("latin-1"))
    with pytest.raises(UserError, match=says("train.csv, line 3", "UTF-8", "--set task.encoding=latin-1")):
        read_split(tmp_path, TRAIN_NAMES, Format(option="task.encoding"))
    assert read_split(tmp_path, TRAIN_NAMES, Format("latin-1")).columns["text"] == ["ok", "ünï"]
    for wrong in ("latin-x", "utf\0", "rot13", "undefined"):
        with pytest.raises(UserError, match=says("encoding", repr(wrong))):
            read_table(path, Format(wrong))


def test_letters_of_windows_are_suggested_as_such(tmp_path):
    path = put(tmp_path, "train.csv", "text,label\nünï’s,0\n".encode("cp1252"))
    with pytest.raises(UserError, match=says("UTF-8", "--set task.encoding=cp1252")):
        read_table(path, Format(option="task.encoding"))


def test_a_mark_that_contradicts_the_named_encoding_is_refused(tmp_path):
    path = put(tmp_path, "train.csv", "\ufefftext,label\nünï,0\n")
    with pytest.raises(UserError, match=says("utf-8", "task.encoding", "latin-1")):
        read_table(path, Format("latin-1", "task.encoding"))
    assert list(read_table(path, Format("utf8")).columns) == ["text", "label"]
    wide = put(tmp_path, "dev.csv", "\ufefftext,label\nünï,0\n".encode("utf-16-le"))
    assert list(read_table(wide, Format("utf-16-le")).columns) == ["text", "label"]


@pytest.mark.parametrize("name", ["Train.CSV", "TRAIN.csv", "data/train.csv", "plain_text/train.csv"])
def test_capitals_and_a_folder_below_are_found(tmp_path, name):
    put(tmp_path, name, "text,label\na,0\n")
    assert read_split(tmp_path, TRAIN_NAMES).columns["text"] == ["a"]


def test_two_folders_with_a_split_are_a_question(tmp_path):
    for folder in ("cola", "sst2"):
        put(tmp_path, f"{folder}/train.csv", "text,label\na,0\n")
    with pytest.raises(UserError, match=says("train", "cola, sst2", "folder")):
        read_split(tmp_path, TRAIN_NAMES)


def test_the_parts_of_an_older_hub_are_found(tmp_path):
    for part in (0, 1):
        frame = pd.DataFrame({"text": [f"part {part}"]})
        (tmp_path / "data").mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / "data" / f"train-{part:05}-of-00002-{part:016x}.parquet")
    assert read_split(tmp_path, TRAIN_NAMES).columns["text"] == ["part 0", "part 1"]


def test_what_save_to_disk_writes_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    splits = {
        name: datasets.Dataset.from_dict({"text": [name, "b"], "label": [0, 1]}) for name in ("train", "validation")
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert read_split(tmp_path / "saved", TRAIN_NAMES).columns == {"text": ["train", "b"], "label": [0, 1]}
    assert read_split(tmp_path / "saved", VALIDATION_NAMES).columns["text"] == ["validation", "b"]
    with pytest.raises(UserError, match=says("split", "save_to_disk")):
        read_split(tmp_path / "saved" / "train", TRAIN_NAMES)
    put(tmp_path, "saved/train/state.json", '{"_data_files": [{"filename": "data\\u0000.arrow"}]}')
    with pytest.raises(UserError, match=says("state.json", "save_to_disk")):
        read_split(tmp_path / "saved", TRAIN_NAMES)


@pytest.mark.parametrize("parts", [1, 2])
def test_the_names_that_datasets_gives_to_classes_are_said_and_minus_one_is_none_of_them(tmp_path, parts):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    data = datasets.Dataset.from_dict({"text": list("abcd"), "label": [0, 1, -1, 1]}, features=features)
    for part in range(parts):
        name = f"train-{part:05}-of-{parts:05}.parquet" if parts > 1 else "train.parquet"
        data.shard(parts, part).to_parquet(tmp_path / name)
    data.to_parquet(tmp_path / "validation.parquet")
    task = load_task(TaskSpec(name=str(tmp_path)))
    assert task.train.labels.tolist() == [0, 1, 1]
    assert task.label_names == ("0", "1")
    assert any(names(note, "0", "'neg'", "1", "'pos'") for note in task.reading.notes)
    saved = tmp_path / "saved"
    datasets.DatasetDict({"train": data, "validation": data}).save_to_disk(saved)
    assert load_task(TaskSpec(name=str(saved))).fingerprint == task.fingerprint


def test_a_test_file_in_the_place_of_a_validation_file_is_named(tmp_path):
    put(tmp_path, "test.csv", "text,label\na,0\n")
    with pytest.raises(UserError, match=says("test.csv", "validation.csv")):
        read_split(tmp_path, VALIDATION_NAMES)


def test_a_file_without_a_header_is_named_as_such(tmp_path):
    table = read_table(put(tmp_path, "train.tsv", "made\t0\t*\tthe dog barks\nmade\t1\t\tthe cat sleeps\n"))
    with pytest.raises(UserError, match=says("train.tsv", "header")):
        table.column("label", "task.label=NAME")


def test_short_rows_are_left_aside_only_where_asked_and_said(tmp_path):
    path = put(tmp_path, "train.tsv", "a\tb\n1\t2\n3\n4\t5\n")
    with pytest.raises(UserError, match=says("train.tsv, line 3", "1 field", "2 fields")):
        read_table(path)
    table = read_table(path, Format(short_rows=True))
    assert table.columns == {"a": ["1", "4"], "b": ["2", "5"]}
    assert names(table.notes[0], "1 row", "field")
    assert table.numbers == [2, 4]


def test_what_is_no_regular_file_or_too_large_is_refused(tmp_path):
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(UserError, match=says("train.csv", "pipe")):
        read_table(tmp_path / "train.csv")
    bomb = put(tmp_path, "bomb.jsonl.gz", gzip.compress(b" " * 80_000_000))
    with pytest.raises(UserError, match=says("bomb.jsonl.gz", "64 MiB")):
        read_table(bomb)


def test_a_parquet_file_with_a_flipped_bit_gives_its_rows_or_one_line(tmp_path):
    path = tmp_path / "train.parquet"
    pd.DataFrame({"text": ["some text", "more of it"] * 20, "label": [0, 1] * 20}).to_parquet(path)
    whole = path.read_bytes()
    for place in range(4, len(whole) - 8, max(1, len(whole) // 150)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            assert len(read_table(path)) <= 40
        except UserError as error:
            assert "\n" not in str(error)
