"""Sources of instability of a cohort: which cohorts have some, what they add up to, and what is said of them."""

import itertools
import math

import numpy as np
import pytest
from saying import names

from steadytune.analysis.components import component_rows, describe_components, variance_components
from steadytune.measures import disagreement
from steadytune.records import Cohort, LostRun

GRID = tuple(f"{init}/{order}/0" for init, order in itertools.product(range(3), range(3)))


def scored(scores, seeds, **fields):
    return Cohort(
        scores=np.asarray(scores, dtype=float), seeds=tuple(seeds), recipe="standard", metric="accuracy", **fields
    )


def predicting(predictions, seeds, **fields):
    logits = np.where(np.arange(3) == np.asarray(predictions)[..., None], 2.0, -2.0)
    return scored(np.zeros(len(logits)), seeds, logits=logits, **fields)


def sources(found):
    return {":".join(source.factors): source.raw for source in found.sources}


@pytest.mark.parametrize(
    "seeds",
    [
        ["0", "1", "2"],
        ["a", "b", "c"],
        ["0/0/0", "1/0/0", "best"],
        ["0/0/0", "1/1/0", "2/2/0"],
        ["0/1/2", "3/4/5", "6/7/8"],
        ["0/1/0"],
        [],
    ],
)
def test_runs_whose_seeds_move_together_or_are_unknown_have_nothing_to_split(seeds):
    assert variance_components(scored(np.arange(len(seeds)) / 10, seeds)) == ()


def test_a_grid_is_split_into_the_seeds_that_vary_and_their_interaction():
    scores = [0.5, 0.6, 0.7, 0.5, 0.6, 0.7, 0.5, 0.6, 0.7]
    (found,) = variance_components(scored(scores, GRID))
    assert (found.measure, found.values, found.runs, found.lost) == ("score", {"init": 3, "order": 3}, 9, 0)
    # Nothing but the order moves the score, by 0.1 from value to value: a variance of 0.01.
    assert sources(found) == pytest.approx({"init": 0, "order": 0.01, "init:order": 0}, abs=1e-12)
    assert [source.share.value for source in found.sources] == pytest.approx([0, 1, 0])


def test_replicates_that_change_nothing_are_a_source_of_zero_and_it_is_said():
    seeds = [f"{init}/0/0/0/0/{again}" for init in range(3) for again in range(2)]
    (found,) = variance_components(scored([0.5, 0.5, 0.6, 0.6, 0.7, 0.7], seeds))
    assert found.values == {"init": 3, "replicate": 2}
    assert sources(found) == pytest.approx({"init": 0.01, "replicate": 0, "init:replicate": 0}, abs=1e-12)
    said = describe_components(found)
    assert names(said, "new weights", "same score", "hardware and kernels")
    assert said.count("hardware") == 1
    (alone,) = variance_components(scored([0.5, 0.5, 0.5], ["0/0/0", "0/0/0/0/0/1", "0/0/0/0/0/2"]))
    assert names(describe_components(alone), "same score", "hardware and kernels")


def test_replicates_that_differ_are_a_source_of_their_own():
    seeds = [f"{init}/0/0/0/0/{again}" for init in range(3) for again in range(2)]
    (found,) = variance_components(scored([0.5, 0.6, 0.6, 0.7, 0.7, 0.8], seeds))
    # The second run of each seed is 0.1 better: a variance of 0.005.
    assert sources(found) == pytest.approx({"init": 0.01, "replicate": 0.005, "init:replicate": 0}, abs=1e-12)
    assert names(describe_components(found), "33 %", "hardware and kernels")


def test_components_of_disagreement_add_up_to_that_of_runs_which_share_no_seed():
    predictions = np.random.default_rng(0).integers(0, 3, size=(9, 50))
    distances = disagreement(predictions)
    strangers = [
        distances[i, j]
        for i, j in itertools.combinations(range(9), 2)
        if GRID[i][0] != GRID[j][0] and GRID[i][2] != GRID[j][2]
    ]
    _, found = variance_components(predicting(predictions, GRID))
    assert found.measure == "disagreement"
    assert sum(sources(found).values()) == pytest.approx(np.mean(strangers))


def test_texts_disagree_where_they_are_not_equal():
    texts = [["yes", "no"], ["yes ", "maybe"], ["no", "no"], ["no", "maybe"]]
    cohort = Cohort(generations=texts, kind="generation", seeds=("0/0/0", "0/1/0", "1/0/0", "1/1/0"))
    (found,) = variance_components(cohort)
    # The first example follows the init seed, the second the order seed; each is half of the examples.
    assert (found.measure, sources(found)) == (
        "disagreement",
        pytest.approx({"init": 0.5, "order": 0.5, "init:order": 0}),
    )


def test_a_regression_has_components_of_its_score_alone():
    cohort = scored(np.arange(9) / 10, GRID, logits=np.ones((9, 4, 1)), kind="regression")
    assert [found.measure for found in variance_components(cohort)] == ["score"]


