"""Tasks whose answers are texts, read from folders: which columns are prompts, which are generated, what is refused."""

import numpy as np
import pandas as pd
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.study import TaskSpec, Training
from steadytune.tasks import load_task
from steadytune.tasks.data_facts import data_facts
from steadytune.tasks.splits import Splits, split


def load(folder, **options):
    return load_task(TaskSpec(name=str(folder), **options))


def prompts(examples):
    return [first for ((first, _),) in examples.candidates]


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


SQUAD = [
    {"id": "1", "title": "T", "context": "C1", "question": "Q1", "answers": {"text": ["A", "A", "B"]}},
    {"id": "2", "title": "T", "context": "C1", "question": "Q2", "answers": {"text": ["C"]}},
    {"id": "3", "title": "U", "context": "C2", "question": "Q3", "answers": {"text": ["D"]}},
]
ALPACA = [
    {"instruction": "Add.", "input": "1 2", "output": "3", "text": "Add. 1 2 3"},
    {"instruction": "Sing.", "input": "", "output": "la", "text": "Sing. la"},
]


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ("prompt", "completion"),
        ("source", "target"),
        ("document", "summary"),
        ("dialogue", "summary"),
        ("article", "highlights"),
        ("question", "answer"),
        ("instruction", "output"),
        ("Source", "TARGET"),
    ],
)
def test_known_columns_are_read_without_options(write_splits, prompt, completion):
    task = load(write_splits([{"id": 1, prompt: "p", completion: "c"}, {"id": 2, prompt: "q", completion: "d"}]))

    assert (task.kind, task.metric, task.extra_metrics) == ("generation", "exact_match", ("chrf", "target_loss"))
    assert task.train.candidates == ((("p", None),), (("q", None),))
    assert task.train.labels.tolist() == [("c",), ("d",)]
    assert task.label_names == ()
    assert task.reading.columns == (prompt.lower(),)
    assert task.reading.label == completion.lower()
    assert task.reading.left_aside == ("id",)


def test_a_question_is_read_with_its_context_and_all_its_answers(write_splits):
    task = load(write_splits(SQUAD))

    assert prompts(task.train) == ["C1\nQ1", "C1\nQ2", "C2\nQ3"]
    assert task.train.labels.tolist() == [("A", "B"), ("C",), ("D",)]
    assert task.validation.groups.tolist() == [0, 0, 1]
    assert task.reading.group == "context"
    assert task.reading.left_aside == ("id", "title")
    assert any("2 accepted" in note for note in task.reading.notes)


def test_the_halves_of_a_validation_set_share_no_passage_and_rows_without_one_are_on_their_own(write_splits):
    rows = [{"context": c, "question": f"{c}{n}", "answer": str(n)} for c in ("C", "D", "", None) for n in range(3)]
    task = load(write_splits(rows), kind="generation")
    groups = task.validation.groups.tolist()
    assert groups[:6] == [0, 0, 0, 1, 1, 1]
    assert len({*groups[6:], 0, 1}) == 8
    assert prompts(task.train)[-1] == "None2"

    halves = split(task, Training(select_checkpoint=True))
    assert set(halves.select.groups).isdisjoint(halves.measure.groups)
    assert len(halves.select) + len(halves.measure) == 12


def test_an_instruction_is_read_with_its_input_where_it_has_one(write_splits):
    task = load(write_splits(ALPACA))

    assert prompts(task.train) == ["Add.\n1 2", "Sing."]
    assert task.reading.left_aside == ("text",)
    assert task.validation.groups is None
    assert "train.jsonl: 'input' is empty in 1 of 2 rows" in task.reading.notes


def test_the_same_rows_of_a_csv_file_and_of_json_make_the_same_task(write_splits):
    rows = [{"question": "q", "answers": ["a", "b"]}, {"question": "r", "answers": ["[c"]}]
    folder = write_splits(rows)
    expected = load(folder)
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").unlink()
        pd.DataFrame({"question": ["q", "r"], "answers": ['["a", "b"]', "[c"]}).to_csv(
            folder / f"{name}.csv", index=False
        )

    assert load(folder).fingerprint == expected.fingerprint


def test_parquet_keeps_lists_and_messages(write_splits):
    rows = [{"messages": [user("u"), assistant("a")]}, {"messages": [user("v"), assistant("b")]}]
    folder = write_splits(rows)
    expected = load(folder)
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").unlink()
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")

    assert load(folder).fingerprint == expected.fingerprint


def test_the_last_message_of_a_chat_is_what_is_generated(write_splits):
    system = {"role": "system", "content": "s"}
    rows = [
        {"messages": [system, user("u"), assistant("a"), user("v"), assistant("b")]},
        {"messages": [user("w"), assistant("c")]},
    ]
    task = load(write_splits(rows))

    assert task.train.labels.tolist() == [("b",), ("c",)]
    assert task.train.parts == (
        (("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v")),
        (("user", "w"),),
    )
    assert prompts(task.train) == ["system: s\nuser: u\nassistant: a\nuser: v", "user: w"]
    assert any("1 chat" in note for note in task.reading.notes)


