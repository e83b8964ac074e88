"""What may be an input by itself, and what never is: the label in other words."""

import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks.files import load_folder
from steadytune.tasks.inputs import infer_layout, telling
from steadytune.tasks.table import Table

CLASSES = ("sport", "trade", "art")


def rows(count=60, **columns):
    """Return `count` rows of three classes; a column is a function of the row's number."""
    return [{name: value(n) for name, value in columns.items()} | {"label": n % 3} for n in range(count)]


def text(n):
    return f"what happened on day {n}"


def word(n):
    return CLASSES[n % 3]


def load(folder, **options):
    return load_folder(TaskSpec(name=str(folder), **options))


def table(content):
    return Table("train.jsonl", {name: [row[name] for row in content] for name in content[0]})


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        ({"body": text, "label_text": word}, ("body",)),
        ({"question": text, "fine": lambda n: f"fine {n % 6}"}, ("question",)),
        ({"text": text, "label_name": word, "split": lambda n: "train"}, ("text",)),
        ({"title": lambda n: f"title {n}", "text": text}, ("title", "text")),
        ({"text": text, "headline": lambda n: f"title {n}"}, ("headline", "text")),
        ({"content": text, "title": lambda n: f"title {n}"}, ("title", "content")),
        ({"title": text, "category_name": word}, ("title",)),
        ({"utt": text}, ("utt",)),
        ({"utt": text, "annotator_id": word, "lang": lambda n: "en"}, ("utt",)),
        (
            {
                "sentence1_parse": text,
                "sentence2_binary_parse": text,
                "sentence1": text,
                "sentence2": lambda n: f"more {n}",
                "captionID": text,
                "pairID": text,
            },
            ("sentence1", "sentence2"),
        ),
    ],
)
def test_inputs_are_columns_of_a_known_name_and_the_rest_is_said_to_be_left_aside(write_splits, columns, fields):
    reading = load(write_splits(rows(**columns))).reading
    assert reading.columns == fields
    assert set(reading.left_aside) == set(columns) - set(fields)
    assert reading.label == "label"
    assert not reading.warnings


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"utt": text, "reply_to": lambda n: f"because {n}"}, ["2 text columns", "utt, reply_to"]),
        ({"utt": text, "kind": word}, ["kind", "label", "task.columns='[utt]'"]),
        ({"kind": word}, ["'kind'", "'label'"]),
        ({"title": word, "text": text}, ["'title'", "'label'", "task.columns='[text]'"]),
        ({"question": text, "answer": word}, ["'answer'", "'label'", "\n", "task.columns='[question]'"]),
        ({"phrase": text, "description": lambda n: f"all about {word(n)}"}, ["'description'", "\n", "'[phrase]'"]),
        ({"tweet_raw": text, "text": word, "author": text}, ["'text'", "label", "\n", "columns='[tweet_raw]'"]),
        ({"sentence": text, "text": lambda n: f"other {n}"}, ["2 text columns", "sentence, text"]),
        ({"parts": lambda n: [text(n)]}, ["parts", "lists"]),
    ],
)
def test_what_could_be_several_or_the_label_is_a_question(columns, said):
    with pytest.raises(UserError, match=says(*said)):
        infer_layout(table(rows(**columns)), "label")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": text, "target": lambda n: f"{{'span1_text': 'a {n}'}}"}, ["'target'", "task.columns="]),
        (
            {"text": text, "target": lambda n: "{'span1_text': 'Mark', 'span2_text': 'he'}"},
            ["'target'", "task.columns="],
        ),
        ({"text": text, "target": lambda n: [n]}, ["'target'", "task.columns="]),
        (
            {"text": text, "target_span1": text, "target_span2": text},
            ["'target_span1'", "\n", "span1_text", "span2_text"],
        ),
        ({"text": text, "span1_index": int, "span2_index": int}, ["'span1_index'", "task.columns="]),
        (
            {"sentence1": text, "sentence2": text, "lemma": lambda n: f"word {n % 7}"},
            ["'lemma'", "\n", "WiC", "'word'"],
        ),
        ({"paragraph": text, "question": text, "answer": text}, ["'paragraph'", "\n", "--task super_glue/multirc"]),
        ({"passage": text, "question": text, "answer": text}, ["passage", "question", "'answer'"]),
        ({"question": text, "context": text, "answer": text}, ["'answer'", "task.columns='[question, context]'"]),
        ({"premise": text, "hypothesis": text, "text": text}, ["'text'", "task.columns='[premise, hypothesis]'"]),
        ({"sentence1": text, "sentence2": text, "ending": text}, ["'ending'", "task.columns="]),
        (
            {"text": text, "aspect": lambda n: ("food", "price")[n % 2]},
            ["'aspect'", "\n", "task.columns='[text, aspect]'"],
        ),
        ({"tweet": text, "topic": lambda n: f"topic {n % 4}"}, ["'topic'", "task.columns="]),
        ({"sentence": text, "target": lambda n: f"they {n % 4}"}, ["'target'", "task.columns="]),
        (
            {"sentence": text, "word": lambda n: f"word {n % 7}"},
            ["'word'", "\n", "--set task.columns='[sentence, word]'"],
        ),
    ],
)
def test_a_column_that_may_belong_to_the_input_is_a_question(columns, said):
    with pytest.raises(UserError, match=says(*said)) as error:
        infer_layout(table(rows(**columns)), "label")
    # Of a column that tells the label the label is named.
    assert "'label'" not in str(error.value)


