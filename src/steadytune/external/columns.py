"""Known names of columns and arrays and their meaning. The only place that defines them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from steadytune.errors import UserError, unknown_name
from steadytune.kinds import KINDS, find_kind

# Field -> its names, without case, spaces and punctuation; the first one present is used.
_ALIASES: dict[str, str] = {
    "logits": "logits logit rawlogits logprobs logprobabilities logproba",
    "probabilities": "probabilities probs proba probas predictproba softmax yproba yprobs predproba predprobs",
    "predictions": "predictions prediction preds pred predicted predictedlabel predictedlabels predictedclass "
    "predictedclasses predlabel predlabels predclass ypred yhat predid predids predictedid labelpred "
    "predictedanswer modelprediction predictedvalue predictedscore",
    "outputs": "output outputs modeloutput modeloutputs",
    "labels": "label labels labelid labelids gold goldlabel goldlabels goldid ytrue y ytest truelabel truelabels true "
    "truth groundtruth groundtruthlabel target targets actual actuallabel correctlabel answer",
    "label_names": "labelnames classnames classes labellist targetnames labelsnames",
    "groups": "groups group groupid groupids cluster clusters clusterid clusterids passageid paragraphid",
    "questions": "questions",
    "ids": "id ids idx exampleid exampleids guid uid uuid qid docid questionid sampleid instanceid itemid rowid "
    "queryid pairid sentenceid index unnamed0 level0",
    "seed": "seed seeds run runid runname trial replicate randomseed modelseed trainseed trainingseed seedid",
    "texts": "text texts sentence sentences input inputs inputtext prompt question",
    "generations": "generation generations generated generatedtext generatedtexts completion completions response "
    "responses decoded filteredresps resps predictiontext predictedtext hypotheses outputtext",
    "references": "reference references ref refs referencetext expectedoutput targettext answers goldanswer "
    "goldanswers referenceanswer referenceanswers ideal",
    "representations": "representations representation hiddenstates hiddenstate states activations embeddings features",
    "token_logits": "tokenlogits",
    "token_log_probabilities": "tokenlogprobabilities",
    "token_weights": "tokenweights",
    "token_exact": "tokenexact",
    "token_choices": "tokenchoices",
    "target_log_probabilities": "targetlogprobabilities",
    "token_counts": "tokencounts",
    "kind": "kind",
    "examples": "examples",
    "status": "status",
    "reason": "reason",
}
# One number per example that may be the probability of the positive class, or of the predicted class.
_SINGLE = frozenset(
    ["prob", "probability", "p", "proba", "score", "yscore", "confidence", "yproba", "yprob", "scores", "probs"]
)
SEEDS = frozenset(_ALIASES["seed"].split()) - {"runname", "trial", "replicate"}
"""Names of columns that say to which of several runs a row belongs."""

_FIELD_OF = {alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()}
_RANK = {alias: rank for aliases in _ALIASES.values() for rank, alias in enumerate(aliases.split())}

# Labels of words; elsewhere they may be keywords.
TAGS = frozenset(
    ["tag", "tags", "nertag", "nertags", "postag", "postags", "ner", "pos", "upos", "xpos", "biotags", "iobtags"]
)

_PREFIX = re.compile(
    r"(?P<kind>log[_ ]?probs?|log[_ ]?softmax|logits?|probabilit(?:y|ies)|probas?|probs?|softmax|scores?|p)"
    r"(?P<mark>[_ .:-]?)(?P<rest>.+)",
    re.IGNORECASE,
)
# After these only a number is a class, unlike in "score_f1" and "p_value"; for bare p see `classes.class_columns`.
_ONLY_NUMBERS = ("score", "scores")
_SUMMARIES = """
margin max min top top1 top2 gap diff difference delta entropy mean avg average median sum total std
var norm range argmax logsumexp lse loss energy confidence score second best true correct gold pred
predicted prediction label target answer all vector list text
"""
_SUMMARY = frozenset(_SUMMARIES.split())

FIELDS = tuple(_ALIASES)
_SETTINGS = {
    "label": "labels",
    "prediction": "predictions",
    "logits": "logits",
    "probability": "probabilities",
    "id": "ids",
    "group": "groups",
    "sentence": "questions",
    "seed": "seed",
    "text": "texts",
    "generation": "generations",
    "reference": "references",
    "states": "representations",
}
AXES = ("layers-first", "examples-first")
_NO_LABEL = ("-1", "never")
_WORDS = {"encoding": "encoding", "class": "positive", "no_label": "no_label", "task": "task", "filter": "part"}


@dataclass(frozen=True)
class Choices:
    """The user's choices about files whose names leave the meaning open.

    Attributes:
        columns: Field -> its column.
        ignore: Columns to ignore.
        kind: Task kind, or None.
        axes: "layers-first" or "examples-first", for states; None to infer it from sizes.
        encoding: Encoding of tables whose text is not UTF-8.
        positive: Name or number of the class to which a single column of probabilities belongs.
        no_label: "-1" if a label of -1 means "no label", "never" if it is a class; None to infer it from the labels.
        classes: Class names in the order of their numbers, if columns name and labels number them.
        task: The task, for logs of several.
        part: Filter or scorer of a log by which its answers are taken; by default the first.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()
    kind: str | None = None
    axes: str | None = None
    encoding: str | None = None
    positive: str | None = None
    no_label: str | None = None
    classes: tuple[str, ...] = ()
    task: str | None = None
    part: str | None = None

    @staticmethod
    def parse(given: Mapping[str, str]) -> Choices:
        """Parse options such as {"group": "passage", "ignore": "a,b", "kind": "regression", "axes": "examples-first"}.

        Raises:
            UserError: A key or value is unknown; names the closest.
        """
        columns: dict[str, str] = {}
        ignore: frozenset[str] = frozenset()
        kind: str | None = None
        words: dict[str, Any] = {}
        axes = None
        for key, value in given.items():
            if key == "ignore":
                ignore = frozenset(part.strip() for part in value.split(",") if part.strip())
            elif key == "classes":
                words["classes"] = tuple(part.strip() for part in value.split(","))
            elif key == "kind":
                if value not in KINDS:
                    raise KINDS.unknown(value)
                kind = value
            elif key == "axes":
                if value not in AXES:
                    raise unknown_name("axes", value, AXES)
                axes = value
            elif key in _WORDS:
                if key == "no_label" and value not in _NO_LABEL:
                    raise unknown_name("no_label", value, _NO_LABEL)
                words[_WORDS[key]] = value
            elif key in _SETTINGS:
                columns[_SETTINGS[key]] = value
            else:
                raise unknown_name("setting", key, (*_SETTINGS, *_WORDS, "ignore", "kind", "axes", "classes"))
        return Choices(columns, ignore, kind, axes, **words)


