"""Tables of tagged words and of sets of labels: what is read, and what is refused with its line."""

import json

import numpy as np
import pandas as pd
import pytest
from saying import says
from seqeval.metrics import f1_score
from sklearn.metrics import f1_score as f1_of_sets

import steadytune as st
from steadytune.errors import UserError

RUNS = 3
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
RNG = np.random.default_rng(0)
SIZES = RNG.integers(1, 7, 12)
SENTENCES = np.repeat(np.arange(12), SIZES)
GOLD = RNG.choice(TAGS, len(SENTENCES))
TAGGED = np.where(RNG.random((RUNS, len(SENTENCES))) < 0.7, GOLD, RNG.choice(TAGS, (RUNS, len(SENTENCES))))


def by_sentence(tags):
    return [[str(tag) for tag in tags[at == SENTENCES]] for at in range(12)]


ENTITIES = [f1_score(by_sentence(GOLD), by_sentence(tags)) for tags in TAGGED]


def word_frame(run, sentence="sentence_id", **columns):
    words = [f"w{at}" for at in range(len(SENTENCES))]
    return pd.DataFrame({sentence: SENTENCES, "word": words, "label": GOLD, "prediction": TAGGED[run], **columns})


def write(folder, made, suffix="csv"):
    for run in range(RUNS):
        found = made(run)
        if suffix == "csv":
            found.to_csv(folder / f"s{run}.csv", index=False)
        else:
            (folder / f"s{run}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder


@pytest.mark.parametrize("kind", [{}, {"kind": "tokens"}])
@pytest.mark.parametrize("sentence", ["sentence_id", "sentence", "Sentence #", "sent_id", "questions"])
def test_a_row_per_word_with_its_sentence_is_scored_by_entities(tmp_path, sentence, kind):
    cohort = st.read_runs(write(tmp_path, lambda run: word_frame(run, sentence)), columns=kind)
    assert (cohort.kind, cohort.metric) == ("tokens", "entity_f1")
    np.testing.assert_allclose(cohort.scores, ENTITIES)
    pairs = set(zip(cohort.groups.tolist(), SENTENCES.tolist(), strict=True))
    assert len(pairs) == len(set(cohort.groups)) == 12


def test_a_sentence_column_of_any_name_is_named_by_the_user(tmp_path):
    write(tmp_path, lambda run: word_frame(run, "id"))
    with pytest.raises(UserError, match=says("s0.csv", "--set sentence=id", "--set ignore=id")):
        st.read_runs(tmp_path)
    np.testing.assert_allclose(st.read_runs(tmp_path, columns={"sentence": "id"}).scores, ENTITIES)
    # Without it, words are scored alone.
    alone = st.read_runs(tmp_path, columns={"ignore": "id"})
    assert (alone.metric, alone.questions) == ("accuracy", None)


def test_a_run_that_predicts_one_tag_is_of_words_as_the_others(tmp_path):
    def made(run):
        return word_frame(run).drop(columns="label").assign(prediction="O" if run == 1 else TAGGED[run])

    cohort = st.read_runs(write(tmp_path, made))
    assert cohort.kind == "tokens"
    np.testing.assert_array_equal(np.array(cohort.label_names)[cohort.predictions[1]], "O")
    assert len(set(cohort.questions)) == 12


def test_a_column_of_tags_is_the_label_of_words_and_of_nothing_else(tmp_path):
    write(tmp_path, lambda run: word_frame(run).rename(columns={"label": "Tag"}))
    np.testing.assert_allclose(st.read_runs(tmp_path, columns={"kind": "tokens"}).scores, ENTITIES)
    assert st.read_runs(tmp_path, columns={"kind": "classification"}).labels is None


def test_classes_that_only_look_like_tags_stay_classes(tmp_path):
    rows = pd.DataFrame({"label": ["B", "S", "O", "B"], "prediction": ["B", "S", "O", "S"]})
    assert st.read_runs(write(tmp_path, lambda run: rows)).kind == "classification"


def test_a_list_beside_a_text_is_what_is_accepted(tmp_path):
    rows = [{"output": f"a text {at}", "target": [f"a text {at}", "another"] if at else ["none"]} for at in range(4)]
    cohort = st.read_runs(write(tmp_path, lambda run: rows, "jsonl"))
    assert (cohort.kind, cohort.scores.tolist()) == ("generation", [0.75] * 3)


def test_a_document_and_a_place_in_it_name_words_together(tmp_path):
    frames = [word_frame(run, "doc_id", idx=range(len(GOLD))) for run in range(RUNS)]
    cohort = st.read_runs(write(tmp_path, lambda run: frames[run][:: -1 if run else 1]), columns={"kind": "tokens"})
    np.testing.assert_allclose(cohort.scores, (TAGGED == GOLD).mean(axis=1))


@pytest.mark.parametrize("spell", [list, str, json.dumps])
@pytest.mark.parametrize("order", [False, True])
def test_a_row_per_sentence_with_lists_of_tags_is_the_same(tmp_path, spell, order):
    def made(run):
        rows = [
            {"id": f"s{at}", "tokens": ["w"] * len(gold), "labels": spell(gold), "predictions": spell(tags)}
            for at, (gold, tags) in enumerate(zip(by_sentence(GOLD), by_sentence(TAGGED[run]), strict=True))
        ]
        return rows[::-1] if order and run else rows

    cohort = st.read_runs(write(tmp_path, made, "jsonl"))
    assert (cohort.kind, cohort.metric) == ("tokens", "entity_f1")
    np.testing.assert_allclose(cohort.scores, ENTITIES)


def sentence_rows(run, **columns):
    return [
        {"labels": gold, "predictions": tags, **{name: values[at] for name, values in columns.items()}}
        for at, (gold, tags) in enumerate(zip(by_sentence(GOLD), by_sentence(TAGGED[run]), strict=True))
    ]


HALVES = [at // 6 for at in range(12)]


@pytest.mark.parametrize(
    ("columns", "settings"),
    [
        ({"idx": HALVES}, {}),
        ({"questions": HALVES}, {}),
        ({"doc_id": HALVES}, {}),
        ({"doc_id": HALVES, "sentence_id": range(12)}, {}),
        ({"doc_id": HALVES, "sentence_id": [at % 6 for at in range(12)]}, {}),
        ({"name": range(12)}, {"id": "name", "sentence": "name"}),
        ({"name": range(12)}, {"sentence": "name"}),
    ],
)
def test_a_row_with_lists_of_tags_is_one_sentence(tmp_path, columns, settings):
    cohort = st.read_runs(write(tmp_path, lambda run: sentence_rows(run, **columns), "jsonl"), columns=settings)
    np.testing.assert_allclose(cohort.scores, ENTITIES)
    pairs = set(zip(cohort.questions.tolist(), SENTENCES.tolist(), strict=True))
    assert len(pairs) == len(set(cohort.questions)) == 12


@pytest.mark.parametrize("apart", [True, False])
def test_sentences_without_names_are_matched_by_their_words(tmp_path, apart):
    sizes = np.cumsum(SIZES) - SIZES
    words = [[f"w{start + at if apart else 0}" for at in range(size)] for start, size in zip(sizes, SIZES, strict=True)]
    write(tmp_path, lambda run: sentence_rows(run, tokens=words)[:: -1 if run else 1], "jsonl")
    if apart:
        cohort = st.read_runs(tmp_path)
        np.testing.assert_allclose(cohort.scores, ENTITIES)
        np.testing.assert_array_equal(cohort.predictions == cohort.labels, TAGGED == GOLD)
    else:
        with pytest.raises(UserError, match=says("s1.jsonl", "order")):
            st.read_runs(tmp_path)


def test_numbers_of_sentences_do_not_say_which_a_run_lacks(tmp_path):
    def made(run):
        rows = [{"predictions": ["O", "B-X"] if at % 3 else ["O", "O"]} for at in range(20) if run != 1 or at != 4]
        return [{"id": at, **row} for at, row in enumerate(rows)]

    with pytest.raises(UserError, match=says("s1.jsonl", "2 of 40", "number its rows", "id column")):
        st.read_runs(write(tmp_path, made, "jsonl"))


def test_a_column_that_names_several_sentences_alike_does_not_name_them(tmp_path):
    write(tmp_path, lambda run: sentence_rows(run, part=HALVES), "jsonl")
    with pytest.raises(UserError, match=says("s0.jsonl", "row is a sentence", "'part'")):
        st.read_runs(tmp_path, columns={"sentence": "part"})


def test_logits_of_the_words_of_a_sentence_are_read(tmp_path):
    numbers = [[[0, 1, 1], [2]], [[0, 1, 0], [2]]]

    def made(run):
        return [
            {"labels": labels, "logits": np.eye(3)[answers].tolist()}
            for labels, answers in zip(numbers[0], numbers[run % 2], strict=True)
        ]

    cohort = st.read_runs(write(tmp_path, made, "jsonl"), columns={"kind": "tokens"})
    np.testing.assert_allclose(cohort.scores, [1, 0.75, 1])
    assert cohort.questions.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("rows", "settings", "said"),
    [
        ([{"labels": ["O", "B-X"], "predictions": ["O"]}], {}, ["line 1", "'predictions'", "2", "'labels'"]),
        ([{"labels": ["O"]}, {"labels": "O"}], {"kind": "tokens"}, ["line 2", "'labels'", "'O'", "list"]),
        ([{"labels": ["O", "B-X"]}, {"labels": None}], {}, ["line 2", "'labels'", "None", "list of tags"]),
        ([{"labels": ["O", "B-X"], "tokens": ["a"]}], {}, ["line 1", "'tokens'", "2", "--set ignore=tokens"]),
        ([{"labels": []}], {"kind": "tokens"}, ["'labels'", "no word"]),
        ([{"labels": ["art"], "logits": [1, 0]}], {}, ["'labels'", "--set kind=tokens", "--set kind=multilabel"]),
    ],
)
def test_lists_that_are_no_sentences_are_named(tmp_path, rows, settings, said):
    with pytest.raises(UserError, match=says(*said)):
        st.read_runs(write(tmp_path, lambda run: rows, "jsonl"), columns=settings)


@pytest.mark.parametrize(
    ("sentences", "documents", "said"),
    [
        ([0, 0, 1, 0], None, ["line 5", "'sentence_id'", "'0'"]),
        ([0, 0, None, 1], None, ["line 4", "'sentence_id'", "missing"]),
        ([0, 0, 0, 1], [0, 0, 1, 1], ["line 4", "'sentence_id'", "'doc_id'"]),
    ],
)
def test_sentences_that_are_not_told_apart_are_refused(tmp_path, sentences, documents, said):
    frame = pd.DataFrame({"sentence_id": pd.array(sentences, "Int64"), "label": ["O", "B-X"] * 2, "prediction": "O"})
    if documents:
        frame["doc_id"] = documents
    with pytest.raises(UserError, match=says("s0.csv", *said)):
        st.read_runs(write(tmp_path, lambda run: frame))


LABELS = ["art", "none", "sport"]
SETS = (RNG.random((9, 3)) < 0.5).astype(int)
LOGITS = RNG.normal(size=(RUNS, 9, 3)).round(3)
NAMED = [[name for name, held in zip(LABELS, one, strict=True) if held] for one in SETS]


def set_frame(run, labels):
    outputs = {f"logit_{name}": LOGITS[run, :, at] for at, name in enumerate(LABELS)}
    return pd.DataFrame({"labels": labels, **outputs})


@pytest.mark.parametrize(
    "labels",
    [
        [", ".join(one) for one in NAMED],
        ["|".join(one).upper() for one in NAMED],
        [";".join(one) for one in NAMED],
        [str(one) for one in NAMED],
        [json.dumps(one) for one in NAMED],
        [str(one.tolist()) for one in SETS],
    ],
)
def test_cells_list_the_labels_of_a_row(tmp_path, labels):
    cohort = st.read_runs(write(tmp_path, lambda run: set_frame(run, labels)), columns={"kind": "multilabel"})
    np.testing.assert_array_equal(cohort.labels, SETS)
    assert list(cohort.label_names) == LABELS
    expected = [f1_of_sets(SETS, one > 0, average="micro") for one in LOGITS]
    np.testing.assert_allclose(cohort.scores, expected)


@pytest.mark.parametrize("classes", [{}, {"classes": "art,none,sport"}])
def test_lists_of_outputs_are_numbered_or_named_by_the_user(tmp_path, classes):
    cells = NAMED if classes else [np.flatnonzero(one).tolist() for one in SETS]

    def made(run):
        pairs = zip(cells, LOGITS[run].tolist(), strict=True)
        return [{"labels": labels, "logits": logits} for labels, logits in pairs]

    cohort = st.read_runs(write(tmp_path, made, "jsonl"), columns={"kind": "multilabel", **classes})
    np.testing.assert_array_equal(cohort.labels, SETS)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"labels": ["news"], "logit_a": 1, "logit_b": 0}, ["line 2", "'news'", "'labels'", "a, b"]),
        ({"labels": [None], "logit_a": 1, "logit_b": 0}, ["line 2", "None", "'labels'", "a, b"]),
        ({"labels": None, "logit_a": 1, "logit_b": 0}, ["line 2", "'labels'", "missing", "[]"]),
        ({"labels": ["a", "A"], "logit_a": 1, "logit_b": 0}, ["line 2", "'A'", "twice"]),
        ({"labels": ["a"], "predictions": ["a"]}, ["logit_NAME", "prob_NAME"]),
        ({"labels": [1, 0], "predictions": [1, 0]}, ["logit_NAME", "prob_NAME"]),
        ({"labels": ["a"], "logits": [0.5, 1]}, ["'a'", "0, 1", "--set classes"]),
    ],
)
def test_sets_that_cannot_be_read_are_named(tmp_path, row, said):
    rows = [{**row, "labels": []}, row]
    with pytest.raises(UserError, match=says("s0.jsonl", *said)):
        st.read_runs(write(tmp_path, lambda run: rows, "jsonl"), columns={"kind": "multilabel"})


