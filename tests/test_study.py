import hashlib
import itertools
import json
import math
import re
from pathlib import Path

import pytest
import yaml
from saying import names, says

from steadytune.adapter import Adapter, Lora
from steadytune.config import read_yaml
from steadytune.decoding import Decoding
from steadytune.errors import UserError
from steadytune.stabilizers.mhloss import MHLoss
from steadytune.stabilizers.mmr import MMR
from steadytune.stabilizers.surt import SURT
from steadytune.study import Recipe, RunSpec, Seeds, Study, TaskSpec, Training

YAML = """
model: [minilm, some/folder]
task:
  - glue/rte
  - {name: my/task, columns: [premise, hypothesis], label: gold, metric: f1}
seeds: [3, {init: 0, order: 1, dropout: 2}]
training: {learning_rate: 5e-5, epochs: 3, select_checkpoint: true}
recipes:
  standard:
  mmr: {stabilizers: [{mmr: {alpha: 0.3}}]}
  both: {training: {epochs: 7}, stabilizers: [surt, {mhloss: {heads: 4}}]}
"""


def study(**content):
    return Study.parse({"model": "minilm", "task": "glue/rte", **content}, "study.yaml")


def problem(**content):
    """Return what is said about bad content: at most two lines, which name the source."""
    with pytest.raises(UserError) as caught:
        study(**content)
    text = str(caught.value)
    assert text.startswith("study.yaml: ")
    assert text.count("\n") <= 1
    assert "pydantic" not in text
    assert "validation error" not in text
    return text.removeprefix("study.yaml: ")


def spec(**changes):
    fields = {
        "model": "minilm",
        "weights": "a" * 64,
        "task": TaskSpec(name="glue/rte"),
        "data": "b" * 64,
        "recipe": "mmr",
        "training": Training().resolved("minilm"),
        "stabilizers": (MMR(alpha=0.1),),
        "seeds": Seeds.all(0),
    }
    return RunSpec(**{**fields, **changes})


