import json
import math

import pandas as pd
import pytest
import yaml
from commands import command, refused

from steadytune.errors import UserError
from steadytune.theory.full.task_bound import task_bound

QUICK = ["--steps", 4, "--points", 2, "--products", 12]


@pytest.fixture
def bound(tiny_model, tiny_task):
    return ["theory", "bound", "--model", tiny_model, "--task", tiny_task, "--set", "training.train_size=20"]


def test_every_term_is_printed_and_written_beside_the_bound(bound, tmp_path):
    out = tmp_path / "out"
    result = command(*bound, *QUICK, "--left-out", 2, "--out", out)
    assert result.code == 0, result.err
    said = " ".join(result.out.split())
    assert result.out.splitlines()[-1] == f"report: {out / 'bound.html'}"
    assert all(words in said for words in ("mu: ", "convexity", "||w_T - w_T^i||"))
    (terms,) = pd.read_csv(out / "bound.csv").to_dict("records")
    path, curve, examples = (pd.read_csv(out / f"{name}.csv") for name in ("path", "taylor", "left_out"))
    assert (terms["n"], terms["steps"], terms["left_out"]) == (20, 4, 2)
    assert (terms["proved"], terms["fails"].startswith("convexity")) == (False, True)
    assert list(path["step"]) == [0, 4]
    assert terms["lipschitz"] == path["largest_gradient"].max()
    assert terms["beta"] == pytest.approx((path["largest_curvature"] + path["margin"]).max(), rel=1e-4)
    assert terms["distance"] == path["distance"].iloc[-1]
    assert terms["learning_rate"] == pytest.approx(1 / (path["largest_curvature"] + path["margin"])[0], rel=1e-4)
    assert curve["distance"].max() == pytest.approx(2 * terms["distance"], rel=1e-4)
    assert terms["loo_weights"] == pytest.approx(examples["loo_weights"].mean(), rel=1e-4)
    assert 0 < terms["loo_weights"] < terms["distance"]


def test_a_study_file_gives_models_tasks_and_settings_and_each_cohort_is_trained_once(tiny_model, tiny_task, tmp_path):
    study = {"model": str(tiny_model), "task": str(tiny_task), "seeds": 3, "training": {"train_size": 12}}
    study["recipes"] = {"standard": {}, "cls": {"training": {"pooling": "cls"}}}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study))
    out = tmp_path / "out"
    result = command("theory", "bound", file, *QUICK, "--out", out)
    assert result.code == 0, result.err
    terms = pd.read_csv(out / "bound.csv")
    assert set(terms["recipe"]) == {"standard", "cls"}
    assert list(terms["n"]) == [12, 12]
    assert terms["beta"].nunique() == 2
    assert not (out / "left_out.csv").exists()
    assert all(map(math.isnan, terms["loo_weights"]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learning-rate", 1e6], ("1e+06", "2/beta = ")),
        (["--learning-rate", "nan"], ("learning_rate", "nan")),
        (["--learning-rate", -1], ("learning_rate", "-1")),
        (["--steps", -3], ("steps",)),
        (["--points", 1], ("points",)),
        (["--left-out", 21], (" 20 ", " 21")),
        (["--products", 1], ("1 products",)),
        (["--set", "training.mode=head"], ("'head'",)),
        (["--set", "training.train_sise=2"], ("train_sise",)),
        (["--set", "recipes={mmr: {stabilizers: [mmr]}}"], ("'mmr'",)),
    ],
)
def test_what_cannot_be_bounded_is_refused(bound, tmp_path, words, said):
    out = tmp_path / "out"
    answer = refused(*bound, *QUICK, *words, "--out", out)
    assert all(words in answer for words in said)
    assert not out.exists()


def test_a_training_set_of_one_class_is_refused(bound, tmp_path):
    assert "class" in refused(*bound[:-1], "training.train_size=2", *QUICK, "--out", tmp_path / "out")


def test_options_are_refused_before_a_task_or_model_is_looked_for(tmp_path):
    words = ["theory", "bound", "--model", "nowhere", "--task", "nowhere", "--out", tmp_path / "out"]
    assert "learning_rate" in refused(*words, "--learning-rate", 0)


def test_too_many_examples_to_leave_out_of_a_later_task_are_refused_before_the_first_is_trained(bound, tmp_path):
    few, out = made_task(tmp_path / "few", [0, 1] * 10), tmp_path / "out"
    words = [*bound[:-2], "--task", few, "--left-out", 21, "--out", out]
    said = refused(*words, *QUICK)
    assert str(few) in said
    assert all(number in said for number in (" 20 ", " 21"))
    assert not out.exists()


def test_a_finished_task_is_kept_where_a_later_one_fails(bound, tmp_path, monkeypatch):
    def measured(spec, **options):
        if spec.recipe == "cls":
            raise UserError("the second one fails")
        return task_bound(spec, **options)

    monkeypatch.setattr("steadytune.theory.full.task_bound.task_bound", measured)
    out = tmp_path / "out"
    recipes = "recipes={standard: {}, cls: {training: {pooling: cls}}}"
    assert refused(*bound, *QUICK, "--set", recipes, "--out", out) == "error: the second one fails"
    assert list(pd.read_csv(out / "bound.csv")["recipe"]) == ["standard"]
    assert (out / "bound.html").exists()


def made_task(folder, labels):
    folder.mkdir()
    for name in ("train", "validation"):
        rows = [json.dumps({"sentence": f"anna likes the door {k}", "label": label}) for k, label in enumerate(labels)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize(("labels", "said"), [([0.5, 1.25, 3.0, 2.5], "regression"), ([1, 1, 1, 1], ""), ([0, 1], "3")])
def test_a_task_without_two_classes_or_three_examples_is_refused(tiny_model, tmp_path, labels, said):
    folder = made_task(tmp_path / "task", labels)
    words = ["theory", "bound", "--model", tiny_model, "--task", folder, *QUICK, "--out", tmp_path / "out"]
    assert said in refused(*words)


def test_an_unknown_task_none_at_all_and_a_file_for_a_folder_are_refused(tiny_model, bound, tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    out = tmp_path / "out"
    assert "nowhere" in refused("theory", "bound", "--model", tiny_model, "--task", "nowhere", "--out", out)
    assert "--task" in refused("theory", "bound", "--model", tiny_model, "--out", out)
    assert str(file) in refused(*bound, "--out", file)


def test_the_help_has_an_example():
    result = command("theory", "bound", "--help")
    assert result.code == 0
    assert "steadytune theory bound" in result.out.partition("Example")[2]
