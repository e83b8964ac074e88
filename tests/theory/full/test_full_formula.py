"""Whether the bound holds is asked on random problems whose leave-one-out stability is measured by gradient descent."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.theory import full_bound

STEPS = (1, 2, 3, 10, 60)


@dataclass
class Problems:
    """B least-squares or logistic problems of one size: features (B, n, d), and targets (B, n), +-1 if logistic."""

    features: np.ndarray
    targets: np.ndarray
    logistic: bool = False

    @property
    def n(self):
        return self.features.shape[1]

    @property
    def example_beta(self):
        squares = np.square(self.features).sum(2).max(1)
        return squares / 4 if self.logistic else squares

    @property
    def beta(self):
        """Of the mean: (B,)."""
        largest = np.linalg.eigvalsh(np.swapaxes(self.features, 1, 2) @ self.features / self.n)[:, -1]
        return largest / 4 if self.logistic else largest

    def losses(self, weights):
        """(B, ..., d) -> (B, ..., n)."""
        scores = self._scores(weights)
        return np.logaddexp(0, -scores) if self.logistic else np.square(scores) / 2

    def slopes(self, weights):
        """(B, ..., d) -> (B, ..., n), the derivative of each loss by its score x . w."""
        scores = self._scores(weights)
        if self.logistic:
            return -self._spread(self.targets, weights) / (1 + np.exp(scores))
        return scores

    def _scores(self, weights):
        scores = np.einsum("b...d,bnd->b...n", weights, self.features)
        targets = self._spread(self.targets, weights)
        return scores * targets if self.logistic else scores - targets

    def _spread(self, targets, weights):
        return targets[:, None] if weights.ndim == 3 else targets

    def gradient(self, weights, importance=None):
        """(B, ..., d) -> (B, ..., d), of the losses weighted by 1/n, or by (n, n) where the weights are (B, n, d)."""
        slopes = self.slopes(weights) * (1 / self.n if importance is None else importance)
        return np.einsum("b...n,bnd->b...d", slopes, self.features)

    def train(self, start, rate, steps, renormalised=False):
        """Return the path (steps + 1, B, d) and the ends (B, n, d) without each example."""
        left_out = (1 - np.eye(self.n)) / (self.n - 1 if renormalised else self.n)
        path, without = [start], np.repeat(start[:, None], self.n, axis=1)
        for _ in range(steps):
            path.append(path[-1] - rate[:, None] * self.gradient(path[-1]))
            without = without - rate[:, None, None] * self.gradient(without, left_out)
        return np.array(path), without

    def lipschitz(self, path):
        norms = np.linalg.norm(self.features, axis=2)
        return np.max([(np.abs(self.slopes(weights)) * norms).max(1) for weights in path], axis=0)


def problems(rng, count, n, d, *, noise=0.0, logistic=False):
    """Features with scales that differ from direction to direction; targets that fit exactly if there is no noise."""
    features = rng.standard_normal((count, n, d)) * np.exp(rng.uniform(-1.5, 1.5, (count, 1, d)))
    truth = rng.standard_normal((count, d))
    targets = np.einsum("bd,bnd->bn", truth, features) + noise * rng.standard_normal((count, n))
    made = Problems(features, np.where(targets > 0, 1.0, -1.0) if logistic else targets, logistic)
    return made, truth, rng.standard_normal((count, d)) * rng.uniform(0.1, 3, (count, 1))


def stability(path, without):
    """(B,) mean over i of the distance between the two ends."""
    return np.linalg.norm(path[-1][:, None] - without, axis=2).mean(1)


def restricted_mu(made, path, u):
    """(B,) smallest 2 (F(u) - F(w) - <grad F(w), u - w>) / ||u - w||^2 over the path but its end, not below 0."""
    values = []
    for weights in path[:-1]:
        ahead = u - weights
        slope = (made.gradient(weights) * ahead).sum(1)
        gained = made.losses(u).mean(1) - made.losses(weights).mean(1) - slope
        values.append(2 * gained / np.maximum(np.square(ahead).sum(1), 1e-12))
    return np.maximum(np.min(values, axis=0), 0)


def bounds(*, lipschitz, beta, mu, distance, n, **options):
    """(B, 3) `full_bound` of B problems."""
    each = {name: value if np.ndim(value) else np.full(len(beta), value) for name, value in options.items()}
    rows = zip(lipschitz, beta, mu, distance, strict=True)
    return np.array(
        [full_bound(*row, n, **{name: value[k] for name, value in each.items()}) for k, row in enumerate(rows)]
    )


def holds(measured, bound):
    return bool((measured[:, None] <= bound * (1 + 1e-9) + 1e-12).all())


@pytest.mark.parametrize(("n", "d"), [(2, 1), (5, 3), (12, 4), (20, 2)])
@pytest.mark.parametrize("steps", STEPS)
def test_the_page_s_two_forms_hold_after_any_number_of_steps_on_problems_that_can_be_fitted(n, d, steps):
    made, u, start = problems(np.random.default_rng([n, steps]), 200, n, d)
    beta = made.example_beta
    path, without = made.train(start, 1 / beta, steps)
    mu = np.linalg.eigvalsh(np.swapaxes(made.features, 1, 2) @ made.features / n)[:, 0].clip(0)
    measured = stability(path, without)
    terms = {
        "lipschitz": made.lipschitz(path),
        "beta": beta,
        "mu": mu,
        "distance": np.linalg.norm(start - u, axis=1),
        "n": n,
    }

    at_once, in_the_end = bounds(**terms, steps=steps), bounds(**terms)

    q = 1 - mu / beta
    assert holds(measured, at_once)
    assert holds(measured, in_the_end)
    tight = terms["distance"] / (n * (1 - np.sqrt(q)))
    by_slope = np.sqrt(2 * terms["lipschitz"] * terms["distance"] / beta) / (n * (1 - q**0.25))
    assert in_the_end[:, 0] == pytest.approx(tight, rel=1e-6)
    assert in_the_end[:, 1] == pytest.approx(by_slope, rel=1e-6)
    assert np.isinf(in_the_end[:, 2]).all()


@pytest.mark.parametrize("steps", STEPS)
def test_more_weights_than_examples_leave_a_bound_by_the_restricted_mu(steps):
    n, d = 4, 9
    made, truth, start = problems(np.random.default_rng(steps), 300, n, d)
    beta = made.example_beta
    path, without = made.train(start, 1 / beta, steps)
    # Gradient descent stays in the span of the examples, and ends at the nearest of the minimisers.
    inverse = np.linalg.pinv(made.features)
    u = start + np.einsum("bdn,bn->bd", inverse, made.targets - np.einsum("bd,bnd->bn", start, made.features))
    restricted = restricted_mu(made, path, u)
    distance = np.linalg.norm(start - u, axis=1)

    bound = bounds(lipschitz=made.lipschitz(path), beta=beta, mu=restricted, distance=distance, n=n, steps=steps)

    smallest = np.linalg.eigvalsh(made.features @ np.swapaxes(made.features, 1, 2) / n)[:, 0]
    assert (restricted >= smallest * (1 - 1e-6)).all()
    assert (np.linalg.norm(start - truth, axis=1) > distance).all()
    assert holds(stability(path, without), bound)


@pytest.mark.parametrize("logistic", [True, False])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("renormalised", [False, True])
def test_the_end_of_the_path_may_stand_for_the_minimiser_where_nothing_fits_exactly(logistic, steps, renormalised):
    n, d = 8, 3
    rng = np.random.default_rng([logistic, steps])
    made, _, start = problems(rng, 300, n, d, noise=rng.uniform(0, 3), logistic=logistic)
    beta, example_beta = made.beta, made.example_beta
    rate = rng.uniform(0.05, 1, len(beta)) / beta
    path, without = made.train(start, rate, steps, renormalised)
    u = path[-1]

    bound = bounds(
        lipschitz=made.lipschitz(path),
        beta=beta,
        mu=restricted_mu(made, path, u),
        distance=np.linalg.norm(start - u, axis=1),
        n=n - 1 if renormalised else n,
        learning_rate=rate,
        steps=steps,
        example_beta=example_beta,
        minimum=made.losses(u).mean(1),
    )

    assert holds(stability(path, without), bound)


@pytest.mark.parametrize("steps", STEPS)
def test_the_convex_form_holds_with_any_point_in_the_place_of_the_minimiser(steps):
    n, d = 8, 3
    rng = np.random.default_rng(steps)
    made, _, start = problems(rng, 400, n, d, noise=1, logistic=True)
    rate = rng.uniform(0.05, 1, 400) / made.beta
    path, without = made.train(start, rate, steps)
    u = start + rng.standard_normal(start.shape) * rng.exponential(2, (400, 1))

    bound = bounds(
        lipschitz=made.lipschitz(path),
        beta=made.beta,
        mu=np.zeros(400),
        distance=np.linalg.norm(start - u, axis=1),
        n=n,
        learning_rate=rate,
        steps=steps,
        example_beta=made.example_beta,
        minimum=made.losses(u).mean(1),
    )

    assert holds(stability(path, without), bound[:, 2:])


def test_a_single_step_of_a_nearly_round_problem_is_bounded_where_the_recalled_form_fails():
    # mu = .99 beta, n = 20, one step from a distance of 1: the recalled series starts at t = 1 and gives less.
    made, u, _ = problems(np.random.default_rng(3), 1, 20, 1)
    made.features[:] = 1
    made.features[0, 0, 0] = math.sqrt(0.8)
    made.targets[:] = made.features[..., 0] * u[0, 0]
    beta = made.example_beta
    mu = np.square(made.features).mean(1)[:, 0]
    start = u + 1
    path, without = made.train(start, 1 / beta, 1)
    measured = float(stability(path, without)[0])

    bound = full_bound(made.lipschitz(path)[0], beta[0], mu[0], 1.0, 20, steps=1)

    q = 1 - mu[0] / beta[0]
    assert mu[0] == pytest.approx(0.99 * beta[0])
    assert measured == pytest.approx(0.99 / 20)
    assert measured <= bound.tight == pytest.approx(1 / 20)
    assert math.sqrt(2 / beta[0] * made.lipschitz(path)[0]) / (20 * (1 / q**0.25 - 1)) < measured


def test_the_three_forms_are_those_worked_out_by_hand():
    # eta = 1/4, b = 9, T = 2: eta/n = 1/40; F(u) = 2 adds 2 sqrt(2 * 9 * 2) = 12.
    # tight: sqrt(9 * 4) * 3 * (1 + sqrt(1 - 1/4 * 3)) = 18 * 1.5
    # lipschitz: sqrt(2 * 9 * 6 * 3) * (1 + (1/4)^(1/4)) = 18 * 1.7071
    # convex: sqrt(9 * 4) * 3 * 2 = 36.
    bound = full_bound(6, 4, 3, 3, 10, steps=2, example_beta=9, minimum=2)

    assert bound == pytest.approx(((27 + 12) / 40, (18 * (1 + math.sqrt(0.5)) + 12) / 40, (36 + 12) / 40))


def test_a_bound_without_mu_grows_with_the_steps_and_ends_infinite():
    few, many = (full_bound(1, 1, 0, 2, 10, steps=steps) for steps in (4, 400))

    assert few.tight == pytest.approx(4 * 2 / 10)
    assert many.tight == pytest.approx(400 * 2 / 10)
    assert many.convex == pytest.approx(2 * 2 * math.sqrt(399) / 10)
    assert full_bound(1, 1, 0, 2, 10) == (math.inf, math.inf, math.inf)


def test_a_small_mu_is_not_lost_to_rounding():
    # 1 - sqrt(1 - x) is x/2 and 1 - (1 - x)^(1/4) is x/4 for small x.
    bound = full_bound(2, 1, 1e-15, 1, 2)

    assert bound.tight == pytest.approx(1 / (2 * 0.5e-15))
    assert bound.lipschitz == pytest.approx(2 / (2 * 0.25e-15))


def test_weights_that_do_not_move_are_stable():
    assert full_bound(1, 1, 0, 0, 5) == (0, 0, 0)
    assert full_bound(1, 1, 1, 0, 5, steps=3) == (0, 0, 0)


def test_a_minimum_above_zero_leaves_no_bound_after_infinitely_many_steps():
    assert full_bound(1, 1, 0.5, 1, 5, minimum=0.1) == (math.inf, math.inf, math.inf)


def test_a_learning_rate_beyond_the_limit_is_refused_with_the_limit():
    with pytest.raises(UserError, match=says("1/beta = 0.25", "0.4", "2/beta = 0.5")):
        full_bound(1, 4, 1, 1, 5, learning_rate=0.4)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ((1, 0, 0, 1, 5), says("beta", "positive", "0")),
        ((1, math.nan, 0, 1, 5), says("beta", "positive", "nan")),
        ((1, 1, 2, 1, 5), says("mu", "[0, beta]", "2")),
        ((1, 1, -1, 1, 5), says("mu", "[0, beta]", "-1")),
        ((math.nan, 1, 0, 1, 5), says("L ", "finite")),
        ((1, 1, 0, math.inf, 5), says("distance", "finite")),
        ((1, 1, 0, 1, 1), says("n ", "2", "1")),
    ],
)
def test_a_term_out_of_its_range_is_named(terms, words):
    with pytest.raises(UserError, match=words):
        full_bound(*terms)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"steps": 0}, says("steps", "1", "0")), ({"minimum": -1}, r"F\(u\)"), ({"learning_rate": 0}, "not 0")],
)
def test_an_option_out_of_its_range_is_named(options, words):
    with pytest.raises(UserError, match=words):
        full_bound(1, 1, 0, 1, 5, **options)