@dataclass(frozen=True)
class Taken:
    """Assignment of a file's columns to fields.

    Attributes:
        fields: Field -> its column.
        rivals: Field -> further columns with one of its names.
        classes: "logits" or "probabilities" -> (class name, column), in the order of the columns.
        singles: Columns with one number per example, which may be a probability.
    """

    fields: dict[str, str]
    rivals: dict[str, list[str]]
    classes: dict[str, list[tuple[str, str]]]
    singles: list[str]

    def used(self) -> set[str]:
        """Return the columns assigned to a field or a class."""
        return {*self.fields.values(), *(column for pairs in self.classes.values() for _, column in pairs)}


def squashed(name: str) -> str:
    """Return a name reduced to lower-case letters and digits, so that "Gold Label" equals "gold_label".

    A column without a name is an index written by pandas.
    """
    return "".join(filter(str.isalnum, name.casefold())) if name.strip() else "index"


def is_known(name: str) -> bool:
    """Return whether an array of this name may have a known meaning, so that it is worth reading."""
    return squashed(name) in _FIELD_OF or squashed(name) in _SINGLE or _class_column(name) is not None


def take(names: Iterable[str], choices: Choices, origin: str) -> Taken:
    """Assign each column, by its name and the user's choices.

    Raises:
        UserError: The user names a column that does not exist.
    """
    every = list(names)
    for column in choices.columns.values():
        if column not in every:
            raise UserError(f"{origin} has no column '{column}', only {', '.join(filter(None, every))}")
    free = [name for name in every if name not in choices.ignore and name not in choices.columns.values()]
    found: dict[str, list[str]] = {}
    classes: dict[str, list[tuple[str, str]]] = {}
    singles = []
    for name in free:
        word = squashed(name)
        # First, because "prob_A" and "logit_S" are columns of classes although they are spelled like "proba" and
        # "logits".
        if pair := _class_column(name):
            classes.setdefault(pair[0], []).append((pair[1], name))
            continue
        if word in _SINGLE:
            singles.append(name)
        if known := _FIELD_OF.get(word):
            found.setdefault(known, []).append(name)
    # A lone column "p_value" does not belong to a class; "p_no" and "p_yes" do.
    bare = [pair for pair in classes.get("probabilities", []) if is_bare(pair[1])]
    if len(bare) == 1 and not bare[0][0].isdecimal():
        classes["probabilities"].remove(bare[0])
    for candidates in found.values():
        candidates.sort(key=lambda name: _RANK[squashed(name)])
    fields = {name: candidates[0] for name, candidates in found.items()} | dict(choices.columns)
    tags = [name for name in free if squashed(name) in TAGS]
    if "labels" not in fields and len(tags) == 1 and find_kind(choices.kind).in_sentences:
        fields["labels"] = tags[0]
    rivals = {
        name: [one for one in candidates if one != fields[name]] if name not in choices.columns else []
        for name, candidates in found.items()
    }
    for output in ("logits", "probabilities"):
        if output in choices.columns:
            classes.pop(output, None)
    return Taken(fields, rivals, classes, singles)


def _class_column(name: str) -> tuple[str, str] | None:
    """Return the outputs to which a column belongs, and the class at the end of its name."""
    match = _PREFIX.fullmatch(name.strip())
    if match is None:
        return None
    kind, rest = match["kind"].lower(), match["rest"].strip()
    # "probe", "product": without a separator only a number is a class.
    if (not match["mark"] or kind in _ONLY_NUMBERS) and not rest.isdecimal():
        return None
    if not rest:
        return None
    return "logits" if kind.startswith(("log", "score")) else "probabilities", rest


def spread(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Split outputs given as JSON objects, {"no": 0.9, "yes": 0.1}, into a column for each class."""
    found: dict[str, list[Any]] = {}
    for name, cells in columns.items():
        known = _FIELD_OF.get(squashed(name)) in ("logits", "probabilities")
        if known and cells and all(isinstance(cell, dict) and cell.keys() == cells[0].keys() for cell in cells):
            found |= {f"{name}_{key}": [cell[key] for cell in cells] for key in cells[0]}
        else:
            found[name] = cells
    return found


def is_bare(name: str) -> bool:
    """Return whether only the "p" in a column's name says that it holds probabilities."""
    match = _PREFIX.fullmatch(name.strip())
    return match is not None and match["kind"].lower() == "p"


def is_summary(name: str) -> bool:
    """Return whether the end of a column's name is a statistic of all classes, such as "margin", not a class."""
    return any(part in _SUMMARY for part in re.split(r"[^a-z0-9]+", name.lower()))
