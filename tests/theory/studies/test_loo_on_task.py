import numpy as np
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.stabilizers import parse_stabilizer
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.theory import leave_one_out
from steadytune.theory.studies.task_loo import check_recipes, task_stability
from steadytune.training.data import run_data
from steadytune.training.features import frozen_features


@pytest.fixture
def specs(tiny_model, tiny_task):
    """Plan runs of one seed in head tuning, by their recipes."""

    def made(recipes):
        study = {"model": str(tiny_model), "task": str(tiny_task), "seeds": 1, "recipes": recipes}
        return plan(Study.parse(study | {"training": {"mode": "head", "train_size": 12}}))

    return made


def test_the_heads_of_mhloss_are_those_of_leave_one_out(specs, tmp_path):
    (spec,) = specs({"three": {"stabilizers": [{"mhloss": {"heads": 3}}]}})

    (found,) = task_stability(spec, tmp_path, seeds=2, steps=20)

    features = frozen_features(spec, run_data(spec), tmp_path, lambda share: None)
    labels = run_data(spec).splits.train.labels
    inputs = features.train.double().numpy()
    options = {"seeds": range(2), "steps": 20, "scale": features.scale}
    assert np.array_equal(found.exact.weights, leave_one_out(inputs, labels, heads=3, **options).weights)
    assert not np.allclose(found.exact.weights, leave_one_out(inputs, labels, **options).weights)


@pytest.mark.parametrize(
    "other",
    [
        {"training": {"learning_rate": 1e-5, "epochs": 50, "weight_decay": 0.5, "batch_size": 4}},
        {"training": {"pooling": "mean"}},
        {"stabilizers": [{"mhloss": {"heads": 1}}]},
    ],
)
def test_two_recipes_that_differ_in_nothing_that_is_used_are_refused(specs, other):
    with pytest.raises(UserError, match=says("recipes", "'one'", "'two'", "features")):
        check_recipes(specs({"one": {}, "cls": {"training": {"pooling": "cls"}}, "two": other}))


def test_recipes_that_differ_in_their_features_or_heads_are_taken(specs):
    surt = {"stabilizers": ["surt"]}
    check_recipes(
        specs(
            {
                "standard": {},
                "cls": {"training": {"pooling": "cls"}},
                "more": {"training": {"train_size": 16}},
                "mhloss": {"stabilizers": ["mhloss"]},
                "surt": surt,
                # It trains the encoder on batches of this size.
                "small": {**surt, "training": {"batch_size": 4}},
                "both": {"stabilizers": ["surt", "mhloss"]},
            }
        )
    )


def test_a_method_that_acts_on_the_descent_is_refused(specs, tmp_path):
    (spec,) = specs({"mine": {}})
    spec = spec.model_copy(update={"stabilizers": (parse_stabilizer("ema"),)})

    with pytest.raises(UserError, match=says("recipe", "'mine'", "ema", "descent")):
        task_stability(spec, tmp_path)

    assert not list(tmp_path.iterdir())