def switched(names, columns, lacking=()):
    """A run with an output for each name, and a column of 0 and 1 for each of the others."""
    outputs = {f"logit_{name}": LOGITS[0, :, at] for at, name in enumerate(names)}
    labels = {name: SETS[:, at].astype(object) for at, name in enumerate(columns) if at not in lacking}
    return pd.DataFrame({**outputs, **labels})


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["c", "c#", "c++"], ["label_c", "label_c#", "label_c++"]),
        (["c", "c#", "c++"], ["c", "c#", "c++"]),
        (["#", "a b", "B"], ["label_#", "Label AB", "y.b"]),
    ],
)
def test_a_column_of_switches_is_that_of_one_label(tmp_path, names, columns):
    write(tmp_path, lambda run: switched(names, columns))
    cohort = st.read_runs(tmp_path, columns={"kind": "multilabel"})
    order = [names.index(name) for name in cohort.label_names]
    np.testing.assert_array_equal(cohort.labels, SETS[:, order])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (switched(["c", "c#", "c++"], ["label_c", "label_c#", ""], [2]), ["label_c#", "label_c++", "--set ignore="]),
        (switched(["a", "c#", "c++"], ["label_a", "label_c", ""], [2]), ["'label_c'", "'c#'", "'c++'"]),
        (switched(["a", "b", "#"], ["label_a", "label_b", "label"]), ["'label'"]),
        (switched(["a", "b", "c"], ["label_a", "label_b", "label-c"]).assign(y_c=0), ["label-c", "y_c", "ignore"]),
        (switched(["a", "b", "c"], ["label_a", "label_b", "c"], [2]), ["no column", "label_c"]),
    ],
)
def test_labels_without_a_column_of_their_own_are_named(tmp_path, made, said):
    with pytest.raises(UserError, match=says("s0.csv", *said)):
        st.read_runs(write(tmp_path, lambda run: made), columns={"kind": "multilabel"})


