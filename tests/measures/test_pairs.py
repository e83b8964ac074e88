"""The mean over pairs of runs, and the examples in the docstrings of the measures."""

import doctest
import importlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from steadytune.measures import pair_mean
from steadytune.measures.pairs import square


def test_pair_mean_takes_every_unordered_pair_once_and_no_diagonal():
    distances = np.array([[9.0, 1.0, 2.0], [1.0, 9.0, 6.0], [2.0, 6.0, 9.0]])
    assert pair_mean(distances) == 3
    assert isinstance(pair_mean(distances), float)


def test_pair_mean_of_a_stack_is_one_value_per_matrix():
    stack = torch.arange(24.0).reshape(2, 3, 2, 2)
    means = pair_mean(stack)
    np.testing.assert_array_equal(means, [[1, 5, 9], [13, 17, 21]])


def test_pair_mean_of_a_single_run_is_not_a_number():
    assert np.isnan(pair_mean([[0.0]]))
    np.testing.assert_array_equal(pair_mean(np.zeros((4, 1, 1))), [np.nan] * 4)


def test_pair_mean_keeps_what_is_not_defined():
    assert np.isnan(pair_mean([[0, np.nan], [np.nan, 0]]))


@pytest.mark.parametrize("bad", [[1.0, 2.0], np.zeros((2, 3))])
def test_pair_mean_rejects_what_is_no_square_matrix(bad):
    with pytest.raises(ValueError, match=r"\Adistances [^\n]*\(\.\.\., K, K\)[^\n]*\(2, ?3?\)[^\n]*\Z"):
        pair_mean(bad)


@pytest.mark.parametrize("module", ["factors", "inputs", "pairs", "prediction", "representation", "score"])
def test_the_examples_in_the_docstrings_run(module):
    result = doctest.testmod(importlib.import_module(f"steadytune.measures.{module}"))
    assert result.failed == 0
    assert result.attempted > 0 or module in {"factors", "inputs"}


def test_measures_need_no_torch_and_of_the_package_registry_and_kinds_alone():
    code = (
        "import sys, steadytune.measures; "
        "ours = {n for n in sys.modules if n.startswith('steadytune.') and not n.startswith('steadytune.measures')} "
        "- {'steadytune.errors', 'steadytune.registry', 'steadytune.kinds', 'steadytune.kinds.base'}; "
        "sys.exit(str(ours) if ours or 'torch' in sys.modules else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_pairs_fill_a_symmetric_matrix_row_by_row(runs):
    pairs = np.arange(1.0, runs * (runs - 1) // 2 + 1)
    matrix = square(pairs)
    assert matrix.shape == (runs, runs)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(matrix[np.triu_indices(runs, 1)], pairs)
    assert (np.diag(matrix) == 0).all()


@pytest.mark.parametrize("pairs", [[1.0, 2.0], [[1.0]], [1.0] * 5])
def test_a_number_of_pairs_that_no_runs_have_is_rejected(pairs):
    with pytest.raises(ValueError, match=r"\Apairs [^\n]*K\(K - 1\)/2[^\n]*\Z"):
        square(pairs)
