import json

import numpy as np
import pytest
import torch
from saying import says

from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.theory import leave_one_out_full
from steadytune.theory.loo.full import Lost
from steadytune.theory.loo.left_out_runs import WEIGHTS, without
from steadytune.training.data import run_data
from steadytune.training.full import RunTrainer, train_full
from steadytune.training.left_out import LeftOutTrainer


@pytest.fixture
def specs(tiny_model, tiny_task):
    def make(task=tiny_task, recipe="standard", seeds=1, **training):
        base = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}
        study = {"model": str(tiny_model), "task": str(task), "seeds": seeds, "recipes": [recipe]}
        return plan(Study.parse({**study, "training": {**base, **training}}))

    return make


def _rows(task):
    return [json.loads(line) for line in (task / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def _copy(task, folder, rows):
    folder.mkdir()
    (folder / "validation.jsonl").write_bytes((task / "validation.jsonl").read_bytes())
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "recipe",
    ["standard", "mmr+mhloss", "r3f+smart+rdrop+freelb", "supcon+centre_loss+ema+lp_ft", "large_margin+child_tuning"],
)
def test_nothing_of_the_training_depends_on_the_label_of_an_example_that_is_left_out(
    specs, tiny_task, tmp_path, recipe
):
    rows = _rows(tiny_task)
    rows[5]["label"] = 1 - rows[5]["label"]
    turned = _copy(tiny_task, tmp_path / "turned", rows)

    plain, other = (
        leave_one_out_full(specs(task, recipe), [5], out=tmp_path / f"out-{task.name}") for task in (tiny_task, turned)
    )

    # One model gives the two labels probabilities that sum to 1; the one that knows the label would give more to each.
    assert np.exp(-plain.left_out_losses) + np.exp(-other.left_out_losses) == pytest.approx(1, abs=2e-7)
    assert plain.left_out_predictions.tolist() == other.left_out_predictions.tolist()
    assert np.exp(-plain.losses) + np.exp(-other.losses) > 1 + 1e-5


def test_the_whole_training_is_that_of_the_study(specs, tmp_path):
    runs = specs(seeds=2, recipe="mmr")
    records = [train_full(spec, tmp_path, lambda share: None)[0] for spec in runs]

    stability = leave_one_out_full(runs, [3], out=tmp_path / "out")

    assert stability.travelled.tolist() == [record.measurements["distance_from_start"] for record in records]


def test_the_loss_of_a_batch_lacks_the_share_of_the_example_and_that_of_other_batches_nothing(
    specs, tmp_path, monkeypatch
):
    # A learning rate of almost nothing: all losses are those of the initial weights, under the same dropout.
    (spec,) = specs(learning_rate=1e-30, epochs=2)
    losses = []
    step = RunTrainer.training_step

    def watch(self, *args, **kwargs):
        losses.append(float(step(self, *args, **kwargs)))
        return torch.tensor(losses[-1])

    monkeypatch.setattr(RunTrainer, "training_step", watch)

    stability = leave_one_out_full([spec], [7, 30], out=tmp_path / "out")

    whole, *without = np.array(losses).reshape(3, 10)
    for one in without:
        missing = (whole - one).reshape(2, 5)
        assert (np.count_nonzero(missing, axis=1) == 1).all()
        # One of 8 losses, each about log 2.
        assert missing.max(1) == pytest.approx(np.log(2) / 8, rel=0.5)
    assert stability.leave_one_out.weights.max() < 1e-6


def test_a_batch_of_the_left_out_example_alone_teaches_nothing_and_breaks_nothing(specs, tmp_path):
    runs = specs(batch_size=1, train_size=12)

    stability = leave_one_out_full(runs, [4], out=tmp_path / "out")

    assert np.isfinite(stability.leave_one_out.weights).all()
    assert stability.leave_one_out.weights.min() > 0


@pytest.mark.parametrize("batch_size", [1, 13])
def test_a_method_that_would_get_an_empty_batch_is_refused(specs, tmp_path, batch_size):
    with pytest.raises(UserError, match=says("single example", "mmr")):
        leave_one_out_full(specs(batch_size=batch_size, recipe="mmr"), [4], out=tmp_path / "out")


def test_seeds_and_left_out_examples_stand_in_two_columns(specs, tmp_path):
    runs = specs(seeds=2)

    both = leave_one_out_full(runs, [1, 30], out=tmp_path / "out")
    second = leave_one_out_full(runs[1:], [1, 30], out=tmp_path / "second")

    assert both.leave_one_out.weights.shape == (2, 2)
    assert both.seed.weights.shape == (2, 2)
    assert both.seeds == ("0", "1")
    assert (both.seed.weights.diagonal() == 0).all()
    assert both.seed.weights[0, 1] == both.seed.weights[1, 0] > 0
    # With seeds held fixed, far less moves than when they change; and a seed's column knows nothing of other seeds.
    assert both.leave_one_out.weights.max() < both.seed.weights[0, 1]
    assert both.leave_one_out.weights[1].tolist() == second.leave_one_out.weights[0].tolist()
    assert np.isnan(second.to_frame()["seed"]).all()
    assert both.seed.loss[0, 1] == pytest.approx(np.abs(both.losses[0] - both.losses[1]).mean())
    assert both.leave_one_out.loss == pytest.approx(np.abs(both.left_out_losses - both.losses))


def test_a_number_of_examples_is_a_sample_that_is_the_same_each_time(specs, tmp_path):
    runs = specs()

    first, again = (leave_one_out_full(runs, 3, out=tmp_path / str(n)) for n in range(2))

    assert len(set(first.examples.tolist())) == 3
    assert first.examples.tolist() == again.examples.tolist()
    assert first.leave_one_out.weights.tolist() == again.leave_one_out.weights.tolist()
    assert "3 of the 40 examples" in first.describe()[0]


def test_the_same_examples_are_left_out_at_every_size_of_the_training_set(specs, tmp_path):
    left_out = []
    for size in (16, 30, None):
        runs = specs(train_size=size)
        found = leave_one_out_full(runs, 3, out=tmp_path / str(size))
        texts = run_data(runs[0]).splits.train.candidates
        left_out.append({texts[i] for i in found.examples})

    assert left_out[0] == left_out[1] == left_out[2]
    assert len(left_out[0]) == 3


def test_the_best_epoch_is_picked_on_every_example(specs, tmp_path):
    stability = leave_one_out_full(specs(select_checkpoint=True, epochs=2), [0], out=tmp_path / "out")

    assert stability.leave_one_out.weights.min() > 0


def test_progress_rises_to_the_end_and_the_random_state_stays(specs, tmp_path):
    told = []
    state = torch.random.get_rng_state()

    leave_one_out_full(specs(), [0], out=tmp_path / "out", progress=told.append)

    assert told == sorted(told)
    assert told[-1] == 1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_runs_that_are_no_cohort_in_full_fine_tuning_are_refused(specs, tmp_path):
    (plain,) = specs()
    (other,) = specs(batch_size=4)
    (head,) = specs(mode="head")
    (subset,) = specs(train_size=20)
    redrawn = subset.model_copy(update={"seeds": subset.seeds.model_copy(update={"init": 1, "data": 1})})

    for runs, message in [
        ([], "at least one"),
        ([plain, other], says("init", "order", "dropout")),
        ([subset, redrawn], says("init", "order", "dropout")),
        ([plain, plain], "same seeds"),
        ([head], "mode 'full'"),
    ]:
        with pytest.raises(UserError, match=message):
            leave_one_out_full(runs, 1, out=tmp_path / "out")


@pytest.mark.parametrize("examples", [0, 41, [40], [3, 3]])
def test_examples_that_the_task_has_not_are_refused(specs, tmp_path, examples):
    with pytest.raises(UserError, match=says("examples", "40")):
        leave_one_out_full(specs(), examples, out=tmp_path / "out")


def test_a_method_that_compares_states_inside_the_encoder_is_refused(specs, tmp_path):
    with pytest.raises(UserError, match=says("lnsr", "encoder")):
        leave_one_out_full(specs(recipe="lnsr"), 1, out=tmp_path / "out")


def test_a_task_without_classes_is_refused(specs, tiny_task, tmp_path):
    rows = [{"sentence1": "anna likes", "sentence2": "ben likes", "label": n / 3} for n in range(16)]
    folder = _copy(tiny_task, tmp_path / "scores", rows)
    (folder / "validation.jsonl").write_bytes((folder / "train.jsonl").read_bytes())

    with pytest.raises(UserError, match="regression"):
        leave_one_out_full(specs(folder), 1, out=tmp_path / "out")


def test_a_training_that_diverges_is_named(specs, tmp_path):
    with pytest.raises(UserError, match=says("seeds 0", "diverged", "loss", "finite")):
        leave_one_out_full(specs(learning_rate=1e30, clip=0.0), 1, out=tmp_path / "out")


def test_a_run_without_an_example_is_a_run_that_no_study_counts(specs, tmp_path):
    (spec,) = specs()

    first = leave_one_out_full([spec], [4], out=tmp_path / "out")

    store = RunStore(tmp_path / "out")
    assert [record.spec.id for record in store.records()] == [spec.id]
    assert [len(cohort.seeds) for cohort in store.cohorts()] == [1]
    left_out = store.record(without(spec, [4])[0].id)
    assert left_out.status == "done"
    assert left_out.measurements[WEIGHTS] == first.leave_one_out.weights[0, 0]
    assert not list(store.cache.glob("weights-*.safetensors")), "weights are let go of once they are compared"


def test_more_examples_train_what_is_missing_and_find_the_same(specs, tmp_path):
    runs = specs(seeds=2)
    leave_one_out_full(runs, [4], out=tmp_path / "out")
    before = {path.name for path in (tmp_path / "out" / "runs").iterdir()}

    more = leave_one_out_full(runs, [4, 9], out=tmp_path / "out")

    assert len({path.name for path in (tmp_path / "out" / "runs").iterdir()} - before) == 2
    alone = leave_one_out_full(runs, [4, 9], out=tmp_path / "alone", workers=2)
    for name in ("weights", "directions", "predictions", "loss"):
        assert getattr(more.leave_one_out, name).tolist() == getattr(alone.leave_one_out, name).tolist()
        assert getattr(more.seed, name).tolist() == getattr(alone.seed, name).tolist()


def test_a_training_that_crashed_is_that_cohorts_fate_and_is_tried_again(specs, tmp_path, monkeypatch):
    runs = specs()

    def fail(self, *args, **kwargs):
        raise MemoryError("no more")

    with monkeypatch.context() as patched:
        patched.setattr(LeftOutTrainer, "_take_out", fail)
        with pytest.raises(Lost, match="MemoryError: no more") as lost:
            leave_one_out_full(runs, [4], out=tmp_path / "out")
    assert lost.value.status == "crashed"

    assert np.isfinite(leave_one_out_full(runs, [4], out=tmp_path / "out").losses).all()
