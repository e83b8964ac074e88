import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import made_record, made_specs, made_study
from saying import names

from steadytune.analysis.learned import chance_loss
from steadytune.doctor.runs import run_findings, stuck_since, vanished_since

LN2 = math.log(2)
STEPS = list(range(10, 110, 10))


@pytest.fixture
def specs():
    return made_specs(made_study(seeds=3))


def failed(spec, **curves):
    """A run that answers one class throughout."""
    return made_record(spec, score=0.5, scores={"accuracy": 0.5}, curves={"step": STEPS, **curves})


def test_the_loss_at_chance_is_the_entropy_of_the_labels():
    assert chance_loss([0, 1, 2, 0, 1, 2]) == pytest.approx(math.log(3))
    assert chance_loss([0, 0, 0, 1]) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert chance_loss([1, 1]) == 0


def test_a_loss_that_never_falls_is_stuck_throughout():
    assert stuck_since([0.7, 0.69] * 5, STEPS, LN2) == 10


def test_a_loss_that_falls_and_comes_back_is_stuck_from_there():
    # From step 60 on .7; with the .2 of step 50 the mean of the rest is (.2 + 5 * .7) / 6 = .617 < .9 ln 2 = .624.
    assert stuck_since([0.7, 0.5, 0.3, 0.2, 0.2, 0.7, 0.7, 0.7, 0.7, 0.7], STEPS, LN2) == 60


def test_a_loss_that_falls_for_good_is_not_stuck():
    assert stuck_since([0.7, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1], STEPS, LN2) is None


def test_one_easy_batch_does_not_hide_a_stuck_loss():
    assert stuck_since([0.7, 0.7, 0.5, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7], STEPS, LN2) == 10


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_from_the_step_that_is_named_the_mean_loss_is_near_chance(losses):
    steps = [float(n) for n in range(len(losses))]
    since = stuck_since(losses, steps, LN2)
    if since is not None:
        rest = losses[int(since) :]
        assert sum(rest) / len(rest) >= 0.9 * LN2 - 1e-9
        if since > 0:
            longer = losses[int(since) - 1 :]
            assert sum(longer) / len(longer) < 0.9 * LN2 + 1e-9


def test_a_gradient_vanishes_where_it_stays_below_a_hundredth_of_the_first():
    norms = [2.0, 1.0, 0.01, 0.5, 0.019, 0.01, 0.001, 0.001, 0.001, 0.001]
    assert vanished_since(norms, STEPS) == 50
    assert vanished_since([*norms[:-1], 0.02], STEPS) is None
    assert vanished_since([2.0] * 9 + [0.001], STEPS) == 100
    assert vanished_since([2.0] * 18 + [2.0, 0.001], list(range(20))) is None


def test_unknown_points_of_a_curve_are_left_out():
    assert vanished_since([None, 1.0, None, 0.001, 0.001], [1, 2, 3, 4, 5]) == 4
    assert vanished_since([None, None], [1, 2]) is None
    assert stuck_since([None, 0.7, 0.7], [1, 2, 3], LN2) == 2
    assert stuck_since([], [], LN2) is None


def test_a_run_that_learned_is_no_finding(specs):
    assert run_findings([made_record(spec) for spec in specs], "here", LN2) == []


def test_a_collapsed_run_is_named_with_the_step_and_the_blocks_without_gradient(specs):
    gone, alive = [1.0, 0.5, *[0.001] * 8], [1.0] * 10
    later = [1.0, 0.5, 0.5, *[0.001] * 7]
    record = failed(
        specs[1],
        loss=[0.7] * 10,
        gradient_step=STEPS,
        gradient_embeddings=gone,
        gradient_block_1=gone,
        gradient_block_2=later,
        gradient_block_3=alive,
        gradient_top=gone,
    )

    (finding,) = run_findings([made_record(specs[0]), record], "recipe", LN2)

    assert (finding.rule, finding.severity, finding.where) == ("collapsed", "high", "recipe")
    where = ["embeddings", "1", "2", "step 30", "40"]
    assert names(finding.found, "1 of 2", "seed 1", "accuracy 50.0", "0.693", "gradients", *where)
    assert not re.search(r"\b3\b", finding.found.partition("embeddings")[2])


def test_a_record_without_gradients_by_depth_says_so(specs):
    (finding,) = run_findings([failed(specs[0], loss=[0.7] * 10, grad_norm=[0.0] * 10)], "here", LN2)
    assert names(finding.found, "gradients", "recorded")


