"""One declaration per measure, which all else reads: a copy under another name gets the same numbers everywhere."""

import contextlib
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import steadytune as st
from steadytune.analysis.comparison.compare import compare
from steadytune.analysis.comparison.verdict import verdict
from steadytune.analysis.validity.validate import validate
from steadytune.measures import MEASURES, LayerMeasure, PairMeasure, declared
from steadytune.measures.distances import CKA
from steadytune.measures.prediction import DISAGREEMENT, KAPPA
from steadytune.reporting import render
from steadytune.reporting.study_page import study_page

pytestmark = pytest.mark.slow

SOURCES = Path(st.__file__).parent
COPIES = {"my_disagreement": DISAGREEMENT, "my_kappa": KAPPA, "my_cka": CKA}
NAMED = {
    # Sentences about what users call "the same answer": the verdict, and the sources of luck.
    "analysis/comparison/verdict.py",
    "analysis/components.py",
    "reporting/sources.py",
    # Quantities that are predicted over studies.
    "theory/predictor/cohorts.py",
}


@contextlib.contextmanager
def copies():
    with contextlib.ExitStack() as stack:
        for name, measure in COPIES.items():
            stack.enter_context(MEASURES.added(replace(measure, name=name, title=f"My {measure.title}")))
        yield


def cohort(recipe, seed):
    generator = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, 3, 40)
    signal = np.random.default_rng(1).normal(size=(2, 40, 6))
    logits = np.eye(3)[labels] + generator.normal(size=(6, 40, 3))
    logits[:2] = [5, 0, 0] + 0.1 * generator.normal(size=(2, 40, 3))
    states = signal + generator.normal(size=(6, 2, 40, 6))
    return st.Cohort(logits=logits, labels=labels, representations=list(states), recipe=recipe, model="m", task="t")


def same(one, other):
    """Tell whether rows agree, with the copies under the names of what they copy."""
    words = [re.sub("|".join(COPIES), lambda found: COPIES[found[0]].name, cell) for cell in map(str, other)]
    for left, right in zip(map(str, one), words, strict=True):
        try:
            assert math.isclose(float(left), float(right), rel_tol=1e-12, abs_tol=1e-14) or left == right
        except ValueError:
            assert left == right


@pytest.fixture(scope="module")
def compared():
    with copies():
        found = compare([cohort("standard", 2), cohort("mmr", 3)])
        yield found, validate(found)["m", "t"], render(study_page(found, verdict(found)))


def rows_of(rows, measure):
    return [row for row in rows if row.measure == measure]


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_has_the_values_intervals_and_differences_of_the_original(compared, name):
    found, original = compared[0], COPIES[name].name
    for rows in (found.measures_rows(), found.difference_rows()):
        mine, theirs = rows_of(rows, name), rows_of(rows, original)
        assert mine
        # What the verdict speaks of is adjusted together with the other claims.
        adjusted = {"p_adjusted", "low_adjusted", "high_adjusted"} if COPIES[name].claimed else set()
        for one, other in zip(mine, theirs, strict=True):
            assert not any(math.isnan(number) for number in one if isinstance(number, float)) or name != "my_cka"
            fields = [at for at, field in enumerate(one._fields) if field not in adjusted]
            same([other[at] for at in fields], [one[at] for at in fields])


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_judged_as_the_original(compared, name):
    frame, original = compared[1].to_frame(), COPIES[name].name
    others = frame[~frame.measure.isin(COPIES) & ~frame.other.isin(COPIES)]
    for analysis in ("convergent", "known_groups", "subsampling", "ranking", "bootstrap", "bootstrap_published"):
        mine = frame[(frame.analysis == analysis) & ((frame.measure == name) | (frame.other == name))]
        theirs = others[(others.analysis == analysis) & ((others.measure == original) | (others.other == original))]
        assert bool(len(mine)) == bool(len(theirs)), analysis
        values = {(row.recipe, *sorted((row.measure, row.other)), row.layer, row.value) for row in theirs.itertuples()}
        for row in theirs[~theirs.measure.isin([original])].itertuples():
            pair = mine[(mine.recipe == row.recipe) & ((mine.measure == row.measure) | (mine.other == row.measure))]
            assert np.isclose(pair.value.astype(float), row.value, rtol=1e-9, equal_nan=True).any()
        assert values or analysis in ("known_groups", "convergent")


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_stands_in_the_page_and_is_left_out_as_a_repetition(compared, name):
    assert f"My {COPIES[name].title}" in compared[2]
    assert name in compared[1].recommendation.left_out


