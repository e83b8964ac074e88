import math

import pytest
import torch
from saying import names
from scipy import stats
from transformers import get_scheduler

from steadytune.doctor import rules
from steadytune.doctor.setup import Setup

HEALTHY = {
    "where": "here",
    "stock": False,
    "learning_rate": 2e-5,
    "warmup": 0.1,
    "epochs": 20,
    "seeds": 20,
    "layers": 12,
    "train_examples": 2500,
    "measured_examples": 10_000,
}
SCRIPT = {"stock": True, "layers": None, "train_examples": None, "measured_examples": None, "seeds": None}


def found(rule, **fields):
    return rule(Setup(**{**HEALTHY, **fields}))


def test_a_strong_baseline_breaks_no_rule():
    assert [rule.__name__ for rule in rules.RULES if found(rule)] == []


def test_a_finding_has_all_its_words():
    broken = {**SCRIPT, "learning_rate": 1.0, "warmup": 0.0, "epochs": 1, "accumulation": 4, "hides_nan": True}
    broken |= {"optimizer": "rmsprop", "measured_examples": 10, "seeds": 2}
    told = [found(rule, **broken) for rule in rules.RULES]

    assert all(told)
    assert len({finding.rule for finding in told}) == len(rules.RULES)
    for finding in told:
        assert all(vars(finding).values()), finding
        assert finding.where == "here"


@pytest.mark.parametrize(
    ("warmup", "layers", "severity"),
    [
        (0.0, 24, "high"),
        (0.0, None, "high"),
        (0.0, 12, "medium"),
        (0.001, 24, "high"),
        (0.01, 24, "low"),
        (0.06, 24, None),
        (None, 24, None),
    ],
)
def test_warmup_is_missing_short_or_enough(warmup, layers, severity):
    finding = found(rules.warmup, warmup=warmup, layers=layers)
    assert (finding and finding.severity) == severity


@pytest.mark.parametrize(
    ("warmup", "steps", "severity"), [(None, 1, "medium"), (None, 5, "medium"), (None, 6, None), (0.05, 1, "medium")]
)
def test_a_few_steps_of_warmup_are_next_to_none(warmup, steps, severity):
    finding = found(rules.warmup, warmup=warmup, warmup_steps=steps)
    assert (finding and finding.severity) == severity
    if finding:
        # Whoever sets no warm-up at all is told otherwise.
        assert finding.title != found(rules.warmup, warmup=0.0).title


def test_one_step_of_warmup_leaves_the_second_at_the_peak():
    weight = torch.nn.Parameter(torch.zeros(1))
    schedule = get_scheduler("linear", torch.optim.SGD([weight], lr=1.0), 1, 100)
    assert schedule.get_last_lr() == [0.0]
    schedule.optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == [1.0]


def test_head_tuning_needs_no_warmup_no_small_rate_and_no_twenty_epochs():
    for rule in (rules.warmup, rules.learning_rate, rules.epochs):
        assert found(rule, full=False, warmup=0.0, learning_rate=1.0, epochs=1) is None


@pytest.mark.parametrize(
    ("layers", "rate", "severity"),
    [
        (24, 2e-5, None),
        (24, 2.5e-5, "medium"),
        (24, 3e-5, "high"),
        (12, 5e-5, None),
        (12, 6e-5, "medium"),
        (6, 1e-4, None),
        (6, 2e-4, "medium"),
        (6, 3e-4, "high"),
        (None, 2e-5, None),
        (None, 5e-5, "check"),
    ],
)
def test_the_highest_learning_rate_falls_with_depth(layers, rate, severity):
    finding = found(rules.learning_rate, layers=layers, learning_rate=rate)
    assert (finding and finding.severity) == severity
    if finding:
        assert f"{rate:.3g}" in finding.found


def test_an_adapter_may_have_a_high_rate():
    assert found(rules.learning_rate, learning_rate=1e-3) is not None
    assert found(rules.learning_rate, learning_rate=1e-3, adapter=True) is None


def test_biases_alone_may_have_a_high_rate():
    assert found(rules.learning_rate, learning_rate=1e-3)
    assert found(rules.learning_rate, learning_rate=1e-3, stabilizers=("bitfit",)) is None


def test_a_half_precision_checkpoint_is_named():
    assert found(rules.half_precision) is None
    stored = found(rules.half_precision, half="bfloat16")
    assert (stored.severity, "bfloat16" in stored.found) == ("low", True)
    assert found(rules.half_precision, **SCRIPT).severity == "check"


@pytest.mark.parametrize("broken", [{"stabilizers": ("no_bias_correction",)}, {"optimizer": "rmsprop_bnb_8bit"}])
def test_missing_bias_correction_is_found(broken):
    assert found(rules.bias_correction, **broken).severity == "high"
    assert found(rules.bias_correction, optimizer="paged_adamw_8bit", stabilizers=("mmr",)) is None


