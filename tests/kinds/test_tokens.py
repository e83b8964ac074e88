"""Tagged words: which tokens carry labels, what is measured, and what is resampled."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import names, says
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from steadytune.analysis.profile import profile
from steadytune.errors import UserError
from steadytune.external import read_runs, record_run
from steadytune.kinds import KINDS
from steadytune.kinds.encoding import IGNORED
from steadytune.records import Cohort
from steadytune.tasks.base import Examples

TOKENS = KINDS["tokens"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "b", "##b", "c", "##c"]


@pytest.fixture(scope="module")
def wordpiece():
    return BertTokenizerFast(vocab={token: at for at, token in enumerate(VOCABULARY)}, model_max_length=64)


@pytest.fixture(scope="module")
def bytes_bpe():
    """A tokenizer as of GPT-2: a word's token holds the space before it, and no word is marked."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<e>"], show_progress=False)
    made.train_from_iterator(["the cat sat on the mat", "New York is far"] * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<e>", pad_token="<e>", model_max_length=64)


def sentences(*words, groups=None):
    labels = np.empty(len(words), dtype=object)
    labels[:] = [tuple(range(len(one))) for one in words]
    candidates = tuple(((" ".join(one), None),) for one in words)
    return Examples(candidates, labels, parts=tuple(map(tuple, words)), groups=groups)


def labelled(tokenizer, row):
    """The tokens of each part of a row with the labels that count."""
    return [
        [(tokenizer.convert_ids_to_tokens(id_), label) for id_, label in zip(part["input_ids"], marks, strict=True)
         if label != IGNORED]
        for part, marks in zip(row["inputs"], row["labels"], strict=True)
    ]  # fmt: skip


def test_the_first_token_of_each_word_has_its_label(wordpiece):
    rows, over = TOKENS.encode(sentences(["abc", "b", "ca"], ["c"]), wordpiece, 64, False)

    assert wordpiece.convert_ids_to_tokens(rows[0]["inputs"][0]["input_ids"]) == [
        *("[CLS]", "a", "##b", "##c", "b", "c", "##a", "[SEP]")
    ]
    assert rows[0]["labels"] == [[IGNORED, 0, IGNORED, IGNORED, 1, 2, IGNORED, IGNORED]]
    assert [row["answers"] for row in rows] == [[0, 1, 2], [0]]
    assert over.tolist() == [False, False]


def test_words_are_read_as_in_running_text(bytes_bpe):
    (row,), _ = TOKENS.encode(sentences(["the", "cat", "sat", "on", "mats"]), bytes_bpe, 64, False)

    assert row["inputs"][0]["input_ids"] == bytes_bpe("the cat sat on mats")["input_ids"]
    assert [token for token, _ in labelled(bytes_bpe, row)[0]] == ["the", "Ġcat", "Ġsat", "Ġon", "Ġmat"]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=25), st.integers(4, 20))
def test_every_word_is_read_once_whatever_the_limit(words, limit):
    wordpiece = BertTokenizerFast(vocab={token: at for at, token in enumerate(VOCABULARY)}, model_max_length=64)
    (row,), over = TOKENS.encode(sentences(words), wordpiece, limit, False)

    found = [pair for part in labelled(wordpiece, row) for pair in part]
    assert found == [(word[0], at) for at, word in enumerate(words)]
    assert all(len(part["input_ids"]) <= limit for part in row["inputs"])
    assert over.tolist() == [sum(map(len, words)) + 2 > limit and len(words) > 1]


def test_a_word_without_a_token_becomes_the_unknown_one(wordpiece):
    (row,), _ = TOKENS.encode(sentences(["a", "\u200d", "b"]), wordpiece, 64, False)

    assert labelled(wordpiece, row) == [[("a", 0), ("[UNK]", 1), ("b", 2)]]


def test_a_tokenizer_that_does_not_say_where_words_begin_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(UserError, match=says("Slow", "fast")):
        TOKENS.encode(sentences(["a"]), Slow(), 64, False)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_has_a_row_for_each_part_and_says_where_words_begin(wordpiece, side):
    wordpiece.padding_side = side
    rows, _ = TOKENS.encode(sentences(["ab", "c", "ba", "c"], ["c"]), wordpiece, 6, False)
    batch = TOKENS.collate(rows, wordpiece)

    assert len(batch["input_ids"]) == len(batch["labels"]) == sum(len(row["inputs"]) for row in rows) == 3
    asked = TOKENS.counted(batch["labels"])
    assert batch["labels"][asked].tolist() == [label for row in rows for label in row["answers"]]
    tokens = [VOCABULARY[one] for one in batch["input_ids"][asked].tolist()]
    assert tokens == ["a", "c", "b", "c", "c"]
    assert not (asked & (batch["attention_mask"] == 0)).any()
    wordpiece.padding_side = "right"