def test_a_measure_of_ones_own_has_a_value_and_an_interval():
    def margin(probabilities):
        best = np.asarray(probabilities).max(axis=-1)
        return np.concatenate([np.abs(best[i + 1 :] - run) for i, run in enumerate(best)])

    def angle(pair):
        return 1 - float(np.linalg.norm(pair.product) ** 2)

    facts = {"title": "T", "short": "T", "meaning": "M", "largest": 1.0}
    mine = PairMeasure(name="confidence", of={"probabilities": margin}, **facts)
    layered = LayerMeasure(name="angle", distance=angle, **facts)
    with MEASURES.added(mine), MEASURES.added(layered):
        assert [one.name for one in declared()][-1] == "angle"
        found = st.profile(cohort("standard", 4))
    for name in ("confidence", "angle"):
        value = found.last(name)
        assert 0 < value.low < value.value < value.high <= 1


def test_what_is_no_measure_and_a_name_that_is_taken_are_refused():
    with pytest.raises(st.UserError), MEASURES.added(replace(MEASURES["sd"], name="sd2")):
        pass
    for name in ("disagreement", "mean"):
        with pytest.raises(st.UserError), MEASURES.added(replace(DISAGREEMENT, name=name)):
            pass


def test_no_other_file_lists_measures_by_name():
    names = re.compile(r"[\"'](" + "|".join(MEASURES) + r")[\"']")
    for path in SOURCES.rglob("*.py"):
        where = path.relative_to(SOURCES).as_posix()
        found = set(names.findall(re.sub(r'""".*?"""', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)))
        # The metrics have names of their own, which kinds list. The SD is what every interval and ratio is about.
        own = where in NAMED or where.startswith(("measures/", "metrics/", "kinds/"))
        assert found <= {"sd"} or own, (where, found)


def test_every_value_that_is_unknown_is_spoken_of():
    given = st.Cohort(predictions=np.random.default_rng(0).integers(0, 2, (4, 20)), labels=np.arange(20) % 2)
    found = st.profile(given)
    for value in found.values:
        if math.isnan(value.value):
            assert any(MEASURES[value.measure].called in note for note in found.notes), value.measure


def texts(recipe, seed):
    generator = np.random.default_rng(seed)
    words = np.array(["the cat sat on it", "the dog sat on it", "no", "a cat sat there"])
    return st.Cohort(
        generations=words[generator.integers(0, 4, (5, 20))].tolist(),
        references=words[np.arange(20) % 4].tolist(),
        token_log_probabilities=list(np.log(generator.dirichlet(np.ones(6), (5, 50)))[..., :5]),
        token_weights=np.array([[1, 1, 1, 2, 2]] * 50),
        token_exact=3,
        token_choices=generator.integers(0, 3, (5, 50)),
        token_counts=np.arange(20) % 4 + 1,
        metric="token_f1",
        recipe=recipe,
        model="m",
        task="t",
    )


def test_copies_of_the_measures_of_texts_and_tokens_have_the_numbers_of_the_originals():
    originals = [one for one in declared("prediction") if one.applies_to("generation")]
    assert {one.name for one in originals} >= {"chrf", "rouge_l", "token_disagreement", "jensen_shannon"}
    with contextlib.ExitStack() as stack:
        for one in originals:
            stack.enter_context(MEASURES.added(replace(one, name=f"copied_{one.name}")))
        found = compare([texts("standard", 2), texts("mmr", 3)])
        tables = found.measures_rows(), found.difference_rows()
    assert not any(math.isnan(row.value) for one in originals for row in rows_of(tables[0], one.name))
    for rows in tables:
        for one in originals:
            mine, theirs = rows_of(rows, f"copied_{one.name}"), rows_of(rows, one.name)
            assert mine
            # What the verdict speaks of is adjusted together with the other claims.
            adjusted = {"p_adjusted", "low_adjusted", "high_adjusted"} if one.claimed else set()
            for row, other in zip(mine, theirs, strict=True):
                fields = [at for at, field in enumerate(row._fields) if field not in adjusted]
                assert [str(row[at]).replace("copied_", "") for at in fields] == [str(other[at]) for at in fields]