def test_one_seed_that_varies_alone_is_the_only_source():
    (found,) = variance_components(scored([0.5, 0.6, 0.7], ["0/0/0", "0/1/0", "0/2/0"]))
    assert sources(found) == pytest.approx({"order": 0.01})
    said = describe_components(found)
    # chi-square ends of an SD of 10 points from three runs: 5.2 and 62.8.
    assert names(said, "order of the examples", "SD", "10.0 points", "[5.2, 6")


def test_seeds_that_move_together_beside_another_are_one_source():
    seeds = [f"{one}/{one}/{one}/{data}" if data else str(one) for one in range(3) for data in range(2)]
    (found,) = variance_components(scored([0.1, 0.2, 0.4, 0.3, 0.5, 0.9], seeds))
    assert set(sources(found)) == {"init+order+dropout", "data", "init+order+dropout:data"}
    assert names(describe_components(found), "new weights", "order of the examples", "dropout masks")


def test_a_grid_with_lost_runs_is_split_and_says_so():
    lost = (LostRun("2/2/0", "diverged", "NaN"),)
    (found,) = variance_components(scored([0.5, 0.6, 0.7, 0.5, 0.6, 0.7, 0.5, 0.6], GRID[:8], lost=lost))
    # Squares within the three init seeds, .02 + .02 + .005, over 2 + 2 + 1 degrees of freedom.
    assert sources(found) == pytest.approx({"init": 0, "order": 0.009, "init:order": 0}, abs=1e-12)
    assert names(describe_components(found), "1 of 9 runs", "approximate")


@pytest.mark.parametrize("kept", [["0/0/0", "1/1/0"], ["2/1/0"], []])
def test_what_is_left_of_a_grid_may_not_tell_its_seeds_apart(kept):
    lost = tuple(LostRun(seed, "failed", "") for seed in GRID if seed not in kept)
    (found,) = variance_components(scored(np.arange(len(kept)), kept, lost=lost))
    assert found.sources == ()
    assert names(describe_components(found), f"{len(kept)} ", "runs", "9")
    assert "%" not in describe_components(found)


def test_the_sources_are_named_in_the_order_of_their_share():
    rng = np.random.default_rng(1)
    init, order = np.array(list(itertools.product(range(8), range(8)))).T
    scores = 0.7 + rng.normal(0, 0.01, 8)[init] + rng.normal(0, 0.1, 8)[order] + rng.normal(0, 0.001, 64)
    (found,) = variance_components(scored(scores, [f"{i}/{o}/0" for i, o in zip(init, order, strict=True)]))
    shares = [source.share.value for source in found.sources]
    assert shares[1] > shares[0] > shares[2]
    said = describe_components(found)
    assert names(said, "variance", "score", f"{100 * shares[1]:.0f} % [")
    assert said.index("order of the examples") < said.index("new weights") < said.index("interact")
    assert not said.startswith("64 runs")


def test_few_runs_do_not_tell_which_source_is_the_largest():
    rng = np.random.default_rng(2)
    score, wrong = variance_components(predicting(rng.integers(0, 2, size=(9, 40)), GRID))
    assert names(describe_components(score), "score", "same")
    assert "%" not in describe_components(score)
    said = describe_components(wrong)
    assert said.startswith("9 runs ")
    assert names(said.partition(". ")[2], "disagreement", "%")


def test_small_interactions_of_three_seeds_are_summed_up():
    rng = np.random.default_rng(3)
    seeds = list(itertools.product(range(4), repeat=3))
    scores = rng.normal(0, 1, (3, 4))[range(3), np.array(seeds)].sum(axis=1) + rng.normal(0, 0.01, 64)
    scores = 0.5 + scores / 20
    (found,) = variance_components(scored(scores, ["/".join(map(str, one)) for one in seeds]))
    assert len(found.sources) == 7
    said = describe_components(found)
    assert said.count(" % [") == 3
    assert "dropout masks" in said
    most = max(source.share.high for source in found.sources[3:])
    assert names(said, "less than 5 %", "interaction", f"{100 * most:.1f} %")


def test_unknown_scores_have_no_components():
    assert variance_components(scored([math.nan] * 9, GRID)) == ()


def test_rows_hold_every_source_of_every_cohort():
    cohorts = [scored((np.arange(9) / 10) ** 2, GRID, model="m", task="t"), scored([0.1, 0.2], ["0", "1"])]
    rows = component_rows(cohorts)
    assert [(row.model, row.task, row.recipe, row.measure, row.source, row.freedom) for row in rows] == [
        ("m", "t", "standard", "score", "init", 2),
        ("m", "t", "standard", "score", "order", 2),
        ("m", "t", "standard", "score", "init:order", 4),
    ]
    assert all(row.low <= row.variance <= row.high and row.share_low <= row.share <= row.share_high for row in rows)
