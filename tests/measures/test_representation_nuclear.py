"""The nuclear norm by eigenvalues against singular values, where eigenvalues are hard to get right."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytune.measures.nuclear import nuclear_norm

SIZE = 60
ORDER = np.arange(1, SIZE + 1)
SPECTRA = {
    "flat": np.ones(SIZE),
    "power": 1.0 / ORDER,
    "steep": np.exp(-ORDER / 3.0),
    "floor": np.exp(-ORDER / 3.0) + 1e-7,
    "gap": np.where(ORDER < 5, 1, 1e-6),
    "two values": np.where(ORDER < 30, 1, 1e-9),
    "rank deficient": np.where(ORDER < 40, 1.0 / ORDER, 0),
}


def turns():
    generator = np.random.default_rng(0)
    shuffled = np.eye(SIZE)[generator.permutation(SIZE)]
    noise = generator.standard_normal((SIZE, SIZE))
    orthogonal = {"equal": np.eye(SIZE), "reversed": np.eye(SIZE)[::-1], "shuffled": shuffled}
    nearly = {f"nearly {name}": np.linalg.qr(turn + 1e-3 * noise)[0] for name, turn in orthogonal.items()}
    return orthogonal | nearly | {"random": np.linalg.qr(noise)[0]}


TURNS = turns()


@pytest.mark.parametrize(("first", "second"), list(itertools.product(SPECTRA, SPECTRA)))
@pytest.mark.parametrize("turn", TURNS)
def test_the_sum_of_singular_values_is_right_for_any_two_spectra_at_any_angle(first, second, turn):
    one, other = (SPECTRA[name] / np.linalg.norm(SPECTRA[name]) for name in (first, second))
    core = one[:, None] * TURNS[turn] * other
    expected = np.linalg.svd(core, compute_uv=False).sum()
    assert nuclear_norm(core) == pytest.approx(expected, abs=2e-9)
    if one.all() and other.all():
        assert nuclear_norm(core, np.log(one).sum() + np.log(other).sum()) == pytest.approx(expected, abs=2e-9)


def test_plain_eigenvalues_would_be_wrong_by_more_in_one_of_these_cases():
    # What the check is for: without it, the test above would fail.
    one = SPECTRA["gap"] / np.linalg.norm(SPECTRA["gap"])
    core = one[:, None] * TURNS["nearly equal"] * one
    naive = np.sqrt(np.clip(np.linalg.eigvalsh(core @ core.T), 0, None)).sum()
    assert abs(naive - np.linalg.svd(core, compute_uv=False).sum()) > 3e-9


def test_a_wrong_determinant_costs_time_and_no_accuracy():
    core = SPECTRA["floor"][:, None] * TURNS["random"] * SPECTRA["floor"]
    assert nuclear_norm(core, 12345.0) == pytest.approx(np.linalg.svd(core, compute_uv=False).sum(), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), rank=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_matrices_of_any_shape_and_rank_have_the_nuclear_norm_of_numpy(rows, columns, rank, seed):
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((rows, rank)) @ generator.standard_normal((rank, columns))
    assert nuclear_norm(matrix) == pytest.approx(np.linalg.norm(matrix, "nuc"), abs=1e-9 * np.linalg.norm(matrix))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_an_empty_matrix_has_none(shape):
    assert nuclear_norm(np.zeros(shape)) == 0


def test_zeros_and_a_single_number():
    assert nuclear_norm(np.zeros((3, 3))) == 0
    assert nuclear_norm(np.array([[-2.0]])) == 2