def test_messages_may_be_split_into_prompt_and_completion(write_splits):
    rows = [
        {"prompt": [user("u")], "completion": [assistant("a")]},
        {"prompt": [user("v")], "completion": "b"},
    ]
    task = load(write_splits(rows))

    assert task.train.parts == ((("user", "u"),), (("user", "v"),))
    assert task.train.labels.tolist() == [("a",), ("b",)]


def test_a_chat_and_a_text_that_is_shown_alike_are_different_data(write_splits):
    chat = load(write_splits([{"prompt": [user("u")], "completion": "a"}] * 2)).fingerprint
    text = load(write_splits([{"prompt": "user: u", "completion": "a"}] * 2)).fingerprint

    assert chat != text


def test_every_reference_is_part_of_what_a_task_is(write_splits):
    one = load(write_splits([{"question": "q", "answers": ["a", "b"]}] * 2)).fingerprint
    other = load(write_splits([{"question": "q", "answers": ["a", "c"]}] * 2)).fingerprint

    assert one != other


def test_columns_of_other_names_are_named(write_splits):
    rows = [{"hint": "h", "ask": "p", "say": "c", "label": "x"}, {"hint": "i", "ask": "q", "say": "d", "label": "x"}]
    task = load(write_splits(rows), kind="generation", columns=["hint", "ask"], label="say")

    assert prompts(task.train) == ["h\np", "i\nq"]
    assert task.train.labels.tolist() == [("c",), ("d",)]
    assert task.reading.left_aside == ("label",)


def test_a_chat_under_another_name_is_named(write_splits):
    task = load(write_splits([{"talk": [user("u"), assistant("a")]}] * 2), kind="generation", columns=["talk"])

    assert task.train.labels.tolist() == [("a",), ("a",)]
    assert task.reading.columns == ("talk",)


def test_rows_that_belong_together_may_be_named(write_splits):
    rows = [{"page": page, "prompt": "p", "completion": "c"} for page in ("x", "y", "x")]
    task = load(write_splits(rows), group="page")

    assert task.validation.groups.tolist() == [0, 1, 0]
    assert task.reading.group == "page"


def test_few_texts_are_classes_only_if_their_name_leaves_that_open(write_splits):
    rows = [{"prompt": str(n), "completion": "yes"} for n in range(9)]
    assert load(write_splits(rows)).train.labels.tolist() == [("yes",)] * 9

    rows = [{"source": str(n), "target": "yes"} for n in range(9)]
    assert load(write_splits(rows), kind="generation").train.labels.tolist() == [("yes",)] * 9