def test_a_study_file_says_what_it_says(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(YAML)
    read = Study.from_yaml(file)
    assert read.model == ("minilm", "some/folder")
    assert read.task[0] == TaskSpec(name="glue/rte")
    assert read.task[1] == TaskSpec(name="my/task", columns=("premise", "hypothesis"), label="gold", metric="f1")
    assert read.seeds == (Seeds.all(3), Seeds(init=0, order=1, dropout=2))
    # YAML reads 5e-5 as a word: it has no dot.
    assert read.training == Training(learning_rate=5e-5, epochs=3, select_checkpoint=True)
    assert read.recipes == {
        "standard": Recipe(),
        "mmr": Recipe(stabilizers=[MMR(alpha=0.3)]),
        "both": Recipe(training={"epochs": 7}, stabilizers=[SURT(), MHLoss(heads=4)]),
    }


def test_a_study_survives_the_way_to_yaml_and_back():
    read = Study.parse(yaml.safe_load(YAML))
    assert Study.parse(yaml.safe_load(yaml.safe_dump(read.to_dict()))) == read


def test_a_study_expands_to_every_combination_seed_by_seed():
    grid = list(Study.parse(yaml.safe_load(YAML)).grid())
    assert len(grid) == len(set(grid)) == 2 * 2 * 2 * 3
    # Killed half-way, all recipes of the first seeds are there to compare.
    assert [recipe for _, _, recipe, _ in grid[:3]] == ["standard", "mmr", "both"]
    assert {seeds for *_, seeds in grid[:3]} == {Seeds.all(3)}


def test_what_is_left_out_or_left_empty_has_a_default():
    assert study() == study(seeds=5, training={}, recipes={"standard": {}}) == study(seeds=None, training=None)
    assert len(study().seeds) == 5


def test_names_joined_by_plus_are_recipes():
    recipes = study(recipes=["standard", "mmr", "surt+mhloss"]).recipes
    assert recipes["standard"] == Recipe()
    assert recipes["mmr"].stabilizers == (MMR(),)
    assert recipes["surt+mhloss"].stabilizers == (SURT(), MHLoss())
    assert study(recipes="mmr") == study(recipes=["mmr"]) == study(recipes={"mmr": None})


def test_a_recipe_changes_only_the_training_that_it_names():
    both = study(
        training={"epochs": 3, "batch_size": 8},
        recipes={"a": {"training": {"epochs": 9}}, "b": {"training": {"mode": "head"}}},
    )
    assert both.recipe_training("a") == Training(epochs=9, batch_size=8)
    assert both.recipe_training("b") == Training(epochs=3, batch_size=8, mode="head")


def test_the_same_number_written_in_two_ways_is_the_same_recipe():
    one, other = ({"a": {"training": {"learning_rate": rate}}} for rate in ("5e-5", 0.00005))
    assert study(recipes=one) == study(recipes=other)


@pytest.mark.parametrize(
    ("given", "model", "pooling", "rate"),
    [
        ({}, "bert", "native", 2e-5),
        ({}, "minilm", "mean", 2e-5),
        ({"mode": "head"}, "bert", "mean", 1e-2),
        ({"mode": "head", "pooling": "last", "learning_rate": 0.5}, "bert", "last", 0.5),
        ({"pooling": "native"}, "minilm", "native", 2e-5),
    ],
)
def test_defaults_that_depend_on_setting_and_model_are_resolved(given, model, pooling, rate):
    resolved = Training(**given).resolved(model)
    assert (resolved.pooling, resolved.learning_rate) == (pooling, rate)
    assert resolved.resolved(model) == resolved


def test_the_id_of_a_run_is_what_it_was_in_every_version():
    # Folders on users' disks are named by it: if this changes, runs are trained again.
    assert spec().id == "3a8e38a13e13bba9"


def test_the_id_of_a_run_does_not_depend_on_where_its_files_lie():
    moved = spec(model="/elsewhere/minilm", task=TaskSpec(name="/elsewhere/rte"))
    assert moved.id == spec().id


def test_the_id_of_a_run_depends_on_everything_that_determines_it():
    changed = [
        {},
        {"weights": "c" * 64},
        {"data": "c" * 64},
        {"recipe": "mine"},
        {"stabilizers": ()},
        {"stabilizers": (MMR(alpha=0.2),)},
        {"seeds": Seeds(init=1, order=0, dropout=0)},
        {"seeds": Seeds(init=0, order=1, dropout=0)},
        {"seeds": Seeds(init=0, order=0, dropout=1)},
        {"seeds": Seeds(init=0, order=0, dropout=0, data=1)},
        {"seeds": Seeds(init=0, order=0, dropout=0, decoding=1)},
        {"seeds": Seeds(init=0, order=0, dropout=0, replicate=1)},
        *(
            {"training": spec().training.model_copy(update={key: value})}
            for key, value in {
                "mode": "head",
                "adapter": Adapter(lora=Lora()),
                "learning_rate": 1e-3,
                "epochs": 6,
                "batch_size": 8,
                "warmup": 0.2,
                "weight_decay": 0.2,
                "clip": 0.0,
                "max_length": 64,
                "pooling": "cls",
                "precision": "bf16",
                "train_size": 10,
                "split": "stratified",
                "select_checkpoint": True,
                "split_seed": 1,
                "representations": "last",
                "representation_dtype": "float32",
                "decoding": Decoding(beams=2),
                "threads": 2,
            }.items()
        ),
    ]
    assert len({spec(**change).id for change in changed}) == len(changed)
    assert len(changed) == 12 + len(Training.model_fields)


def test_runs_that_were_made_before_a_field_was_added_or_renamed_keep_their_ids():
    content = spec().model_dump(mode="json", exclude={"model", "task"})
    assert content["training"].pop("split") == "random"
    assert content["training"].pop("decoding")["beams"] == 1
    assert content["training"].pop("adapter") is None
    assert content.pop("left_out") is None
    content["training"]["setting"] = content["training"].pop("mode")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert spec().id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_run_spec_survives_the_way_to_json_and_back():
    there = spec(stabilizers=(MMR(alpha=0.1), MHLoss(heads=3)))
    back = RunSpec.model_validate_json(there.model_dump_json())
    assert back == there
    assert back.id == there.id


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"modle": "x"}, ("unknown key", "'modle'", "'model'", "model, recipes, seeds, task, training")),
        ({"training": {"learning_rat": 1}}, ("training:", "'learning_rat'", "'learning_rate'")),
        ({"task": {"nam": "x"}}, ("task.0:", "'nam'", "'name'")),
        ({"seeds": [{"init": 0, "order": 0, "dropuot": 0}]}, ("seeds.0:", "'dropuot'", "'dropout'")),
        ({"recipes": {"a": {"trainin": {}}}}, ("recipes.a:", "'trainin'", "'training'")),
        (
            {"recipes": {"a": {"training": {"learning_rat": 1}}}},
            ("recipes.a.training:", "'learning_rat'", "'learning_rate'"),
        ),
        ({"recipes": ["mrm"]}, ("recipes:", "recipe", "'mrm'", "'mmr'", "bitfit, ")),
        ({"recipes": ["mmr+suRt"]}, ("recipes:", "recipe", "'suRt'", "'surt'")),
        (
            {"recipes": {"a": {"stabilizers": ["mrm"]}}},
            ("recipes.a.stabilizers:", "stabilizer", "'mrm'", "'mmr'", "bitfit, "),
        ),
        (
            {"recipes": {"a": {"stabilizers": [{"mmr": {"alfa": 1}}]}}},
            ("recipes.a.stabilizers:", "stabilizer 'mmr':", "'alfa'", "'alpha'"),
        ),
    ],
)
def test_an_unknown_name_is_answered_with_its_place_and_the_closest_valid_one(content, said):
    assert re.match(says(*said), problem(**content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"training": {"epochs": 0}}, ("training.epochs:", "1", "0")),
        ({"training": {"epochs": "many"}}, ("training.epochs:", "integer", "'many'")),
        ({"training": {"epochs": True}}, ("training:", "epochs", "true")),
        ({"training": {"epochs": None}}, ("training.epochs:", "integer", "None")),
        ({"training": {"learning_rate": math.inf}}, ("training.learning_rate:", "finite", "inf")),
        ({"training": {"warmup": 1.5}}, ("training.warmup:", "1", "1.5")),
        ({"training": {"mode": "ful"}}, ("training.mode:", "'full'", "'head'", "'ful'")),
        ({"training": {"mode": "head", "pooling": "native"}}, ("training:", "mode 'head'", "pooling")),
        ({"training": 3}, ("training:", "mapping", "3")),
        ({"seeds": 0}, ("seeds:", "at least one")),
        ({"seeds": -2}, ("seeds:", "at least one")),
        ({"seeds": [-1]}, ("seeds.0.init:", "0", "-1")),
        (
            {"seeds": 1.5},
            ("seeds:", "{vary, values}", "{init, order, dropout}", "1.5"),
        ),
        (
            {"seeds": {"vary": ["init", "weights"]}},
            ("seeds: vary.1:", "'init'", "'order'", "'dropout'", "'data'", "'weights'"),
        ),
        ({"seeds": {"vary": []}}, ("seeds: vary:", "at least one")),
        ({"seeds": {"vary": ["init", "init"]}}, ("seeds: vary: ", "seed")),
        ({"seeds": {"vary": "init", "values": 1}}, ("seeds: values:", "2", "1")),
        ({"seeds": {"values": 4}}, ("seeds: vary:", "missing")),
        ({"seeds": {"vary": "init", "value": 4}}, ("seeds:", "'value'", "'values'")),
        ({"seeds": True}, ("seeds", "true")),
        ({"seeds": [1, 2, 1]}, ("seed", "'1'")),
        ({"seeds": [{"init": 0}]}, ("seeds.0.order:", "missing")),
        ({"model": []}, ("model:", "at least one")),
        ({"model": 3}, ("model.0:", "string", "3")),
        ({"model": ["a", "a"]}, ("model", "'a'")),
        ({"model": None}, ("model:", "missing")),
        ({"task": 3}, ("task.0:", "mapping", "3")),
        ({"task": ["a", {"name": "a", "label": "b"}]}, ("task", "'a'")),
        ({"task": {"name": "a", "columns": "text"}}, ("task.0.columns:", "list", "'text'")),
        ({"recipes": {}}, ("recipes:", "at least one")),
        ({"recipes": {"a": 3}}, ("recipes.a:", "mapping", "3")),
        ({"recipes": [{"mmr": {}}]}, ("recipes:", "list", "names")),
        ({"recipes": ["mmr", "mmr"]}, ("recipes:", "recipe", "'mmr'")),
        ({"recipes": ["mmr+mmr"]}, ("recipes:", "'mmr+mmr'", "stabilizer", "'mmr'")),
        ({"recipes": ["standard+mmr"]}, ("recipes:", "'standard+mmr'", "'standard'")),
        ({"recipes": {"a": {"training": 3}}}, ("recipes.a.training:", "mapping", "3")),
        (
            {"recipes": {"a": {"training": {"epochs": "x"}}}},
            ("recipes.a.training: epochs:", "integer", "'x'"),
        ),
        ({"recipes": {"a": {"stabilizers": "mmr"}}}, ("recipes.a.stabilizers:", "list", "[mmr,")),
        ({"recipes": {"a": {"stabilizers": [3]}}}, ("recipes.a.stabilizers:", "stabilizer", "{name:", "3")),
        (
            {"recipes": {"a": {"stabilizers": [{"mmr": {"alpha": -1}}]}}},
            ("recipes.a.stabilizers:", "'mmr'", "alpha", "0", "-1"),
        ),
        (
            {"recipes": {"a": {"stabilizers": [{"mmr": {"alpha": math.inf}}]}}},
            ("recipes.a.stabilizers:", "'mmr'", "alpha", "finite"),
        ),
        (
            {"recipes": {"a": {"stabilizers": [{"mhloss": {"reduction": "max"}}]}}},
            ("recipes.a.stabilizers:", "'mhloss'", "reduction", "'sum'", "'mean'", "'max'"),
        ),
    ],
)
def test_a_value_that_cannot_be_is_answered_with_its_place_and_what_it_should_be(content, said):
    assert re.match(says(*said), problem(**content))


