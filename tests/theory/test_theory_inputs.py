import numpy as np
import pytest
import torch
from saying import says

from steadytune.errors import UserError
from steadytune.theory.inputs import chosen_examples, labelled_features, more_features

FEATURES = np.arange(8, dtype=np.float32).reshape(4, 2)


def test_arrays_and_tensors_become_float64_features_and_whole_labels():
    features, labels = labelled_features(FEATURES, torch.tensor([0.0, 1.0, 1.0, 0.0]))

    assert features.dtype == torch.float64
    assert features.tolist() == FEATURES.tolist()
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (FEATURES[:2], [0, 1], says("3 examples", "2")),
        (FEATURES, [1, 1, 1, 1], says("4 examples", "class 1")),
        (FEATURES, [0, 1, 1], says("(4, 2)", "(3,)")),
        (FEATURES[:, 0], [0, 1, 1, 0], says("(4,)", "(4,)")),
        (FEATURES, [0, 1, -1, 0], "negative"),
        (FEATURES, [0, 1, 0.5, 0], says("labels", "integers")),
        (FEATURES, [0, 1, np.nan, 0], says("labels", "integers")),
        (np.where(FEATURES == 5, np.nan, FEATURES), [0, 1, 1, 0], says("example 2", "NaN")),
        (np.where(FEATURES == 7, np.inf, FEATURES), [0, 1, 1, 0], says("example 3", "NaN", "infini")),
    ],
)
def test_data_that_mean_nothing_are_refused(features, labels, message):
    with pytest.raises(UserError, match=message):
        labelled_features(features, labels)


def test_all_examples_are_chosen_unless_some_are_given():
    assert chosen_examples(None, 3).tolist() == [0, 1, 2]
    assert chosen_examples([2, 0], 3).tolist() == [2, 0]


@pytest.mark.parametrize("examples", [[3], [-1], [0, 0], [], [0.5], [[0]]])
def test_examples_that_are_none_are_refused(examples):
    with pytest.raises(UserError, match=r"^examples\b"):
        chosen_examples(examples, 3)


@pytest.mark.parametrize("evaluation", [np.ones((3, 3)), np.ones(2), np.ones((0, 2)), [[1.0, np.nan]]])
def test_evaluation_features_that_do_not_fit_are_refused(evaluation):
    with pytest.raises(UserError, match=r"^evaluation\b"):
        more_features(evaluation, torch.ones(4, 2))
