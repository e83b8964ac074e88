"""Minimal pairs, checked by what every paradigm promises and by hand-written rules for some."""

import re
from collections import Counter

import numpy as np
import pytest

from steadytune.tasks import vocabulary as words
from steadytune.tasks.paradigms import PHENOMENA
from steadytune.tasks.phrases import Draw, sentence
from steadytune.tasks.vocabulary import Noun

pytestmark = pytest.mark.slow

PARADIGMS = {paradigm.__name__: paradigm for paradigms in PHENOMENA.values() for paradigm in paradigms}
SAME_WORDS = {"polarity", "adverb"}
NAMES = set(words.JOHNS) | set(words.MARYS)


def pairs(name, count=300):
    draw = Draw(np.random.default_rng(0))
    return [PARADIGMS[name](draw) for _ in range(count)]


def test_no_paradigm_stands_twice():
    assert sum(map(len, PHENOMENA.values())) == len(PARADIGMS) >= 8


@pytest.mark.parametrize("name", PARADIGMS)
def test_a_pair_differs_in_one_word_or_in_order_alone(name):
    for right, wrong in pairs(name):
        assert right != wrong
        if name in SAME_WORDS:
            assert Counter(right.split()) == Counter(wrong.split())
        else:
            different = [(a, b) for a, b in zip(right.split(), wrong.split(), strict=True) if a != b]
            assert len(different) == 1


@pytest.mark.parametrize("name", sorted(set(PARADIGMS) - SAME_WORDS))
def test_each_deciding_word_is_right_as_often_as_it_is_wrong(name):
    right_words, wrong_words = Counter(), Counter()
    for right, wrong in pairs(name, 8000):
        (difference,) = [(a, b) for a, b in zip(right.split(), wrong.split(), strict=True) if a != b]
        right_words[difference[0]] += 1
        wrong_words[difference[1]] += 1
    for word, count in (right_words + wrong_words).items():
        # Four and a half standard errors at the rarest word that is looked at.
        if count >= 800:
            assert right_words[word] / count == pytest.approx(0.5, abs=0.08), word


@pytest.mark.parametrize("name", PARADIGMS)
def test_sentences_are_well_formed_texts(name):
    for text in (sentence(text) for pair in pairs(name, 100) for text in pair):
        assert re.fullmatch(r"[A-Z][A-Za-z, ]*[.?]", text)
        assert "  " not in text
        assert " ," not in text


def test_reflexives_agree_with_the_gender_of_the_subject():
    women = {noun.singular for noun in words.WOMEN} | set(words.MARYS)
    for right, _ in pairs("reflexive_gender"):
        head = re.sub(r",.*", "", right) if "," in right else right.rsplit(" ", 2)[0]
        assert right.endswith("herself" if head.split()[-1] in women else "himself")


def test_reflexives_in_a_clause_belong_to_its_own_subject():
    women = {noun.singular for noun in words.WOMEN} | set(words.MARYS)
    for right, wrong in pairs("reflexive_clause"):
        inner = right.partition(" that ")[2].rsplit(" ", 2)[0].split()[-1]
        assert right.endswith("herself" if inner in women else "himself")
        assert wrong.endswith("himself" if inner in women else "herself")


def test_determiners_agree_with_their_noun():
    singular, plural = ({noun.form(number) for noun in words.THINGS} for number in (False, True))
    for name, few, many in (
        ("determiner", {"this", "that"}, {"these", "those"}),
        ("quantifier", {"every", "each", "one"}, {"several", "many", "few", "two"}),
    ):
        for right, _ in pairs(name):
            determiner, *tail = re.search(rf" ({'|'.join(few | many)}) (.*)", right).expand(r"\1 \2").split()
            noun = next(word for word in tail if word in singular | plural)
            assert determiner in (few if noun in singular else many)


def test_a_verb_agrees_with_the_head_and_not_with_what_stands_between():
    plurals = {noun.plural for noun in words.PEOPLE}
    thirds = {verb.third for verb in (*words.TRANSITIVE, *words.INTRANSITIVE)} | {"is"}
    bases = {verb.base for verb in (*words.TRANSITIVE, *words.INTRANSITIVE)} | {"are"}
    people = plurals | {noun.singular for noun in words.PEOPLE}
    for right, wrong in pairs("agreement_preposition"):
        head = next(word for word in right.split() if word in people)
        (verb, other), *_ = [(a, b) for a, b in zip(right.split(), wrong.split(), strict=True) if a != b]
        assert verb in (bases if head in plurals else thirds)
        assert other in (thirds if head in plurals else bases)


def test_most_nouns_between_subject_and_verb_distract():
    draw = Draw(np.random.default_rng(0))
    assert np.mean([draw.distractor(True) is False for _ in range(2000)]) == pytest.approx(0.75, abs=0.04)


def test_two_items_are_different_and_every_pair_is_drawn():
    draw = Draw(np.random.default_rng(0))
    assert {draw.two("abc") for _ in range(200)} == {(a, b) for a in "abc" for b in "abc" if a != b}


def test_forms_of_words():
    plural = {noun.singular: noun.plural for noun in (*words.PEOPLE, *words.THINGS)}
    singular = ["boy", "lady", "woman", "coach", "knife", "box", "princess", "key"]
    expected = ["boys", "ladies", "women", "coaches", "knives", "boxes", "princesses", "keys"]
    assert [plural[word] for word in singular] == expected
    verb = {verb.base: verb for verb in (*words.TRANSITIVE, *words.HANDLING, *words.IRREGULAR, *words.INTRANSITIVE)}
    assert verb["carry"] == ("carry", "carries", "carried", "carried", "carrying")
    assert verb["see"] == ("see", "sees", "saw", "seen", "seeing")
    assert verb["destroy"] == ("destroy", "destroys", "destroyed", "destroyed", "destroying")
    assert verb["punish"] == ("punish", "punishes", "punished", "punished", "punishing")
    assert verb["sleep"] == ("sleep", "sleeps", "slept", "slept", "sleeping")
    assert verb["hide"] == ("hide", "hides", "hid", "hidden", "hiding")


def test_there_are_hundreds_of_words_and_none_stands_twice_in_its_list():
    lists = [words.PEOPLE, words.THINGS, words.JOHNS, words.MARYS, words.PERSON_ADJECTIVES, words.THING_ADJECTIVES]
    lists += [words.TRANSITIVE, words.HANDLING, words.IRREGULAR, words.INTRANSITIVE, words.MANNERS]
    assert sum(map(len, lists)) > 400
    assert all(len(set(entries)) == len(entries) for entries in lists)
    assert not NAMES & {word.capitalize() for word in words.MANNERS}
    assert not {noun for noun in words.PEOPLE if isinstance(noun, Noun)} & set(words.THINGS)
    assert not {verb.base for verb in words.TRANSITIVE} & {verb.base for verb in words.INTRANSITIVE}
