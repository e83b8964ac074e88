import hashlib

import numpy as np
import pytest
import torch

from steadytune.models.random_state import preserved_random_state, spread
from steadytune.study import Seeds, Study
from steadytune.sweep.plan import plan
from steadytune.training import data as data_module
from steadytune.training import full
from steadytune.training.full import train_full


@pytest.fixture
def spec(tiny_model, tiny_task):
    study = Study.parse(
        {
            "model": str(tiny_model),
            "task": str(tiny_task),
            "seeds": [3],
            "training": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3},
            "recipes": ["mmr+mhloss"],
        }
    )
    return plan(study)[0]


def _with_seeds(spec, **seeds):
    return spec.model_copy(update={"seeds": Seeds(**{"init": 3, "order": 3, "dropout": 3, **seeds})})


class _Observed:
    """What each source of luck decides: first weights, order of the examples, dropout's random state."""

    def __init__(self, spec, cache, monkeypatch):
        self.weights, self.order, self.dropout, self.noise_seed = "", [], b"", 0
        collate = data_module.Collator.__call__

        def watch_order(collator, rows):
            self.order += [tuple(row["inputs"][0]["input_ids"]) for row in rows]
            return collate(collator, rows)

        def watch_first_step(trainer, model, inputs, *rest):
            if not self.dropout:
                # What a training holds of the embeddings depends on its examples.
                with trainer.trimmed.restored():
                    state = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
                self.weights = hashlib.sha256(state).hexdigest()
                self.dropout = torch.get_rng_state().numpy().tobytes()
                self.noise_seed = torch.initial_seed()
            return step(trainer, model, inputs, *rest)

        step = full.RunTrainer.training_step
        with monkeypatch.context() as patch:
            patch.setattr(data_module.Collator, "__call__", watch_order)
            patch.setattr(full.RunTrainer, "training_step", watch_first_step)
            _, arrays = train_full(spec, cache, lambda share: None)
        self.logits = arrays["logits"]


def test_the_same_spec_gives_the_same_bits_whatever_ran_before(spec, tmp_path):
    _, first = train_full(spec, tmp_path, lambda share: None)
    train_full(_with_seeds(spec, init=9, order=9, dropout=9), tmp_path, lambda share: None)
    _, second = train_full(spec, tmp_path, lambda share: None)

    assert all(np.array_equal(first[name], second[name]) for name in ("logits", "labels", "representations"))


@pytest.mark.parametrize("changed", ["init", "order", "dropout"])
def test_changing_one_seed_changes_only_what_it_should(spec, tmp_path, monkeypatch, changed):
    base = _Observed(spec, tmp_path, monkeypatch)
    other = _Observed(_with_seeds(spec, **{changed: 4}), tmp_path, monkeypatch)

    differs = {
        "init": base.weights != other.weights,
        "order": base.order != other.order,
        "dropout": base.dropout != other.dropout,
    }
    assert differs == {name: name == changed for name in differs}
    assert not np.array_equal(base.logits, other.logits)


def test_the_data_seed_changes_the_training_subset_and_nothing_else(spec, tmp_path, monkeypatch):
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"train_size": 24})})
    base = _Observed(spec, tmp_path, monkeypatch)
    other = _Observed(_with_seeds(spec, data=1), tmp_path, monkeypatch)

    assert set(base.order[:24]) != set(other.order[:24])
    assert (base.weights, base.dropout) == (other.weights, other.dropout)
    assert not np.array_equal(base.logits, other.logits)


def test_the_init_seed_decides_new_weights_alone(spec, tmp_path, monkeypatch):
    starts = []
    build = full.build_model

    def keep(*args):
        model = build(*args)
        starts.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return model

    monkeypatch.setattr(full, "build_model", keep)
    for seed in (1, 2):
        train_full(_with_seeds(spec, init=seed), tmp_path, lambda share: None)

    changed = {name for name in starts[0] if not torch.equal(starts[0][name], starts[1][name])}
    assert {name.split(".")[0] for name in changed} == {"classifier"}


def test_consecutive_order_seeds_share_no_epochs_order(spec, tmp_path, monkeypatch):
    n = 40
    epochs = []
    for seed in (0, 1):
        order = _Observed(_with_seeds(spec, order=seed), tmp_path, monkeypatch).order[: 2 * n]
        epochs += [order[:n], order[n:]]

    assert sorted(epochs[0]) == sorted(epochs[3])
    assert len({tuple(order) for order in epochs}) == 4


@pytest.mark.parametrize(
    ("stream", "values"),
    [
        ("init", [917752063, 594516694]),
        ("order", [1417063493, 153813223]),
        ("dropout", [788445325, 228595140]),
        ("heads", [745480547, 1285465502]),
    ],
)
def test_the_streams_are_what_they_were_in_every_version(stream, values):
    # Finished runs were trained with them, and their ids do not say so.
    assert [spread(stream, seed) for seed in (0, 1)] == values


def test_each_source_draws_from_the_stream_of_its_own_seed(spec, tmp_path, monkeypatch):
    given = _with_seeds(spec, init=5, order=6, dropout=7)
    made = full.arguments(given, 40, str(tmp_path))
    assert (made.seed, made.data_seed) == (spread("init", 5), spread("order", 6))
    seen = _Observed(given, tmp_path, monkeypatch)
    assert seen.noise_seed == spread("dropout", 7)


def test_streams_of_one_integer_differ():
    assert len({spread(stream, seed) for stream in ("init", "order", "dropout") for seed in range(100)}) == 300


def test_the_random_state_is_left_as_it_was_found():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)

    with preserved_random_state():
        torch.rand(100)
        np.random.rand(5)

    assert torch.equal(torch.rand(3), expected)