def test_a_method_that_means_nothing_in_head_tuning_says_so():
    said = problem(training={"mode": "head"}, recipes=["mmr"])
    assert names(said, "recipe 'mmr':", "mode 'head'", "mode 'full'")
    assert problem(recipes={"mmr": {"training": {"mode": "head"}, "stabilizers": ["mmr"]}}) == said


def test_a_recipe_whose_training_does_not_fit_the_studys_is_named():
    text = problem(training={"mode": "head"}, recipes={"mine": {"training": {"pooling": "native"}}})
    assert names(text, "recipe 'mine':", "mode 'head'", "pooling")


def test_a_recipe_named_after_a_method_cannot_be_without_it():
    # It would stand in the report as the method, and be the baseline.
    for empty in ({}, {"training": {"epochs": 2}}, {"stabilizers": []}):
        assert names(problem(recipes={"surt+mmr": empty}), "'surt+mmr'", "no stabilizers")


def test_a_key_that_is_not_a_word_is_refused():
    with pytest.raises(UserError, match=r"^s: 1:.*\bstrings?\b"):
        Study.parse({"model": "a", "task": "b", 1: 2}, "s")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"model: [minilm\ntask: glue/rte\n", (", line 2", "YAML")),
        (b"model: minilm\n\ttask: x\n", (", line 2", "YAML")),
        (b"\xff\xfe\x00binary", (":", "YAML", "text")),
        (b"when: !!timestamp 2024-13-45\n", (", line 1", "YAML")),
        (b"[" * 5000, (":", "YAML")),
        (b"", (":", "mapping", "model", "task", "recipes")),
        (b"just a sentence", (":", "mapping")),
        (b"- minilm\n- glue/rte\n", (":", "mapping")),
    ],
)
def test_a_file_that_is_not_a_yaml_mapping_is_named_with_the_line(tmp_path, content, said):
    file = tmp_path / "study.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_yaml(file)
    assert names(str(caught.value), f"{file}{said[0]}", *said[1:])
    assert "\n" not in str(caught.value)


