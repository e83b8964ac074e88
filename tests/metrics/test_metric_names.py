import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.metrics import METRICS, is_score, preferred, recorded
from steadytune.metrics.positive import default_positive, find_positive


@pytest.mark.parametrize(
    ("name", "unit", "better"),
    [
        ("eval_accuracy", "points", True),
        ("test_acc", "points", True),
        ("valid/f1", "points", True),
        ("matthews_correlation", "points", True),
        ("eval_loss", "", False),
        ("my_loss", "", False),
        ("wer", "", False),
        ("predict_perplexity", "", False),
        ("mse", "", False),
        ("ece", "", False),
        ("bleu", "points", True),
        ("rougeL", "points", True),
        ("score", "", None),
        ("grumpiness", "", None),
    ],
)
def test_names_have_a_unit_and_a_direction(name, unit, better):
    assert (recorded(name).unit, recorded(name).higher_is_better) == (unit, better)


def test_times_and_counts_are_no_scores():
    names = ["epoch", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "train_loss", "total_flos"]
    assert not any(map(is_score, names))
    assert preferred(names, "classification") is None


def test_the_natural_score_is_preferred_and_a_loss_comes_last():
    names = ["a_thing", "eval_loss", "eval_runtime", "eval_f1", "eval_accuracy"]
    assert preferred(names, "classification") == "eval_accuracy"
    assert preferred(["eval_loss", "zeal"], "classification") == "zeal"
    assert preferred(["eval_loss", "eval_runtime"], "classification") == "eval_loss"
    assert preferred(["bleu", "loss", "chrf"], "generation") == "chrf"


def test_an_unknown_metric_names_the_closest():
    with pytest.raises(UserError, match=says("'acuracy'", "'accuracy'")):
        METRICS["acuracy"]


@pytest.mark.parametrize(
    ("names", "labels", "positive"),
    [
        (None, [0, 0, 1], 1),
        (["0", "1"], [1, 1, 0], 1),
        (["LABEL_0", "LABEL_1"], [1, 1, 0], 1),
        (["hate", "none"], [0, 1, 1], 0),
        (["negative", "positive"], [0, 1, 1], 1),
        (["entailment", "not_entailment"], [0, 0, 1], 0),
        (["False", "True"], [1, 1, 0], 1),
        (["cat", "dog"], [0, 1, 1], 0),
        (["cat", "dog"], [0, 0, 1], 1),
        (["cat", "dog"], [0, 1], 1),
    ],
)
def test_the_positive_class_where_nobody_says(names, labels, positive):
    assert default_positive(names, labels)[0] == positive


def test_the_positive_class_is_found_by_name_or_number():
    assert find_positive("dog", ["cat", "dog"], 2) == 1
    assert find_positive("0", ["cat", "dog"], 2) == 0
    with pytest.raises(UserError, match=says("'dgo'", "'dog'")):
        find_positive("dgo", ["cat", "dog"], 2)
    with pytest.raises(UserError, match=says("positive class '2'", "0, 1")):
        find_positive(2, None, 2)
