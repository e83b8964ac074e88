import math

import numpy as np
import pytest
from made_runs import made_record, made_specs, made_study

from steadytune.theory.predictor.quantities import QUANTITIES, run_quantities, spec_quantities

CURVES = {
    "grad_norm": [8.0, 4.0, 4.0, 2.0, 3.0, 1.0, 1.0, 1.0],
    "gradient_embeddings": [9.0, 1.0, 2.0, 4.0],
    "gradient_top": [1.0, 1.0, 1.0, 8.0],
    "loss": [9.0, 9.0, 9.0, 9.0],
    "task_loss": [0.7, 0.6, 0.5, 0.3],
    "margin": [-1.0, -1.0, None, 2.0],
    "feature_norm": [5.0, 5.0, 5.0, 4.0],
    "centre_distance": [1.0, 1.0, 1.0, 6.0],
}
LOGITS = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [4.0, 0.0]])


def made(**fields):
    (spec, *_) = made_specs(made_study())
    return made_record(spec, **fields)


def test_a_run_says_of_itself_what_is_computed_by_hand():
    found = run_quantities(made(curves=CURVES, score=0.75, majority_score=0.5), LOGITS)
    confidence = np.mean([1 / (1 + math.exp(-gap)) for gap in (2, 3, 1, 4)])
    assert found == pytest.approx(
        {
            "gradient_largest": 8.0,
            "gradient_late": 1.0,
            "gradient_fall": 6.0,
            "gradient_depth": 0.5,
            "late_loss": 0.3,
            "distance": 1.5,
            "late_margin": 0.5,
            "late_centre_distance": 1.5,
            "above_majority": 0.25,
            "largest_class": 0.75,
            "confidence": confidence,
            "logit_gap": 2.5,
        }
    )
    assert set(found) == {one.name for one in QUANTITIES if one.runs}


def test_what_a_run_did_not_record_is_not_known():
    found = run_quantities(made(curves={}, measurements={}, score=None, majority_score=None), None)
    assert all(math.isnan(value) for value in found.values())


def test_values_that_are_not_known_are_left_out_of_means_and_a_constant_zero_has_no_ratio():
    curves = {"grad_norm": [None, 3.0, 0.0, 0.0], "loss": [1.0, 0.5, None, None]}
    found = run_quantities(made(curves=curves), None)
    assert found["gradient_largest"] == 3.0
    assert found["gradient_late"] == 0.0
    assert math.isnan(found["gradient_fall"])
    assert math.isnan(found["late_loss"])


def test_older_records_have_the_loss_of_task_and_penalties():
    assert run_quantities(made(curves={"loss": [1.0, 0.5]}), None)["late_loss"] == 0.5


def test_a_recipe_says_examples_steps_and_rate():
    training = {"train_size": 50, "batch_size": 16, "epochs": 3, "learning_rate": 0.1}
    (spec, *_) = made_specs(made_study(training=training))
    assert spec_quantities(spec) == pytest.approx(
        {"train_examples": 50, "steps": 12, "learning_rate": 0.1, "rate_times_steps": 1.2}
    )


def test_without_a_train_size_the_task_is_counted_if_it_is_there(tiny_task):
    (spec, *_) = made_specs(made_study(task=str(tiny_task), training={"batch_size": 16, "epochs": 1}))
    assert spec_quantities(spec)["train_examples"] == 40
    assert spec_quantities(spec)["steps"] == 3
    (spec, *_) = made_specs(made_study(task="./no/such/folder"))
    assert math.isnan(spec_quantities(spec)["steps"])