@pytest.mark.parametrize("cell", [None, 0.5, "yes"])
def test_a_switch_that_is_none_is_named_with_its_line(tmp_path, cell):
    frame = switched(LABELS, [f"label_{name}" for name in LABELS])
    frame.loc[4, "label_none"] = cell
    with pytest.raises(UserError, match=says("s0.csv, line 6", "'label_none'", "0 or 1")):
        st.read_runs(write(tmp_path, lambda run: frame), columns={"kind": "multilabel"})


def test_empty_columns_of_labels_are_no_labels(tmp_path):
    frame = switched(LABELS, [f"label_{name}" for name in LABELS])
    frame[[f"label_{name}" for name in LABELS]] = None
    assert st.read_runs(write(tmp_path, lambda run: frame), columns={"kind": "multilabel"}).labels is None


@pytest.mark.parametrize("listed", [True, False])
def test_a_label_named_like_a_statistic_is_a_label(tmp_path, listed):
    names = ["art", "best actor", "energy"]
    if listed:
        cells = ["|".join(name for name, held in zip(names, one, strict=True) if held) for one in SETS]
        frame = switched(names, []).assign(label=cells)
    else:
        frame = switched(names, [f"label_{name}" for name in names])
    cohort = st.read_runs(write(tmp_path, lambda run: frame), columns={"kind": "multilabel"})
    assert list(cohort.label_names) == names
    np.testing.assert_array_equal(cohort.labels, SETS)