@pytest.mark.parametrize(
    "columns",
    [
        {"text": text, "target": word},
        {"text": text, "target": lambda n: "all"},
        {"text": text, "target": int},
        {"text": text, "aspect": lambda n: "food", "explanation": text, "topic_id": text},
        {"sentence1": text, "sentence2": text, "span1_text": text, "span2_text": text},
    ],
)
def test_what_tells_the_label_or_nothing_is_no_part_of_the_input(columns):
    assert infer_layout(table(rows(**columns)), "label").fields in {("text",), ("sentence1", "sentence2")}


def test_a_telling_column_that_a_user_names_is_read_and_said_loudly(write_splits):
    task = load(write_splits(rows(body=text, label_text=word)), columns=("body", "label_text"))
    assert task.train.candidates[0] == (("what happened on day 0", "sport"),)
    assert "'label_text'" in task.reading.warnings[0]


def test_the_only_text_is_read_and_said_loudly_where_it_tells_the_label(write_splits):
    reading = load(write_splits(rows(text=word, user=text))).reading
    assert reading.columns == ("text",)
    assert "'text'" in reading.warnings[0]


def tells(values, labels):
    return telling(Table("t", {"x": values, "label": labels}), ["x"], "label") == ["x"]


def test_a_column_tells_the_label_where_most_values_stand_with_one_label():
    labels = [n % 2 for n in range(200)]
    assert tells([("no", "yes")[label] for label in labels], labels)
    assert tells([" Yes" if label else "no" for label in labels], labels)
    wrong = [("no", "yes")[label] for label in labels]
    for row in range(0, 40, 2):
        wrong[row] = "yes"  # 20 of 200
    assert tells(wrong, labels)
    wrong[40] = wrong[42] = "yes"
    assert not tells(wrong, labels)
    assert not tells([f"text {n}" for n in range(200)], labels)
    assert not tells(["same"] * 200, labels)
    assert tells([f"topic {n % 10}" for n in range(200)], labels)
    assert not tells([f"topic {n % 7}" for n in range(200)], labels)


def test_a_topic_does_not_tell_a_label_that_is_almost_always_the_same():
    labels = [int(n % 100 == 0) for n in range(400)]
    assert not tells([f"topic {n % 7}" for n in range(400)], labels)  # 99 % right, as without the topic


@pytest.mark.parametrize("spelled", [lambda n: f"class {n % 60}", lambda n: f"class {(n + (n % 33 == 0)) % 60}"])
def test_many_classes_in_other_words_tell_the_label(spelled):
    labels = [n % 60 for n in range(600)]
    assert tells([spelled(n) for n in range(600)], labels)
    # Copies of a text with a score of its own are the same one to one, and no class.
    assert not tells([f"text {n // 2}" for n in range(600)], [n // 2 for n in range(600)])


def test_repeated_texts_are_no_label(write_splits):
    content = [{"text": f"text {n % 100}", "label": n % 2} for n in range(400)]
    assert load(write_splits(content)).reading.columns == ("text",)


def test_a_column_that_says_one_thing_throughout_is_no_text():
    table = Table("x", {"query": ["NO_QUERY"] * 6, "tweet_text": list("abcdef"), "label": [0, 1] * 3}, [*range(6)])
    assert infer_layout(table, "label").fields == ("tweet_text",)
