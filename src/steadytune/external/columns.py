"""Names of columns and arrays, and what each is taken as. The one place that knows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from steadytune.errors import UserError, unknown_name
from steadytune.records.checks import Kind

# Field -> its names, without case, spaces and punctuation; the first of a field that is there is taken.
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
    "ids": "id ids idx exampleid exampleids guid uid uuid qid docid questionid sampleid instanceid itemid rowid "
    "queryid pairid sentenceid index unnamed0 level0",
    "seed": "seed seeds run runid runname trial replicate",
    "texts": "text texts sentence sentences input inputs inputtext prompt question",
    "generations": "generation generations generated generatedtext generatedtexts completion completions response "
    "responses decoded filteredresps predictiontext predictedtext hypotheses outputtext",
    "references": "reference references ref refs referencetext expectedoutput targettext answers goldanswer "
    "goldanswers referenceanswer referenceanswers ideal",
    "representations": "representations representation hiddenstates hiddenstate states activations embeddings features",
    "token_logits": "tokenlogits",
    "token_counts": "tokencounts",
    "kind": "kind",
    "examples": "examples",
    "status": "status",
    "reason": "reason",
}
# One number per example that may be the probability of the positive class, or that of the class that is predicted.
_SINGLE = frozenset(
    ["prob", "probability", "p", "proba", "score", "yscore", "confidence", "yproba", "yprob", "scores", "probs"]
)
_FIELD_OF = {alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()}
_RANK = {alias: rank for aliases in _ALIASES.values() for rank, alias in enumerate(aliases.split())}

_PREFIX = re.compile(
    r"(?P<kind>log[_ ]?probs?|logits?|probs?|probabilit(?:y|ies)|probas?|p)(?P<mark>[_ .:-]?)(?P<rest>.+)",
    re.IGNORECASE,
)
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
    "seed": "seed",
    "text": "texts",
    "generation": "generations",
    "reference": "references",
    "states": "representations",
}
AXES = ("layers-first", "examples-first")


@dataclass(frozen=True)
class Choices:
    """What a user said of the files, where names alone leave it open.

    Attributes:
        columns: Field -> the column that it is.
        ignore: Columns that are left aside.
        kind: Task kind, or None.
        axes: "layers-first" or "examples-first", of states; None where sizes shall tell.
        encoding: Of tables whose text is not UTF-8.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()
    kind: Kind | None = None
    axes: str | None = None
    encoding: str | None = None

    @staticmethod
    def parse(given: Mapping[str, str]) -> Choices:
        """Read settings such as {"group": "passage", "ignore": "a,b", "kind": "regression", "axes": "examples-first"}.

        Raises:
            UserError: A key or value is unknown; names the closest.
        """
        columns: dict[str, str] = {}
        ignore: frozenset[str] = frozenset()
        kind: Kind | None = None
        axes = encoding = None
        for key, value in given.items():
            if key == "ignore":
                ignore = frozenset(part.strip() for part in value.split(",") if part.strip())
            elif key == "kind":
                if value not in get_args(Kind):
                    raise unknown_name("kind", value, get_args(Kind))
                kind = next(known for known in get_args(Kind) if known == value)
            elif key == "axes":
                if value not in AXES:
                    raise unknown_name("axes", value, AXES)
                axes = value
            elif key == "encoding":
                encoding = value
            elif key in _SETTINGS:
                columns[_SETTINGS[key]] = value
            else:
                raise unknown_name("setting", key, (*_SETTINGS, "ignore", "kind", "axes", "encoding"))
        return Choices(columns, ignore, kind, axes, encoding)


@dataclass(frozen=True)
class Taken:
    """Which columns a file has for what.

    Attributes:
        fields: Field -> its column.
        rivals: Field -> further columns that bear a name of it.
        classes: "logits" or "probabilities" -> (name of a class, its column), as the columns stand.
        singles: Columns that hold one number per example, which may be a probability.
    """

    fields: dict[str, str]
    rivals: dict[str, list[str]]
    classes: dict[str, list[tuple[str, str]]]
    singles: list[str]

    def used(self) -> set[str]:
        """Return the columns that are a field or a class."""
        return {*self.fields.values(), *(column for pairs in self.classes.values() for _, column in pairs)}


def squashed(name: str) -> str:
    """Return a name in small letters and digits alone, so that "Gold Label" and "gold_label" are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_known(name: str) -> bool:
    """Tell whether an array of this name may be something, so that it is worth reading."""
    return squashed(name) in _FIELD_OF or squashed(name) in _SINGLE or _class_column(name) is not None


def take(names: Iterable[str], choices: Choices, origin: str) -> Taken:
    """Say what each column is, by its name and by what the user said.

    Raises:
        UserError: The user names a column that is not there.
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
        word = squashed(name) or "index"
        if word in _SINGLE:
            singles.append(name)
        if known := _FIELD_OF.get(word):
            found.setdefault(known, []).append(name)
        elif pair := _class_column(name):
            classes.setdefault(pair[0], []).append((pair[1], name))
    for candidates in found.values():
        candidates.sort(key=lambda name: _RANK[squashed(name) or "index"])
    fields = {name: candidates[0] for name, candidates in found.items()} | dict(choices.columns)
    rivals = {
        name: [one for one in candidates if one != fields[name]] if name not in choices.columns else []
        for name, candidates in found.items()
    }
    for output in ("logits", "probabilities"):
        if output in choices.columns:
            classes.pop(output, None)
    return Taken(fields, rivals, classes, singles)


def _class_column(name: str) -> tuple[str, str] | None:
    """Return the outputs that a column belongs to, and the class that its name ends in."""
    match = _PREFIX.fullmatch(name.strip())
    if match is None:
        return None
    kind, rest = match["kind"].lower(), match["rest"].strip()
    # "probe", "product", "p_value": without a mark between, or after a bare p, only a number is a class.
    if (not match["mark"] or kind == "p") and not rest.isdecimal():
        return None
    if not rest or squashed(name) in _FIELD_OF:
        return None
    return "logits" if kind.startswith("log") else "probabilities", rest


def is_summary(name: str) -> bool:
    """Tell whether the end of a column's name says something about all classes, such as "margin", rather than one."""
    return any(part in _SUMMARY for part in re.split(r"[^a-z0-9]+", name.lower()))
