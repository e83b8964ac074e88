import json

import numpy as np
import pytest
import torch
from saying import says
from transformers import AutoModel, AutoTokenizer

from steadytune.errors import UserError
from steadytune.models.modules import find_head
from steadytune.stabilizers import parse_stabilizer
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.training.data import run_data
from steadytune.training.full import best_epoch, train_full
from steadytune.training.run import train
from steadytune.training.run_record import Diverged


def _quiet(share):
    pass


@pytest.fixture
def specs(tiny_model, tiny_task):
    def make(task=tiny_task, recipes=("standard",), seeds=1, **training):
        base = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3}
        return plan(
            Study.parse(
                {
                    "model": str(tiny_model),
                    "task": str(task),
                    "seeds": seeds,
                    "training": {**base, **training},
                    "recipes": list(recipes),
                }
            )
        )

    return make


def test_a_run_leaves_logits_labels_states_curves_and_times(specs, tmp_path):
    (spec,) = specs()

    record, arrays = train_full(spec, tmp_path, _quiet)

    assert arrays["logits"].shape == (24, 2)
    assert arrays["logits"].dtype == np.float32
    assert arrays["labels"].tolist() == run_data(spec).task.validation.labels.tolist()
    assert arrays["representations"].shape == (2, 24, 16)
    assert arrays["representations"].dtype == np.float16
    accuracy = (arrays["logits"].argmax(1) == arrays["labels"]).mean()
    assert record.score == pytest.approx(accuracy)
    assert record.curves["step"] == list(range(1, 11))
    assert len(record.curves["loss"]) == len(record.curves["centre_distance"]) == 10
    assert record.timings["total"] >= record.timings["train"] > 0
    assert record.versions["torch"] == torch.__version__


@pytest.mark.parametrize("recipe", ["standard", "mhloss"])
def test_gradients_by_depth_are_kept_where_the_loss_is_and_make_up_the_whole_gradient(specs, tmp_path, recipe):
    (spec,) = specs(recipes=[recipe], clip=1e-3)

    curves = train_full(spec, tmp_path, _quiet)[0].curves

    names = ["gradient_embeddings", "gradient_block_1", "gradient_block_2", "gradient_top"]
    assert [name for name in curves if name.startswith("gradient_")] == ["gradient_step", *names]
    assert curves["gradient_step"] == curves["step"]
    assert all(min(curves[name]) > 0 for name in names)
    squares = np.sum([np.square(curves[name]) for name in names], axis=0)
    assert np.sqrt(squares) == pytest.approx(curves["grad_norm"], rel=1e-4)


def test_gradients_are_kept_in_the_first_step_of_a_long_run_too(specs, tmp_path):
    # 80 steps, every second of which is logged.
    (spec,) = specs(epochs=16)

    curves = train_full(spec, tmp_path, _quiet)[0].curves

    assert curves["step"] == list(range(2, 82, 2))
    assert curves["gradient_step"] == [1, *curves["step"]]
    assert len(curves["gradient_embeddings"]) == 41
    assert curves["geometry_step"][0] == 0


def test_the_task_loss_is_the_loss_where_no_method_changes_it(specs, tmp_path):
    (spec,) = specs(epochs=16)
    curves = train_full(spec, tmp_path, _quiet)[0].curves
    assert curves["task_loss"] == pytest.approx(curves["loss"], abs=1e-6)


@pytest.fixture
def curves_at_rest(specs, tmp_path):
    """Curves of a run whose weights stay where they are."""

    def curves(*stabilizers):
        (spec,) = specs(learning_rate=1e-30)
        spec = spec.model_copy(update={"stabilizers": tuple(map(parse_stabilizer, stabilizers))})
        return train_full(spec, tmp_path, _quiet)[0].curves

    return curves


@pytest.mark.parametrize("method", [{"mmr": {"alpha": 5.0}}, {"l2_sp": {"beta": 10.0}}, "supcon", "large_margin"])
def test_the_task_loss_is_that_of_the_plain_run_whatever_a_method_makes_of_the_loss(curves_at_rest, method):
    plain, other = curves_at_rest(), curves_at_rest(method)
    assert other["task_loss"] == pytest.approx(plain["task_loss"], abs=1e-5)
    assert np.all(np.abs(np.subtract(other["loss"], plain["loss"])) > 1e-3)


def test_the_task_loss_of_many_heads_is_that_of_their_mean(curves_at_rest):
    # By Jensen's inequality below the mean of their losses, which is the loss.
    curves = curves_at_rest("mhloss")
    assert np.all(np.less(curves["task_loss"], curves["loss"]))