def test_the_loss_is_that_of_a_token_classification_model():
    from transformers import BertConfig, BertForTokenClassification

    torch.manual_seed(0)
    model = BertForTokenClassification(
        BertConfig(
            vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, num_labels=3
        )
    )
    labels = torch.tensor([[IGNORED, 0, 2, IGNORED], [1, IGNORED, IGNORED, 1]])
    outputs = model.eval()(input_ids=torch.arange(8).view(2, 4), labels=labels)

    assert TOKENS.criterion()(outputs.logits, labels).item() == pytest.approx(outputs.loss.item(), rel=1e-6)


def test_what_is_measured_are_words_and_a_sentence_is_a_question_and_by_default_a_group():
    found = TOKENS.measured(sentences(["a", "b"], ["c"]))
    assert {name: array.tolist() for name, array in found.items()} == {
        "labels": [0, 1, 0],
        "groups": [0, 0, 1],
        "questions": [0, 0, 1],
    }
    documents = TOKENS.measured(sentences(["a", "b"], ["c"], groups=np.array([7, 7])))
    assert documents["groups"].tolist() == [7, 7, 7]
    assert documents["questions"].tolist() == [0, 0, 1]
    assert TOKENS.texts(sentences([*"abcdefgh"]))[0] == "[a] b c d e f ..."


NAMES = ("O", "B-X", "I-X")


def runs_of(words_each, count=30, runs=12):
    """Logits of runs each of which has all words of a sentence wrong, or none."""
    rng = np.random.default_rng(0)
    words = words_each * count
    labels, at = rng.integers(3, size=words), np.arange(words) // words_each
    wrong = rng.random((runs, count)) < 0.3
    turned = (labels + 1) % 3
    return 4.0 * np.eye(3)[np.where(wrong[:, at], turned, labels)], labels, at


def test_the_unit_that_intervals_resample_is_the_sentence():
    logits, labels, at = runs_of(8)
    given = {"logits": logits, "labels": labels, "kind": "tokens", "label_names": NAMES, "metric": "accuracy"}
    by_sentence = profile(Cohort(**given, questions=at), resamples=500)
    by_word = profile(Cohort(**given), resamples=500)

    for measure in ("disagreement", "jensen_shannon"):
        one, other = by_sentence.last(measure), by_word.last(measure)
        assert one.value == pytest.approx(other.value)
        assert one.high - one.low > 1.5 * (other.high - other.low)
    assert by_sentence.cohort.groups.tolist() == at.tolist()


def test_entities_are_scored_by_default_and_again_from_a_file(tmp_path):
    logits, labels, at = runs_of(5)
    cohort = Cohort(logits=logits, labels=labels, questions=at, kind="tokens", label_names=NAMES)
    assert cohort.metric == "entity_f1"
    for seed, run in enumerate(logits):
        record_run(
            tmp_path / f"{seed}.safetensors", logits=run, labels=labels, questions=at, kind="tokens", label_names=NAMES
        )
    read = read_runs(tmp_path)

    assert (read.metric, read.kind) == ("entity_f1", "tokens")
    assert read.scores.tolist() == cohort.scores.tolist()
    assert read.questions.tolist() == read.groups.tolist() == at.tolist()


def test_words_without_sentences_are_scored_by_accuracy():
    logits, labels, _ = runs_of(5)

    assert Cohort(logits=logits, labels=labels, kind="tokens", label_names=NAMES).metric == "accuracy"


def test_what_is_scored_together_must_be_resampled_together():
    logits, labels, at = runs_of(5)
    with pytest.raises(UserError, match=says("question", "two groups", "rows 0 and 1")):
        Cohort(logits=logits, labels=labels, questions=at, groups=np.arange(len(at)), kind="tokens")
    with pytest.raises(UserError, match=says("questions", "integers")):
        Cohort(logits=logits, labels=labels, questions=at + 0.5, kind="tokens")
    with pytest.raises(UserError, match=says("150", "149", "questions")):
        Cohort(logits=logits, labels=labels, questions=at[1:], kind="tokens")


def test_a_table_of_predicted_tags_is_scored_by_its_sentences(tmp_path):
    logits, labels, at = runs_of(5)
    for seed, run in enumerate(logits.argmax(axis=-1)):
        rows = [
            f"{NAMES[label]},{NAMES[tag]},s{sentence}\n" for label, tag, sentence in zip(labels, run, at, strict=True)
        ]
        (tmp_path / f"{seed}.csv").write_text("label,prediction,questions\n" + "".join(rows))
    read = read_runs(tmp_path, columns={"kind": "tokens"})

    cohort = Cohort(logits=logits, labels=labels, questions=at, kind="tokens", label_names=NAMES)
    assert (read.kind, read.metric) == ("tokens", "entity_f1")
    assert read.scores.tolist() == pytest.approx(cohort.scores.tolist())
    assert len(np.unique(read.groups)) == 30


def test_words_of_no_sentence_are_said_to_be():
    labels = np.array([0, 1, 2, 0])
    fields = {"logits": np.eye(3)[[labels, labels]], "labels": labels, "kind": "tokens"}

    def said(**more):
        return [note for note in Cohort(**fields, **more).notes if "questions" in note]

    (alone,), (grouped,) = said(), said(groups=[0, 0, 1, 1])
    assert names(alone, "one by one")
    assert names(grouped, "groups")
    assert not said(questions=[0, 0, 1, 1])
