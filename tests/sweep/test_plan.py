import json
import shutil

import numpy as np
import pytest
from made_runs import VERSIONS, made_arrays, made_record
from saying import names

from steadytune.errors import UserError
from steadytune.files import packed_texts
from steadytune.records import RunStore
from steadytune.study import Study
from steadytune.sweep import capacity
from steadytune.sweep.plan import jobs, plan, prepare_store


@pytest.fixture
def places(tiny_model, tiny_task, tmp_path):
    """A model folder and a task folder that a test may change."""
    return shutil.copytree(tiny_model, tmp_path / "model"), shutil.copytree(tiny_task, tmp_path / "task")


def study(places, **content):
    model, task = places
    return Study.parse({"model": str(model), "task": str(task), "seeds": 2, **content})


def refused(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def change_weights(model):
    from safetensors.numpy import load_file, save_file

    weights = load_file(model / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + np.float32(1)}, model / "model.safetensors", {"format": "pt"})


def change_data(task):
    lines = (task / "validation.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    lines[0] = json.dumps({**row, "label": 1 - row["label"]})
    (task / "validation.jsonl").write_text("\n".join(lines))


def test_a_plan_holds_every_run_with_resolved_settings_and_fingerprints(places):
    specs = plan(study(places, recipes=["standard", "mmr"]))
    assert len({spec.id for spec in specs}) == len(specs) == 4
    assert [(spec.recipe, spec.seeds.init) for spec in specs] == [
        ("standard", 0),
        ("mmr", 0),
        ("standard", 1),
        ("mmr", 1),
    ]
    assert {(spec.training.learning_rate, spec.training.pooling) for spec in specs} == {(2e-5, "native")}
    assert {len(spec.weights) for spec in specs} == {len(spec.data) for spec in specs} == {64}


def test_moved_files_are_the_same_runs_and_changed_files_are_others(places, tmp_path):
    model, task = places
    ids = [spec.id for spec in plan(study(places))]
    moved = shutil.copytree(model, tmp_path / "moved"), shutil.copytree(task, tmp_path / "moved task")
    assert [spec.id for spec in plan(study(moved))] == ids
    change_weights(model)
    other_weights = [spec.id for spec in plan(study(places))]
    change_data(task)
    other_data = [spec.id for spec in plan(study(places))]
    assert not {*ids} & {*other_weights}
    assert not {*other_weights} & {*other_data}


def test_a_tokenizer_is_a_part_of_the_model(places):
    model, _ = places
    before = plan(study(places))[0].weights
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 32}))
    assert plan(study(places))[0].weights != before


def test_two_names_for_one_model_or_task_are_refused(places, tmp_path):
    model, task = places
    twins = shutil.copytree(model, tmp_path / "twin model"), shutil.copytree(task, tmp_path / "twin task")
    text = refused(plan, study(places, model=[str(model), str(twins[0])]))
    assert names(text, "models", f"'{model}'", f"'{twins[0]}'")
    text = refused(plan, study(places, task=[str(task), str(twins[1])]))
    assert names(text, "tasks", f"'{task}'", f"'{twins[1]}'")