def test_a_statistic_of_all_labels_is_asked_about(tmp_path):
    frame = switched(["art", "law", "loss"], ["label_art", "label_law"], [2])
    with pytest.raises(UserError, match=says("s0.csv", "'logit_loss'", "classes=art,law,loss", "ignore=logit_loss")):
        st.read_runs(write(tmp_path, lambda run: frame), columns={"kind": "multilabel"})
    cohort = st.read_runs(tmp_path, columns={"kind": "multilabel", "ignore": "logit_loss"})
    assert list(cohort.label_names) == ["art", "law"]


@pytest.mark.parametrize(
    ("kind", "labels"), [("multilabel", SETS), ("classification", np.eye(3, dtype=int)[SETS[:, 0]])]
)
def test_switches_are_in_the_order_of_columns_only_if_the_user_says_so(tmp_path, kind, labels):
    frame = switched(["sport", "art", "law"], []).assign(label=list(map(str, labels.tolist())))
    write(tmp_path, lambda run: frame)
    with pytest.raises(UserError, match=says("s0.csv", "'label'", "--set classes=sport,art,law")):
        st.read_runs(tmp_path, columns={"kind": kind})
    cohort = st.read_runs(tmp_path, columns={"kind": kind, "classes": "sport,art,law"})
    assert list(cohort.label_names) == ["sport", "art", "law"]
    np.testing.assert_array_equal(cohort.labels, labels if kind == "multilabel" else labels.argmax(axis=1))


