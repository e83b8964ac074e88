"""A table as the studies on generated data leave it, with values that are powers of the settings."""

import numpy as np
import pandas as pd

from steadytune.theory.studies.table import DESIGN, GENERATED
from steadytune.theory.studies.varied import HEADS, SCALED, ZERO

STEPS, RATES, SCALES, HS, ALPHAS = (10, 100, 1000), (1.0, 0.1), (1.0, 0.1), (1, 4, 16), (0.0, 0.1, 1.0)


def made_table(**powers):
    """Return a table of 30 data sets, in which a value goes with a setting by the power that is given as value_setting.

    Every third of them is not separable.
    """
    names = ("loo_n", "loo_steps", "loo_rate", "seed_steps", "seed_rate", "order_rate", "margin_rank")
    power = dict.fromkeys(names, 0.0)
    power |= {
        "loo_scale": 0.0,
        "seed_scale": 0.0,
        "seed_heads": 0.0,
        "loo_heads": 0.0,
        "error_heads": 0.0,
        "error_steps": 0.0,
    }
    power |= {"apart_steps": 0.0, "control": 1.0, "zero": 0.5, "bound": 2.0}
    power |= {f"{name}_alpha": 0.0 for name in ("centre_distance", "margin", "norm", "max_margin_loo", "loo", "seed")}
    assert set(powers) <= set(power)
    p = power | powers
    rows = []
    designs = [(n, shift, kind) for n in (20, 40) for shift in (1.0, 2.0, 3.0, 4.0, 5.0) for kind in range(3)]
    for dataset, (n, shift, kind) in enumerate(designs):
        separable = kind != 2
        design = dict(zip(DESIGN, (GENERATED, n, 10, 2, shift, 0.0, 0.1 * kind, 0.0, 0), strict=True))
        names = {**design, "dataset": dataset, "separable": separable}

        def keep(part, names=names, separable=separable, **values):
            hard = ("margin", "norm_over_margin", "max_margin_loo", "loo_bound", "sharp_loo_bound", "direction_error")
            hard += ("cosine_to_max_margin", "descent_loo_bound")
            kept = {name: value for name, value in values.items() if separable or name not in hard}
            rows.append({**names, "part": part, **kept})

        loo = 0.1 * (n / 20) ** p["loo_n"]
        geometry = {"margin": shift, "norm": 4.0, "norm_over_margin": 4 / shift, "centre_distance": shift}
        exact = loo * shift ** -p["margin_rank"]
        keep("geometry", **geometry, max_margin_loo=exact, loo_bound=exact * p["bound"], sharp_loo_bound=exact)
        for step in STEPS:
            for rate, scale in [(rate, scale) for rate in RATES for scale in (1.0, 0.0)] + [(1.0, 0.1)]:
                found = loo * step ** p["loo_steps"] * rate ** p["loo_rate"] * (scale or 1) ** p["loo_scale"]
                seed = (
                    step ** p["seed_steps"] * rate ** p["seed_rate"] * scale ** (p["seed_scale"] or 1e-9)
                    if scale
                    else 0.0
                )
                keep(
                    "training",
                    steps=step,
                    rate=rate,
                    init_scale=scale,
                    init_sd=scale,
                    left_out=n,
                    loo_directions=found,
                    seed_directions=seed,
                    descent_loo_bound=found * p["bound"],
                )
            for heads in HS:
                error = heads ** p["error_heads"] * step ** p["error_steps"]
                one = {"steps": step, "rate": 1.0, "init_scale": 1.0, "left_out": 5, "cosine_to_max_margin": 0.5}
                one |= {"loo_directions": loo * heads ** p["loo_heads"], "seed_directions": heads ** p["seed_heads"]}
                between = 1 - 0.5 * step ** p["apart_steps"] if heads > 1 else np.nan
                keep("heads", **one, kind=HEADS, heads=heads, direction_error=error, cosine_between_heads=between)
                keep("heads", **one, kind=SCALED, heads=heads, direction_error=error * p["control"])
            zero = {**one, "seed_directions": 0.0, "direction_error": p["zero"] * step ** p["error_steps"]}
            keep("heads", **zero, kind=ZERO, heads=1)
        for rate in RATES:
            keep("order", steps=30, rate=rate, init_scale=0.0, seed_directions=rate ** p["order_rate"])
        for alpha in ALPHAS:
            grown = {
                name: geometry[name] * (1 + alpha) ** p[f"{name}_alpha"]
                for name in ("margin", "norm", "centre_distance")
            }
            exact_here = exact * (1 + alpha) ** p["max_margin_loo_alpha"]
            keep(
                "mmr",
                alpha=alpha,
                steps=20,
                rate=0.25,
                **grown,
                norm_over_margin=grown["norm"] / grown["margin"],
                max_margin_loo=exact_here,
                loo_bound=exact_here * p["bound"],
                loo_directions=loo * (1 + alpha) ** p["loo_alpha"],
                seed_directions=(1 + alpha) ** p["seed_alpha"],
            )
    return pd.DataFrame(rows)