def test_a_label_column_makes_a_pair_of_texts_a_classification(write_splits):
    rows = [{"question": "q", "answer": "a", "label": label} for label in (0, 1)]

    assert load(write_splits(rows)).kind == "classification"


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        # What is a class, and what a text?
        ([{"question": "q", "answer": str(n), "score": n} for n in range(9)], {}, ("label=score", "kind=generation")),
        ([{"source": str(n), "target": "yes"} for n in range(9)], {}, ("label=target", "kind=generation")),
        # What is the prompt, and what is left out of it?
        (
            [{"context": "c", "prompt": str(n), "completion": str(n)} for n in range(9)],
            {},
            ("'context'", "[context, prompt]", "label=completion"),
        ),
        ([{"question": "q", "answer": "a", "answers": ["b"]}], {}, ("question -> answers", "question -> answer")),
        ([{"ask": "q", "say": "a"}], {"kind": "generation"}, ("task.columns", "task.label", "ask, say")),
        ([{"ask": "q", "say": "a"}], {"kind": "generation", "columns": ["ask"]}, ("'label'", "task.label")),
        (
            [{"ask": "q", "say": "a"}],
            {"kind": "generation", "columns": ["ask"], "label": "ask"},
            ("'ask'", "to generate"),
        ),
        (
            [{"more": "m", "talk": [user("u"), assistant("a")]}],
            {"kind": "generation", "columns": ["more", "talk"]},
            ("'talk'", "only column"),
        ),
        # Options that say something else.
        ([{"prompt": "p", "completion": "c"}], {"positive": "c"}, ("task.positive",)),
        ([{"prompt": "p", "completion": "c"}], {"metric": "accuracy"}, ("accuracy", "exact_match", "chrf")),
        ([{"text": "p", "label": n} for n in (0, 1)], {"kind": "generation"}, ("prompt", "task.columns")),
        ([{"text": "p", "label": n} for n in (0, 1)], {"kind": "generating"}, ("'generating'", "'generation'")),
        ([{"text": "p", "label": n} for n in (0.5, 1)], {"kind": "classification"}, ("regression",)),
        # Texts that are none.
        ([{"prompt": "p", "completion": "c"}, {"prompt": "p", "completion": " "}], {}, ("line 2", "completion")),
        ([{"prompt": "p", "completion": "c"}, {"prompt": "p", "completion": ""}], {}, ("line 2", "no_label")),
        ([{"prompt": "p", "completion": "c"}, {"prompt": "p"}], {}, ("line 2", "no_label")),
        ([{"prompt": "p", "completion": "c"}, {"prompt": "", "completion": "c"}], {}, ("line 2", "'prompt'")),
        ([{"prompt": "p", "completion": n} for n in (1, 2)], {}, ("line 1", "'completion'", "text", "1")),
        ([{"prompt": "p", "completion": "\ud800"}], {}, ("line 1", "surrogate")),
        ([{"question": "q", "answers": ["a"]}, {"question": "q", "answers": []}], {}, ("line 2", "no_label")),
        ([{"question": "q", "answers": {"text": []}}], {}, ("line 1", "no_label")),
        ([{"question": "q", "answers": ["a", ""]}], {}, ("line 1", "blank")),
        ([{"question": "q", "answers": ["a", 3]}], {}, ("line 1", "text")),
        # Messages that are none.
        ([{"messages": [user("u"), assistant("a"), user("v")]}], {}, ("line 1", "user", "assistant")),
        ([{"messages": [assistant("a")]}], {}, ("line 1", "answer")),
        ([{"messages": [{"role": "robot", "content": "u"}, assistant("a")]}], {}, ("line 1", "'robot'", "assistant")),
        ([{"messages": [{"role": "user", "content": None}, assistant("a")]}], {}, ("line 1", "message 1", "content")),
        ([{"messages": [user("u"), assistant("")]}], {}, ("line 1", "message 2")),
        ([{"messages": [user("u"), {**assistant("a"), "tool_calls": [1]}]}], {}, ("line 1", "'tool_calls'")),
        ([{"messages": [{"from": "human", "value": "u"}]}], {}, ("line 1", "role", "content")),
        ([{"messages": "hello"}], {}, ("line 1", "messages")),
        ([{"prompt": [user("u"), assistant("a")], "completion": "b"}], {}, ("line 1", "answer")),
        ([{"prompt": [user("u")], "completion": [user("v")]}], {}, ("line 1", "assistant")),
        ([{"prompt": [user("\ud800")], "completion": "b"}], {}, ("line 1", "surrogate")),
    ],
)
def test_what_is_open_or_wrong_is_said_in_two_lines_at_most(write_splits, rows, options, words):
    with pytest.raises(UserError, match=says(*words)) as refused:
        load(write_splits(rows), **options)
    assert str(refused.value).count("\n") <= 1


def test_a_list_in_a_csv_file_that_is_not_json_is_refused(write_splits):
    folder = write_splits([])
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").unlink()
        (folder / f"{name}.csv").write_text("question,answers\nq,\"['a', 'b']\"\n")

    with pytest.raises(UserError, match=says("line 2", "JSON")):
        load(folder)


def test_rows_without_a_text_to_generate_are_skipped_if_that_is_asked_for(write_splits):
    rows = [{**SQUAD[0]}, {**SQUAD[1], "answers": {"text": []}}, {**SQUAD[2], "answers": None}]
    task = load(write_splits(rows, rows[:2]), no_label="nan")

    assert [len(task.train), len(task.validation)] == [1, 1]
    assert any("2 of 3 rows" in note for note in task.reading.notes)
    with pytest.raises(UserError, match=says("'answers'", "'nan'")):
        load(write_splits(rows[1:]), no_label="nan")


def test_rows_with_a_mark_in_the_place_of_a_text_are_skipped(write_splits):
    rows = [{"prompt": "p", "completion": text} for text in ("a", "TODO", "b")]
    task = load(write_splits(rows), no_label="TODO")

    assert task.train.labels.tolist() == [("a",), ("b",)]


def test_what_is_said_of_the_data_speaks_of_texts(write_splits):
    task = load(write_splits([*SQUAD, SQUAD[0]], SQUAD))
    facts = data_facts(task, Splits(task.train, None, task.validation))

    assert facts.described()[0].endswith(
        ": prompt (context, question); label 'answers': texts; 4 for training, 3 measured in 2 groups; "
        "score: exact_match"
    )
    assert (facts.also_trained, facts.repeated, facts.two_labels, facts.shared_groups) == (3, 1, 0, 2)
    assert facts.classes == ()


def test_a_training_subset_keeps_prompts_references_and_chats_together(write_splits):
    rows = [{"messages": [user(str(n)), assistant(f"a{n}")]} for n in range(6)]
    task = load(write_splits(rows))
    some = task.train.select(np.array([4, 1]))

    assert some.labels.tolist() == [("a4",), ("a1",)]
    assert some.parts == ((("user", "4"),), (("user", "1"),))
