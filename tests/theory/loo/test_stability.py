import math

import numpy as np
import pytest
from saying import names

from steadytune.theory.loo.stability import Differences, Stability, stacked


def _differences(weights, loss=None):
    weights = np.asarray(weights, dtype=float)
    return Differences(weights, weights / 2, weights / 4, weights if loss is None else np.asarray(loss, dtype=float))


def _stability(seeds=2, n=3):
    leave_one_out = _differences([[1, 2, 3], [3, 4, 5]][:seeds])
    seed = _differences([[0, 10], [10, 0]] if seeds == 2 else [[0]])
    zeros = np.zeros((seeds, 3))
    names = tuple(map(str, range(seeds)))
    return Stability(n, np.arange(3), names, leave_one_out, seed, zeros, zeros, zeros.astype(int))


def test_the_table_has_the_two_instabilities_in_two_columns():
    table = _stability().to_frame()

    assert list(table.columns) == ["leave_one_out", "seed"]
    assert table.loc["weights"].tolist() == [3, 10]
    assert table.loc["directions"].tolist() == [1.5, 5]
    assert table.loc["predictions"].tolist() == [0.75, 2.5]
    assert table.loc["loss"].tolist() == [3, 10]


def test_a_single_seed_has_no_seed_instability():
    stability = _stability(seeds=1)

    assert stability.to_frame()["seed"].isna().all()
    assert stability.to_frame().loc["weights", "leave_one_out"] == 2
    assert "not measured" in " ".join(stability.describe())


def test_of_a_sample_the_standard_error_is_told_and_of_all_examples_none():
    said = " ".join(_stability(n=12).describe())

    # Means over seeds 2, 3, 4: SD 1, over sqrt(3), times sqrt(1 - 3/12) = 0.5.
    assert "3 of the 12 examples" in said
    assert names(said, "3", "standard error", "0.5 ")
    assert "standard error" not in " ".join(_stability(n=3).describe())


def test_rank_correlations_look_at_the_order_alone():
    first = _differences([1, 2, 3, 4], loss=[1, 2, 3, 4])
    second = _differences([1, 10, 100, 1000], loss=[4, 3, 2, 1])

    assert first.rank_correlations(second) == pytest.approx(
        {"weights": 1, "directions": 1, "predictions": 1, "loss": -1}
    )


@pytest.mark.parametrize("values", [[1, 1, 1], [1, 2, math.nan], [1, 2]])
def test_a_rank_correlation_that_means_nothing_is_nan(values):
    other = _differences(range(len(values)))

    assert all(math.isnan(value) for value in _differences(values).rank_correlations(other).values())


def test_the_differences_of_one_seed_can_be_taken_out_of_a_stack():
    rows = [_differences([1, 2]), _differences([3, 4])]

    both = stacked(rows)

    assert both.weights.tolist() == [[1, 2], [3, 4]]
    assert both.of(1).predictions.tolist() == rows[1].predictions.tolist()
