"""Representation measures where something is missing, constant, too small, in half precision or wrong."""

from functools import partial

import numpy as np
import pytest
import torch
from saying import says

from steadytune.measures import (
    linear_cka,
    pair_mean,
    permutation_null,
    procrustes,
    representation_distances,
    svcca,
)

MEASURES = {
    "svcca": svcca,
    "svcca_published": partial(svcca, definition="published"),
    "procrustes": procrustes,
    "cka": linear_cka,
    "linear_cka_biased": partial(linear_cka, unbiased=False),
}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
UNRELATED_OR_COLLAPSED = [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def random_runs(*shape):
    return np.random.default_rng(0).standard_normal(shape)


@every_measure
def test_a_single_run_has_no_pair(measure):
    distances = measure(random_runs(1, 6, 3))
    np.testing.assert_array_equal(distances, [[0]])
    assert np.isnan(pair_mean(distances))
    assert np.isnan(permutation_null(measure, random_runs(1, 6, 3)))


@every_measure
def test_a_single_example_defines_no_distance(measure):
    np.testing.assert_array_equal(measure(random_runs(2, 1, 3)), [[0, np.nan], [np.nan, 0]])


def test_unbiased_cka_needs_four_examples_and_the_others_two():
    distances = representation_distances(random_runs(2, 3, 5))
    assert np.isnan(distances["cka"][0, 1])
    assert np.isfinite(distances["svcca"]).all()
    assert np.isfinite(distances["procrustes"]).all()
    assert np.isfinite(linear_cka(random_runs(2, 3, 5), unbiased=False)).all()
    assert np.isfinite(linear_cka(random_runs(2, 4, 5))).all()


@every_measure
@pytest.mark.parametrize("noise", [0, 1e-7], ids=["constant", "constant up to rounding"])
def test_collapsed_runs_equal_each_other_and_nothing_else(measure, noise):
    runs = random_runs(3, 20, 6)
    runs[:2] = [[[3.0]], [[-700.0]]] * (1 + noise * runs[:2])
    np.testing.assert_array_equal(measure(runs), UNRELATED_OR_COLLAPSED)


@every_measure
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_run_that_flickers_between_two_half_precision_numbers_has_collapsed(measure, dtype):
    runs = torch.from_numpy(random_runs(3, 20, 6))
    epsilon = torch.finfo(dtype).eps
    runs[:2] = 1 + epsilon / 2 + 1e-2 * epsilon * runs[:2]
    half = runs.to(dtype)
    assert len(half[:2].unique()) == 2
    np.testing.assert_array_equal(measure(half), UNRELATED_OR_COLLAPSED)


@every_measure
def test_all_zero_runs_have_collapsed(measure):
    np.testing.assert_array_equal(measure(np.zeros((2, 5, 3))), np.zeros((2, 2)))


@every_measure
def test_a_small_spread_above_rounding_has_not_collapsed(measure):
    run = random_runs(20, 6)
    np.testing.assert_allclose(measure([run, 1e-9 * run]), 0, atol=1e-9)


def test_equidistant_examples_hold_no_arrangement_for_unbiased_cka():
    runs = [np.eye(6), 2 * np.eye(6), random_runs(6, 6)]
    np.testing.assert_array_equal(linear_cka(runs), UNRELATED_OR_COLLAPSED)


@every_measure
@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_numbers_of_any_size_measure_alike(measure, scale):
    runs = random_runs(3, 30, 8)
    np.testing.assert_allclose(measure(scale * runs), measure(runs), atol=1e-12)


@every_measure
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_rejected_with_run_and_layer(measure, bad):
    runs = random_runs(3, 2, 6, 4)
    runs[2, 1, 0, 0] = bad
    with pytest.raises(ValueError, match=r"\Arepresentations [^\n]*run 2, layer 1[^\n]*NaN[^\n]*\Z"):
        measure(runs)
    with pytest.raises(ValueError, match=says("representations", "run 2, layer 1", "NaN")):
        permutation_null(measure, runs)
    with pytest.raises(ValueError, match=r"\Arepresentations [^\n]*run 2\b(?!, layer)[^\n]*NaN[^\n]*\Z"):
        measure(runs[:, 1])


@every_measure
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([], ["representations", "one run"]),
        ([np.ones((5, 2)), np.ones((4, 2))], ["run 1", "(4, 2)", "run 0", "(5, 2)"]),
        ([np.ones((3, 5, 2)), np.ones((2, 5, 2))], ["run 1", "(2, 5, 2)", "run 0", "(3, 5, 2)"]),
        ([np.ones((3, 5, 2)), np.ones((5, 2))], ["run 1", "(5, 2)", "run 0", "(3, 5, 2)"]),
        (np.ones((5, 2)), ["(N, D)", "run 0", "(2,)"]),
        (np.ones((2, 0, 3)), ["empty", "run 0", "(0, 3)"]),
        ([np.ones((5, 2), dtype=complex)], ["representations", "real numbers", "complex128"]),
    ],
)
def test_shapes_that_do_not_fit_are_rejected_in_one_line(measure, bad, reason):
    with pytest.raises(ValueError, match=says(*reason)) as error:
        measure(bad)
    assert "\n" not in str(error.value)


def test_an_unknown_definition_is_rejected():
    with pytest.raises(ValueError, match=says("definition 'new'", "'corrected'", "'published'")):
        svcca(random_runs(2, 5, 3), definition="new")


@every_measure
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 0), (torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)]
)
def test_torch_tensors_of_any_type_measure_like_arrays(measure, dtype, tolerance):
    runs = random_runs(3, 2, 12, 5)
    runs[1:] += runs[0]
    tensors = torch.from_numpy(runs).to(dtype).requires_grad_()
    expected = measure(runs)
    np.testing.assert_allclose(measure(tensors), expected, atol=tolerance)
    np.testing.assert_allclose(measure(list(tensors)), expected, atol=tolerance)
    assert measure(tensors).dtype == np.float64


def test_tensors_may_be_shuffled_for_the_null():
    runs = random_runs(3, 2, 12, 5)
    expected = permutation_null(procrustes, runs)
    np.testing.assert_array_equal(permutation_null(procrustes, torch.from_numpy(runs)), expected)


def test_memory_mapped_half_precision_is_read_one_layer_at_a_time(tmp_path):
    runs = random_runs(3, 4, 12, 5).astype(np.float16)
    mapped = np.memmap(tmp_path / "runs.bin", dtype=np.float16, mode="w+", shape=runs.shape)
    mapped[:] = runs
    for name, distances in representation_distances(mapped).items():
        np.testing.assert_array_equal(distances, representation_distances(runs.astype(np.float64))[name])
    np.testing.assert_array_equal(mapped, runs)