@pytest.mark.parametrize(
    ("changed", "said"), [("art", ["line 4", "'prediction'", "'art'"]), ("news", ["line 4", "'news'"])]
)
def test_predicted_sets_are_those_of_the_outputs(tmp_path, changed, said):
    cells = [[name for name, one in zip(LABELS, row, strict=True) if one > 0] for row in LOGITS[0]]
    frame = set_frame(0, ["|".join(one) for one in NAMED])
    right = frame.assign(prediction=list(map("|".join, cells)))
    cohort = st.read_runs(write(tmp_path, lambda run: right), columns={"kind": "multilabel"})
    np.testing.assert_array_equal(cohort.labels, SETS)
    cells[2] = [name for name in cells[2] if name != changed] + [changed] * (changed not in cells[2])
    write(tmp_path, lambda run: frame.assign(prediction=list(map("|".join, cells))))
    with pytest.raises(UserError, match=says("s0.csv", *said, "--set ignore=prediction")):
        st.read_runs(tmp_path, columns={"kind": "multilabel"})


def test_a_cell_without_labels_is_not_the_label_none(tmp_path):
    write(tmp_path, lambda run: set_frame(run, [None, *("|".join(one) for one in NAMED[1:])]))
    cohort = st.read_runs(tmp_path, columns={"kind": "multilabel"})
    np.testing.assert_array_equal(cohort.labels, [[0, 0, 0], *SETS[1:]])


def test_arrays_printed_by_numpy_are_lists(tmp_path):
    def made(run):
        cells = [[str(np.array(one, dtype=object)) for one in by_sentence(tags)] for tags in (GOLD, TAGGED[run])]
        return pd.DataFrame({"label": cells[0], "prediction": cells[1]})

    np.testing.assert_allclose(st.read_runs(write(tmp_path, made)).scores, ENTITIES)
    write(tmp_path, lambda run: made(run).replace({r"\]": " ...]"}, regex=True))
    with pytest.raises(UserError, match=says("s0.csv", "'label'", "commas")):
        st.read_runs(tmp_path, columns={"kind": "tokens"})


@pytest.mark.parametrize(("others", "kind"), [({}, {}), ({"pos": "NN"}, {}), ({"pos": "NN"}, {"kind": "tokens"})])
def test_a_column_of_tags_that_may_be_the_label_is_asked_about(tmp_path, others, kind):
    write(tmp_path, lambda run: word_frame(run, **others).rename(columns={"label": "ner_tags"}))
    with pytest.raises(UserError, match=says("s0.csv", "--set label=ner_tags", "--set ignore=ner_tags")):
        st.read_runs(tmp_path, columns=kind)
    np.testing.assert_allclose(st.read_runs(tmp_path, columns={"label": "ner_tags", **kind}).scores, ENTITIES)
    assert st.read_runs(tmp_path, columns={"ignore": "ner_tags,pos", **kind}).labels is None
