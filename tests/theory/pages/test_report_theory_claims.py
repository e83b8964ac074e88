import pandas as pd
import pytest
from made_theory import made_table

from steadytune.theory.pages.claims import (
    LOO_DRAWN,
    LOO_ZERO,
    ORDER,
    SEED,
    base,
    rate_claims,
    scale_claims,
    size_claims,
    step_claims,
)
from steadytune.theory.pages.method_claims import head_claims, mmr_claims, time_claims


def verdict(claims, *words):
    """Return the verdict on the one claim whose prediction holds these words."""
    (found,) = [claim for claim in claims if all(word in claim.prediction for word in words)]
    return found.verdict


def test_the_base_is_the_last_step_and_the_first_rate_and_scale():
    assert base(made_table()) == {"steps": 1000, "rate": 1.0, "init_scale": 1.0}


@pytest.mark.parametrize(("power", "seen"), [(-1.0, "supported"), (1.0, "contradicted"), (0.0, "no effect")])
def test_what_is_said_of_sample_size_follows_the_table(power, seen):
    claims = size_claims(made_table(loo_n=power))
    assert verdict(claims, "max-margin head) falls") == seen
    assert verdict(claims, LOO_ZERO) == seen
    assert verdict(claims, SEED) == "no effect"


@pytest.mark.parametrize(("rank", "seen"), [(1.0, "supported"), (-1.0, "contradicted")])
def test_what_is_said_of_the_margin_follows_the_table(rank, seen):
    table = made_table(margin_rank=rank)
    # Two groups of one width tell nothing.
    assert verdict(size_claims(table), "margin γ/B") == "inconclusive"
    several = pd.concat([table.assign(d=table["d"] + more) for more in range(3)])
    assert verdict(size_claims(several), "margin γ/B") == seen


@pytest.mark.parametrize(("bound", "seen"), [(2.0, "supported"), (0.9, "not supported")])
def test_a_bound_that_is_exceeded_is_said(bound, seen):
    claims = size_claims(made_table(bound=bound))
    assert verdict(claims, "min(√") == seen
    assert verdict(claims, "both direction errors") == seen
    assert verdict(mmr_claims(made_table(bound=bound)), "held fixed, the bound") == seen


def test_a_bound_above_two_is_said_to_say_nothing():
    (found,) = [claim for claim in size_claims(made_table(bound=30.0)) if "both direction errors" in claim.prediction]
    assert found.measured.endswith("says nothing, in 100 %.")


def test_leave_one_out_and_seeds_have_verdicts_of_their_own_over_steps():
    claims = step_claims(made_table(loo_steps=0.3, seed_steps=-0.5))
    assert [verdict(claims, name) for name in (LOO_ZERO, LOO_DRAWN, SEED)] == ["contradicted"] * 2 + ["supported"]


def test_leave_one_out_and_both_seeds_have_verdicts_of_their_own_over_the_learning_rate():
    claims = rate_claims(made_table(loo_rate=0.0, seed_rate=-0.5, order_rate=1.0))
    found = [verdict(claims, name) for name in (LOO_ZERO, LOO_DRAWN, SEED, ORDER)]
    assert found == ["no effect", "no effect", "contradicted", "supported"]


@pytest.mark.parametrize(("rate", "seen"), [(-0.5, "supported"), (0.5, "not supported")])
def test_settings_with_the_same_product_are_compared(rate, seen):
    assert verdict(rate_claims(made_table(seed_steps=-0.5, seed_rate=rate)), "product of rate and steps") == seen


def test_the_scale_of_the_start_is_judged_for_both_instabilities():
    claims = scale_claims(made_table(seed_scale=1.0, loo_scale=-0.5))
    assert verdict(claims, "zero start there is no seed instability") == "supported"
    assert verdict(claims, "Larger initial weights") == "supported"
    assert verdict(claims, "does not depend on the start") == "not supported"
    wrong = made_table()
    wrong.loc[(wrong["part"] == "training") & (wrong["init_scale"] == 0), "seed_instability"] = 1e-3
    assert verdict(scale_claims(wrong), "zero start there is no seed instability") == "not supported"


def test_heads_are_judged_beside_their_controls():
    claims = head_claims(made_table(seed_heads=-0.5, loo_heads=0.3, error_heads=-0.5, control=1.0, zero=0.1))
    assert verdict(claims, SEED) == "supported"
    assert verdict(claims, LOO_DRAWN) == "contradicted"
    assert verdict(claims, "come nearer") == "supported"
    assert verdict(claims, "initial weights cancel", "as near") == "supported"
    assert verdict(claims, "from a zero start") == "supported"


def test_the_control_that_is_more_stable_over_seeds_is_said_to_be():
    table = made_table(seed_heads=-0.5)
    one = (table["part"] == "heads") & (table["kind"] == "one head, init / sqrt(H)")
    claims = head_claims(table.assign(seed_instability=table["seed_instability"].where(~one, 0.5)))
    assert verdict(claims, "initial weights cancel", "at most the seed instability") == "not supported"
    claims = head_claims(table.assign(seed_instability=table["seed_instability"].where(~one, 1e-4)))
    assert verdict(claims, "initial weights cancel", "at most the seed instability") == "supported"


def test_controls_that_do_worse_are_said_to():
    claims = head_claims(made_table(error_heads=-0.5, control=2.0, zero=10.0))
    assert verdict(claims, "initial weights cancel", "as near") == "not supported"
    assert verdict(claims, "from a zero start") == "not supported"


@pytest.mark.parametrize(("speed", "seen"), [(-0.5, "supported"), (-0.05, "not supported")])
def test_the_way_to_the_max_margin_direction_is_judged_by_direction_and_speed(speed, seen):
    claims = time_claims(made_table(error_steps=speed, apart_steps=-1.0))
    assert verdict(claims, "turn to one direction") == "supported"
    assert verdict(claims, "max-margin direction: the distance") == "supported"
    assert verdict(claims, "1 / log t") == seen


def test_mmr_is_judged_by_margin_norm_and_what_the_bound_depends_on():
    table = made_table(centre_distance_alpha=2.0, margin_alpha=1.0, norm_alpha=2.0, loo_alpha=1.0, seed_alpha=-1.0)
    claims = mmr_claims(table)
    assert verdict(claims, "class centres apart") == "supported"
    assert verdict(claims, "γ rises") == "supported"
    assert verdict(claims, "larger features") == "supported"
    assert verdict(claims, "B/γ falls") == "contradicted"
    assert verdict(claims, "held fixed, more stable") == "no effect"
    assert verdict(claims, "both tuned anew") == "contradicted"
    assert verdict(claims, SEED) == "supported"


def test_without_separable_data_nothing_is_said_of_bound_and_margin():
    table = made_table()
    table = table[~table["separable"]]
    assert verdict(size_claims(table), "min(√") == "inconclusive"
    assert verdict(size_claims(table), "margin γ/B") == "inconclusive"
    assert {claim.verdict for claim in time_claims(table)} == {"inconclusive"}
    assert verdict(head_claims(table), "max-margin direction as H") == "inconclusive"
