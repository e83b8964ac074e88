"""Seeds of a study: numbers, grids, and how they are written."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadytune.seeds import FACTORS
from steadytune.study import Seeds, Study


def study(seeds):
    return Study.parse({"model": "minilm", "task": "glue/rte", "seeds": seeds}, "study.yaml")


@pytest.mark.parametrize("number", [1, 3])
def test_a_number_of_seeds_means_the_integers_below_it(number):
    assert study(seeds=number).seeds == tuple(Seeds.all(seed) for seed in range(number))
    assert study(seeds=range(number)) == study(seeds=number)


def test_seeds_are_written_as_one_number_where_they_are_one():
    assert Seeds.all(3).label == "3"
    assert Seeds(init=3, order=0, dropout=0).label == "3/0/0"
    assert Seeds(init=3, order=0, dropout=0, data=2).label == "3/0/0/2"
    assert Seeds(init=3, order=3, dropout=3, data=3).label == "3/3/3/3"
    assert Seeds(init=3, order=3, dropout=3, replicate=1).label == "3/3/3/0/0/1"


@given(st.builds(Seeds, **dict.fromkeys(FACTORS, st.integers(0, 99))))
def test_the_name_of_a_run_says_its_seeds(seeds):
    assert Seeds.from_label(seeds.label) == seeds


@pytest.mark.parametrize("name", ["", "a", "1/2", "1/2/3/4/5/6/7", "1//2", "-1", "1.5", "1/2/3 "])
def test_another_name_says_no_seeds(name):
    assert Seeds.from_label(name) is None


@pytest.mark.parametrize("vary", [["init", "order"], ["order", "init"], ("init", "order")])
def test_a_grid_of_seeds_crosses_those_that_vary_and_fixes_the_rest(vary):
    seeds = study(seeds={"vary": vary, "values": 3}).seeds
    assert {(one.init, one.order) for one in seeds} == set(itertools.product(range(3), repeat=2))
    assert len(seeds) == 9
    assert {(one.dropout, one.data) for one in seeds} == {(0, 0)}
    # Interrupted after four runs, it holds a whole grid of two by two.
    assert seeds[:4] == study(seeds={"vary": vary, "values": 2}).seeds


@pytest.mark.parametrize("factor", FACTORS)
def test_one_seed_may_vary_alone(factor):
    seeds = study(seeds={"vary": factor}).seeds
    assert [one.model_dump() for one in seeds] == [
        {"init": 0, "order": 0, "dropout": 0} | ({factor: value} if value or factor in FACTORS[:3] else {})
        for value in range(5)
    ]


@pytest.mark.parametrize(
    "seeds",
    [
        1,
        7,
        {"vary": ["init", "order"], "values": 4},
        {"vary": ["init", "dropout", "data"], "values": 2},
        {"vary": ["order"], "values": 3},
    ],
)
def test_seeds_are_written_as_they_were_said(seeds):
    assert study(seeds=seeds).to_dict()["seeds"] == seeds


@pytest.mark.parametrize(
    "seeds",
    [
        [0, 2],
        [{"init": 0, "order": 0, "dropout": 0}, {"init": 1, "order": 0, "dropout": 0, "data": 2}],
        [{"init": 1, "order": 0, "dropout": 0}, {"init": 0, "order": 0, "dropout": 0}],
        [0, 1, {"init": 0, "order": 1, "dropout": 0}, {"init": 1, "order": 0, "dropout": 0}],
    ],
)
def test_seeds_that_are_no_grid_are_written_one_by_one(seeds):
    written = study(seeds=seeds).to_dict()["seeds"]
    assert len(written) == len(seeds)
    assert study(seeds=written).seeds == study(seeds=seeds).seeds
