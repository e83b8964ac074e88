from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks.builtin import generate, load_acceptability
from steadytune.tasks.paradigms import PHENOMENA


def load(**options):
    return load_acceptability(TaskSpec(name="acceptability", **options))


def texts(examples):
    return [first for ((first, _),) in examples.candidates]


def test_the_task_is_a_balanced_classification():
    task = load(train_examples=120, validation_examples=80)
    assert (task.kind, task.metric, task.extra_metrics) == ("classification", "accuracy", ("matthews",))
    assert task.label_names == ("unacceptable", "acceptable")
    assert np.bincount(task.train.labels).tolist() == [60, 60]
    assert np.bincount(task.validation.labels).tolist() == [40, 40]


def test_the_first_sentences_never_change():
    # Recorded runs refer to this content: a change of words or grammar changes every fingerprint.
    assert [judgement.sentence for judgement in generate(4, [0, 0])] == [
        "Does the curious engineers tremble?",
        "Do the curious engineers tremble?",
        "Our sister near your girls contacted themselves.",
        "Our sister near your girls contacted herself.",
    ]


def test_a_seed_determines_the_task_and_another_one_gives_another():
    assert load(seed=3).fingerprint == load(seed=3).fingerprint
    assert load(seed=3).fingerprint != load(seed=4).fingerprint
    assert load(seed=-1).fingerprint != load(seed=1).fingerprint


def test_a_larger_training_set_extends_the_smaller_one_and_leaves_validation_alone():
    small, large = load(train_examples=50), load(train_examples=301)
    assert texts(large.train)[:50] == texts(small.train)
    assert texts(large.validation) == texts(small.validation)
    assert large.validation.labels.tolist() == small.validation.labels.tolist()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), train=st.integers(2, 200), validation=st.integers(2, 200))
def test_no_sentence_occurs_twice_or_in_both_splits(seed, train, validation):
    task = load(seed=seed, train_examples=train, validation_examples=validation)
    sentences = texts(task.train) + texts(task.validation)
    assert len(sentences) == len(set(sentences)) == train + validation


@pytest.mark.slow
def test_a_hundred_thousand_sentences_do_not_run_out():
    judgements = generate(100_000, [0, 0])
    labels = {judgement.sentence: judgement.label for judgement in judgements}
    assert len(labels) == 100_000
    assert sum(labels.values()) == 50_000


def test_two_sentences_of_a_pair_follow_each_other_in_either_order():
    judgements = generate(400, [1, 0])
    firsts = [judgements[i].label for i in range(0, 400, 2)]
    assert all(judgements[i].label + judgements[i + 1].label == 1 for i in range(0, 400, 2))
    assert all(judgements[i].paradigm == judgements[i + 1].paradigm for i in range(0, 400, 2))
    assert 60 < sum(firsts) < 140


@pytest.mark.parametrize("train", [300, 3000])
def test_single_words_do_not_tell_what_is_acceptable(train):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    learn, test = generate(train, [0, 0]), generate(1000, [0, 1])
    words = CountVectorizer(token_pattern=r"\w+", lowercase=False)
    model = LogisticRegression(max_iter=1000)
    model.fit(
        words.fit_transform([judgement.sentence for judgement in learn]), [judgement.label for judgement in learn]
    )
    features = words.transform([judgement.sentence for judgement in test])
    assert model.score(features, [judgement.label for judgement in test]) < 0.6


def two_sentences(draw):
    name = draw.pick(("Ann", "Bo"))
    return f"{name} sleeps", f"{name} sleep"


def test_sentences_repeat_only_when_there_are_no_more():
    judgements = generate(6, 0, phenomena=[[two_sentences]])
    assert {judgement.sentence for judgement in judgements[:4]} == {
        "Ann sleeps.",
        "Ann sleep.",
        "Bo sleeps.",
        "Bo sleep.",
    }
    assert judgements[4].sentence in {judgement.sentence for judgement in judgements[:4]}


def test_excluded_sentences_never_occur():
    judgements = generate(8, 0, excluded=["Ann sleep."], phenomena=[[two_sentences]])
    assert {judgement.sentence for judgement in judgements} == {"Bo sleeps.", "Bo sleep."}


def test_nothing_left_to_train_on_is_an_error():
    with pytest.raises(UserError, match=says("sentences", "task.validation_examples")):
        generate(2, 0, excluded=["Ann sleep.", "Bo sleeps."], phenomena=[[two_sentences]])


def test_a_metric_can_be_chosen_if_it_fits():
    assert load(metric="f1").extra_metrics == ("accuracy", "matthews")
    with pytest.raises(UserError, match=says("'pearson'", "classification", "2 classes")):
        load(metric="pearson")


def test_phenomena_take_turns_and_every_paradigm_occurs():
    names = [judgement.paradigm for judgement in generate(1600, [0, 0])[::2]]
    for turn, paradigms in enumerate(PHENOMENA.values()):
        counts = Counter(names[turn :: len(PHENOMENA)])
        assert set(counts) == {paradigm.__name__ for paradigm in paradigms}
        assert sum(counts.values()) == 1600 // 2 // len(PHENOMENA)
