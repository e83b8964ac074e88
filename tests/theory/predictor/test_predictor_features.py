import numpy as np
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.theory.loo.logistic_loo import exact_leave_one_out
from steadytune.theory.predictor.features import feature_quantities, frozen_spec
from steadytune.training.data import run_data
from steadytune.training.features import frozen_features


@pytest.fixture
def specs(tiny_model, tiny_task):
    content = {"model": str(tiny_model), "task": str(tiny_task), "seeds": 2}
    recipes = {"standard": {}, "slow": {"training": {"learning_rate": 1e-6}}, "mmr": {"stabilizers": ["mmr"]}}
    recipes["small"] = {"training": {"train_size": 20}}
    return {(spec.recipe, spec.seeds.init): spec for spec in plan(Study.parse({**content, "recipes": recipes}))}


def test_runs_with_equal_model_task_and_examples_share_their_features(specs):
    ids = {name: frozen_spec(spec).id for name, spec in specs.items()}
    assert len({ids[name, seed] for name in ("standard", "slow", "mmr") for seed in (0, 1)}) == 1
    assert ids["small", 0] == ids["small", 1] != ids["standard", 0]


def test_margin_and_leave_one_out_are_those_of_the_frozen_features(specs, tmp_path):
    spec = frozen_spec(specs["small", 0])
    shares = []
    found = feature_quantities(spec, tmp_path, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    data = run_data(spec)
    features = frozen_features(spec, data, tmp_path, lambda share: None).train.double().numpy()
    labels = data.splits.train.labels
    exact = exact_leave_one_out(features, labels, l2=1.0)
    whole = exact.full.weight.ravel() / np.linalg.norm(exact.full.weight)
    others = exact.weight.reshape(len(labels), -1)
    turned = np.linalg.norm(others / np.linalg.norm(others, axis=1, keepdims=True) - whole, axis=1).mean()
    assert found["loo_directions"] == pytest.approx(turned, rel=0.2)
    largest = np.linalg.norm(features, axis=1).max()
    if np.isfinite(found["margin"]):
        assert found["norm_over_margin"] == pytest.approx(largest / found["margin"])
    assert list(tmp_path.glob("features-*.safetensors"))


def test_data_or_weights_that_are_not_those_of_the_runs_are_refused(specs, tmp_path):
    spec = frozen_spec(specs["standard", 0])
    for changed, said in (({"data": "0" * 64}, ("data", "task")), ({"weights": "0" * 64}, ("files", "model"))):
        with pytest.raises(UserError, match=says(*said, "runs")):
            feature_quantities(spec.model_copy(update=changed), tmp_path)
