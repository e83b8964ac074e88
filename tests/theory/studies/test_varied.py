from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from steadytune.theory import leave_one_out, max_margin
from steadytune.theory.studies.dataset import DataSet
from steadytune.theory.studies.synthetic import SyntheticSpec, generate
from steadytune.theory.studies.varied import HEADS, SCALED, SMALL, ZERO, Grid, seed_directions, studied


def table_of(**changes):
    spec = SyntheticSpec(**{"n": 20, "d": 30, "shift": 2.0, **changes})
    data = DataSet(*generate(spec), spec.seed)
    return data, pd.DataFrame(studied(data, SMALL))


@pytest.fixture(scope="module")
def separable():
    return table_of()


@pytest.fixture(scope="module")
def overlapping():
    return table_of(d=2, shift=0.5, label_noise=0.2)


def part(table, name, **chosen):
    rows = table[table["part"] == name]
    for column, value in chosen.items():
        rows = rows[rows[column] == value]
    return rows


def test_every_setting_has_a_row(separable):
    _, table = separable
    counts = table["part"].value_counts().to_dict()
    steps, rates, scales, heads = (len(getattr(SMALL, name)) for name in ("steps", "rates", "scales", "heads"))
    assert counts == {
        "geometry": 1,
        "training": steps * (2 * rates + scales - 1),
        "order": rates,
        "heads": steps * (2 * heads + 1),
        "mmr": len(SMALL.alphas),
    }
    assert not table.duplicated(["part", "steps", "rate", "init_scale", "kind", "heads", "alpha"]).any()


@pytest.mark.parametrize("classes", [2, 3])
def test_from_a_zero_start_leave_one_out_is_what_leave_one_out_measures(classes):
    data, table = table_of(classes=classes)
    for rate, step in ((1.0, 10), (0.1, 100)):
        (row,) = part(table, "training", rate=rate, steps=step, init_scale=0.0).to_dict("records")
        exact = leave_one_out(
            data.features, data.labels, learning_rate=rate * data.rate, steps=step, loss=data.loss, scale=0.0
        )
        # With a row per class and the logistic loss of two there is one row, and so one direction.
        assert row["loo_directions"] == pytest.approx(exact.leave_one_out.directions.mean(), rel=1e-8)
        assert row["learning_rate"] == pytest.approx(exact.learning_rate)


def test_with_the_same_start_and_the_same_data_nothing_differs(separable):
    _, table = separable
    assert part(table, "training", init_scale=0.0)["seed_directions"].max() < 1e-12
    assert part(table, "heads", kind=ZERO)["seed_directions"].max() < 1e-12
    assert part(table, "training", init_scale=1.0)["seed_directions"].min() > 0.01


def test_seed_instability_is_the_mean_distance_over_pairs():
    assert seed_directions(np.eye(3)) == pytest.approx(np.sqrt(2))
    assert seed_directions(np.array([[1.0, 0], [1, 0], [-1, 0]])) == pytest.approx(4 / 3)


def test_one_head_is_its_own_mean_and_the_control_of_one_head(separable):
    _, table = separable
    columns = ["loo_directions", "seed_directions", "direction_error", "cosine_to_max_margin"]
    one, scaled = (part(table, "heads", kind=kind, heads=1)[columns].to_numpy(float) for kind in (HEADS, SCALED))
    assert one == pytest.approx(scaled, rel=1e-9)
    trained = part(table, "training", rate=1.0, init_scale=1.0)["seed_directions"].to_numpy()
    # All heads of the first study are those of one head in this one; it leaves out fewer examples.
    assert one[:, 1] == pytest.approx(trained, rel=1e-9)


def test_zero_is_the_start_of_the_zero_control(separable):
    _, table = separable
    zero = part(table, "heads", kind=ZERO)["direction_error"].to_numpy()
    trained = part(table, "training", rate=1.0, init_scale=0.0)["direction_error"].to_numpy()
    assert zero == pytest.approx(trained, rel=1e-9)


