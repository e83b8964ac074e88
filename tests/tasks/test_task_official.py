"""Benchmarks as their makers distribute them, made small."""

import json

import numpy as np
import pytest
from saying import names, says

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks import load_task


def load(name, folder, **options):
    return load_task(TaskSpec(name=name, path=str(folder), **options))


def put_tsv(folder, header, rows, train="train.tsv", validation="dev.tsv"):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in ([header] if header else []) + rows]
    for name in (train, validation):
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def put_lines(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "val"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


SPANS = [
    {"span1_index": 0, "span1_text": "Ann", "span2_index": 3, "span2_text": "She"},
    {"span1_index": 2, "span1_text": "Bea", "span2_index": 3, "span2_text": "She"},
]
WSC = [
    {"text": "Ann saw Bea. She left.", "target": target, "label": bool(n), "idx": n} for n, target in enumerate(SPANS)
]


def test_the_spans_of_wsc_are_told_to_the_model(tmp_path):
    task = load("super_glue/wsc", put_lines(tmp_path / "WSC", WSC))
    assert task.validation.candidates == (
        (("Ann saw Bea. She left.", "She refers to Ann"),),
        (("Ann saw Bea. She left.", "She refers to Bea"),),
    )
    assert task.validation.labels.tolist() == [0, 1]


def test_a_plain_folder_of_wsc_is_read_as_such(tmp_path):
    folder = put_lines(tmp_path / "mine", WSC)
    task = load_task(TaskSpec(name=str(folder)))
    assert task.train.candidates[0] == (("Ann saw Bea. She left.", "She refers to Ann"),)


def test_wsc_without_its_spans_is_refused(tmp_path):
    rows = [{"text": f"Ann saw Bea {n}", "label": n % 2 == 0} for n in range(4)]
    with pytest.raises(UserError, match=says("super_glue/wsc", "text, span2_text, span1_text", "text")):
        load("super_glue/wsc", put_lines(tmp_path / "x", rows))


@pytest.mark.parametrize("target", [None, {"span1_text": "Ann"}])
def test_a_row_of_wsc_without_its_spans_is_named(tmp_path, target):
    folder = put_lines(tmp_path / "x", [*WSC, {**WSC[0], "target": target}])
    with pytest.raises(UserError, match=says("train.jsonl, line 3", "span1_text", "span2_text", "'target'")):
        load_task(TaskSpec(name=str(folder)))


def test_the_word_of_wic_is_needed(tmp_path):
    rows = [{"w": "run", "sentence1": f"a {n}", "sentence2": f"b {n}", "label": n % 2 == 0} for n in range(4)]
    with pytest.raises(UserError, match=says("super_glue/wic", "word, sentence1, sentence2", "sentence1, sentence2")):
        load("super_glue/wic", put_lines(tmp_path / "x", rows))
    columns = load("super_glue/wic", tmp_path / "x", columns=("sentence1", "sentence2")).reading.columns
    assert columns == ("sentence1", "sentence2")


def test_wic_has_its_word_also_in_a_plain_folder(tmp_path):
    rows = [
        {"word": "bank", "sentence1": "By the bank.", "sentence2": "A bank.", "start1": 7, "label": n == 0, "idx": n}
        for n in range(2)
    ]
    folder = put_lines(tmp_path / "WiC", rows)
    for task in (load("super_glue/wic", tmp_path), load_task(TaskSpec(name=str(folder)))):
        assert task.train.candidates[0] == (("bank: By the bank.", "A bank."),)


def test_multirc_in_its_nested_layout(tmp_path):
    def passage(number):
        answers = [{"idx": 0, "text": "yes", "label": 1}, {"idx": 1, "text": "no", "label": 0}]
        questions = [
            {"idx": 0, "question": "Q1?", "answers": answers},
            {"idx": 1, "question": "Q2?", "answers": answers},
        ]
        return {"idx": number, "version": 1.1, "passage": {"text": f"Passage {number}.", "questions": questions}}

    folder = put_lines(tmp_path / "MultiRC", [passage(0), passage(1)])
    task = load("super_glue/multirc", tmp_path)
    assert len(task.validation) == 8
    assert task.validation.candidates[:2] == ((("Passage 0.", "Q1? yes"),), (("Passage 0.", "Q1? no"),))
    assert task.validation.labels.tolist() == [1, 0] * 4
    assert task.validation.questions.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert task.validation.groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(UserError, match=says("super_glue/multirc", "--task super_glue/multirc")):
        load_task(TaskSpec(name=str(folder)))


def test_a_broken_paragraph_of_multirc_is_named(tmp_path):
    rows = [{"passage": {"text": "A.", "questions": [{"question": "Q?"}]}}]
    with pytest.raises(UserError, match=says("train.jsonl, line 1", "answers")):
        load("super_glue/multirc", put_lines(tmp_path / "MultiRC", rows))


def test_record_in_its_nested_layout(tmp_path):
    text = "Ann met Bob.\n@highlight\nThey spoke"
    row = {
        "source": "news",
        "passage": {"text": text, "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 10}]},
        "qas": [{"query": "@placeholder was met.", "answers": [{"start": 8, "end": 10, "text": "Bob"}], "idx": 0}] * 2,
    }
    task = load("super_glue/record", put_lines(tmp_path / "ReCoRD", [row]))
    assert [one[0][1] for one in task.validation.candidates] == ["Ann was met.", "Bob was met."] * 2
    assert task.validation.labels.tolist() == [0, 1, 0, 1]
    assert task.validation.questions.tolist() == [0, 0, 1, 1]
    assert task.validation.groups.tolist() == [0, 0, 0, 0]


def test_cola_has_no_header_and_quotes_nothing(tmp_path):
    rows = [["gj04", n % 2, "" if n % 2 else "*", f'"Well, number {n} barks'] for n in range(4)]
    task = load("glue/cola", put_tsv(tmp_path / "CoLA", None, rows).parent)
    assert [one[0][0] for one in task.train.candidates] == [f'"Well, number {n} barks' for n in range(4)]
    assert task.train.labels.tolist() == [0, 1, 0, 1]
    assert "header" in task.reading.notes[0]


def test_cola_without_a_header_in_a_plain_folder_is_named_as_such(tmp_path):
    folder = put_tsv(
        tmp_path / "mine", None, [["gj04", n % 2, "", f"the small dog number {n} barks"] for n in range(4)]
    )
    with pytest.raises(UserError, match=says("train.tsv", "header")):
        load_task(TaskSpec(name=str(folder)))


def test_mrpc(tmp_path):
    header = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    rows = [[n % 2, n, n, f'He said "{n}', f'"{n}" he said'] for n in range(4)]
    task = load("glue/mrpc", put_tsv(tmp_path / "MRPC", header, rows))
    assert task.train.candidates[1] == (('He said "1', '"1" he said'),)
    assert task.train.labels.tolist() == [0, 1, 0, 1]


def test_qqp_leaves_rows_aside_that_break_off_and_says_so(tmp_path):
    header = ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
    rows = [[n, n, n, f"Why {n}?", f"How {n}?", n % 2] for n in range(4)]
    task = load("glue/qqp", put_tsv(tmp_path / "QQP", header, [*rows[:2], ["9", "9", "9", "Broken"], *rows[2:]]))
    assert task.train.labels.tolist() == [0, 1, 0, 1]
    assert task.train.candidates[2] == (("Why 2?", "How 2?"),)
    assert names(task.reading.notes[0], "1 row", "field")


def test_stsb(tmp_path):
    header = [
        "index",
        "genre",
        "filename",
        "year",
        "old_index",
        "source1",
        "source2",
        "sentence1",
        "sentence2",
        "score",
    ]
    rows = [[n, "main", "MSR", "2012", n, "none", "none", f"A {n}", f"B {n}", f"{n / 2:.3f}"] for n in range(4)]
    task = load("glue/stsb", put_tsv(tmp_path / "STS-B", header, rows))
    assert task.kind == "regression"
    assert task.train.candidates[3] == (("A 3", "B 3"),)
    assert task.train.labels.tolist() == [0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(("name", "file"), [("glue/mnli", "dev_matched"), ("glue/mnli_mismatched", "dev_mismatched")])
def test_mnli_leaves_pairs_without_a_gold_label_aside(tmp_path, name, file):
    header = [
        "index",
        "promptID",
        "pairID",
        "genre",
        "sentence1_parse",
        "sentence1",
        "sentence2",
        "label1",
        "gold_label",
    ]
    labels = ["neutral", "entailment", "contradiction", "-", "neutral"]
    rows = [[n, n, n, "fiction", "(A)", f"A {n}", f"B {n}", label, label] for n, label in enumerate(labels)]
    task = load(name, put_tsv(tmp_path / "MNLI", header, rows, validation=f"{file}.tsv").parent)
    assert task.validation.labels.tolist() == [1, 0, 2, 1]
    assert task.validation.candidates[3] == (("A 4", "B 4"),)
    assert "1 of 5 rows" in task.reading.notes[0]


@pytest.mark.parametrize(
    ("name", "folder", "header", "row", "texts"),
    [
        ("glue/sst2", "SST-2", ["sentence", "label"], ["a film {}", "{}"], ("a film 1", None)),
        ("glue/qnli", "QNLI", ["index", "question", "sentence", "label"], [0, "q {}", "s {}", "{}"], ("q 1", "s 1")),
        ("glue/rte", "RTE", ["index", "sentence1", "sentence2", "label"], [0, "a {}", "b {}", "{}"], ("a 1", "b 1")),
        ("glue/wnli", "WNLI", ["index", "sentence1", "sentence2", "label"], [0, "a {}", "b {}", "{}"], ("a 1", "b 1")),
    ],
)
def test_the_other_files_of_glue(tmp_path, name, folder, header, row, texts):
    words = name in {"glue/qnli", "glue/rte"}
    rows = []
    for n in range(4):
        label = ("entailment", "not_entailment")[n % 2] if words else n % 2
        rows.append([*(str(cell).format(n) for cell in row[:-1]), label])
    task = load(name, put_tsv(tmp_path / folder, header, rows).parent)
    assert task.train.candidates[1] == (texts,)
    assert task.train.labels.tolist() == [0, 1, 0, 1]


def test_booleans_and_words_of_superglue(tmp_path):
    rows = [{"question": f"q {n}", "passage": f"p {n}", "idx": n, "label": n % 2 == 1} for n in range(4)]
    assert load("super_glue/boolq", put_lines(tmp_path / "BoolQ", rows)).train.labels.tolist() == [0, 1, 0, 1]
    words = ("neutral", "entailment", "contradiction")
    rows = [{"premise": f"p {n}", "hypothesis": "h", "label": words[n], "idx": n} for n in range(3)]
    assert load("super_glue/cb", put_lines(tmp_path / "CB", rows)).train.labels.tolist() == [2, 0, 1]


def test_a_group_may_be_named_and_is_part_of_what_a_run_is(tmp_path):
    rows = [{"text": f"t {n}", "label": n % 2, "doc": f"d{n // 2}"} for n in range(6)]
    folder = put_lines(tmp_path / "x", rows)
    plain = load_task(TaskSpec(name=str(folder)))
    grouped = load_task(TaskSpec(name=str(folder), group="doc"))
    assert plain.validation.groups is None
    assert grouped.validation.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert grouped.reading.group == "doc"
    assert "doc" not in grouped.reading.left_aside
    assert grouped.fingerprint != plain.fingerprint
    assert grouped.validation.select(np.array([5, 0])).groups.tolist() == [2, 0]
    with pytest.raises(UserError, match=says("'document'", "task.group=NAME")):
        load_task(TaskSpec(name=str(folder), group="document"))


def test_groups_of_a_benchmark_change_no_run(tmp_path):
    paragraphs = [{"paragraph": f"p {n // 2}", "question": f"q {n}", "answer": "a", "label": n % 2} for n in range(4)]
    indexed = [{**row, "idx": {"paragraph": n // 2, "question": n, "answer": n}} for n, row in enumerate(paragraphs)]
    tasks = [
        load("super_glue/multirc", put_lines(tmp_path / f"{n}", rows)) for n, rows in enumerate((paragraphs, indexed))
    ]
    assert tasks[0].validation.groups.tolist() == [0, 0, 1, 1]
    assert tasks[0].fingerprint == tasks[1].fingerprint
