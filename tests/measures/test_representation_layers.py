"""All pairs at all layers in one pass: nulls, threads, progress, tolerances, torch, recorded runs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytune.measures import (
    layer_distances,
    linear_cka,
    permutation_null,
    procrustes,
    representation_distances,
    svcca,
)
from steadytune.measures.distances import BIASED_CKA, CKA, PROCRUSTES, SVCCA, measure_pair
from steadytune.measures.factors import factor

pytestmark = pytest.mark.slow

NAMES = ("svcca", "procrustes", "cka")
MEASURES = {"svcca": svcca, "procrustes": procrustes, "cka": linear_cka}
# Fewer examples than features, about as many, more, many more.
SHAPES = [(30, 50), (40, 40), (44, 40), (60, 40), (150, 20)]


def decaying_runs(seed, examples, features, runs=4, decay=10.0, floor=0.0, own=0.7):
    """Runs that share part of their left singular vectors, with an exponential spectrum over a floor."""
    generator = np.random.default_rng(seed)
    rank = min(examples - 1, features)
    spectrum = np.exp(-np.arange(rank) / decay) + floor
    shared = generator.standard_normal((examples, rank))
    result = []
    for _ in range(runs):
        left = np.linalg.qr(shared + own * generator.standard_normal((examples, rank)))[0]
        right = np.linalg.qr(generator.standard_normal((features, rank)))[0]
        result.append((left * spectrum) @ right.T + 5 * generator.standard_normal(features))
    return result


def slow(x, y):
    """The three measures by singular value decompositions of the centred matrices themselves."""
    bases = []
    for run in (x, y):
        left, scale, _ = np.linalg.svd(run - run.mean(axis=0), full_matrices=False)
        bases.append(left[:, : max(1, int((np.cumsum(scale) / scale.sum() <= 0.99).sum()))])
    cosines = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    x, y = ((run - run.mean(axis=0)) / np.linalg.norm(run - run.mean(axis=0)) for run in (x, y))
    n = len(x)
    grams = []
    for run in (x, y):
        gram = run @ run.T
        np.fill_diagonal(gram, 0)
        sums = gram.sum(axis=0)
        gram += sums.sum() / ((n - 1) * (n - 2)) - (sums[:, None] + sums) / (n - 2)
        np.fill_diagonal(gram, 0)
        grams.append(gram)
    one, other = grams
    return {
        "svcca": 1 - cosines.sum() / len(cosines),
        "procrustes": 1 - np.linalg.svd(x.T @ y, compute_uv=False).sum(),
        "cka": 1 - (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()),
    }


def assert_close_to_slow(runs, tolerance=1e-8):
    found = representation_distances(runs)
    for i in range(len(runs)):
        for j in range(i):
            for name, value in slow(runs[i], runs[j]).items():
                assert found[name][i, j] == pytest.approx(value, abs=tolerance), name


@pytest.mark.parametrize(("examples", "features"), SHAPES)
@pytest.mark.parametrize(("decay", "floor"), [(1e9, 0), (10, 0), (3, 0), (3, 1e-4), (3, 1e-7), (1, 0)])
def test_steep_and_flat_spectra_measure_as_by_singular_value_decompositions(examples, features, decay, floor):
    assert_close_to_slow(decaying_runs(0, examples, features, decay=decay, floor=floor))


@pytest.mark.parametrize(("examples", "features"), SHAPES)
def test_half_precision_beside_a_large_mean_measures_as_by_singular_value_decompositions(examples, features):
    runs = [(run + 40).astype(np.float16).astype(float) for run in decaying_runs(1, examples, features)]
    assert_close_to_slow(runs)


def test_runs_of_few_directions_measure_as_by_singular_value_decompositions():
    generator = np.random.default_rng(2)
    thin = [generator.standard_normal((80, rank)) @ generator.standard_normal((rank, 100)) for rank in (3, 5, 40)]
    constant = [np.hstack([generator.standard_normal((80, 9)), np.full((80, 60), 7.0)]) for _ in range(2)]
    assert_close_to_slow([*thin, *constant])


def test_constant_features_do_not_matter():
    runs = decaying_runs(3, 30, 12)
    padded = [np.hstack([run, np.full((30, 5), 3.0)]) for run in runs]
    for name, distances in representation_distances(padded).items():
        np.testing.assert_allclose(distances, representation_distances(runs)[name], atol=1e-10)


@pytest.mark.parametrize(("examples", "features"), SHAPES)
def test_one_pass_gives_the_distances_and_the_nulls_of_each_measure_on_its_own(examples, features):
    runs = np.stack([decaying_runs(seed, examples, features, runs=6) for seed in (4, 5)], axis=1)
    found = layer_distances(runs, null_seed=7)
    for name in NAMES:
        assert found.distances[name].shape == (2, 6, 6)
        np.testing.assert_allclose(found.distances[name], MEASURES[name](runs), atol=1e-10)
        np.testing.assert_allclose(found.nulls[name], permutation_null(MEASURES[name], runs, seed=7), atol=1e-8)
        np.testing.assert_array_equal(found.bounds[name], 0)


def test_a_single_layer_counts_as_a_stack_of_one():
    runs = np.stack(decaying_runs(6, 20, 8))
    found = layer_distances(runs)
    for name in NAMES:
        np.testing.assert_array_equal(found.distances[name][0], representation_distances(runs)[name])
        assert found.nulls[name].shape == (1,)


def test_collapsed_single_and_few_runs_have_defined_distances_and_nulls():
    collapsed = np.ones((2, 10, 3))
    found = layer_distances(collapsed)
    for name in NAMES:
        np.testing.assert_array_equal(found.distances[name], 0)
        np.testing.assert_array_equal(found.nulls[name], 0)
        assert np.isnan(layer_distances(np.random.default_rng(0).random((1, 10, 3))).nulls[name]).all()
    short = layer_distances(np.random.default_rng(0).random((2, 3, 5)))
    assert np.isnan(short.nulls["cka"]).all()
    assert np.isfinite(short.nulls["procrustes"]).all()


@pytest.mark.parametrize("threads", [1, 3, None])
def test_the_number_of_threads_changes_nothing(threads):
    runs = decaying_runs(7, 44, 40, runs=5)
    expected, found = layer_distances(runs, threads=2), layer_distances(runs, threads=threads)
    for name in NAMES:
        np.testing.assert_array_equal(found.distances[name], expected.distances[name])
        np.testing.assert_array_equal(found.nulls[name], expected.nulls[name])


def test_progress_grows_to_one():
    shares = []
    layer_distances(np.random.default_rng(0).random((4, 3, 10, 5)), progress=shares.append)
    assert shares == sorted(set(shares))
    assert 0 < shares[0] < 0.1
    assert shares[-1] == 1


@pytest.mark.parametrize("bad", [-1e-3, float("nan")])
def test_a_tolerance_below_zero_is_rejected(bad):
    with pytest.raises(ValueError, match=rf"\Atolerance [^\n]*{bad}[^\n]*\Z"):
        layer_distances(np.ones((2, 5, 3)), tolerance=bad)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from(SHAPES),
    decay=st.sampled_from([1.0, 4.0, 15.0, 1e9]),
    own=st.sampled_from([0.01, 0.5, 100.0]),
    tolerance=st.sampled_from([1e-7, 1e-4, 1e-3, 1e-2, 0.1, 2.0]),
)
def test_a_tolerance_is_kept_and_the_bound_is_never_exceeded(seed, shape, decay, own, tolerance):
    runs = decaying_runs(seed, *shape, runs=3, decay=decay, own=own)
    exact, cut = layer_distances(runs), layer_distances(runs, tolerance=tolerance)
    for name in NAMES:
        error = np.abs(cut.distances[name] - exact.distances[name]).max()
        assert error <= cut.bounds[name].max() + 2e-9
        assert cut.bounds[name].max() <= tolerance
        assert np.abs(cut.nulls[name] - exact.nulls[name]).max() <= cut.bounds[name].max() + 2e-9
    np.testing.assert_array_equal(cut.bounds["svcca"], 0)


@pytest.mark.parametrize("hidden", ["first", "second"])
def test_what_a_cut_leaves_out_of_either_run_is_in_the_bound(hidden):
    # One run lies wholly in directions that hold a thousandth of the other's energy: the other is cut down to its
    # strong directions, in which the first has no part at all. The nuclear norm is then sqrt(1e-3), and the squared
    # Frobenius norm, the sum of 20 products 1e-3/20 * 1/20, is all of its bound: the middle is half of it off.
    generator = np.random.default_rng(0)
    columns = generator.standard_normal((80, 25))
    strong, weak = np.split(np.linalg.qr(columns - columns.mean(axis=0))[0], [5], axis=1)
    inside = weak / np.sqrt(20)
    mixed = np.hstack([strong * np.sqrt((1 - 1e-3) / 5), weak * np.sqrt(1e-3 / 20)])
    pair = (mixed, inside) if hidden == "first" else (inside, mixed)
    found, squared = measure_pair(*map(factor, pair), [PROCRUSTES, BIASED_CKA], 0.02)
    exact = 1 - np.linalg.norm(mixed.T @ inside, "nuc")
    assert exact == pytest.approx(1 - np.sqrt(1e-3), abs=1e-9)
    assert 0 < abs(found.value - exact) <= found.bound <= 0.02
    scale = np.sqrt(((1 - 1e-3) ** 2 / 5 + 1e-3**2 / 20) / 20)
    assert squared.bound == pytest.approx(1e-3 / 20 / 2 / scale, rel=1e-6)
    assert squared.value - (1 - 1e-3 / 20 / scale) == pytest.approx(squared.bound, rel=1e-6)


def test_two_equal_runs_are_exactly_as_far_off_as_the_bound_allows():
    # The core is diagonal: the squares of the singular values. A cut at r leaves out their tail t, which is also all
    # that is bounded; the middle of the gap is t/2 off the true distance of 0.
    run = decaying_runs(8, 60, 40, runs=1, decay=4)[0]
    factors = factor((run - run.mean(axis=0)) / np.linalg.norm(run - run.mean(axis=0)))
    (distance,) = measure_pair(factors, factors, [PROCRUSTES], 0.05)
    assert 0.01 < distance.value < distance.bound <= 0.05
    assert np.isclose(factors.tails / 2, distance.value, atol=1e-6).any()
    assert distance.bound == pytest.approx(distance.value + 0.05 / 100, abs=1e-6)


@pytest.mark.parametrize("tolerance", [0.0, 1e-2])
@pytest.mark.parametrize(("examples", "features"), SHAPES)
def test_the_same_lines_run_on_torch_as_on_numpy(examples, features, tolerance):
    # Tensors on a processor become NumPy at the door; those on CUDA do not, and reach these functions.
    centred = [run - run.mean(axis=0) for run in decaying_runs(9, examples, features, runs=2, decay=6)]
    centred = [run / np.linalg.norm(run) for run in centred]
    measures = [SVCCA, PROCRUSTES, CKA, BIASED_CKA]
    on_numpy = measure_pair(*map(factor, centred), measures, tolerance)
    factors = [factor(torch.from_numpy(run)) for run in centred]
    assert all(isinstance(run.scaled, torch.Tensor) for run in factors)
    order = np.random.default_rng(0).permutation(examples)
    shuffled = [run.shuffled(order) for run in factors]
    for on_torch in (measure_pair(*factors, measures, tolerance), measure_pair(*shuffled, measures, tolerance)):
        assert all(isinstance(distance.value, float) for distance in on_torch)
        np.testing.assert_allclose(on_torch, on_numpy, atol=1e-9)


def test_the_file_of_a_run_is_mapped_and_one_layer_at_a_time_is_in_memory(tmp_path):
    # Without mapping or streaming, the states alone would take 8 x 24 MB as float64.
    code = """
import json, sys
import numpy as np
from pathlib import Path
from steadytune.files import read_arrays, write_arrays
from steadytune.measures import layer_distances

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

folder, generator = Path(sys.argv[1]), np.random.default_rng(0)
sums = {k: write_arrays(folder / k, {"representations": generator.random((24, 128, 1024), np.float32).astype("f2")})
        for k in "abcd"}
Path("/proc/self/clear_refs").write_text("5")
before = peak()
runs = [read_arrays(folder / k, checksum)["representations"] for k, checksum in sums.items()]
layer_distances(runs, threads=1, tolerance=0.3)
print(json.dumps({"grown": peak() - before, "files": sum(run.nbytes for run in runs)}))
"""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system does not say how much memory was used at most")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    sizes = json.loads(done.stdout)
    layer = 4 * 128 * 1024 * 8
    assert sizes["files"] == 4 * 24 * 128 * 1024 * 2
    # Pages of the mapped files count, though the system takes them back when it needs memory.
    assert sizes["grown"] < sizes["files"] + 8 * layer
    assert sizes["grown"] < 24 * layer * 0.7
