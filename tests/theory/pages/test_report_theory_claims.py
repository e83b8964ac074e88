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

# The claims of each study in their order.
BOUND, SIZE_MAX_MARGIN, SIZE_ZERO, SIZE_SEED, MARGIN, DESCENT = range(6)
HEADS_SEED, HEADS_LOO, HEADS_DISTANCE, CONTROL_DISTANCE, ZERO_DISTANCE, CONTROL_SEED = range(6)
MMR_CENTRES, MMR_MARGIN, MMR_NORM, MMR_RATIO, MMR_FIXED, MMR_LOO, MMR_SEED, MMR_BOUND = range(8)


def verdict(claims, name):
    """Return the verdict on the one claim about a quantity."""
    (found,) = [claim for claim in claims if name in claim.prediction]
    return found.verdict


def test_the_base_is_the_last_step_and_the_first_rate_and_scale():
    assert base(made_table()) == {"steps": 1000, "rate": 1.0, "init_scale": 1.0}


@pytest.mark.parametrize(("power", "expected"), [(-1.0, "supported"), (1.0, "contradicted"), (0.0, "no effect")])
def test_claims_on_sample_size_follow_the_table(power, expected):
    claims = size_claims(made_table(loo_n=power))
    assert claims[SIZE_MAX_MARGIN].verdict == expected
    assert claims[SIZE_ZERO].verdict == verdict(claims, LOO_ZERO) == expected
    assert claims[SIZE_SEED].verdict == verdict(claims, SEED) == "no effect"


@pytest.mark.parametrize(("rank", "expected"), [(1.0, "supported"), (-1.0, "contradicted")])
def test_claims_on_the_margin_follow_the_table(rank, expected):
    table = made_table(margin_rank=rank)
    # Two groups of one width are inconclusive.
    assert size_claims(table)[MARGIN].verdict == "inconclusive"
    several = pd.concat([table.assign(d=table["d"] + more) for more in range(3)])
    assert size_claims(several)[MARGIN].verdict == expected


@pytest.mark.parametrize(("bound", "expected"), [(2.0, "supported"), (0.9, "not supported")])
def test_a_bound_that_is_exceeded_is_not_supported(bound, expected):
    claims = size_claims(made_table(bound=bound))
    assert claims[BOUND].verdict == expected
    assert claims[DESCENT].verdict == expected
    assert mmr_claims(made_table(bound=bound))[MMR_BOUND].verdict == expected


def test_a_bound_above_two_is_said_to_be_vacuous():
    found = size_claims(made_table(bound=30.0))[DESCENT]
    assert found.measured.endswith(" 100 %.")
    assert len(found.measured) > len(size_claims(made_table(bound=2.0))[BOUND].measured)


def test_leave_one_out_and_seeds_have_separate_verdicts_over_steps():
    claims = step_claims(made_table(loo_steps=0.3, seed_steps=-0.5))
    assert [verdict(claims, name) for name in (LOO_ZERO, LOO_DRAWN, SEED)] == ["contradicted"] * 2 + ["supported"]


def test_leave_one_out_and_both_seeds_have_separate_verdicts_over_the_learning_rate():
    claims = rate_claims(made_table(loo_rate=0.0, seed_rate=-0.5, order_rate=1.0))
    found = [verdict(claims, name) for name in (LOO_ZERO, LOO_DRAWN, SEED, ORDER)]
    assert found == ["no effect", "no effect", "contradicted", "supported"]


@pytest.mark.parametrize(("rate", "expected"), [(-0.5, "supported"), (0.5, "not supported")])
def test_trainings_with_the_same_product_are_compared(rate, expected):
    assert rate_claims(made_table(seed_steps=-0.5, seed_rate=rate))[-1].verdict == expected


def test_the_scale_of_the_start_is_judged_for_both_instabilities():
    claims = scale_claims(made_table(seed_scale=1.0, loo_scale=-0.5))
    assert [claim.verdict for claim in claims] == ["supported", "supported", "not supported"]
    wrong = made_table()
    wrong.loc[(wrong["part"] == "training") & (wrong["init_scale"] == 0), "seed_directions"] = 1e-3
    assert scale_claims(wrong)[0].verdict == "not supported"


def test_heads_are_judged_beside_their_controls():
    claims = head_claims(made_table(seed_heads=-0.5, loo_heads=0.3, error_heads=-0.5, control=1.0, zero=0.1))
    assert verdict(claims[:2], SEED) == claims[HEADS_SEED].verdict == "supported"
    assert verdict(claims, LOO_DRAWN) == claims[HEADS_LOO].verdict == "contradicted"
    assert claims[HEADS_DISTANCE].verdict == "supported"
    assert claims[CONTROL_DISTANCE].verdict == "supported"
    assert claims[ZERO_DISTANCE].verdict == "supported"


def test_the_control_that_is_more_stable_over_seeds_is_said_to_be():
    table = made_table(seed_heads=-0.5)
    one = (table["part"] == "heads") & (table["kind"] == "one head, init / sqrt(H)")
    for value, expected in ((0.5, "not supported"), (1e-4, "supported")):
        claims = head_claims(table.assign(seed_directions=table["seed_directions"].where(~one, value)))
        assert claims[CONTROL_SEED].verdict == expected


def test_controls_that_do_worse_are_not_supported():
    claims = head_claims(made_table(error_heads=-0.5, control=2.0, zero=10.0))
    assert claims[CONTROL_DISTANCE].verdict == "not supported"
    assert claims[ZERO_DISTANCE].verdict == "not supported"


@pytest.mark.parametrize(("speed", "expected"), [(-0.5, "supported"), (-0.05, "not supported")])
def test_the_way_to_the_max_margin_direction_is_judged_by_direction_and_speed(speed, expected):
    claims = time_claims(made_table(error_steps=speed, apart_steps=-1.0))
    assert [claim.verdict for claim in claims] == ["supported", "supported", expected]


def test_mmr_is_judged_by_margin_norm_and_what_the_bound_depends_on():
    table = made_table(centre_distance_alpha=2.0, margin_alpha=1.0, norm_alpha=2.0, loo_alpha=1.0, seed_alpha=-1.0)
    claims = mmr_claims(table)
    assert claims[MMR_CENTRES].verdict == "supported"
    assert claims[MMR_MARGIN].verdict == "supported"
    assert claims[MMR_NORM].verdict == "supported"
    assert claims[MMR_RATIO].verdict == "contradicted"
    assert claims[MMR_FIXED].verdict == "no effect"
    assert claims[MMR_LOO].verdict == "contradicted"
    assert verdict(claims, SEED) == claims[MMR_SEED].verdict == "supported"


def test_without_separable_data_bound_and_margin_are_inconclusive():
    table = made_table()
    table = table[~table["separable"]]
    assert size_claims(table)[BOUND].verdict == "inconclusive"
    assert size_claims(table)[MARGIN].verdict == "inconclusive"
    assert {claim.verdict for claim in time_claims(table)} == {"inconclusive"}
    assert head_claims(table)[CONTROL_DISTANCE].verdict == "inconclusive"