def test_the_task_loss_of_an_attack_is_that_of_its_first_pass(curves_at_rest):
    # The passes climb, and the loss is their mean.
    curves = curves_at_rest("freelb")
    assert np.all(np.less(curves["task_loss"], curves["loss"]))


def test_a_depth_that_is_frozen_has_no_gradient(specs, tmp_path):
    (spec,) = specs(recipes=["freeze"])

    curves = train_full(spec, tmp_path, _quiet)[0].curves

    assert set(curves["gradient_embeddings"]) == {None}
    assert min(curves["gradient_top"]) > 0


def test_it_learns(specs, tmp_path):
    (spec,) = specs(epochs=15, learning_rate=5e-3)

    record, _ = train_full(spec, tmp_path, _quiet)

    assert not record.failed
    assert record.score > 0.9
    assert np.mean(record.curves["loss"][-5:]) < 0.5 * np.mean(record.curves["loss"][:5])


def test_the_learning_rate_rises_over_a_tenth_of_the_steps_and_falls_to_zero(specs, tmp_path):
    (spec,) = specs(epochs=4)

    record, _ = train_full(spec, tmp_path, _quiet)

    # 20 steps, 2 of them warm-up.
    expected = [0, 0.0005, *(0.001 * left / 18 for left in range(18, 0, -1))]
    assert record.curves["learning_rate"] == pytest.approx(expected)


def test_weight_decay_spares_biases_and_layer_norms(specs, tmp_path):
    from steadytune.training import full

    (spec,) = specs()
    trainers = []
    init = full.RunTrainer.__init__
    full.RunTrainer.__init__ = lambda self, *args: (trainers.append(self), init(self, *args))[1]
    try:
        train_full(spec, tmp_path, _quiet)
    finally:
        full.RunTrainer.__init__ = init
    groups = {group["weight_decay"]: group["params"] for group in trainers[0].optimizer.optimizer.param_groups}

    assert set(groups) == {0.01, 0.0}
    assert all(parameter.dim() == 2 for parameter in groups[0.01])
    assert all(parameter.dim() == 1 for parameter in groups[0.0])


