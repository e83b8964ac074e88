import numpy as np
import pytest
import torch
from saying import says

from steadytune.errors import UserError
from steadytune.theory.full.lanczos import extreme_eigenvalues


def operator(eigenvalues, seed=0, dtype=torch.float64):
    """A dense symmetric matrix with these eigenvalues, turned at random."""
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    turned, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return ((turned * torch.as_tensor(eigenvalues, dtype=torch.float64)) @ turned.T).to(dtype)


def extremes(matrix, **options):
    return extreme_eigenvalues(lambda v: matrix @ v, torch.zeros(len(matrix), dtype=matrix.dtype), **options)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
@pytest.mark.parametrize("seed", range(5))
def test_with_as_many_products_as_dimensions_both_ends_are_exact(size, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    matrix = matrix + matrix.T

    found = extremes(matrix, tolerance=0)

    values = torch.linalg.eigvalsh(matrix)
    assert found.smallest.value == pytest.approx(float(values[0]), abs=1e-11)
    assert found.largest.value == pytest.approx(float(values[-1]), abs=1e-11)
    assert found.products <= size
    assert found.margin == 0


@pytest.mark.parametrize("products", [2, 5, 12, 30])
@pytest.mark.parametrize("seed", range(10))
def test_the_residual_reaches_an_eigenvalue_and_the_values_stay_within_the_spectrum(products, seed):
    eigenvalues = np.random.default_rng(seed).standard_normal(200) ** 3
    found = extremes(operator(eigenvalues, seed), steps=products, tolerance=0)

    assert found.products == products
    for value, residual in (found.smallest, found.largest):
        assert np.abs(eigenvalues - value).min() <= residual + 1e-12
        assert eigenvalues.min() - 1e-12 <= value <= eigenvalues.max() + 1e-12


def test_a_lone_negative_eigenvalue_is_found_though_small_residuals_come_before():
    bulk = torch.linspace(0, 1, 20_000, dtype=torch.float64) ** 3
    diagonal = torch.cat([torch.tensor([-0.5, 10.0], dtype=torch.float64), bulk])

    early = extreme_eigenvalues(lambda v: diagonal * v, diagonal, steps=4)
    found = extreme_eigenvalues(lambda v: diagonal * v, diagonal)

    # A residual of 1 % of the largest, and still no sign of the last eigenvalue: only the margin knows.
    assert early.smallest.value > 0
    assert early.smallest.residual < 0.1
    assert early.margin == float("inf")
    assert found.smallest.value == pytest.approx(-0.5, abs=1e-6)
    assert found.largest.value == pytest.approx(10, abs=1e-6)


@pytest.mark.parametrize("products", [6, 10, 20])
def test_the_margin_is_kept_for_almost_every_start(products):
    # Eigenvalues crowd towards both ends, which makes these hard to resolve.
    diagonal = torch.cos(torch.linspace(0, torch.pi, 500, dtype=torch.float64))
    missed = []
    for seed in range(200):
        found = extreme_eigenvalues(lambda v: diagonal * v, diagonal, steps=products, tolerance=0, seed=seed)
        missed.append(max(1 - found.largest.value, found.smallest.value + 1))
        assert missed[-1] <= found.margin
    assert min(missed) > 0


def test_the_margin_is_that_of_kuczynski_and_wozniakowski():
    # 1.648 sqrt(P) exp(-(2k - 1) sqrt(e)) = .01 / 2 for each end, and e is a share of the spread with both margins.
    size, products = 500, 10
    diagonal = torch.cos(torch.linspace(0, torch.pi, size, dtype=torch.float64))
    found = extreme_eigenvalues(lambda v: diagonal * v, diagonal, steps=products, tolerance=0)
    spread = found.largest.value - found.smallest.value
    share = found.margin / (spread + 2 * found.margin)
    assert 2 * 1.648 * size**0.5 * np.exp(-(2 * products - 1) * share**0.5) == pytest.approx(0.01)


def test_too_few_products_have_no_finite_margin():
    assert extremes(operator(np.arange(50.0)), steps=3, tolerance=0).margin == float("inf")


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_multiple_of_the_identity_takes_one_product(value):
    found = extreme_eigenvalues(lambda v: value * v, torch.zeros(30))

    assert found.smallest.value == found.largest.value == pytest.approx(value)
    assert found.products == 1
    assert found.margin == 0


def test_a_start_that_is_almost_an_eigenvector_does_not_end_the_search():
    # One product leaves a residual below the tolerance, and knows nothing of the other end.
    found = extremes(operator([1.0, 1.01]))

    assert found.products == 2
    assert found.margin == 0
    assert (found.smallest.value, found.largest.value) == pytest.approx((1, 1.01))


def test_a_repeated_eigenvalue_exhausts_the_space_early():
    found = extremes(operator([5.0] * 20 + [1.0] * 20 + [-1.0] * 20), tolerance=0)

    assert found.products == 3
    assert (found.smallest.value, found.largest.value) == pytest.approx((-1, 5))


def test_single_precision_finds_the_same_ends():
    eigenvalues = np.concatenate([np.linspace(-1, 1, 300), [40.0, -6.0]])

    found = extremes(operator(eigenvalues, dtype=torch.float32))

    assert found.largest.value == pytest.approx(40, rel=1e-5)
    assert found.smallest.value == pytest.approx(-6, rel=1e-4)


def test_the_search_stops_once_residuals_and_margin_are_small():
    matrix = operator(np.concatenate([np.linspace(-1, 1, 300), [40.0, -6.0]]))

    rough, fine = extremes(matrix, tolerance=0.2), extremes(matrix, tolerance=0.05)

    assert rough.products < fine.products < 60
    for found, tolerance in ((rough, 0.2), (fine, 0.05)):
        assert max(found.margin, found.smallest.residual, found.largest.residual) <= tolerance * found.largest.value


def test_a_curvature_that_is_not_finite_is_an_error():
    with pytest.raises(UserError, match=says("curvature", "finite")):
        extreme_eigenvalues(lambda v: v * torch.nan, torch.zeros(3))
