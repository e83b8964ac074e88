"""GLUE and SuperGLUE, from the Hugging Face hub or a local copy of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks.base import Examples, Task
from steadytune.tasks.files import groups_of, known_format, make_task, reading_of, task_from_tables
from steadytune.tasks.labels import labelled, match_labels
from steadytune.tasks.layouts import COPA, MULTIRC, WIC, WSC, Layout, pair, single
from steadytune.tasks.official import COLA_HEADER, renamed, unnested
from steadytune.tasks.reading import Grouped, group_multirc, group_record, ungrouped
from steadytune.tasks.split_files import TRAIN_NAMES, VALIDATION_NAMES, read_split
from steadytune.tasks.table import Table, is_missing, other_rows

REPOSITORIES = {"glue": "nyu-mll/glue", "super_glue": "aps/super_glue"}
PROBE_SECONDS = 5.0

_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")
_BOOLEAN = ("False", "True")


@dataclass(frozen=True)
class Benchmark:
    """One task of GLUE or SuperGLUE.

    Attributes:
        layout: Its texts, in the hub's columns.
        labels: Its classes in the hub's order; none for a regression.
        metrics: The official ones, the main one first.
        config: Its name on the hub.
        validation: Name of its evaluation split on the hub.
        group: For reading comprehension: turns rows into one per answer, grouped by question; takes the label column.
        columns: Column names in the authors' own files -> those on the hub.
        header: Column names of these files if they have no header.
        short_rows: Whether these files have truncated rows.
    """

    layout: Layout
    labels: tuple[str, ...]
    config: str
    metrics: tuple[str, ...] = ("accuracy",)
    validation: str = "validation"
    group: Callable[[Table, str], Grouped] = ungrouped
    columns: Mapping[str, str] = field(default_factory=dict)
    header: tuple[str, ...] = ()
    short_rows: bool = False

    @property
    def kind(self) -> str:
        """The task's kind."""
        return "choice" if self.layout.choices else "classification" if self.labels else "regression"

    @property
    def renamable(self) -> bool:
        """Whether it is plain text and a label, which may be in columns of any name."""
        return not self.layout.choices and self.group is ungrouped


