"""The grammar of the generated sentences: one function per phenomenon, each drawing a minimal pair.

After BLiMP (Warstadt et al. 2020, doi:10.1162/tacl_a_00321). A paradigm returns (acceptable, unacceptable): two
sentences that differ in one word or in the order of their words. Each is balanced so that no single word tells which is
which: a word that makes one sentence unacceptable makes another acceptable just as often.

To change the task's difficulty, change `PHENOMENA` here, or `DISTRACTION` and `ORNAMENT` in `phrases`.
"""

from __future__ import annotations

from collections.abc import Callable

from steadytune.tasks import vocabulary as words
from steadytune.tasks.phrases import DISTRACTION, Draw, Pair


def _agreement(draw: Draw, subject: str, plural: bool) -> Pair:
    singular_form, plural_form = draw.predicate()
    right, wrong = (plural_form, singular_form) if plural else (singular_form, plural_form)
    return f"{subject} {right}", f"{subject} {wrong}"


def agreement(draw: Draw) -> Pair:
    """The doctors sleep / *sleeps."""
    plural = draw.chance()
    return _agreement(draw, draw.phrase(draw.pick(words.PEOPLE), plural), plural)


def agreement_preposition(draw: Draw) -> Pair:
    """The doctors near the girl sleep / *sleeps."""
    plural = draw.chance()
    head, near = draw.two(words.PEOPLE)
    subject = f"{draw.phrase(head, plural)} {draw.pick(words.NEAR)} {draw.phrase(near, draw.distractor(plural))}"
    return _agreement(draw, subject, plural)


def agreement_subject_relative(draw: Draw) -> Pair:
    """The doctors that admire the girl sleep / *sleeps."""
    plural = draw.chance()
    head, other = draw.two(words.PEOPLE)
    verb = draw.pick(words.TRANSITIVE).present(plural)
    subject = f"{draw.phrase(head, plural)} that {verb} {draw.phrase(other, draw.distractor(plural))}"
    return _agreement(draw, subject, plural)


def agreement_object_relative(draw: Draw) -> Pair:
    """The doctors that the girl admires sleep / *sleeps."""
    plural = draw.chance()
    head, other = draw.two(words.PEOPLE)
    inner = draw.distractor(plural)
    verb = draw.pick(words.TRANSITIVE).present(inner)
    return _agreement(draw, f"{draw.phrase(head, plural)} that {draw.phrase(other, inner)} {verb}", plural)


def agreement_inside_relative(draw: Draw) -> Pair:
    """The doctors that the girl admires / *admire sleep."""
    plural = draw.chance()
    head, other = draw.two(words.PEOPLE)
    inner = draw.distractor(plural)
    verb, outer = draw.pick(words.TRANSITIVE), draw.predicate()[plural]
    start = f"{draw.phrase(head, plural)} that {draw.phrase(other, inner)}"
    return f"{start} {verb.present(inner)} {outer}", f"{start} {verb.present(not inner)} {outer}"


def agreement_question(draw: Draw) -> Pair:
    """Do / *Does the doctors near the girl sleep?"""
    plural = draw.chance()
    head, near = draw.two(words.PEOPLE)
    subject = draw.phrase(head, plural)
    if draw.chance():
        subject += f" {draw.pick(words.NEAR)} {draw.phrase(near, draw.distractor(plural))}"
    verb = draw.pick(words.INTRANSITIVE)
    forms, rest = draw.pick(
        (
            (("is", "are"), draw.pick(words.PERSON_ADJECTIVES)),
            (("does", "do"), verb.base),
            (("has", "have"), verb.participle),
        )
    )
    return f"{forms[plural]} {subject} {rest}?", f"{forms[not plural]} {subject} {rest}?"


def _somebody(draw: Draw, female: bool) -> str:
    """Return a phrase for one person whose gender is known."""
    if draw.chance():
        return draw.pick(words.MARYS if female else words.JOHNS)
    return draw.phrase(draw.pick(words.WOMEN if female else words.MEN), plural=False)