def test_the_cosine_between_heads_is_the_mean_over_pairs():
    spec = SyntheticSpec(n=12, d=5, shift=2.0)
    data = DataSet(*generate(spec), spec.seed)
    settings = Grid(steps=(7,), rates=(1.0,), scales=(1.0,), heads=(1, 3), alphas=(0.0,), seeds=2, left_out=1, epochs=1)
    table = pd.DataFrame(studied(data, settings))
    ((_, weights),) = data.train(data.noise(2, 3), np.array(-1), np.array(1.0), (7,))
    each = data.directions(weights)
    pairs = [each[s, a] @ each[s, b] for s in range(2) for a, b in ((0, 1), (0, 2), (1, 2))]
    (found,) = part(table, "heads", kind=HEADS, heads=3)["cosine_between_heads"]
    assert found == pytest.approx(np.mean(pairs))


def test_the_geometry_is_that_of_the_features_and_the_bounds_hold(separable):
    data, table = separable
    (row,) = part(table, "geometry").to_dict("records")
    found = max_margin(data.features, data.labels)
    assert row["margin"] == pytest.approx(found.gamma)
    assert row["norm"] == pytest.approx(np.linalg.norm(data.features, axis=1).max())
    assert row["norm_over_margin"] == pytest.approx(row["norm"] / row["margin"])
    centres = [data.features[data.labels == label].mean(0) for label in (0, 1)]
    assert row["centre_distance"] == pytest.approx(np.linalg.norm(centres[0] - centres[1]))
    assert 0 < row["max_margin_loo"] <= row["sharp_loo_bound"]
    assert row["max_margin_loo"] <= row["loo_bound"]
    trained = part(table, "training")
    assert (trained["loo_directions"] <= trained["descent_loo_bound"]).all()


def test_what_needs_separable_classes_is_absent_where_they_are_not(overlapping):
    data, table = overlapping
    assert not data.separable
    for column in ("margin", "norm_over_margin", "max_margin_loo", "loo_bound", "direction_error", "descent_loo_bound"):
        assert column not in table
    assert part(table, "training")["loo_directions"].notna().all()


def test_mmr_without_weight_is_tuning_without_it_and_with_weight_moves_the_centres_apart(separable):
    _, table = separable
    distances = part(table, "mmr").set_index("alpha")["centre_distance"]
    assert distances[1.0] > distances[0.0]
    assert (part(table, "mmr")["max_margin_loo"] <= part(table, "mmr")["loo_bound"]).all()


def test_the_order_of_the_examples_is_a_seed_of_its_own(separable):
    _, table = separable
    rows = part(table, "order")
    assert (rows["seed_directions"] > 1e-6).all()
    assert rows["loo_directions"].isna().all()
    assert set(rows["steps"]) == {SMALL.epochs * 3}


def test_a_sample_of_the_examples_is_left_out_where_asked_and_the_bound_is_that_of_the_sample(separable):
    data, table = separable
    few = pd.DataFrame(studied(data, replace(SMALL, trained_left_out=4)))
    sampled, whole = part(few, "training"), part(table, "training")
    assert set(sampled["left_out"]) == {4}
    assert set(whole["left_out"]) == {20}
    assert sampled["seed_directions"].to_numpy() == pytest.approx(whole["seed_directions"].to_numpy(), rel=1e-9)
    assert (sampled["loo_directions"] <= sampled["descent_loo_bound"]).all()
    (row,) = part(few, "training", rate=1.0, steps=10, init_scale=0.0).to_dict("records")
    exact = leave_one_out(
        data.features, data.labels, learning_rate=data.rate, steps=10, loss=data.loss, scale=0.0, examples=range(4)
    )
    assert row["loo_directions"] == pytest.approx(exact.leave_one_out.directions.mean(), rel=1e-8)
