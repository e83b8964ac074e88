import math
import re

import numpy as np
import pandas as pd
import pytest

from steadytune.theory.pages.trends import Claim, Trend, bounded, claim, graded, ranked, trend


def table_of(*groups):
    """Values of each group at the settings 1, 10, 100."""
    return pd.DataFrame(
        [
            {"dataset": name, "x": 10.0**place, "y": value}
            for name, values in enumerate(groups)
            for place, value in enumerate(values)
        ]
    )


def test_the_ends_of_every_group_are_compared():
    found = trend(table_of([1, 3, 2], [4, 1, 1], [5, 5, 5.1]), "x", "y")
    assert found.ends == (1.0, 100.0)
    assert found.ratios == pytest.approx([2, 0.25, 1.02])
    assert [found.share(way) for way in ("rises", "falls", "stays")] == pytest.approx([1 / 3] * 3)


def test_the_order_of_the_rows_does_not_matter():
    table = table_of([1, 3, 2], [4, 1, 1])
    mixed = table.iloc[[5, 0, 3, 2, 4, 1]]
    assert sorted(trend(mixed, "x", "y").ratios) == sorted(trend(table, "x", "y").ratios)


def test_groups_without_two_values_do_not_count():
    nothing = float("nan")
    found = trend(table_of([nothing, 1, 2], [1, nothing, nothing], [1, nothing, 3]), "x", "y")
    assert sorted(found.ratios) == pytest.approx([2, 3])
    empty = trend(table_of([nothing, 1, nothing]), "x", "y")
    assert len(empty.ratios) == 0
    assert empty.verdict("falls") == "inconclusive"
    assert not re.search(r"\d", empty.words("x =", "data sets"))


def test_what_starts_from_nothing_rises_and_what_stays_at_nothing_stays():
    found = trend(table_of([0, 1, 2], [0, 0, 0], [1e-12, 1, 1e-11], [1, 1, 0]), "x", "y")
    assert found.ratios.tolist() == [math.inf, 1, 1, 0]


def test_groups_may_be_made_by_several_columns():
    table = pd.DataFrame({"a": [1, 1, 1, 1], "b": [1, 1, 2, 2], "x": [1, 2, 1, 2], "y": [1.0, 2.0, 1.0, 4.0]})
    assert trend(table, "x", "y", ("a", "b")).ratios == pytest.approx([2, 4])


@pytest.mark.parametrize(
    ("ratios", "expected", "verdict"),
    [
        ([0.5] * 9 + [2], "falls", "supported"),
        ([0.5] * 6 + [2] * 4, "falls", "mostly supported"),
        ([0.5] * 5 + [2] * 5, "falls", "mixed"),
        ([0.5] * 4 + [2] * 6, "falls", "contradicted"),
        ([0.5] * 4 + [2] * 6, "rises", "mostly supported"),
        ([1.04] * 6 + [0.5] * 4, "falls", "no effect"),
        ([1.04, 0.96] * 5, "stays", "supported"),
        ([1.06, 0.94] * 5, "stays", "not supported"),
    ],
)
def test_a_verdict_follows_from_the_shares(ratios, expected, verdict):
    assert Trend((1, 2), np.array(ratios)).verdict(expected) == verdict


def test_words_name_the_ends_the_shares_and_the_median():
    found = trend(table_of([1, 2, 4], [2, 2, 4], [1, 1, 1], [2, 1, 1]), "x", "y")
    said = found.words("step", "data sets")
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", said)]
    assert numbers == [1, 100, 25, 50, 5, 25, 4, 1.5, 5]
    assert all(words in said for words in ("step 1 to 100", "falls in 25 %", "rises in 50 %", "4 data sets"))


def test_fewer_than_five_groups_tell_nothing():
    falling = [[2, 2, 1]] * 5
    assert trend(table_of(*falling[:4]), "x", "y").verdict("falls") == "inconclusive"
    found = trend(table_of(*falling), "x", "y")
    assert found.verdict("falls") == "supported"
    few, enough = (trend(table_of(*falling[:many]), "x", "y").words("x =", "data sets") for many in (4, 5))
    assert few.count(".") == enough.count(".") + 1


