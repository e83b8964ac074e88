"""Tables per pair and example: their means are the measures, whatever they weigh."""

import numpy as np
import pytest
from saying import says

from steadytune.analysis.profile import profile
from steadytune.analysis.tables import outputs_of, pair_tables
from steadytune.errors import UserError
from steadytune.measures import (
    MEASURES,
    CombinedMeasure,
    LayerMeasure,
    PairMeasure,
    PairTable,
    correlation_distance,
    disagreement,
    jensen_shannon,
    prediction_rmse,
)
from steadytune.measures.pairs import square
from steadytune.measures.text import chrf_distance, text_disagreement
from steadytune.measures.tokens import token_jensen_shannon
from steadytune.records import Cohort


def test_tables_of_classes_average_to_the_prediction_measures(make_cohort, wrong_at):
    cohort = make_cohort([wrong_at(), wrong_at(0), wrong_at(7, 8, 9)])
    tables = pair_tables(outputs_of(cohort))
    assert set(tables) == {"disagreement", "jensen_shannon"}
    assert tables["disagreement"].distances() == pytest.approx(disagreement(cohort.predictions))
    assert tables["jensen_shannon"].distances() == pytest.approx(jensen_shannon(cohort.probabilities))


def test_tables_of_texts_average_to_the_text_measures_and_long_examples_weigh_more():
    generations = [["a cat", "a dog"], ["a cat", "the dog"], ["that", "a dog"]]
    states = np.random.default_rng(0).normal(size=(3, 5, 7))
    cohort = Cohort(
        kind="generation", generations=generations, token_logits=list(states), token_counts=np.array([4, 1])
    )
    tables = pair_tables(outputs_of(cohort))
    assert set(tables) == {"disagreement", "chrf", "rouge_l", "token_disagreement", "jensen_shannon"}
    assert tables["disagreement"].distances() == pytest.approx(text_disagreement(generations))
    assert tables["chrf"].distances() == pytest.approx(chrf_distance(generations))
    assert tables["jensen_shannon"].distances() == pytest.approx(token_jensen_shannon(states))


def test_an_example_without_tokens_counts_for_nothing():
    states = np.random.default_rng(0).normal(size=(2, 3, 4))
    cohort = Cohort(
        kind="generation",
        generations=[["a", "", "b"]] * 2,
        token_logits=list(states),
        token_counts=np.array([2, 0, 1]),
    )
    assert pair_tables(outputs_of(cohort))["jensen_shannon"].distances() == pytest.approx(token_jensen_shannon(states))


def test_tables_of_a_regression_give_its_measures_on_examples_of_any_weight():
    numbers = np.random.default_rng(0).normal(size=(4, 9))
    tables = pair_tables(outputs_of(Cohort(logits=numbers[..., None], kind="regression")))
    assert set(tables) == {"prediction_rmse", "prediction_correlation"}
    weights = np.array([2, 0, 1, 1, 0, 3, 1, 1, 0])
    repeated = np.repeat(numbers, weights, axis=1)
    for name, measure in (("prediction_rmse", prediction_rmse), ("prediction_correlation", correlation_distance)):
        assert tables[name].distances() == pytest.approx(measure(numbers))
        assert square(tables[name].means(weights[None].astype(float))[0]) == pytest.approx(measure(repeated))


def test_weights_multiply_the_sizes_of_the_examples():
    table = PairTable(np.array([[0.0, 1.0]]), np.array([1.0, 3.0]))
    assert table.means(np.array([[1.0, 1.0], [2.0, 0.0], [3.0, 1.0]])) == pytest.approx(np.array([[0.75], [0], [0.5]]))


def test_means_of_many_numbers_are_off_by_rounding_and_those_of_yes_and_no_by_nothing():
    generator = np.random.default_rng(1)
    values = generator.lognormal(0, 2, size=(200, 6000))
    values[:, generator.random(6000) < 0.3] = 0
    weights, sizes = generator.integers(0, 5, (3, 6000)).astype(float), generator.integers(1, 9, 6000)
    exactly = (weights * sizes) @ values.T / (weights @ sizes)[:, None]
    found = PairTable(values, sizes).means(weights)
    assert found == pytest.approx(exactly, rel=1e-6)
    assert PairTable(values, sizes).means(weights[:1]) == pytest.approx(exactly[:1], rel=1e-13)
    differ = PairTable(values > 1)
    assert differ.values.dtype == bool
    counts = [[int(row @ pair) for pair in values > 1] for row in weights.astype(int)]
    assert differ.means(weights).tolist() == (np.array(counts) / weights.sum(axis=1, keepdims=True)).tolist()