def test_a_study_file_that_is_not_there_or_a_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=says("file", str(tmp_path / "none.yaml"))):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=says(str(tmp_path), "folder", "YAML file")):
        read_yaml(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=says(str(tmp_path / "file" / "study.yaml"), "Not a directory")):
        read_yaml(tmp_path / "file" / "study.yaml")


def test_paths_are_names_in_python():
    given = Study(model=Path("a/b"), task=Path("c/d"))
    assert given == Study(model="a/b", task="c/d")
    assert [task.name for task in given.task] == ["c/d"]


def test_the_problem_is_one_line_for_every_key_of_the_training_section():
    values = ["x" * 500, [], {}, None, -1e9, math.nan, "1\n2"]
    refused = set()
    for key, value in itertools.product(Training.model_fields, values):
        try:
            study(training={key: value})
        except UserError as error:
            refused.add(key)
            assert str(error).startswith(f"study.yaml: training.{key}: "), error
            assert "\n" not in str(error)
            assert len(str(error)) < 300
    assert refused == set(Training.model_fields)


@pytest.mark.parametrize("key", ["split_seed", "select_checkpoint"])
def test_a_recipe_cannot_measure_other_examples_than_the_rest(key):
    with pytest.raises(UserError, match=says(key, "recipes")):
        Study.parse({"model": "m", "task": "t", "recipes": {"a": {"training": {key: 1}}}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"seeds": 10**8}, ("100,000,000 seeds", "10,000")),
        ({"seeds": [{"init": 10**40}]}, ("41 digits",)),
        ({"seeds": {"vary": ["init", "order", "dropout", "data"], "values": 100}}, ("10,000",)),
        ({"seeds": 10_000, "recipes": {f"r{n}": {} for n in range(11)}}, ("110,000 runs", "100,000")),
        ({"training": {"threads": 10**9}}, ("training.threads",)),
        ({"training": {"epochs": 10**40}}, ("41 digits",)),
        ({"recipes": {"x": {"stabilizers": [{"mhloss": {"heads": 10**9}}]}}}, ("heads",)),
        ({"recipes": {" ": {}}}, ("name", "empty")),
        ({"recipes": {"\x1b[31m": {}}}, (r"'\x1b",)),
        ({"recipes": {"x" * 5000: {}}}, ("5,000", "200")),
        ({"task": {"name": "t", "columns": ["text", "text"]}}, ("column", "text, text")),
    ],
)
def test_what_no_study_can_be_is_refused_before_anything_is_built(content, said):
    with pytest.raises(UserError) as caught:
        Study.parse({"model": "m", "task": "t", **content})
    assert names(str(caught.value), *said)
    assert len(str(caught.value)) < 300