def test_gradients_that_did_not_vanish_are_not_said_to_have(specs):
    record = failed(specs[0], loss=[0.7] * 10, gradient_step=STEPS, gradient_block_1=[1.0] * 10)
    (finding,) = run_findings([record], "here", LN2)
    assert names(finding.found, "gradients", "vanish", "depth")
    assert "recorded" not in finding.found


def test_a_run_that_fits_its_training_set_and_fails_has_not_collapsed(specs):
    (finding,) = run_findings([failed(specs[0], loss=[0.7, *[0.1] * 9])], "here", LN2)
    assert finding.rule == "majority"


@pytest.mark.parametrize("method", ["mmr", "supcon", "freelb"])
def test_a_run_that_fits_under_a_loss_that_is_not_the_task_loss_has_not_collapsed(method):
    (spec, *_) = made_specs(made_study(seeds=2, recipes=[method]))

    (finding,) = run_findings([failed(spec, loss=[0.9] * 10, task_loss=[0.7, *[0.1] * 9])], "here", LN2)

    assert finding.rule == "majority"


def test_the_task_loss_is_what_says_that_a_run_collapsed(specs):
    (finding,) = run_findings([failed(specs[0], loss=[0.1] * 10, task_loss=[0.7] * 10)], "here", LN2)
    assert finding.rule == "collapsed"


@pytest.mark.parametrize(
    ("method", "rule"),
    [("mmr", "unexplained"), ("supcon", "unexplained"), ("freelb", "unexplained"), ("llrd", "collapsed")],
)
def test_an_old_record_says_nothing_of_the_task_loss_where_a_method_changes_the_loss(method, rule):
    (spec, *_) = made_specs(made_study(seeds=2, recipes=[method]))
    (finding,) = run_findings([failed(spec, loss=[0.9] * 10)], "here", LN2)
    assert finding.rule == rule


def test_a_collapsed_head_is_not_explained_by_blocks_that_are_frozen():
    (spec, *_) = made_specs(made_study(seeds=2, training={"mode": "head"}))

    (finding,) = run_findings([failed(spec, loss=[0.7] * 10)], "here", LN2)

    assert finding.rule == "collapsed"
    assert "gradient" not in finding.found + finding.why + finding.source
    assert "frozen" in finding.why


def test_runs_that_diverged_and_crashed_are_told_apart_with_their_reasons(specs):
    lost = {"score": None, "scores": {}, "majority_score": None, "curves": {}}
    records = [
        made_record(specs[0], status="diverged", reason="loss NaN at step 7 of 9", **lost),
        made_record(specs[1], status="crashed", reason="MemoryError", **lost),
        made_record(specs[2]),
    ]

    diverged, crashed = run_findings(records, "here", LN2)

    assert (diverged.rule, crashed.rule) == ("diverged", "crashed")
    assert "1 of 3" in diverged.found
    assert names(diverged.found, "seed 0", "loss NaN at step 7 of 9")
    assert names(crashed.found, "seed 1", "MemoryError")


def test_a_failed_regression_is_not_explained(specs):
    (finding,) = run_findings([failed(specs[0], loss=[0.7] * 10)], "here", None)
    assert finding.rule == "unexplained"


def test_a_training_whose_loss_stays_near_guessing_had_hardly_begun(specs):
    # Of ln 6 = 1.792: four fifths are 1.433; of ln 7 1.557.
    losses = [1.76, *[1.6] * 18, 1.54], [1.76, *[1.52] * 18, 1.42]
    steps = list(range(1, 21))
    begun = [made_record(spec, curves={"step": steps, "loss": one}) for spec, one in zip(specs, losses, strict=False)]
    # The first and the last tenth are two points each.
    assert begun[0].loss_ends == (pytest.approx(1.68), pytest.approx(1.57))
    (finding,) = run_findings(begun, "recipe", math.log(6))
    assert (finding.rule, finding.severity) == ("hardly-begun", "medium")
    assert names(finding.found, "2 of 2", "1.66", "1.52", "1.79")
    assert run_findings(begun, "recipe", None) == []
    assert run_findings(begun[1:], "recipe", math.log(7)) == []


def test_the_loss_with_a_penalty_is_not_held_against_guessing():
    (spec,) = made_specs(made_study(recipes=["mmr"], seeds=1))
    assert all(map(math.isnan, made_record(spec, curves={"step": [1], "loss": [9.0]}).loss_ends))
    assert made_record(spec, curves={"step": [1], "loss": [9.0], "task_loss": [0.5]}).loss_ends == (0.5, 0.5)