def reflexive_gender(draw: Draw) -> Pair:
    """Mary, near the king, admired herself / *himself."""
    female = draw.chance()
    subject = _somebody(draw, female)
    if draw.chance():
        subject += f", {draw.pick(words.NEAR)} {_somebody(draw, female != draw.chance(DISTRACTION))},"
    start = f"{subject} {draw.pick(words.TRANSITIVE).past}"
    right, wrong = ("herself", "himself") if female else ("himself", "herself")
    return f"{start} {right}", f"{start} {wrong}"


def reflexive_number(draw: Draw) -> Pair:
    """The boys near the king admired themselves / *himself."""
    plural = draw.chance()
    head, near = draw.two(draw.pick((words.MEN, words.WOMEN)))
    subject = draw.phrase(head, plural)
    if draw.chance():
        subject += f" {draw.pick(words.NEAR)} {draw.phrase(near, draw.distractor(plural))}"
    start = f"{subject} {draw.pick(words.TRANSITIVE).past}"
    right, wrong = ("themselves", head.reflexive) if plural else (head.reflexive, "themselves")
    return f"{start} {right}", f"{start} {wrong}"


def reflexive_clause(draw: Draw) -> Pair:
    """Mary believed that John admired himself / *herself."""
    female = draw.chance()
    outer, inner = _somebody(draw, not female), _somebody(draw, female)
    thought = draw.pick(("believed", "claimed", "hoped", "said", "thought", "knew"))
    start = f"{outer} {thought} that {inner} {draw.pick(words.TRANSITIVE).past}"
    right, wrong = ("herself", "himself") if female else ("himself", "herself")
    return f"{start} {right}", f"{start} {wrong}"


def _determined(draw: Draw, determiners: tuple[str, str]) -> Pair:
    """Return a sentence with a determiner for singular or plural before a noun, and with the other of the two."""
    plural = draw.chance()
    start = f"{draw.subject()} {draw.pick((*words.HANDLING, *words.IRREGULAR)).past}"
    adjective = draw.optional(words.THING_ADJECTIVES)
    end = f"{adjective} {draw.pick(words.THINGS).form(plural)}{draw.optional(words.PAST_TIMES)}"
    return f"{start} {determiners[plural]}{end}", f"{start} {determiners[not plural]}{end}"


def determiner(draw: Draw) -> Pair:
    """Mary repaired these / *this old cups."""
    return _determined(draw, draw.pick((("this", "these"), ("that", "those"))))


def quantifier(draw: Draw) -> Pair:
    """Mary repaired several / *every old cups."""
    return _determined(draw, (draw.pick(("every", "each", "one")), draw.pick(("several", "many", "few", "two"))))


def transitivity(draw: Draw) -> Pair:
    """The doctor admired / *sneezed the girl; the doctor sneezed / *admired."""
    subject, time = draw.subject(), draw.optional(words.PAST_TIMES)
    taking, lacking = draw.pick(words.TRANSITIVE).past, draw.pick(words.INTRANSITIVE).past
    if draw.chance():
        end = f" {draw.person()}{time}"
        return f"{subject} {taking}{end}", f"{subject} {lacking}{end}"
    return f"{subject} {lacking}{time}", f"{subject} {taking}{time}"


def voice(draw: Draw) -> Pair:
    """The doctors were / *have admired; the doctors have / *were sneezed."""
    plural = draw.chance()
    subject = draw.phrase(draw.pick(words.PEOPLE), plural)
    passive, perfect = ("were", "have") if plural else ("was", "has")
    adverb = draw.optional(("often", "already", "never", "recently", "probably"))
    if draw.chance():
        verb, right, wrong = draw.pick(words.TRANSITIVE), passive, perfect
    else:
        verb, right, wrong = draw.pick(words.INTRANSITIVE), perfect, passive
    return f"{subject} {right}{adverb} {verb.participle}", f"{subject} {wrong}{adverb} {verb.participle}"


def auxiliary(draw: Draw) -> Pair:
    """The doctor will sleep / *sleeping; is sleeping / *slept; has slept / *sleep."""
    verb = draw.pick(words.INTRANSITIVE)
    plural = draw.chance()
    subject = draw.phrase(draw.pick(words.PEOPLE), plural)
    forms = ((("will", "may", "could"), verb.base), ((("is", "are")[plural],), verb.gerund))
    (helpers, right), (_, wrong) = draw.two((*forms, ((("has", "have")[plural],), verb.participle)))
    start = f"{subject} {draw.pick(helpers)}{draw.optional(('often', 'still', 'never', 'probably'))}"
    time = draw.optional(words.TIMES)
    return f"{start} {right}{time}", f"{start} {wrong}{time}"