def test_the_factors_of_uncorrected_steps_are_those_that_are_told():
    factors = {t: (1 - 0.9**t) / math.sqrt(1 - 0.999**t) for t in range(1, 2000)}
    told = found(rules.bias_correction, stabilizers=("no_bias_correction",)).why
    assert names(told, f"{factors[1]:.1f} times", "step 1")
    assert names(told, f"{max(factors.values()):.1f} times", f"step {max(factors, key=factors.get)}")
    assert "step 280" in told
    assert factors[280] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    ("optimizer", "severity"),
    [
        ("adamw_torch_fused", "medium"),
        ("adagrad", "medium"),
        ("lion_32bit", "medium"),
        ("sgd", "high"),
        ("lomo", "high"),
    ],
)
def test_accumulation_matters_in_a_script_with_the_stock_trainer(optimizer, severity):
    finding = found(rules.accumulation, stock=True, batch_size=2, accumulation=4, optimizer=optimizer)
    assert finding.severity == severity
    assert names(finding.why, "4 times", "batch 8")
    plain = found(rules.accumulation, stock=True, batch_size=2, accumulation=4, optimizer="sgd")
    assert (finding.why.replace(optimizer, "sgd") == plain.why) is (severity == "high")


def test_accumulation_is_right_with_label_smoothing_in_a_batch_of_one_and_in_ours():
    assert found(rules.accumulation, stock=True, accumulation=4, label_smoothing=0.1) is None
    assert found(rules.accumulation, stock=True, accumulation=1) is None
    assert found(rules.accumulation, stock=False, accumulation=4) is None


def test_the_head_of_a_script_has_to_be_looked_at():
    assert found(rules.head_seed, stock=True).severity == "check"
    assert found(rules.head_seed) is None


def test_a_log_without_nan_is_found():
    assert found(rules.hidden_nan, hides_nan=True).severity == "medium"
    assert found(rules.hidden_nan, hides_nan=False) is None


def test_the_error_of_few_examples_is_that_of_a_coin():
    finding = found(rules.evaluation_size, measured_examples=100)
    # sqrt(.25 / 100) = .05, and 1.96 sqrt(2) .05 = .1386; 2 * .25 * (1.96 / .02)^2 = 4802.
    assert "5.0 points" in finding.why
    assert "13.9 points" in finding.why
    assert "4802 examples" in finding.advice
    assert found(rules.evaluation_size, measured_examples=4801)
    assert found(rules.evaluation_size, measured_examples=4802) is None
    # 60 passages of 100 questions are no 6000 examples: sqrt(.25 / 60) is 6.5 points.
    assert "6.5 points" in found(rules.evaluation_size, measured_examples=6000, measured_groups=60).why
    assert found(rules.evaluation_size, measured_examples=None) is None


def test_the_advised_number_of_examples_is_enough():
    finding = found(rules.evaluation_size, measured_examples=50, accuracies=(0.9, 0.8))
    needed = int(finding.advice.split("about ")[1].split()[0])
    assert found(rules.evaluation_size, measured_examples=needed, accuracies=(0.9, 0.8)) is None
    assert found(rules.evaluation_size, measured_examples=needed - 1, accuracies=(0.9, 0.8))


def test_recorded_scores_say_whether_more_seeds_would_help():
    # Examples: sqrt(.8 * .2 / 400) = 2 points. Seeds: SD .0141 / sqrt(2) = 1 point, or .1414 / sqrt(2) = 10 points.
    calm = found(rules.evaluation_size, measured_examples=400, accuracies=(0.79, 0.81))
    assert names(calm.why, "2.0 points", "1.0 points")
    wild = found(rules.evaluation_size, measured_examples=400, accuracies=(0.7, 0.9))
    assert names(wild.why, "10.0 points")
    # That more seeds would not help is said of the calm ones alone.
    assert len(calm.why.split()) > len(wild.why.split())


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"epochs": 3}, "medium"),
        ({"epochs": 20}, None),
        ({"epochs": 3, "train_examples": 10_001}, None),
        ({"epochs": 3, "train_examples": None}, "check"),
        ({"epochs": None}, None),
    ],
)
def test_few_epochs_matter_on_small_training_sets(fields, severity):
    finding = found(rules.epochs, **fields)
    assert (finding and finding.severity) == severity


@pytest.mark.parametrize(("steps", "severity"), [(500, "check"), (6249, "check"), (6250, None)])
def test_a_number_of_steps_is_few_or_many_epochs_of_a_small_training_set(steps, severity):
    finding = found(rules.epochs, **SCRIPT, epochs=None, steps=steps, batch_size=16, accumulation=2)
    assert (finding and finding.severity) == severity
    if steps == 500:
        # 500 * 16 * 2 / 20.
        assert names(finding.found, "500 steps", "32 examples", "20 epochs", "800")


def test_steps_are_counted_as_the_trainer_counts_them():
    assert names(found(rules.epochs, epochs=3, train_examples=100).found, "3 epochs", "100 examples", "21 steps")


def test_few_seeds_leave_the_spread_and_rare_failures_unknown():
    assert found(rules.seeds, seeds=10) is None
    assert found(rules.seeds, seeds=None) is None
    one, five = found(rules.seeds, seeds=1), found(rules.seeds, seeds=5)
    assert (one.severity, five.severity) == ("high", "medium")
    assert one.why != five.why
    low, high = (math.sqrt(4 / stats.chi2(4).ppf(q)) for q in (0.975, 0.025))
    assert names(five.why, f"{low:.2f}", f"{high:.2g} times")
    assert "59 %" in five.why