def test_states_are_those_after_each_block_at_the_first_position(specs, tmp_path, tiny_model):
    # A learning rate of almost nothing leaves the encoder where it was.
    (spec,) = specs(learning_rate=1e-30, epochs=1, representation_dtype="float32")
    sentences = [one[0][0] for one in run_data(spec).task.validation.candidates]

    _, arrays = train_full(spec, tmp_path, _quiet)

    encoder = AutoModel.from_pretrained(tiny_model).eval()
    inputs = AutoTokenizer.from_pretrained(tiny_model)(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = encoder(**inputs, output_hidden_states=True).hidden_states
    expected = torch.stack([layer[:, 0] for layer in states[1:]]).numpy()
    assert np.allclose(arrays["representations"], expected, atol=1e-5)


def test_halves_of_the_validation_set_are_shared_by_seeds_and_recipes_and_do_not_overlap(specs, tmp_path):
    runs = specs(recipes=("standard", "mmr"), seeds=2, select_checkpoint=True, epochs=3)

    results = [train_full(spec, tmp_path, _quiet) for spec in runs]

    splits = run_data(runs[0]).splits
    measured, selecting = set(splits.measure.candidates), set(splits.select.candidates)
    assert len(splits.measure) == len(splits.select) == 12
    assert not measured & selecting
    for record, arrays in results:
        assert np.array_equal(arrays["labels"], splits.measure.labels)
        assert 1 <= record.measurements["selected_epoch"] <= 3
        scores = record.curves["selection_score"]
        assert record.measurements["selected_epoch"] == 1 + int(np.argmax(scores))


# Of several epochs that score best the first counts: the one that `selected_epoch` names.
@pytest.mark.parametrize("given", [(0.2, 0.9, 0.5), (0.2, 0.9, 0.9)])
def test_the_weights_of_the_picked_epoch_are_the_ones_that_are_measured(specs, tmp_path, monkeypatch, given):
    from steadytune.training import full

    (spec,) = specs(select_checkpoint=True, epochs=3)
    scores = iter(given)
    heads = []

    def score(*args):
        return {"accuracy": next(scores)}

    pick = full.RunTrainer.pick_epoch

    def keep(trainer):
        heads.append(trainer.stabilization.head.weight.detach().clone())
        pick(trainer)

    measured = []
    unequip = full.RunTrainer.unequip

    def look(trainer):
        unequip(trainer)
        measured.append(find_head(trainer.model)[2].weight.detach().clone())

    monkeypatch.setattr(full, "evaluate", score)
    monkeypatch.setattr(full.RunTrainer, "pick_epoch", keep)
    monkeypatch.setattr(full.RunTrainer, "unequip", look)
    record, _ = train_full(spec, tmp_path, _quiet)

    assert record.measurements["selected_epoch"] == 2
    assert torch.equal(measured[0], heads[1])
    assert not torch.equal(heads[1], heads[2])


def test_bfloat16_stays_close_to_float32_and_keeps_its_weights_in_float32(specs, tmp_path):
    (plain,), (half,) = specs(), specs(precision="bf16")

    _, expected = train_full(plain, tmp_path, _quiet)
    _, arrays = train_full(half, tmp_path, _quiet)

    assert arrays["logits"].dtype == np.float32
    assert not np.array_equal(arrays["logits"], expected["logits"])
    assert np.abs(arrays["logits"] - expected["logits"]).max() < 0.15


@pytest.mark.parametrize("recipe", ["standard", "mhloss"])
def test_a_choice_task_scores_each_candidate(specs, tmp_path, recipe):
    rows = [
        {
            "premise": "anna likes the cup",
            "choice1": "it is glad",
            "choice2": "it is awful",
            "question": "cause",
            "label": n % 2,
        }
        for n in range(16)
    ]
    _write(tmp_path / "choices", rows)
    (spec,) = specs(tmp_path / "choices", [recipe])

    record, arrays = train_full(spec, tmp_path, _quiet)

    assert record.status == "done"
    assert arrays["logits"].shape == (16, 2)
    assert arrays["representations"].shape == (2, 32, 16)


@pytest.mark.parametrize("recipe", ["standard", "mhloss"])
def test_a_regression_is_scored_by_its_correlation(specs, tmp_path, recipe):
    rows = [{"sentence1": "anna likes", "sentence2": "ben likes", "label": n / 3} for n in range(16)]
    _write(tmp_path / "scores", rows)
    (spec,) = specs(tmp_path / "scores", [recipe])

    record, arrays = train_full(spec, tmp_path, _quiet)

    assert record.metric == "pearson"
    assert arrays["logits"].shape == (16, 1)


def test_a_loss_that_is_not_a_number_ends_the_run_and_names_the_step(specs, tmp_path):
    (spec,) = specs(learning_rate=1e30, clip=0.0)

    with pytest.raises(Diverged, match=r"\b[0-9]+\D+\b10\b"):
        train_full(spec, tmp_path, _quiet)
    ((record, arrays),) = train([spec], tmp_path, _quiet)
    assert (record.status, arrays) == ("diverged", {})


def test_data_that_change_within_one_process_are_read_again(specs, tmp_path):
    folder = tmp_path / "changing"
    rows = [{"sentence": f"anna likes {word}", "label": n % 2} for n, word in enumerate(["apple", "boat"] * 8)]
    _write(folder, rows)
    (before,) = specs(folder)
    train_full(before, tmp_path / "cache", _quiet)
    (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:6]), encoding="utf-8")
    (after,) = specs(folder)

    _, arrays = train_full(after, tmp_path / "cache", _quiet)

    assert len(arrays["labels"]) == 6
    with pytest.raises(UserError, match=says("data", f"'{before.task.name}'")):
        train_full(before.model_copy(update={"data": "of another day"}), tmp_path / "cache", _quiet)


def test_retraining_with_another_batch_size_is_another_retraining(specs, tmp_path):
    small, large = (specs(recipes=["surt"], batch_size=size)[0] for size in (4, 8))

    for spec in (small, large):
        train_full(spec, tmp_path, _quiet)

    assert len(list(tmp_path.glob("surt-*.safetensors"))) == 2


def test_the_time_of_what_seeds_share_is_not_the_runs_own(specs, tmp_path):
    (spec,) = specs(recipes=["surt"])

    record, _ = train_full(spec, tmp_path, _quiet)

    assert record.timings["shared"] > 0
    parts = sum(record.timings[name] for name in ("setup", "train", "evaluate"))
    assert record.timings["total"] == pytest.approx(parts, abs=1e-6)


def test_surt_is_computed_once_for_all_seeds(specs, tmp_path):
    runs = specs(recipes=["surt"], seeds=2)

    first, second = (train_full(spec, tmp_path, _quiet)[0] for spec in runs)

    assert len(list(tmp_path.glob("surt-*.safetensors"))) == 1
    assert first.measurements["surt_distance"] == second.measurements["surt_distance"] > 0


def _write(folder, rows):
    folder.mkdir()
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_the_best_epoch_is_the_one_with_the_least_error_where_less_is_better():
    assert best_epoch("accuracy", [0.5, 0.75, 0.75, 0.25]) == 1
    assert best_epoch("rmse", [0.5, 0.75, 0.25, 0.25]) == 2
    assert best_epoch("target_loss", [float("nan"), 2.0, 1.0]) == 2
    assert best_epoch("pearson", [float("nan"), float("nan")]) == 0