def test_what_cannot_work_is_said_before_anything_is_trained(places):
    _, task = places
    assert names(refused(plan, study(places, task=f"{task}s")), f"'{task}s'", "folder")
    assert names(refused(plan, study(places, training={"train_size": 41})), "training.train_size", "41")
    rows = [{"sentence": f"number {n}", "label": n / 7} for n in range(20)]
    for name in ("train", "validation"):
        (task / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = refused(plan, study(places, recipes=["standard", "mmr"]))
    assert names(text, "'mmr'", f"'{task}'", "mmr", "classes", "regression")


def test_the_heads_of_a_cohort_are_one_job_and_every_full_run_is_its_own(places):
    head = {"training": {"mode": "head"}}
    specs = plan(
        study(places, seeds=3, recipes={"full": {}, "head": head, "many": {**head, "stabilizers": ["mhloss"]}})
    )
    found = [[(spec.recipe, spec.seeds.init) for spec in job.specs] for job in jobs(specs)]
    assert sorted(found) == [
        [("full", 0)],
        [("full", 1)],
        [("full", 2)],
        [("head", 0), ("head", 1), ("head", 2)],
        [("many", 0), ("many", 1), ("many", 2)],
    ]


def test_heads_on_another_training_subset_are_another_job(places):
    grid = {"vary": ["init", "data"], "values": 2}
    specs = plan(study(places, seeds=grid, training={"mode": "head", "train_size": 30}))
    found = [sorted(spec.seeds.label for spec in job.specs) for job in jobs(specs)]
    assert sorted(found) == [["0", "1/0/0"], ["0/0/0/1", "1/0/0/1"]]


def test_a_grid_of_seeds_is_planned_for_every_recipe_and_a_larger_one_adds_to_it(places, tmp_path):
    small, large = (
        study(places, seeds={"vary": ["init", "order"], "values": values}, recipes=["standard", "mmr"])
        for values in (2, 3)
    )
    planned = [{spec.id for spec in plan(one)} for one in (small, large)]
    assert (len(planned[0]), len(planned[1])) == (8, 18)
    assert planned[0] < planned[1]
    RunStore.create(tmp_path / "out", small, VERSIONS)
    assert RunStore.create(tmp_path / "out", large, VERSIONS).study.seeds == large.seeds
    assert "  values: 3\n" in (tmp_path / "out" / "study.yaml").read_text()


def test_a_training_subset_is_drawn_again_only_where_there_is_one(places):
    _, task = places
    grid = {"vary": ["data"], "values": 3}
    for training in ({}, {"train_size": 40}):
        said = refused(plan, study(places, seeds=grid, training=training))
        assert names(said, "all 40 training examples", f"'{task}'", "training.train_size")
    assert len(plan(study(places, seeds=grid, training={"train_size": 30}))) == 3


def begun(places, tmp_path):
    """A folder in which one run of the study is done."""
    specs = plan(study(places))
    store = RunStore.create(tmp_path / "out", study(places), VERSIONS)
    prepare_store(store, specs)
    store.write(made_record(specs[0]), made_arrays(specs[0]))
    return store


def test_a_folder_keeps_the_texts_of_the_measured_examples(places, tmp_path):
    store = begun(places, tmp_path)
    kept = store.examples(store.records()[0].spec)
    rows = [json.loads(line) for line in (places[1] / "validation.jsonl").read_text().splitlines()]
    assert kept["texts"] == [row["sentence"] for row in rows]
    assert kept["labels"] == ["0", "1"]
    assert kept["kind"] == "classification"


def test_a_folder_keeps_prompts_and_every_accepted_text(places, tmp_path):
    _, task = places
    rows = [{"question": f"q{n}", "answers": [f"a{n}", "b"]} for n in range(3)]
    for name in ("train", "validation"):
        (task / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = study(places, training={"select_checkpoint": False, "train_size": 2})
    specs = plan(asked)
    store = RunStore.create(tmp_path / "out", asked, VERSIONS)
    prepare_store(store, specs)
    kept = store.examples(specs[0])
    assert (kept["kind"], kept["texts"], kept["labels"]) == ("generation", ["q0", "q1", "q2"], [])
    assert kept["references"] == [["a0", "b"], ["a1", "b"], ["a2", "b"]]
    generations = packed_texts(["a0", "b", "c"])
    for spec in specs:
        scores = {"metric": "exact_match", "score": 2 / 3, "scores": {"exact_match": 2 / 3}, "majority_score": None}
        record = made_record(spec).model_copy(update=scores)
        store.write(record, {"generations": generations, "token_counts": np.array([1, 1, 1])})
    cohort = store.cohort("standard")
    assert cohort.references == (("a0", "b"), ("a1", "b"), ("a2", "b"))
    assert cohort.scores == pytest.approx([2 / 3, 2 / 3])
    # "b" is right throughout. Older versions recorded no such score, of all runs here or of the first alone.
    assert (cohort.majority_score, cohort.failed.tolist()) == (1.0, [True, True])
    record = record.model_copy(update={"majority_score": 1.0})
    shutil.rmtree(store.path / "runs" / record.spec.id)
    store.write(record, {"generations": generations, "token_counts": np.array([1, 1, 1])})
    cohort = RunStore(store.path).cohort("standard")
    assert (cohort.majority_score, cohort.failed.tolist()) == (1.0, [True, True])


def test_a_model_or_data_that_changed_since_the_folder_was_begun_is_refused(places, tmp_path):
    model, task = places
    store = begun(places, tmp_path)
    prepare_store(store, plan(study(places)))
    whole = (task / "validation.jsonl").read_text()
    change_data(task)
    said = ("changed", str(store.path))
    assert names(refused(prepare_store, store, plan(study(places))), "data", f"'{task}'", *said)
    (task / "validation.jsonl").write_text(whole)
    prepare_store(store, plan(study(places)))
    change_weights(model)
    assert names(refused(prepare_store, store, plan(study(places))), "model", f"'{model}'", *said)


def test_a_study_file_that_was_edited_in_its_folder_is_refused(places, tmp_path):
    store = begun(places, tmp_path)
    text = (store.path / "study.yaml").read_text()
    (store.path / "study.yaml").write_text(text.replace("epochs: 5", "epochs: 6"))
    assert names(refused(prepare_store, store, plan(store.study)), "training.epochs", "'standard'")
    (store.path / "study.yaml").write_text(text.replace("stabilizers: []", "stabilizers: [mhloss]"))
    assert names(refused(prepare_store, store, plan(store.study)), "stabilizers", "'standard'")


def test_a_corrupted_run_is_found_before_anything_is_trained(places, tmp_path):
    store = begun(places, tmp_path)
    (store.path / "runs" / store.records()[0].spec.id / "run.json").write_text("{}")
    assert "corrupt" in refused(prepare_store, store, plan(study(places)))


@pytest.mark.parametrize(
    ("processors", "threads", "gibibytes", "count"),
    [(8, 1, 1000, 8), (8, 2, 1000, 4), (8, 16, 1000, 1), (8, 1, 3.5, 3), (8, 1, 0.1, 1), (1, 1, 1000, 1)],
)
def test_as_many_runs_at_once_as_there_are_processors_and_memory(
    places, monkeypatch, processors, threads, gibibytes, count
):
    import psutil
    import torch

    memory = type("Memory", (), {"available": gibibytes * 2**30})
    monkeypatch.setattr(psutil, "virtual_memory", memory)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(capacity.os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    given = study(places, recipes={"standard": {}, "wide": {"training": {"threads": threads}}})
    assert capacity.room_for(given) == count
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert capacity.room_for(given) == 1
