"""The words of the generated sentences, with their forms.

Chosen so that forms are distinct if a paradigm distinguishes them, the transitive verbs cannot drop their
object, and the intransitive ones can neither take one nor form a passive.
"""

from __future__ import annotations

from typing import NamedTuple


class Noun(NamedTuple):
    """A noun; `reflexive` is the singular reflexive pronoun of a person of known gender, otherwise empty."""

    singular: str
    plural: str
    reflexive: str = ""

    def form(self, plural: bool) -> str:
        """Return the singular or the plural."""
        return self.plural if plural else self.singular


class Verb(NamedTuple):
    """A verb's five forms: walk, walks, walked, walked, walking."""

    base: str
    third: str
    past: str
    participle: str
    gerund: str

    def present(self, plural: bool) -> str:
        """Return the form that agrees with a singular or plural subject."""
        return self.base if plural else self.third


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2] not in "aeiou" else f"{word}s"


def _noun(entry: str, reflexive: str = "") -> Noun:
    singular, _, plural = entry.partition("/")
    return Noun(singular, plural or _with_s(singular), reflexive)


def _verb(entry: str) -> Verb:
    """Parse "walk", or "take/took/taken" if past and participle are irregular."""
    base, *irregular = entry.split("/")
    stem = base[:-1] if base.endswith("e") else base
    gerund = f"{base if base.endswith('ee') else stem}ing"
    if irregular:
        return Verb(base, _with_s(base), irregular[0], irregular[-1], gerund)
    past = f"{base[:-1]}ied" if base.endswith("y") and base[-2] not in "aeiou" else f"{stem}ed"
    return Verb(base, _with_s(base), past, past, gerund)


def _words(words: str) -> tuple[str, ...]:
    return tuple(words.split())


def _nouns(words: str, reflexive: str = "") -> tuple[Noun, ...]:
    return tuple(_noun(entry, reflexive) for entry in words.split())


def _verbs(words: str) -> tuple[Verb, ...]:
    return tuple(map(_verb, words.split()))


MEN = _nouns(
    """
    boy man/men father uncle brother son king prince waiter grandfather nephew gentleman/gentlemen husband grandson
    duke emperor monk stepfather
    """,
    "himself",
)
WOMEN = _nouns(
    """
    girl woman/women mother aunt sister daughter queen princess waitress grandmother niece lady wife/wives
    granddaughter duchess empress nun stepmother
    """,
    "herself",
)
PEOPLE = (
    *MEN,
    *WOMEN,
    *_nouns(
        """
        doctor teacher lawyer artist author baker banker barber builder butcher captain carpenter chemist
        child/children clerk coach cook customer dancer dentist designer detective director driver editor engineer
        farmer guard guest guide historian hunter inspector judge librarian manager mechanic merchant miner musician
        neighbor officer painter passenger pilot player poet professor reporter sailor scientist secretary senator
        singer soldier student surgeon tailor tourist visitor writer
        """
    ),
)
THINGS = _nouns(
    """
    basket bicycle blanket book bottle bowl box bridge brush cabinet camera car carpet chair clock coat computer cup
    curtain desk door drum envelope fence flag fork guitar hammer hat kettle key knife/knives ladder lamp leaf/leaves
    letter loaf/loaves map mirror newspaper painting pencil photograph piano pillow plate poster ring rope
    scarf/scarves sculpture shelf/shelves shirt shoe sofa spoon statue suitcase table ticket tower toy umbrella vase
    violin wall watch wheel window
    """
)

JOHNS = _words(
    """
    Adam Albert Andrew Anthony Arthur Brian Carl Charles Daniel David Edward Eric Frank George Harold Henry Jack James
    John Joseph Kevin Lawrence Mark Martin Michael Nicholas Oliver Oscar Patrick Paul Peter Philip Ralph Richard Robert
    Samuel Simon Stephen Thomas Victor Walter William
    """
)
MARYS = _words(
    """
    Alice Amanda Amy Anna Barbara Betty Caroline Catherine Christine Deborah Diana Dorothy Elizabeth Ellen Emily Emma
    Florence Grace Hannah Helen Irene Isabel Jane Jennifer Jessica Julia Karen Laura Linda Lucy Margaret Maria Martha
    Mary Nancy Olivia Rachel Rebecca Rose Sarah Susan Victoria
    """
)

PERSON_ADJECTIVES = _words(
    """
    anxious brave busy calm careful cheerful clever curious eager famous friendly generous gentle grumpy happy honest
    hungry impatient kind lazy lonely loyal modest nervous noisy old polite proud quiet rich rude serious shy sleepy
    strong stubborn tall tired wise young
    """
)
THING_ADJECTIVES = _words(
    """
    antique beautiful big black blue bright broken brown cheap clean colorful dirty dusty empty expensive fragile green
    heavy huge large narrow new old plain red round rusty shiny simple small soft square strange tiny ugly useful white
    wide wooden yellow
    """
)

TRANSITIVE = _verbs(
    """
    accuse admire adore avoid blame comfort contact convince criticize deceive describe despise envy greet harm hire
    identify ignore imitate insult introduce invite mention notice pity protect punish reassure rescue resent respect
    reward support thank welcome
    """
)
"""Verbs whose object is a person and obligatory."""

HANDLING = _verbs(
    """
    borrow carry damage deliver destroy discover display examine fetch fix inspect lift paint polish purchase remove
    repair replace touch unpack use want
    """
)
"""Verbs whose object is a thing."""

IRREGULAR = _verbs(
    """
    break/broke/broken choose/chose/chosen draw/drew/drawn hide/hid/hidden see/saw/seen shake/shook/shaken
    steal/stole/stolen take/took/taken tear/tore/torn throw/threw/thrown
    """
)
"""Verbs whose past tense and participle differ; their object is a thing."""

INTRANSITIVE = _verbs(
    """
    apologize arrive blush complain cough emerge fidget flinch frown gasp giggle glance hesitate kneel/knelt
    laugh linger listen pause persist prosper react rejoice shiver shudder sigh sleep/slept smile sneeze snore squint
    stare struggle stumble thrive tremble vanish wait wander weep/wept whimper wink yawn
    """
)

MANNERS = _words(
    """
    angrily anxiously carefully cheerfully eagerly gently gladly openly politely proudly quickly quietly secretly
    silently slowly suddenly
    """
)
TIMES = ("every day", "every morning", "on Sundays", "at night", "in the evening", "these days", "at work", "at home")
PAST_TIMES = ("yesterday", "last week", "this morning", "a year ago", "on Monday", "in the spring", "before lunch")
NEAR = ("near", "behind", "beside", "in front of", "next to", "across from")
OWNERS = ("the", "the", "the", "my", "our", "your", "their")
"""Determiners that go with either number; the plain one is most frequent."""
