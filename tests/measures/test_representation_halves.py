"""Large matrices, factored by products of their columns, and halves of them against their own rows."""

import numpy as np
import pytest
import torch
from test_representation_layers import SHAPES, assert_close_to_slow, decaying_runs, slow

from steadytune.measures import LayerMeasure, layer_distances, pair_mean, procrustes, representation_distances
from steadytune.measures import factors as factoring
from steadytune.measures.distances import CKA, PROCRUSTES, SVCCA
from steadytune.measures.factors import factor
from steadytune.measures.halves import Halved

NAMES = ("svcca", "procrustes", "cka")


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(factoring, "LARGE", 0)


def split_in(examples, first, second, seed=0):
    order = np.random.default_rng(seed).permutation(examples)
    return np.sort(order[:first]), np.sort(order[first : first + second])


def by_rows(runs, split):
    """Measure -> both halves (2,), each factored from its rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factoring, "LARGE", 2**20)
        found = [representation_distances([run[half] for run in runs[:3]]) for half in split]
    return {name: np.array([pair_mean(one[name]) for one in found]) for name in NAMES}


def assert_as_by_rows(runs, splits, tolerance=1e-6):
    found = layer_distances(runs, splits=splits)
    for at, split in enumerate(splits):
        for name, both in by_rows(runs, split).items():
            np.testing.assert_allclose(found.halves[name][at, :, 0], both, atol=tolerance, rtol=0, err_msg=name)


@pytest.mark.parametrize(("examples", "features"), SHAPES)
@pytest.mark.parametrize(("decay", "floor"), [(1e9, 0), (10, 0), (3, 0), (3, 1e-4), (3, 1e-7), (1, 0)])
def test_products_of_the_columns_measure_as_singular_value_decompositions(examples, features, decay, floor):
    assert_close_to_slow(decaying_runs(0, examples, features, decay=decay, floor=floor))


def test_only_large_matrices_of_more_rows_than_columns_are_factored_by_their_columns(monkeypatch):
    monkeypatch.setattr(factoring, "LARGE", 150 * 20)
    assert factoring.is_large(150, 20)
    assert not factoring.is_large(149, 20)
    assert not factoring.is_large(400, 400)


@pytest.mark.parametrize(("decay", "floor"), [(1e9, 0), (10, 0), (3, 0), (3, 1e-4), (1, 1e-7)])
@pytest.mark.parametrize(("first", "second"), [(75, 75), (60, 89)])
def test_halves_with_more_rows_than_features_are_as_by_their_rows(decay, floor, first, second):
    runs = decaying_runs(0, 150, 20, decay=decay, floor=floor)
    assert_as_by_rows(runs, [split_in(150, first, second, seed) for seed in range(3)])


def test_half_precision_beside_a_large_mean_is_halved_as_by_its_rows():
    runs = [(run + 40).astype(np.float16) for run in decaying_runs(1, 200, 30)]
    assert_as_by_rows(runs, [split_in(200, 99, 99)])


@pytest.mark.parametrize(("examples", "features"), [(30, 50), (60, 40), (40, 40)])
def test_halves_with_fewer_rows_than_features_are_their_rows(examples, features):
    runs = decaying_runs(2, examples, features)
    assert_as_by_rows(runs, [split_in(examples, examples // 2, examples // 2)], tolerance=0)


def test_examples_that_hold_nearly_all_of_a_direction_leave_the_other_half_its_digits():
    runs = decaying_runs(3, 150, 20)
    split = split_in(150, 75, 75)
    for run in runs:
        run[split[0][0]] *= 1e6
    assert_as_by_rows(runs, [split, split[::-1]])


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_runs_that_collapsed_on_one_half_are_at_the_distance_of_collapsed_runs(dtype):
    runs = decaying_runs(4, 120, 8, runs=3)
    split = split_in(120, 60, 60)
    for run in runs[:2]:
        run[split[1]] = 50.0
        run[split[1], 0] += 1e-2 * (dtype is np.float16) * np.arange(60) / 60
    runs = [run.astype(dtype) for run in runs]
    found = layer_distances(runs, splits=[split])
    for name in NAMES:
        assert found.halves[name][0, 1, 0] == pytest.approx(2 / 3)
        assert 0 < found.halves[name][0, 0, 0] < 1
    assert_as_by_rows(runs, [split])


def test_a_run_that_collapsed_throughout_is_halved_by_rows():
    runs = [*decaying_runs(5, 90, 8, runs=2), np.ones((90, 8))]
    assert_as_by_rows(runs, [split_in(90, 45, 45)])


def test_halves_too_small_for_a_measure_are_unknown():
    runs = np.random.default_rng(0).random((3, 2, 7, 1))
    found = layer_distances(runs, splits=[split_in(7, 3, 3), (np.arange(0), np.arange(4))])
    assert found.halves["cka"].shape == (2, 2, 2)
    assert np.isnan(found.halves["cka"][0]).all()
    assert np.isfinite(found.halves["procrustes"][0]).all()
    assert np.isnan(found.halves["procrustes"][1, 0]).all()


def test_the_number_of_threads_and_the_other_splits_change_nothing():
    runs = decaying_runs(6, 150, 20)
    splits = [split_in(150, 75, 75, seed) for seed in range(4)]
    expected = layer_distances(runs, splits=splits, threads=1)
    together, alone = layer_distances(runs, splits=splits, threads=3), layer_distances(runs, splits=splits[2:3])
    for name in NAMES:
        np.testing.assert_array_equal(together.halves[name], expected.halves[name])
        np.testing.assert_array_equal(alone.halves[name][0], expected.halves[name][2])
        np.testing.assert_array_equal(alone.distances[name], expected.distances[name])


def test_a_measure_of_another_package_reads_the_factors_of_a_half():
    def distance(pair):
        return 1 - np.linalg.norm(pair.first.scaled.T @ pair.second.scaled, "nuc")

    same = LayerMeasure(name="same", title="", short="", meaning="", largest=1.0, distance=distance)
    runs, split = decaying_runs(7, 150, 20), split_in(150, 70, 75)
    found = layer_distances(runs, [same], splits=[split]).halves["same"][0, :, 0]
    expected = [pair_mean(procrustes([run[half] for run in runs[:3]])) for half in split]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_same_lines_run_on_torch_as_on_numpy():
    centred = [run - run.mean(axis=0) for run in decaying_runs(8, 150, 20, runs=3)]
    centred = [run / np.linalg.norm(run) for run in centred]
    measures, split = [SVCCA, PROCRUSTES, CKA], split_in(150, 70, 75)
    on_numpy = Halved(centred, [factor(run) for run in centred], ["", "", ""], measures, [split])
    tensors = [torch.from_numpy(run) for run in centred]
    on_torch = Halved(tensors, [factor(run) for run in tensors], ["", "", ""], measures, [split])
    np.testing.assert_allclose(on_torch.measure(split), on_numpy.measure(split), atol=1e-6)


def test_large_matrices_have_the_null_and_the_invariances_of_others():
    runs = decaying_runs(10, 150, 20)
    found = layer_distances(runs)
    turned = layer_distances([5 * np.hstack([run, np.ones((150, 3))])[:, ::-1] + 7 for run in runs])
    for name in NAMES:
        np.testing.assert_allclose(turned.distances[name], found.distances[name], atol=1e-10)
        np.testing.assert_allclose(turned.nulls[name], found.nulls[name], atol=1e-10)


def test_weak_directions_that_svcca_keeps_are_orthogonal():
    # 99 % of the sum end just behind the second block, where a gap makes clear which directions are kept.
    generator = np.random.default_rng(9)
    shared, spectrum = generator.standard_normal((700, 401)), np.repeat([1, 1e-4, 0.010205 / 300], [1, 100, 300])
    runs = [
        (np.linalg.qr(shared + generator.standard_normal((700, 401)))[0] * spectrum)
        @ np.linalg.qr(generator.standard_normal((401, 401)))[0]
        for _ in range(2)
    ]
    found = representation_distances(runs, [SVCCA])["svcca"][0, 1]
    assert found == pytest.approx(slow(*runs)["svcca"], abs=1e-10)