@pytest.mark.parametrize(
    "fields",
    [{"scores": [0.5, 0.6]}, {"scores": [0.5, 0.6], "kind": "regression"}],
    ids=["scores alone", "a regression of which the scores alone are known"],
)
def test_cohorts_without_pairs_or_classes_have_no_table(fields):
    assert pair_tables(outputs_of(Cohort(**fields))) == {}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (lambda predictions: np.zeros((3, 5)), ("(3, 5)", "(3, 10)")),
        (lambda predictions: np.zeros((6, 10)), ("(6, 10)", "(3, 10)")),
        (lambda predictions: np.full((3, 10), np.nan), ("finite",)),
        (lambda predictions: np.full((3, 10), 5.0), ("5", "0 to 1")),
        (lambda predictions: np.full((3, 10), -1.0), ("-1", "0 to 1")),
        (lambda predictions: {}["gone"], ("KeyError", "gone")),
        (lambda predictions: None, ("nothing",)),
        (lambda predictions: "text", ("text",)),
    ],
)
def test_a_measure_of_another_package_that_is_wrong_is_named_and_gives_no_number(table, said):
    mine = PairMeasure(name="mine", title="T", short="T", meaning="M", largest=1.0, of={"predictions": table})
    cohort = Cohort(predictions=np.arange(30).reshape(3, 10) % 2)
    with MEASURES.added(mine), pytest.raises(UserError, match=says("'mine'", *said)):
        profile(cohort, resamples=100)


def test_a_measure_that_needs_what_runs_never_have_is_refused():
    mine = PairMeasure(name="mine", title="T", short="T", meaning="M", of={"colours": np.asarray})
    with pytest.raises(UserError, match=says("'mine'", "'colours'", "predictions")), MEASURES.added(mine):
        pass


@pytest.mark.parametrize(
    ("distance", "said"),
    [
        (lambda pair: 7.0, ("7", "0 to 1")),
        (lambda pair: -1.0, ("-1", "0 to 1")),
        (lambda pair: np.nan, ("nan", "0 to 1")),
        (lambda pair: {}["gone"], ("KeyError", "gone")),
        (lambda pair: np.zeros(3), ("TypeError",)),
    ],
)
def test_a_layer_measure_that_is_wrong_is_named_and_not_clipped(distance, said):
    mine = LayerMeasure(name="mine", title="T", short="T", meaning="M", largest=1.0, distance=distance)
    cohort = Cohort(representations=list(np.random.default_rng(0).normal(size=(3, 1, 12, 4))))
    with MEASURES.added(mine), pytest.raises(UserError, match=says("'mine'", *said)):
        profile(cohort, resamples=100)


@pytest.mark.parametrize(
    ("combine", "reads", "said"),
    [
        (lambda means, sums, draw: np.full(len(draw.counts), 9.0), "disagreement", ("9", "0 to 1")),
        (lambda means, sums, draw: {}["gone"], "disagreement", ("KeyError", "gone")),
        (lambda means, sums, draw: np.zeros((2, 2)), "disagreement", ("(2, 2)",)),
        (lambda means, sums, draw: np.zeros(1), "agreement", ("'agreement'",)),
    ],
)
def test_a_combined_measure_that_is_wrong_is_named_and_gives_no_number(combine, reads, said):
    mine = CombinedMeasure(
        name="mine",
        title="T",
        short="T",
        meaning="M",
        largest=1.0,
        of={"predictions": np.asarray},
        reads=(reads,),
        sums=lambda made, weights: weights,
        combine=combine,
    )
    with MEASURES.added(mine), pytest.raises(UserError, match=says("'mine'", *said)):
        profile(Cohort(predictions=np.arange(30).reshape(3, 10) % 2), resamples=100)
