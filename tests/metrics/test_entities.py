"""Entity F1 against seqeval, under weights, and by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says
from seqeval.metrics import f1_score

from steadytune.metrics import METRICS, Answers, constant_score
from steadytune.metrics.entities import entity_tags

ENTITY_F1 = METRICS["entity_f1"]
BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SCHEMES = (BIO, ("B-X", "I-X", "E-X", "S-X", "O", "S-Y-Z", "I-Y-Z"), ("I-A", "I-B", "O"), ("B", "I", "O"))


def answered(labels, predictions, names, sentences):
    return Answers(
        "tokens",
        given_predictions=np.array(predictions),
        labels=np.array(labels),
        questions=np.array(sentences),
        label_names=names,
    )


def by_sentence(classes, names, sentences, drawn):
    return [[names[one] for one, place in zip(classes, sentences, strict=True) if place == at] for at in drawn]


@st.composite
def tagged(draw):
    names = draw(st.sampled_from(SCHEMES))
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    words = sum(lengths)
    classes = st.lists(st.integers(0, len(names) - 1), min_size=words, max_size=words)
    labels = draw(classes)
    # Half right, or hardly any entity would be.
    runs = [[draw(st.sampled_from((label, label, 0, 1))) for label in labels], draw(classes)]
    counts = draw(st.lists(st.integers(0, 3), min_size=len(lengths), max_size=len(lengths)))
    return names, labels, runs, np.repeat(np.arange(len(lengths)), lengths), counts


@settings(deadline=None, max_examples=150)
@given(tagged())
def test_it_is_that_of_seqeval_however_often_a_sentence_is_drawn(case):
    names, labels, runs, sentences, counts = case
    answers = answered(labels, runs, names, sentences)
    drawn = np.repeat(np.arange(len(counts)), counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for run, plain in zip(runs, ENTITY_F1.plain(answers, len(labels)), strict=True):
            every = range(len(counts))
            expected = f1_score(by_sentence(labels, names, sentences, every), by_sentence(run, names, sentences, every))
            assert plain == pytest.approx(float(expected), abs=1e-12)
        if len(drawn):
            scores = ENTITY_F1.scores(answers)(np.array(counts, dtype=float)[sentences][None])[0]
            expected = [
                f1_score(by_sentence(labels, names, sentences, drawn), by_sentence(run, names, sentences, drawn))
                for run in runs
            ]
            assert scores == pytest.approx(expected, abs=1e-12)


def test_by_hand_an_entity_is_right_as_a_whole():
    # Labelled: PER at 0-1, LOC at 3. Predicted: PER at 0 alone (its end is wrong), LOC at 3; 2 * 1 / (2 + 2).
    found = ENTITY_F1.plain(answered([1, 2, 0, 3], [[1, 0, 0, 3]], BIO, [0, 0, 0, 0]), 4)

    assert found.tolist() == [0.5]


def test_entities_do_not_cross_sentences_wherever_their_words_stand():
    labels, predictions, sentences = [1, 2, 1, 2], [[1, 2, 2, 2]], [0, 0, 1, 1]
    # In one sentence the four words were one entity; in two an I- begins the second.
    assert ENTITY_F1.plain(answered(labels, predictions, BIO, sentences), 4).tolist() == [1.0]
    assert ENTITY_F1.plain(answered(labels, predictions, BIO, [0, 0, 0, 0]), 4).tolist() == [0.0]
    # Sentences may alternate in the rows.
    mixed = [0, 2, 1, 3]
    turned = answered(
        [labels[at] for at in mixed], [[predictions[0][at] for at in mixed]], BIO, [sentences[at] for at in mixed]
    )
    assert ENTITY_F1.plain(turned, 4).tolist() == [1.0]


def test_bilou_is_iobes_by_other_letters():
    iobes, bilou = ("O", "B-X", "I-X", "E-X", "S-X"), ("O", "B-X", "I-X", "L-X", "U-X")
    rng = np.random.default_rng(0)
    labels, runs, sentences = rng.integers(5, size=60), rng.integers(5, size=(3, 60)), np.arange(60) // 6
    one, other = (ENTITY_F1.plain(answered(labels, runs, names, sentences), 60) for names in (iobes, bilou))

    assert one.tolist() == other.tolist()
    assert one.min() > 0


def test_no_entity_at_all_scores_0_and_so_does_the_constant_answer():
    answers = answered([0, 0, 1], [[0, 0, 0]], BIO, [0, 0, 0])

    assert ENTITY_F1.plain(answers, 3).tolist() == [0.0]
    assert constant_score(ENTITY_F1, answers) == 0.0


@pytest.mark.parametrize("names", [("NOUN", "VERB"), ("0", "1"), ("O",), ("B-X", "?"), None, ("O", "b-x")])
def test_other_classes_mark_no_entities(names):
    assert entity_tags(names) is None
    answers = answered([0], [[0]], names, [0])
    with pytest.raises(ValueError, match=says("entity_f1", "entity_tags")):
        ENTITY_F1.plain(answers, 1)