def irregular(draw: Draw) -> Pair:
    """Mary broke / *broken the cup; Mary had broken / *broke the cup."""
    verb = draw.pick(words.IRREGULAR)
    end = f"{draw.thing()}{draw.optional(words.PAST_TIMES)}"
    if draw.chance():
        subject = draw.subject()
        return f"{subject} {verb.past} {end}", f"{subject} {verb.participle} {end}"
    start = f"{draw.subject()} had{draw.optional(('already', 'never', 'probably'))}"
    return f"{start} {verb.participle} {end}", f"{start} {verb.past} {end}"


def polarity(draw: Draw) -> Pair:
    """No doctor that the girls admired has ever sneezed / *The doctor that no girls admired has ever sneezed."""
    plural = draw.chance()
    head, other = draw.two(words.PEOPLE)
    first, second = draw.phrase(head, plural, "#"), draw.phrase(other, draw.chance(), "#")
    relative = f"that {second} {draw.pick(words.TRANSITIVE).past}"
    sentence = f"{first} {relative} {('has', 'have')[plural]} ever {draw.pick(words.INTRANSITIVE).participle}"
    return sentence.replace("#", "no", 1).replace("#", "the"), sentence.replace("#", "the", 1).replace("#", "no")


def adverb(draw: Draw) -> Pair:
    """Mary quickly repaired the cup / *Mary repaired quickly the cup."""
    subject, verb, thing = draw.subject(), draw.pick((*words.HANDLING, *words.IRREGULAR)).past, draw.thing()
    manner, time = draw.pick(words.MANNERS), draw.optional(words.PAST_TIMES)
    right = f"{manner} {verb} {thing}" if draw.chance() else f"{verb} {thing} {manner}"
    return f"{subject} {right}{time}", f"{subject} {verb} {manner} {thing}{time}"


def gap(draw: Draw) -> Pair:
    """Mary knew who / *that the girl admired; Mary knew that / *who the girl admired the king."""
    start = f"{draw.subject()} {draw.pick(('knew', 'remembered', 'discovered', 'noticed', 'saw'))}"
    end = f"{draw.subject()} {draw.pick(words.TRANSITIVE).past}"
    right, wrong = "who", "that"
    if draw.chance():
        end, right, wrong = f"{end} {draw.subject()}", wrong, right
    end += draw.optional(words.PAST_TIMES)
    return f"{start} {right} {end}", f"{start} {wrong} {end}"


def pronoun_case(draw: Draw) -> Pair:
    """He / *Him admired Mary; Mary admired him / *he."""
    nominative, accusative = draw.pick((("he", "him"), ("she", "her"), ("they", "them"), ("we", "us"), ("I", "me")))
    verb, other, time = draw.pick(words.TRANSITIVE).past, draw.subject(), draw.optional(words.PAST_TIMES)
    if draw.chance():
        return f"{nominative} {verb} {other}{time}", f"{accusative} {verb} {other}{time}"
    return f"{other} {verb} {accusative}{time}", f"{other} {verb} {nominative}{time}"


Paradigm = Callable[[Draw], Pair]

PHENOMENA: dict[str, tuple[Paradigm, ...]] = {
    "agreement": (
        agreement,
        agreement_preposition,
        agreement_subject_relative,
        agreement_object_relative,
        agreement_inside_relative,
        agreement_question,
    ),
    "reflexives": (reflexive_gender, reflexive_number, reflexive_clause),
    "determiners": (determiner, quantifier),
    "arguments": (transitivity, voice),
    "verb forms": (auxiliary, irregular),
    "word order": (polarity, adverb),
    "gaps": (gap,),
    "case": (pronoun_case,),
}
"""Phenomena of the task, in equal shares; within a phenomenon each paradigm is equally likely.

A small encoder learns order and case first and agreement last; more kinds of agreement make the task harder.
"""
