"""Tables of cohorts that no run stands behind: correlated noise as quantities, with or without a planted signal."""

import numpy as np
import pandas as pd

from steadytune.theory.predictor.cohorts import COLUMNS
from steadytune.theory.predictor.quantities import QUANTITIES

NAMES = [one.name for one in QUANTITIES]
PLANTED = "distance"


def made_cohorts(seed=0, tasks=4, cohorts=12, strengths=0.0):
    """Return a table; a task's instability is exp(strength x distance + noise), larger from task to task."""
    rng = np.random.default_rng(seed)
    strengths = np.broadcast_to(strengths, tasks)
    rows = []
    for task in range(tasks):
        quantities = rng.standard_normal((cohorts, 3)) @ rng.standard_normal((3, len(NAMES)))
        quantities += rng.standard_normal(quantities.shape)
        for recipe, values in enumerate(quantities):
            row = {"study": "s", "model": "m", "task": f"task{task}", "recipe": f"recipe{recipe}", "runs": 5, "seed": 0}
            row["lost"] = 0
            row |= dict(zip(NAMES, values, strict=True))
            value = np.exp(strengths[task] * row[PLANTED] + 0.5 * rng.standard_normal() + task)
            row |= {f"{target}{kind}": value for target in ("sd", "disagreement") for kind in KINDS}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


KINDS = ("", "_all", "_even", "_odd")
