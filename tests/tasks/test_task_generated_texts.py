"""The generated tasks that ask for texts: correction and arithmetic."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks import load_task
from steadytune.tasks.arithmetic import in_words
from steadytune.tasks.correction import DETERMINED, PROMPT
from steadytune.tasks.paradigms import PHENOMENA
from steadytune.tasks.phrases import Draw, sentence

TASKS = ["correction", "arithmetic"]

FIRST = {
    "correction": [
        (
            f"{PROMPT}Is our impatient princes near their lady honest?",
            ("Are our impatient princes near their lady honest?",),
        ),
        (f"{PROMPT}The niece adored herself.", ("The niece adored herself.",)),
    ],
    "arithmetic": [
        ("What is sixty-six minus fifty-five?", ("eleven",)),
        ("What is eighty-two plus forty-eight?", ("one hundred thirty", "one hundred and thirty")),
    ],
}


def load(name, **options):
    return load_task(TaskSpec(name=name, **options))


def prompts(examples):
    return [first for ((first, _),) in examples.candidates]


@pytest.mark.parametrize("name", TASKS)
def test_it_needs_no_file_and_asks_for_texts(name):
    task = load(name, train_examples=50, validation_examples=30)

    assert (task.kind, task.metric, task.extra_metrics) == ("generation", "exact_match", ("chrf", "target_loss"))
    assert (len(task.train), len(task.validation), task.label_names) == (50, 30, ())
    assert all(isinstance(text, str) and text for references in task.train.labels for text in references)


@pytest.mark.parametrize("name", TASKS)
def test_a_seed_determines_it_and_a_larger_training_set_extends_the_smaller_one(name):
    small, large = load(name, train_examples=20, seed=3), load(name, train_examples=61, seed=3)

    assert prompts(large.train)[:20] == prompts(small.train)
    assert large.train.labels[:20].tolist() == small.train.labels.tolist()
    assert prompts(large.validation) == prompts(small.validation)
    assert len({load(name, seed=seed).fingerprint for seed in (-1, 0, 1, 3)}) == 4


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), train=st.integers(2, 200), validation=st.integers(2, 200))
def test_no_prompt_and_no_sentence_occurs_twice_or_in_both_splits(name, seed, train, validation):
    task = load(name, seed=seed, train_examples=train, validation_examples=validation)
    asked = prompts(task.train) + prompts(task.validation)

    assert len(asked) == len(set(asked)) == train + validation
    if name == "correction":
        right = {text for (text,) in task.train.labels}
        assert right.isdisjoint(text for (text,) in task.validation.labels)
        assert right.isdisjoint(text.removeprefix(PROMPT) for text in prompts(task.validation))


@pytest.mark.parametrize("options", [{"path": "x"}, {"columns": ("a",)}, {"label": "a"}, {"group": "a"}])
@pytest.mark.parametrize("name", [*TASKS, "acceptability"])
def test_what_is_said_of_files_is_refused(name, options):
    with pytest.raises(UserError, match=says(f"'{name}'", *options)):
        load(name, **options)


@pytest.mark.parametrize("name", TASKS)
def test_a_metric_must_fit_texts(name):
    assert load(name, metric="chrf").extra_metrics == ("exact_match", "target_loss")
    with pytest.raises(UserError, match=says("accuracy", "exact_match")):
        load(name, metric="accuracy")
    with pytest.raises(UserError, match=says("task.kind", name)):
        load(name, kind="classification")


def test_half_of_the_sentences_are_right_in_every_phenomenon():
    task = load("correction", train_examples=160)
    seen = defaultdict(list)
    for number, (prompt, (right,)) in enumerate(zip(prompts(task.train), task.train.labels, strict=True)):
        given_sentence = prompt.removeprefix(PROMPT)
        seen[number % len(PHENOMENA)].append(given_sentence == right)
        # A pair differs in one word, or in the order of its words.
        different = Counter(re.findall(r"\w+", given_sentence.lower())) - Counter(re.findall(r"\w+", right.lower()))
        assert different.total() == (0 if given_sentence == right else different.total() and 1)

    assert {number: sum(found) for number, found in seen.items()} == dict.fromkeys(range(len(PHENOMENA)), 10)


def test_a_wrong_sentence_tells_which_one_is_meant():
    draw = Draw(np.random.default_rng(0))
    assert [len(paradigms) for paradigms in DETERMINED] == [6, 3, 1, 1, 2, 1, 1, 1]
    for paradigm in (one for paradigms in DETERMINED for one in paradigms):
        meant = defaultdict(set)
        for _ in range(3000):
            right, wrong = map(sentence, paradigm(draw))
            meant[wrong].add(right)
        assert {len(rights) for rights in meant.values()} == {1}, paradigm.__name__


def test_the_first_prompts_never_change():
    # Recorded runs refer to this content: a change of words or grammar changes every fingerprint.
    for name, first in FIRST.items():
        task = load(name)
        assert list(zip(prompts(task.train), task.train.labels, strict=True))[: len(first)] == first


def test_an_exhausted_grammar_says_what_to_lower():
    with pytest.raises(UserError, match=says("10,100", "task.validation_examples")):
        load("arithmetic", train_examples=10_000, validation_examples=101)


ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
WORDS = {word: number for number, word in enumerate(ONES.split())}
WORDS |= {word: 10 * number for number, word in enumerate(TENS.split(), start=2)}


def value(words):
    """Read a number, as an independent statement of what the words mean."""
    hundreds, _, rest = words.rpartition("hundred")
    parts = re.split("[ -]", rest.replace("and ", "").strip())
    return 100 * bool(hundreds) + sum(WORDS[part] for part in parts if part)


def test_numbers_are_read_back():
    for number in range(200):
        assert {value(words) for words in in_words(number)} == {number}
    assert in_words(42) == ("forty-two",)
    assert in_words(20) == ("twenty",)
    assert in_words(198) == ("one hundred ninety-eight", "one hundred and ninety-eight")
    assert in_words(100) == ("one hundred",)


def test_every_question_has_its_answer_and_all_of_them_can_be_asked():
    task = load("arithmetic", train_examples=10_000, validation_examples=100)
    asked = set()
    for examples in (task.train, task.validation):
        for prompt, references in zip(prompts(examples), examples.labels, strict=True):
            first, operation, second = re.fullmatch(r"What is (.+) (plus|minus) (.+)\?", prompt).groups()
            a, b = value(first), value(second)
            right = a + b if operation == "plus" else a - b
            assert {value(words) for words in references} == {right}
            asked.add((operation, max(a, b), min(a, b)))

    assert len(asked) == 10_100
    assert sum("plus" in prompt for prompt in prompts(task.train)) == pytest.approx(5000, abs=60)
