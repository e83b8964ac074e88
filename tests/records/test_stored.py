import numpy as np
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.records.stored import cohort_fields


def arrays(seed, weight=2.0):
    return {
        "token_log_probabilities": np.log(np.random.default_rng(seed).dirichlet(np.ones(4), 3))[:, :3],
        "token_weights": np.array([[1.0, 1.0, weight]] * 3),
        "token_exact": np.array(2),
        "token_counts": np.array([2, 1]),
    }


def test_runs_share_the_weights_of_candidate_words_and_no_others():
    fields = cohort_fields([arrays(0), arrays(1)])
    assert (fields["token_exact"], fields["token_weights"].shape, len(fields["token_log_probabilities"])) == (
        2,
        (3, 3),
        2,
    )
    with pytest.raises(UserError, match=says("run 2", "run 1", "token_weights")):
        cohort_fields([arrays(0), arrays(1, 2.5)])