_SENTENCES = pair("sentence1", "sentence2")
_PREMISE = pair("premise", "hypothesis")
_NLI_COLUMNS = {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"}
_MNLI = Benchmark(_PREMISE, _NLI, "mnli", validation="validation_matched", columns=_NLI_COLUMNS)
_WSC = Benchmark(WSC, _BOOLEAN, "wsc.fixed")

BENCHMARKS: dict[str, Benchmark] = {
    "glue/cola": Benchmark(
        single("sentence"), ("unacceptable", "acceptable"), "cola", ("matthews",), header=COLA_HEADER
    ),
    "glue/sst2": Benchmark(single("sentence"), ("negative", "positive"), "sst2"),
    "glue/mrpc": Benchmark(
        _SENTENCES,
        ("not_equivalent", "equivalent"),
        "mrpc",
        ("f1", "accuracy"),
        columns={"Quality": "label", "#1 String": "sentence1", "#2 String": "sentence2"},
    ),
    "glue/qqp": Benchmark(
        pair("question1", "question2"),
        ("not_duplicate", "duplicate"),
        "qqp",
        ("f1", "accuracy"),
        columns={"is_duplicate": "label"},
        short_rows=True,
    ),
    "glue/stsb": Benchmark(_SENTENCES, (), "stsb", ("pearson", "spearman"), columns={"score": "label"}),
    "glue/mnli": _MNLI,
    "glue/mnli_matched": _MNLI,
    "glue/mnli_mismatched": replace(_MNLI, validation="validation_mismatched"),
    "glue/qnli": Benchmark(pair("question", "sentence"), _ENTAILMENT, "qnli"),
    "glue/rte": Benchmark(_SENTENCES, _ENTAILMENT, "rte"),
    "glue/wnli": Benchmark(_SENTENCES, ("not_entailment", "entailment"), "wnli"),
    "super_glue/boolq": Benchmark(pair("passage", "question"), _BOOLEAN, "boolq"),
    "super_glue/cb": Benchmark(_PREMISE, ("entailment", "contradiction", "neutral"), "cb", ("accuracy", "f1_macro")),
    "super_glue/copa": Benchmark(COPA, COPA.choices, "copa"),
    "super_glue/multirc": Benchmark(MULTIRC, _BOOLEAN, "multirc", ("f1a", "exact_match"), group=group_multirc),
    "super_glue/record": Benchmark(
        pair("passage", "query"), _BOOLEAN, "record", ("record_f1", "record_em"), group=group_record
    ),
    "super_glue/rte": Benchmark(_PREMISE, _ENTAILMENT, "rte"),
    "super_glue/wic": Benchmark(WIC, _BOOLEAN, "wic"),
    "super_glue/wsc": _WSC,
    "super_glue/wsc.fixed": _WSC,
}
DIAGNOSTICS = {"glue/ax": "glue/mnli", "super_glue/axb": "super_glue/rte", "super_glue/axg": "super_glue/rte"}
"""Diagnostic sets without training data -> the task whose classes they share."""


def load_benchmark(spec: TaskSpec) -> Task:
    """Load a task of GLUE or SuperGLUE.

    Rows come from `spec.path` if given, otherwise from the hub or its cache. A local copy may be laid out like the
    hub's repository (`<path>/rte/train-00000-of-00001.parquet`) or contain the split files itself; if their columns are
    not the hub's, they are inferred as for any folder, with the benchmark's classes and metrics.

    Raises:
        UserError: The set has no training data, is unavailable, or is invalid.
    """
    if spec.name in DIAGNOSTICS:
        raise UserError(
            f"task '{spec.name}' is a diagnostic set without training data, so there is nothing to fine-tune on "
            f"(its classes are those of {DIAGNOSTICS[spec.name]})"
        )
    benchmark = BENCHMARKS[spec.name]
    if spec.columns is not None and not benchmark.renamable:
        raise UserError(
            f"task.columns cannot be used with '{spec.name}', whose examples are "
            f"{', '.join(benchmark.layout.fields)}: use these "
            "column names, or give a folder as the task to read other texts"
        )
    if spec.no_label is not None and benchmark.group is not ungrouped:
        raise UserError(f"task.no_label cannot be used with '{spec.name}': its metric needs all answers to a question")
    train, validation = _from_hub(spec.name, benchmark) if spec.path is None else _from_copy(spec, benchmark)
    if spec.columns is None:
        train, validation = (_as_on_hub(table, benchmark, spec.label) for table in (train, validation))
    as_on_hub = all(name in train.columns for name in benchmark.layout.fields)
    if benchmark.renamable and (spec.columns is not None or not as_on_hub):
        fields = benchmark.layout.fields
        return task_from_tables(spec, train, validation, benchmark.labels, benchmark.metrics, fields)
    splits = _labelled([benchmark.group(table, spec.label) for table in (train, validation)], spec, benchmark)
    names, *labels = match_labels(splits[0].table, splits[1].table, spec.label, benchmark.labels)
    groups = groups_of(spec, splits[0].table, splits[1].table)
    examples = [
        Examples(
            benchmark.layout.candidates(split.table, allow_blank=True),
            numbers,
            split.questions,
            split.credit,
            split.groups if spec.group is None else group,
        )
        for split, numbers, group in zip(splits, labels, groups, strict=True)
    ]
    return make_task(
        spec,
        names,
        benchmark.metrics,
        kind=benchmark.kind,
        train=examples[0],
        validation=examples[1],
        reading=reading_of(spec, benchmark.layout.fields, splits[0].table, splits[1].table),
    )


def _as_on_hub(table: Table, benchmark: Benchmark, label: str) -> Table:
    """Convert a table from the authors' own files to the hub's columns."""
    names = {old: new for old, new in benchmark.columns.items() if new != "label" or label == "label"}
    if all(new in table.columns for new in benchmark.layout.fields):
        # Only the label may have another name.
        names = {old: new for old, new in names.items() if new == "label"}
    return renamed(unnested(table), names)


def _labelled(splits: list[Grouped], spec: TaskSpec, benchmark: Benchmark) -> list[Grouped]:
    """Return both splits without unlabelled rows; metrics that read answers together need all of them."""
    train, validation = splits
    if train.questions is not None:
        for table in (train.table, validation.table):
            lacking = [
                row for row, value in enumerate(table.column(spec.label, "task.label=NAME")) if is_missing(value)
            ]
            if lacking:
                raise UserError(
                    f"{table.where(lacking[0])}: no label in column '{spec.label}'{other_rows(lacking)}, but the "
                    "metric needs all answers to a question: use a file with all labels"
                )
        return splits
    kept = labelled(train.table, validation.table, spec.label, spec.no_label, benchmark.labels)
    return [Grouped(table) for table in kept]


def _from_copy(spec: TaskSpec, benchmark: Benchmark) -> tuple[Table, Table]:
    folder = Path(spec.path or ".").expanduser()
    below = sorted(folder.iterdir()) if folder.is_dir() else []
    for name in (benchmark.config, benchmark.config.partition(".")[0]):
        # Their authors call them SST-2, CoLA, WiC.
        found = [path for path in below if path.is_dir() and _plain(path.name) == name]
        if found:
            folder = next((path for path in found if path.name == name), found[0])
            break
    names = [benchmark.validation, benchmark.validation.replace("validation", "dev"), *VALIDATION_NAMES]
    known = replace(known_format(spec), short_rows=benchmark.short_rows, header=benchmark.header)
    return read_split(folder, TRAIN_NAMES, known), read_split(folder, tuple(dict.fromkeys(names)), known)


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9.]", "", name.lower())


def _from_hub(name: str, benchmark: Benchmark) -> tuple[Table, Table]:
    import datasets

    repository = REPOSITORIES[name.partition("/")[0]]
    try:
        with _offline_if_unreachable():
            data = datasets.load_dataset(repository, benchmark.config)
        train, validation = (data[split].to_dict() for split in ("train", benchmark.validation))
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UserError(
            f"task '{name}': the Hugging Face hub could not be reached or did not provide {repository} "
            f"({benchmark.config}): {reason[:200]}\n"
            "use a local copy: --set task.path=path/to/copy, or give a folder with train and validation files: "
            "--task path/to/folder"
        ) from error
    return Table(f"{repository} {benchmark.config} train", train), Table(
        f"{repository} {benchmark.config} {benchmark.validation}", validation
    )


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Make `datasets` use its cache at once if the hub does not answer; by default it retries for half a minute."""
    import datasets
    import huggingface_hub

    before = datasets.config.HF_HUB_OFFLINE
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # whatever a missing network, proxy or certificate raises
        datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
