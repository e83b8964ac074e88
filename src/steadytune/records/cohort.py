"""Cohorts: runs that differ only in their seeds, as the arrays that the measures take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError, door
from steadytune.kinds import KINDS
from steadytune.metrics import Answers, Scale, recorded
from steadytune.records.arrays import OF_TOKENS, RunArrays, check_same_shapes
from steadytune.records.checks import (
    are_probabilities,
    check_facts,
    check_kind,
    check_run,
    inferred_kind,
    read_array,
    read_exact,
    read_flags,
    read_groups,
    read_list,
)
from steadytune.records.computed import Predictions, Probabilities, can_be_scored, is_computed, settled_scores
from steadytune.records.states import StoredStates
from steadytune.shown import Shown, plural

if TYPE_CHECKING:
    import pandas as pd

_OUTPUTS = ("logits", "probabilities", "predictions")
"""In order of precedence: the first that is present counts, and the others follow from it."""
_OF_RUN = (*_OUTPUTS, "generations", "representations", *OF_TOKENS)


@dataclass(frozen=True)
class LostRun:
    """A run of a cohort without arrays: it diverged or raised."""

    seed: str
    status: str
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Cohort(Shown):
    """K runs that differ only in their seeds, N evaluation examples, C classes. Only finished runs count in K.

    Anything unknown may be left out, as long as the number of runs is defined. Arrays may be NumPy
    or torch, on any device; large ones are not copied.

    Attributes:
        scores: (K,) task metric; all NaN if unknown. Shares are fractions, and those in per cent are
            converted. By default they are computed with `metric`, or without one as accuracy, for a regression
            as Pearson's correlation, for texts as the share that equals the reference. Given scores that agree
            with the predictions up to rounding are made exact, and contradictions are reported in `notes`.
        logits: (K, N, C), or None. If they all lie in [0, 1] and sum to 1, they become `probabilities`, and a note
            says so.
        labels: (N,), of sets of labels (N, L) 0 or 1, or None.
        representations: K arrays (L, rows, D) of hidden states after each block, or None; a row is an example, or in a
            multiple-choice task a candidate. (rows, D) becomes one layer.
        seeds: K distinct names of the runs.
        failed: (K,) whether a run scores no better than `majority_score`; None if unknown.
        majority_score: Score of the best constant answer, or None.
        seconds: (K,) wall-clock seconds per run, or None.
        losses: (K, 2) mean plain task loss over the first and the last tenth of each training, NaN if a run did
            not record it, or None.
        model: Model name.
        task: Task name.
        recipe: Recipe name.
        metric: Metric of the scores, see `scale`.
        kind: Task kind, which decides the prediction measures that apply. By default "generation"
            if there are generations or token_logits, otherwise "classification".
        frozen_encoder: Whether all runs share one encoder (head tuning), so there are no representations to compare.
        lost: Runs that did not finish.
        examples: Name under which the texts of the examples are stored, or "".
        probabilities: (K, N, C) in float64: the softmax of the logits or, without logits, the values given here. None
            for a regression and for texts.
        predictions: (K, N) predicted classes or choices: those of the highest outputs or, without outputs, those given
            here. None for a regression and for texts.
        groups: (N,) integers, or names that are then numbered, or None: examples with the same number belong together,
            such as questions on one passage or tokens of one sentence, and are resampled together. None if examples
            are independent, or groups are unknown.
        generations: K sequences of N texts, for the kind "generation", or None.
        references: N texts that the generations should equal, or for an example a tuple of accepted texts;
            or None.
        token_logits: K arrays (T, V) over the next token, all reading the same T tokens of all examples in sequence
            (teacher forcing), or None.
        token_log_probabilities: K arrays (T, C), instead of all logits: the log-probabilities of C candidate words at
            each of the T tokens, those of the exact part first, or None. Divergences are then estimated, see
            `measures.candidate_divergences`.
        token_weights: (T, C), the same for all runs: 1 for words of the exact part, 1/(r pi) for each of r words that
            were drawn from all others with probabilities pi; required for token_log_probabilities.
        token_exact: Number of words of the exact part; required for token_log_probabilities.
        token_choices: K arrays (T,) of the likeliest words, or None; by default those of token_logits.
        target_log_probabilities: K arrays (T,), the log-probability of each target token, or None.
        token_counts: (N,) number of the T tokens of each example; required for all arrays of tokens.
        notes: What a reader must know about the origin of arrays and scores, one sentence each; a profile's notes
            begin with them.
        read: What was read from files -> its description.
        positive: Number of the positive class of a metric such as F1, or its name if classes have names.
            None for a metric without one, or if it was not chosen.
        label_names: Name of each class, or None.
        questions: (N,) integers, or names that are then numbered, or None: examples that a metric reads together, such
            as the answers to a question or the words of a sentence. Without `groups` they are resampled together, too.
        credit: (N,) what choosing an example is worth in its question, for metrics that score that; or None.

    Raises:
        UserError: Arrays are inconsistent, labels are out of range, probabilities do not sum to 1, logits are not
            finite, or two runs have the same seed; names the run and the axis.
    """

    scores: NDArray[np.float64] = None  # type: ignore[assignment]
    logits: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    representations: Sequence[NDArray[Any]] | None = None
    seeds: tuple[str, ...] = ()
    failed: NDArray[np.bool_] | None = None
    majority_score: float | None = None
    seconds: NDArray[np.float64] | None = None
    model: str = ""
    task: str = ""
    recipe: str = ""
    metric: str = "score"
    kind: str = None  # type: ignore[assignment]
    frozen_encoder: bool = False
    lost: tuple[LostRun, ...] = ()
    examples: str = ""
    probabilities: Probabilities = Probabilities()  # noqa: RUF009
    predictions: Predictions = Predictions()  # noqa: RUF009
    groups: NDArray[np.int64] | None = None
    generations: Sequence[Sequence[str]] | None = None
    references: Sequence[str | tuple[str, ...]] | None = None
    token_logits: Sequence[NDArray[Any]] | None = None
    token_counts: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    positive: int | str | None = None
    label_names: Sequence[str] | None = None
    read: Mapping[str, str] = field(default_factory=dict)
    losses: NDArray[np.float64] | None = None
    token_log_probabilities: Sequence[NDArray[Any]] | None = None
    token_weights: NDArray[Any] | None = None
    token_exact: int | None = None
    token_choices: Sequence[NDArray[Any]] | None = None
    target_log_probabilities: Sequence[NDArray[Any]] | None = None
    questions: NDArray[np.int64] | None = None
    credit: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        check_facts(self)
        computed = self._computed()
        self._set(**dict.fromkeys(computed))
        if self.kind is None:
            self._set(kind=inferred_kind(self))
        check_kind("cohort", self.kind)
        if self.scores is not None:
            self._set(scores=_scores(self.scores))
        if self.failed is not None:
            self._set(failed=read_flags(self.failed, "failed"))
        lists = self._lists()
        runs = len(next(iter(lists.values())))
        seeds = tuple(map(str, lists.pop("seeds", range(runs))))
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise UserError(f"two runs have the seed '{twice[0]}': seeds must be unique")
        fields: dict[str, Any] = {name: _read(name, lists[name], seeds) for name in _OF_RUN if name in lists}
        shared = self._shared()
        self._take_probabilities(fields)
        each = [
            RunArrays(f"run {seed}", **shared, **{name: values[run] for name, values in fields.items()})
            for run, seed in enumerate(seeds)
        ]
        for one in each:
            check_run(one, self.kind)
        check_same_shapes(each)
        if "representations" in fields:
            held = self.representations
            # They stay where they are, and are known by their checksums.
            stored = isinstance(held, StoredStates)
            fields["representations"] = held if stored else tuple(one.representations for one in each)
        outputs = [name for name in _OUTPUTS if name in fields]
        stacked: dict[str, Any] = dict.fromkeys(_OUTPUTS)
        stacked |= {name: np.stack(fields[name]) for name in outputs[:1]}
        self._set(seeds=seeds, **(shared | fields | stacked))
        if self.token_counts is not None:
            self._set(token_counts=self.token_counts.astype(np.int64))
        for name in ("groups", "questions"):
            if (numbers := getattr(self, name)) is not None:
                self._set(**{name: numbers.astype(np.int64)})
        if self.losses is not None:
            self._set(losses=_losses(self.losses, runs))
        if "scores" in computed and not can_be_scored(self):
            self._set(**{name: value for name, value in computed.items() if np.size(value) in (1, runs)})
        of = KINDS[self.kind]
        if of.in_sentences and self.questions is None and self.labels is not None:
            what = "resampled one by one" if self.groups is None else "resampled by their groups"
            self._note(
                f"Which {of.item}s form a sentence is not known (questions), so that entities are not scored and "
                f"{of.item}s are {what}."
            )
        found = settled_scores(self)
        self._set(scores=found.values, metric=found.metric, failed=found.failed, majority_score=found.constant)
        self._set(positive=found.positive)
        self._note(*found.notes)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _lists(self) -> dict[str, list[Any]]:
        """Return what is given for each run, as lists of equal length; the first defines the number of runs."""
        outputs = {
            "logits": self.logits,
            "probabilities": self.__dict__["given_probabilities"],
            "predictions": self.__dict__["given_predictions"],
        }
        first = next((name for name, value in outputs.items() if value is not None), "logits")
        # Values computed by a cohort are replaced; values given by the user must agree.
        for name in _OUTPUTS:
            if name != first and is_computed(outputs[name]):
                outputs[name] = None
        given: dict[str, Any] = {
            "scores": self.scores,
            **outputs,
            "generations": self.generations,
            "representations": self.representations,
            **{name: getattr(self, name) for name in OF_TOKENS},
        }
        known = [name for name, value in given.items() if value is not None]
        if not known:
            raise UserError(
                "a cohort needs its runs' scores, logits, probabilities, predictions, representations, generations or "
                "arrays of tokens"
            )
        others: dict[str, Any] = {
            "seeds": read_list(self.seeds, "seeds") or None,
            "failed": self.failed,
            "seconds": self.seconds,
        }
        lists = {name: read_list(value, name) for name, value in (given | others).items() if value is not None}
        runs = len(lists[known[0]])
        for name, values in lists.items():
            if len(values) != runs:
                raise UserError(f"{runs} {known[0]} but {len(values)} {name}: give one per run")
            if not runs and name in _OF_RUN:
                raise UserError(f"{name} contain no run: leave them out if there are none")
        return lists

    def _shared(self) -> dict[str, Any]:
        """Return the arrays that all runs share."""
        shared: dict[str, Any] = {
            name: read_array(value, name)
            for name in ("labels", "token_counts", "token_weights", "credit")
            if (value := getattr(self, name)) is not None
        }
        for name in ("groups", "questions"):
            if (value := getattr(self, name)) is not None:
                shared[name] = read_groups(value, name)
        if "questions" in shared:
            shared.setdefault("groups", shared["questions"])
        if self.token_exact is not None:
            shared["token_exact"] = read_exact(self.token_exact, "token_exact")
        if self.references is not None:
            shared["references"] = tuple(read_list(self.references, "references"))
        if self.label_names is not None:
            shared["label_names"] = tuple(map(str, self.label_names))
        return shared

    def _take_probabilities(self, fields: dict[str, Any]) -> None:
        """Treat logits as probabilities if those of all runs are; a softmax would be applied twice."""
        logits = fields.get("logits", ())
        of = KINDS[self.kind]
        if not (of.has_classes or of.has_sets) or "probabilities" in fields or not len(logits):
            return
        if all(are_probabilities(run, of) for run in logits):
            shares = [np.asarray(run, dtype=np.float64) for run in logits]
            sums = [1 if of.has_sets else run.sum(axis=1, keepdims=True) for run in shares]
            fields["probabilities"] = tuple(run / total for run, total in zip(shares, sums, strict=True))
            del fields["logits"]
            why = "" if of.has_sets else " and sum to 1 in every row"
            self._note(
                f"The logits of every run lie between 0 and 1{why}, so they are taken as probabilities, without "
                f"another {'sigmoid' if of.has_sets else 'softmax'}."
            )

    def _note(self, *notes: str) -> None:
        self._set(notes=tuple(dict.fromkeys((*self.notes, *notes))))

    def _computed(self) -> dict[str, Any]:
        """Return what another cohort computed and `dataclasses.replace` passed on, so that it is recomputed.

        Without answers nothing is.
        """
        outputs = (self.logits, self.__dict__["given_probabilities"], self.__dict__["given_predictions"])
        if all(held is None for held in (*outputs, self.generations, self.target_log_probabilities)):
            return {}
        held = {"scores": self.scores, "failed": self.failed, "majority_score": self.majority_score}
        return {name: value for name, value in held.items() if is_computed(value)}

    @property
    def answers(self) -> Answers:
        """The runs' answers, for `steadytune.metrics`."""
        return Answers(
            kind=self.kind,
            logits=self.logits,
            given_probabilities=self.__dict__["given_probabilities"],
            given_predictions=self.__dict__["given_predictions"],
            labels=self.labels,
            texts=self.generations,
            references=self.references,
            target_log_probabilities=self.target_log_probabilities,
            token_counts=self.token_counts,
            questions=self.questions,
            credit=self.credit,
            label_names=None if self.label_names is None else tuple(self.label_names),
            positive=self.positive if isinstance(self.positive, int) else None,
        )

    @property
    def scale(self) -> Scale:
        """Unit, range and direction of the scores."""
        return recorded(self.metric)

    @property
    def metric_name(self) -> str:
        """The metric with its positive class: "f1 of 'hate'"."""
        if self.positive is None:
            return self.metric
        known = self.label_names is not None and int(self.positive) < len(self.label_names)
        name = (
            repr(str(self.label_names[int(self.positive)])) if known and self.label_names else f"class {self.positive}"
        )
        return f"{self.metric} of {name}"

    def __len__(self) -> int:
        return len(self.scores)

    def summary(self) -> str:
        """Return a description of the runs, their scores and their arrays."""
        lines = [f"Cohort {self.name or '(without a name)'}: {plural(len(self), 'run')}, {self.kind}"]
        if len(self) and self.scored:
            scale = self.scale
            ends = sorted({float(np.nanmin(self.scores)), float(np.nanmax(self.scores))})
            shown = " to ".join(f"{scale.factor * end:.4g}" for end in ends)
            lines.append(f"  {self.metric_name}: {shown}{' points' if scale.unit else ''}")
        if self.failed is not None:
            lines.append(f"  no better than a constant answer: {int(np.count_nonzero(self.failed))}")
        lists = ("representations", "generations", *OF_TOKENS)
        lines += [f"  seed {lost.seed} {lost.status}: {lost.reason}" for lost in self.lost]
        for name in ("logits", "probabilities", "predictions", "labels", "groups", *lists):
            held = self.__dict__.get(name, self.__dict__.get(f"given_{name}"))
            if held is not None:
                first = held[0] if len(held) and name in lists else held
                each = "each " if first is not held else ""
                shape = f"{len(first)} texts" if name == "generations" else f"{np.shape(first)}"
                lines.append(f"  {name}: {each}{shape}")
        return "\n".join([*lines, *(f"  {name} read: {said}" for name, said in self.read.items()), *self.notes])

    def to_frame(self) -> pd.DataFrame:
        """Return one row per run: seed, score, whether it failed (None if unknown), seconds."""
        import pandas as pd

        unknown = [None] * len(self)
        return pd.DataFrame(
            {
                "seed": list(self.seeds),
                "score": self.scores,
                "failed": unknown if self.failed is None else self.failed,
                "seconds": unknown if self.seconds is None else self.seconds,
            }
        )

    @property
    def group(self) -> tuple[str, str]:
        """Model and task: recipes that share them are compared."""
        return self.model, self.task

    @property
    def name(self) -> str:
        """Recipe, with model and task if known."""
        return " / ".join(part for part in (self.model, self.task, self.recipe) if part)

    @property
    def scored(self) -> bool:
        """Whether the scores are known; runs without labels have none."""
        return not np.isnan(self.scores).all() or not len(self)


# A class has no decorator for the call that makes it.
Cohort.__init__ = door(Cohort.__init__)  # type: ignore[method-assign]


def _scores(values: Any) -> NDArray[np.float64]:
    scores = read_array(values, "scores").astype(np.float64)
    if scores.ndim != 1:
        raise UserError(f"scores must be one number per run, not shape {scores.shape}")
    return scores


def _losses(values: Any, runs: int) -> NDArray[np.float64]:
    losses = read_array(values, "losses").astype(np.float64)
    if losses.shape != (runs, 2):
        raise UserError(f"losses must be two numbers per run, shape ({runs}, 2), not {losses.shape}")
    return losses


def _read(name: str, values: list[Any], seeds: tuple[str, ...]) -> tuple[Any, ...]:
    """Return an array per run; for generations a tuple of texts."""
    named = [(value, f"run {seed}: {name}") for value, seed in zip(values, seeds, strict=True)]
    if name == "generations":
        return tuple(tuple(read_list(*one)) for one in named)
    return tuple(read_array(*one) for one in named)