def test_a_run_without_an_example_is_another_run_each():
    whole = spec()
    ids = {whole.model_copy(update={"left_out": example}).id for example in (None, 0, 1)}
    assert len(ids) == 3
    assert whole.model_copy(update={"left_out": None}).id == whole.id


def adapted(adapter, **training):
    return Study.parse({"model": "m", "task": "t", "training": {"adapter": adapter, **training}})


def test_an_adapter_may_be_written_short():
    forms = ["lora", {"lora": None}, {"lora": {}}, {"lora": {"r": 8, "alpha": 16}}]
    assert {adapted(form).training for form in forms} == {adapted("lora").training}
    assert adapted({"lora": {"target_modules": "query"}}) == adapted({"lora": {"target_modules": ["query"]}})
    assert adapted("lora").training.resolved("m").learning_rate == 2e-4
    assert adapted("lora", learning_rate=1e-3).training.resolved("m").learning_rate == 1e-3
    assert adapted(None) == Study.parse({"model": "m", "task": "t"})
    assert Study.parse(adapted("lora").to_dict()) == adapted("lora")


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ("dora", ("training.adapter", "'dora'", "lora: {r: 8")),
        ({"dora": {"r": 4}}, ("training.adapter", "'dora'", "lora: {r: 8")),
        ({}, ("training.adapter", "lora")),
        ({"lora": {"rank": 4}}, ("training.adapter.lora", "'rank'", "alpha", "target_modules")),
        ({"prefix": {}}, ("training.adapter", "'prefix'", "lora")),
        ({"lora": {"r": 0}}, ("training.adapter.lora.r", "1")),
        ({"lora": {"r": True}}, ("r", "true")),
        ({"lora": {"alpha": 0}}, ("training.adapter.lora.alpha",)),
        ({"lora": {"dropout": 1}}, ("training.adapter.lora.dropout",)),
        ({"lora": {"init": "loftq"}}, ("training.adapter.lora.init", "'pissa'", "'olora'")),
        ({"lora": {"init": "orthogonal", "r": 3}}, ("orthogonal", "even", "3")),
        ({"lora": {"target_modules": []}}, ("target_modules", "all-linear", "list")),
        ({"lora": {"target_modules": ["q", "q"]}}, ("target_modules", "different")),
        ({"lora": {"target_modules": 3}}, ("target_modules",)),
    ],
)
def test_a_wrong_adapter_is_named(adapter, said):
    with pytest.raises(UserError) as caught:
        adapted(adapter)
    assert names(str(caught.value), *said)
    assert "\n" not in str(caught.value)


def test_mode_head_has_no_adapter_and_a_recipe_may_take_it_away():
    with pytest.raises(UserError, match=says("head", "adapter: null")):
        adapted("lora", mode="head")
    content = {"model": "m", "task": "t", "training": {"adapter": "lora"}, "recipes": {"tuned": {}}}
    with pytest.raises(UserError, match=says("recipe 'tuned'", "adapter: null")):
        Study.parse({**content, "recipes": {"tuned": {"training": {"mode": "head"}}}})
    study = Study.parse({**content, "recipes": {"tuned": {"training": {"mode": "head", "adapter": None}}}})
    assert study.recipe_training("tuned").adapter is None


def test_an_adapter_changes_the_id_of_a_run_and_none_does_not():
    def made(training):
        return spec(training=Training.model_validate(training))

    plain = made({})
    content = plain.model_dump(mode="json")
    del content["training"]["adapter"]
    assert RunSpec.model_validate(content).id == plain.id == made({"adapter": None}).id
    fields = [{}, {"r": 4}, {"alpha": 8}, {"dropout": 0.1}, {"init": "pissa"}, {"target_modules": "all-linear"}]
    ids = {made({"adapter": {"lora": lora}}).id for lora in fields}
    assert len(ids | {plain.id}) == len(fields) + 1
    assert made({"adapter": "lora"}).id == made({"adapter": {"lora": {"r": 8, "alpha": 16.0}}}).id
