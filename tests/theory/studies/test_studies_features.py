import json
from dataclasses import replace

import numpy as np
import pytest
from saying import names, says

from steadytune.errors import UserError
from steadytune.files import read_arrays
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.theory import max_margin
from steadytune.theory.studies.features import feature_study, stratified_order
from steadytune.theory.studies.table import DESIGN
from steadytune.theory.studies.varied import Grid
from steadytune.training.data import run_data
from steadytune.training.features import frozen_features

TINY = Grid(
    steps=(5,),
    rates=(1.0,),
    scales=(1.0, 0.1),
    heads=(1, 2),
    alphas=(0.0,),
    seeds=2,
    left_out=2,
    trained_left_out=4,
    epochs=1,
    adapter_steps=2,
)
FEWEST = replace(TINY, steps=(1,), scales=(1.0,), heads=(1,), left_out=1, trained_left_out=1, adapter_steps=0)


def specs(model, *tasks, **training):
    content = {"model": str(model), "task": [*map(str, tasks)], "seeds": 1, "training": {"mode": "head", **training}}
    return plan(Study.parse(content, "test"))


def write_task(folder, labels, things=("cup", "boat", "chair", "lamp", "door", "hat")):
    folder.mkdir()
    texts = [f"anna sees the {'very ' * (place % 5)}{things[int(one)]}" for place, one in enumerate(labels)]
    for name in ("train", "validation"):
        rows = [json.dumps({"sentence": text, "label": one}) for text, one in zip(texts, labels, strict=True)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def studied(tiny_model, tiny_task, tmp_path_factory):
    shares, cache = [], tmp_path_factory.mktemp("cache")
    given = specs(tiny_model, tiny_task)
    return feature_study(given, cache, sizes=(10, 40), grid=TINY, progress=shares.append), shares, given, cache


def test_every_size_and_draw_is_a_data_set_and_all_examples_are_one(studied, tiny_task):
    table, _, _, _ = studied
    sets = table.drop_duplicates("dataset")
    assert list(sets[["n", "data_seed"]].itertuples(index=False, name=None)) == [(10, 0), (40, 0), (10, 1)]
    assert set(table["task"]) == {str(tiny_task)}
    assert set(sets["d"]) == {16}
    assert set(sets["classes"]) == {2}
    assert sets[["shift", "anisotropy", "label_noise", "minimal_margin"]].isna().all(axis=None)
    assert list(table.columns[1 : len(DESIGN) + 1]) == list(DESIGN)
    assert set(table["part"]) == {"geometry", "training", "order", "heads", "mmr"}


def test_the_features_of_all_examples_are_those_of_the_model_as_they_are(studied):
    table, _, (spec,), cache = studied
    data = run_data(spec)
    features = frozen_features(spec, data, cache, lambda share: None)
    exact = max_margin(features.train.double().numpy(), data.splits.train.labels)
    (row,) = table[(table["n"] == 40) & (table["part"] == "geometry")].to_dict("records")
    assert row["separable"] == exact.separable
    assert row["norm"] == pytest.approx(exact.largest_norm)
    if exact.separable:
        assert row["margin"] == pytest.approx(exact.gamma, rel=1e-6)


def test_the_unit_of_the_initial_scale_is_the_models_own_and_the_cap_on_left_out_examples_holds(studied):
    table, _, (spec,), cache = studied
    own = frozen_features(spec, run_data(spec), cache, lambda share: None).scale
    trained = table[table["part"] == "training"]
    assert set(trained["init_scale"]) == {0.0, 0.1, 1.0}
    assert trained["init_sd"].to_numpy() == pytest.approx(own * trained["init_scale"].to_numpy())
    assert own == pytest.approx(0.2)
    assert set(trained["left_out"]) == {4}
    assert set(table[table["part"] == "heads"]["left_out"]) == {2}


def test_progress_rises_to_the_end(studied):
    _, shares, _, _ = studied
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_only_what_the_draws_of_the_largest_size_need_is_encoded(tiny_model, tmp_path):
    task = write_task(tmp_path / "task", [0, 1] * 320)
    for sizes, draws, encoded in (((6,), 2, 500), ((6, 300), 2, 600)):
        cache = tmp_path / f"cache{encoded}"
        table = feature_study(specs(tiny_model, task), cache, sizes=sizes, draws=draws, grid=FEWEST)
        (stored,) = cache.glob("features-*.safetensors")
        record = json.loads(stored.with_suffix(".json").read_text(encoding="utf-8"))
        assert len(read_arrays(stored, record["arrays"])["train"]) == encoded
        assert table["dataset"].nunique() == draws * len(sizes)


def test_a_task_with_fewer_examples_than_another_gives_all_it_has(tiny_model, tiny_task, tmp_path):
    small = write_task(tmp_path / "small", [0, 1, 2] * 3)
    table = feature_study(specs(tiny_model, tiny_task, small), tmp_path / "cache", sizes=(8, 20), draws=1, grid=TINY)
    sizes = table.groupby("task")["n"].unique()
    assert list(sizes[str(tiny_task)]) == [8, 20]
    assert list(sizes[str(small)]) == [8, 9]


@pytest.mark.parametrize("counts", [(50, 50), (115, 119, 16), (2, 97, 3)])
def test_every_beginning_of_the_order_has_the_classes_in_their_proportions_and_two_of_each(counts):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    order = stratified_order(labels, [0, 3, 1])
    assert sorted(order) == list(range(len(labels)))
    shares = np.array(counts) / len(labels)
    for size in range(2 * len(counts), len(labels) + 1):
        found = np.bincount(labels[order[:size]], minlength=len(counts))
        assert found.min() >= 2
        # Beyond the two of each that come first no class is ahead of its share by more than one.
        assert (found <= np.maximum(2, np.ceil(shares * size) + 1)).all()


def test_draws_have_orders_of_their_own():
    labels = np.arange(60) % 3
    assert np.array_equal(stratified_order(labels, [0, 3, 1]), stratified_order(labels, [0, 3, 1]))
    assert not np.array_equal(stratified_order(labels, [0, 3, 1]), stratified_order(labels, [0, 3, 2]))


@pytest.mark.parametrize(
    ("labels", "sizes", "said"),
    [
        ([0, 1] * 10, (21,), ("size 21", "'{task}'", "20")),
        ([0, 1] * 10, (3,), ("size 3", "'{task}'", "2 classes", "4 examples")),
        ([0, 1] * 10, (2,), ("size 2", "'{task}'", "2 classes", "4 examples")),
        ([0, 1, 2] * 5, (5,), ("size 5", "'{task}'", "3 classes", "6 examples")),
        ([0] * 9 + [1], (), ("'{task}'", "1 example", "'1'", "10", "2")),
    ],
)
def test_sub_samples_that_cannot_be_are_refused(tiny_model, tmp_path, labels, sizes, said):
    task = write_task(tmp_path / "task", labels)
    with pytest.raises(UserError) as refusal:
        feature_study(specs(tiny_model, task), tmp_path / "cache", sizes=sizes, grid=TINY)
    assert names(str(refusal.value), *(token.format(task=task) for token in said))


def test_tasks_without_classes_are_refused(tiny_model, tmp_path):
    task = write_task(tmp_path / "task", [0.5 * place for place in range(12)])
    with pytest.raises(UserError, match=says("classes", f"'{task}'", "regression")):
        feature_study(specs(tiny_model, task), tmp_path / "cache", grid=TINY)


def test_features_that_are_not_finite_are_refused(tiny_model, tiny_task, tmp_path, monkeypatch):
    monkeypatch.setattr("steadytune.training.features.pool", lambda states, *rest: states[:, 0] * float("nan"))
    with pytest.raises(UserError, match=says("features", "finite")):
        feature_study(specs(tiny_model, tiny_task), tmp_path / "cache", grid=TINY)


def test_tasks_that_stand_twice_and_no_draws_are_refused(tiny_model, tiny_task, tmp_path):
    given = specs(tiny_model, tiny_task)
    with pytest.raises(UserError, match=says("tasks", "one model")):
        feature_study(given * 2, tmp_path, grid=TINY)
    with pytest.raises(UserError, match=says("draws", "1", "0")):
        feature_study(given, tmp_path, draws=0, grid=TINY)


def test_features_in_which_the_classes_do_not_differ_are_refused(tiny_model, tmp_path):
    task = write_task(tmp_path / "task", [place // 5 % 2 for place in range(20)], things=("cup", "cup"))
    with pytest.raises(UserError, match=says("features", "classes")):
        feature_study(specs(tiny_model, task), tmp_path / "cache", grid=TINY)