def test_where_it_is_not_supported_is_said():
    table = table_of(*[[2, 2, 1]] * 3, *[[1, 1, 2]] * 3)
    table["separable"] = table["dataset"] < 3
    found = trend(table, "x", "y")
    where = found.where("falls")
    assert re.findall(r"\d+ %", where) == ["100 %", "0 %"]
    assert claim("Words.", "ours", "falls", found, "x =").measured.endswith(where)
    assert not trend(table.assign(separable=True), "x", "y").where("falls")
    table.loc[0, "separable"] = False
    assert not trend(table, "x", "y").where("falls")


@pytest.mark.parametrize(
    ("correlations", "verdict"),
    [
        ([0.9, 0.5, 0.3, 0.2, 0.8], "supported"),
        ([0.9, 0.5, 0.3, 0.1, 0.1], "mostly supported"),
        ([0.9, 0.1, 0.1, 0.1, 0.1], "mixed"),
        ([-0.9, -0.5, -0.3, 0.1, 0.1], "contradicted"),
        ([0.9] * 4, "inconclusive"),
    ],
)
def test_rank_correlations_near_zero_are_none(correlations, verdict):
    assert ranked(np.array(correlations)) == verdict


@pytest.mark.parametrize(
    ("values", "between"),
    [([4, 1, 2], (10, "lowest")), ([1, 4, 2], (10, "highest")), ([1, 2, 4], None), ([4, 4, 1], None)],
)
def test_a_turn_between_the_ends_is_said(values, between):
    found = trend(table_of(values, values), "x", "y")
    assert found.between == between
    assert ("in between, at x = 10." in found.words("x =", "data sets")) == (between is not None)


def test_changes_are_held_against_their_standard_errors():
    table = table_of([1, 3, 2], [1, 1, 1.1], [1, 1, 5]).assign(y_error=[0.1, 9, 0.2, 0.1, 0.1, 0.1, 3, 0, 4])
    # Of 1, 0.1 and 4 they are 0.22, 0.14 and 5.
    found = trend(table, "x", "y", error="y_error")
    assert found.clear == 1
    assert re.search(r"\b2 [^.]*standard errors in 1 ", found.words("x =", "data sets"))
    unknown = trend(table.assign(y_error=math.nan), "x", "y", error="y_error")
    assert unknown.clear is None
    assert "standard errors" not in unknown.words("x =", "data sets")


def test_a_bound_is_supported_unless_it_is_exceeded():
    table = pd.DataFrame({"value": [1.0, 2.0, math.nan, 1.0], "bound": [2.0, 4.0, 1.0, math.nan]})
    held = bounded("Words.", "derived", table, "value", "bound", "rows")
    assert (held.prediction, held.source, held.verdict) == ("Words.", "derived", "supported")
    assert re.findall(r"0 of 2 rows|\d+ %", held.measured) == ["0 of 2 rows", "50 %", "50 %"]
    broken = bounded("Words.", "derived", table.assign(value=table["value"] * 3), "value", "bound", "rows")
    assert broken.verdict == "not supported"
    assert re.findall(r"2 of 2 rows|\d+ %", broken.measured) == ["2 of 2 rows", "150 %", "150 %"]
    none = bounded("Words.", "derived", table.iloc[2:], "value", "bound", "rows")
    assert none.verdict == "inconclusive"


def test_a_claim_sets_both_side_by_side():
    found = trend(table_of(*[[1, 2, 4]] * 5), "x", "y")
    made = claim("It falls.", "ours", "falls", found, "x =")
    assert made == Claim("It falls.", "ours", "contradicted", found.words("x =", "data sets"))


def test_a_share_is_graded():
    assert [graded(share) for share in (1.0, 0.9, 0.6, 0.59, 0.0, math.nan)] == [
        "supported",
        "supported",
        "mostly supported",
        "not supported",
        "not supported",
        "inconclusive",
    ]


def test_a_column_that_a_group_lacks_does_not_lose_the_group():
    table = table_of([1, 2, 4], [1, 1, 0.5]).assign(shift=math.nan)
    assert trend(table, "x", "y", ("dataset", "shift")).ratios == pytest.approx([4, 0.5])


def test_groups_that_end_at_different_settings_are_said_to_and_what_few_of_them_have_is_no_turn():
    table = pd.concat([table_of([1, 2], [1, 2], [1, 2]), table_of([1, 2, 9]).assign(dataset="long")])
    found = trend(table, "x", "y")
    assert found.ends == (1, 10)
    assert found.between is None
    assert found.words("x =", "data sets").startswith("From x = 1 to 10–100 it rises in 100 % of 4 data sets")
