"""Studies, read from YAML or built in Python, and the runs that they expand to.

Everything here is plain data, validated on entry: an unknown or ill-typed key is an error that names the key and its
valid values. Nothing is loaded or trained.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from steadytune.adapter import Adapter
from steadytune.config import LARGEST, Config, first_problem, read_yaml
from steadytune.decoding import Decoding
from steadytune.errors import UserError
from steadytune.files import canonical_json, sha256
from steadytune.seeds import MOST_SEEDS, SeedGrid, Seeds, one_or_many, spelled
from steadytune.shown import Shown
from steadytune.stabilizers import STABILIZERS, Stabilizer, check_together, parse_stabilizer

if TYPE_CHECKING:
    import pandas as pd

OFFLINE_MODEL = "minilm"
OFFLINE_DECODER = "smollm2"
# What the head reads of models whose own is untrained, or of which there is a plain linear one.
_POOLING: dict[str, Literal["mean", "last"]] = {OFFLINE_MODEL: "mean", OFFLINE_DECODER: "last"}
MOST_RUNS = 100_000
"""Runs of a study."""
# A model or a task may be a path.
_LONGEST_NAME = 1000
_LONGEST_RECIPE = 200
STANDARD = "standard"
# Fields of `Training` that were added after the first runs were identified.
_ADDED = {"split", "adapter", "decoding"}


def _spelled_label(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class TaskSpec(Config):
    """A task, with what cannot be inferred about it.

    Attributes:
        name: "glue/<task>", "super_glue/<task>", a folder of files, or a generated task: "acceptability", "correction",
            "arithmetic".
        path: For a hub name, a local copy of its repository, or a folder with its train and validation files.
        kind: The kind of task of a folder, such as "generation", "tokens" or "multilabel"; inferred by default.
        columns: One or two text columns; inferred by default.
        label: Label column.
        labels: Columns of 0 and 1, one for each label of a task whose examples have any number of labels.
        group: Column with equal values in examples that belong together, such as questions on one passage.
        no_label: A label that means "none", such as -1 or nan: rows with it are skipped. "never" if every
            label is a real one.
        encoding: Encoding of text files that are not UTF-8, such as latin-1.
        metric: Metric to use instead of the task's default.
        positive: The positive class, of two, for F1, ROC AUC and average precision; it becomes class 1.
        train_examples: Size of the generated training set.
        validation_examples: Size of the generated validation set.
        seed: Seed of a generated task.
    """

    name: str
    path: str | None = None
    kind: str | None = None
    columns: tuple[str, ...] | None = None
    label: str = "label"
    labels: tuple[str, ...] | None = None
    group: str | None = None
    no_label: Annotated[str | None, BeforeValidator(_spelled_label)] = None
    encoding: str | None = None
    metric: str | None = None
    positive: Annotated[str | None, BeforeValidator(_spelled_label)] = None
    train_examples: Annotated[int, Field(ge=2, le=1_000_000)] = 300
    validation_examples: Annotated[int, Field(ge=2, le=1_000_000)] = 400
    seed: int = 0

    @field_validator("columns", "labels")
    @classmethod
    def _check_columns(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError(f"duplicate column in {', '.join(value)}: each of an example is read once")
        return value


def with_mode(training: Any) -> Any:
    """Return hyper-parameters with `mode` under its present name: older versions wrote `setting`."""
    if isinstance(training, Mapping) and "setting" in training and "mode" not in training:
        return {"mode" if key == "setting" else key: value for key, value in training.items()}
    return training


class Training(Config):
    """Hyper-parameters; the defaults are the strong baseline (Mosbach et al. 2021; Du & Nguyen 2023).

    Attributes:
        mode: "full" trains every weight; "head" trains a linear layer on frozen features.
        adapter: Adapter to train in the place of the pre-trained weights, in full; None for none.
        learning_rate: Peak learning rate; by default 2e-5 in full, 2e-4 with an adapter and 1e-2 in head.
        epochs: Passes over the training set.
        batch_size: Examples per step.
        warmup: Share of the steps over which the learning rate rises; it then falls linearly to 0.
        weight_decay: Decoupled weight decay, not applied to biases and LayerNorm.
        clip: Limit of the global gradient norm; 0 for none.
        max_length: Most tokens per input; longer inputs are truncated.
        pooling: What the head reads. "native" is the model class's own head; "cls", "mean", "last" put a plain linear
            head on that feature; "auto" is "native" in full and "mean" in head, but "mean" for minilm and "last" for
            smollm2.
        precision: "float32", or "bf16" for bfloat16 autocast around float32 weights.
        train_size: Number of training examples to use, drawn with `split_seed` and the run's `data` seed.
        split: How they are drawn: "random", or "stratified", which keeps the class proportions of the training
            set, with at least one example of each class.
        select_checkpoint: One half of the validation set selects the epoch, the other half is measured.
        split_seed: Seed of the training subset and the two halves; the same for all models and recipes.
        representations: Token position recorded after each block; "auto" is "cls" for encoders, "last" for decoders.
            Where texts are generated, "last" is the last token of the prompt, and "mean" is over the tokens of the
            reference.
        representation_dtype: Precision of the stored representations.
        decoding: How texts are generated.
        threads: CPU threads per run. Part of the run's identity, because it changes the last bits.
    """

    sections: ClassVar[Mapping[str, type[Config]]] = {"adapter": Adapter}

    mode: Literal["full", "head"] = "full"
    adapter: Adapter | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(ge=0)] = 1.0
    max_length: Annotated[int, Field(ge=4, le=1_000_000)] = 128
    pooling: Literal["auto", "native", "cls", "mean", "last"] = "auto"
    precision: Literal["float32", "bf16"] = "float32"
    train_size: Annotated[int, Field(ge=2)] | None = None
    split: Literal["random", "stratified"] = "random"
    select_checkpoint: bool = False
    split_seed: Annotated[int, Field(ge=0)] = 0
    representations: Literal["auto", "cls", "mean", "last", "none"] = "auto"
    representation_dtype: Literal["float16", "float32"] = "float16"
    decoding: Decoding = Decoding()
    threads: Annotated[int, Field(ge=1, le=1024)] = 1

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, content: Any) -> Any:
        return with_mode(content)

    @model_validator(mode="after")
    def _check_head(self) -> Training:
        if self.mode == "head" and self.pooling == "native":
            raise ValueError("mode 'head' trains a linear layer on pooled features: pooling must be cls, mean or last")
        if self.mode == "head" and self.adapter is not None:
            raise ValueError("mode 'head' freezes the encoder, adapters included: use mode 'full', or adapter: null")
        return self

    def resolved(self, model: str) -> Training:
        """Return a copy with pooling and learning rate resolved."""
        pooling = self.pooling
        if pooling == "auto":
            pooling = _POOLING.get(model, "mean" if self.mode == "head" else "native")
        usual = 1e-2 if self.mode == "head" else 2e-5 if self.adapter is None else 2e-4
        rate = self.learning_rate or usual
        return self.model_copy(update={"pooling": pooling, "learning_rate": rate})


def _stabilizers(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError("stabilizers must be a list, such as [mmr, {mhloss: {heads: 50}}]")
    return tuple(parse_stabilizer(entry) for entry in value)


StabilizerList = Annotated[
    tuple[Stabilizer, ...],
    BeforeValidator(_stabilizers),
    PlainSerializer(lambda value: [stabilizer.entry() for stabilizer in value]),
]


class Recipe(Config):
    """One way of fine-tuning: overrides of the study's `training`, and stabilizers."""

    training: dict[str, Any] = Field(default_factory=dict)
    stabilizers: StabilizerList = ()

    @field_validator("training")
    @classmethod
    def _check_training(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in ("split_seed", "select_checkpoint"):
            if key in value:
                raise ValueError(f"{key} must be the same for all recipes, which are compared on the same examples")
        try:
            # Keys that are not set stay unset: the study's values apply.
            return Training.model_validate(value).model_dump(exclude_unset=True)
        except ValidationError as error:
            raise ValueError(first_problem(error, Training)) from None

    @model_validator(mode="after")
    def _check_stabilizers(self) -> Recipe:
        check_together(self.stabilizers)
        return self

    @classmethod
    def preset(cls, name: str) -> Recipe:
        """Return the preset recipe of a name: "standard", a stabilizer with its defaults, or names joined by "+"."""
        if name == STANDARD:
            return cls()
        parts = name.split("+")
        if STANDARD in parts:
            raise UserError(
                f"recipe '{name}': '{STANDARD}' cannot be combined; leave it out to name a combination of stabilizers"
            )
        for part in parts:
            if part not in STABILIZERS:
                raise STABILIZERS.unknown(part, "recipe", [STANDARD])
        try:
            return cls.model_validate({"stabilizers": parts})
        except ValidationError as error:
            raise UserError(f"recipe '{name}': {first_problem(error, cls)}") from None


class RunSpec(Config):
    """Everything that determines one training run.

    `data` and `weights` are SHA-256 fingerprints of the task's content and of the model's files. The run's id covers
    them instead of the names, so a moved folder is the same run and a changed one is not.

    Attributes:
        left_out: Index, in the training subset, of an example to leave out; None for none. A
            run that leaves one out belongs to no cohort: see `RunStore.records`.
    """

    model: str
    weights: str
    task: TaskSpec
    data: str
    recipe: str
    training: Training
    stabilizers: StabilizerList
    seeds: Seeds
    left_out: Annotated[int, Field(ge=0)] | None = None

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical spec."""
        content = self.model_dump(mode="json", exclude={"model", "task"})
        training = content["training"]
        # Runs keep the ids that they had before a field was renamed, or added, as long as it has its default value.
        if content["left_out"] is None:
            del content["left_out"]
        for name in _ADDED & training.keys():
            default = Training.model_fields[name].default
            if training[name] == (default.model_dump(mode="json") if isinstance(default, Config) else default):
                del training[name]
        training["setting"] = training.pop("mode")
        return sha256(canonical_json(content))[:16]

    @property
    def cohort(self) -> tuple[str, str, str]:
        """Return (model, task, recipe): runs that share it differ only in their seeds."""
        return self.model, self.task.name, self.recipe


def _models(value: Any) -> Any:
    return [str(model) if isinstance(model, Path) else model for model in one_or_many(value)]


def _tasks(value: Any) -> Any:
    return [{"name": str(task)} if isinstance(task, (str, Path)) else task for task in one_or_many(value)]


def _seeds(value: Any) -> Any:
    if isinstance(value, Mapping) and not SeedGrid.model_fields.keys().isdisjoint(value):
        try:
            return SeedGrid.model_validate(value).seeds()
        except ValidationError as error:
            raise ValueError(first_problem(error, SeedGrid)) from None
    if isinstance(value, int) and not isinstance(value, bool):
        _check_number_of_seeds(value)
        value = range(value)
    elif isinstance(value, (list, tuple)):
        _check_number_of_seeds(len(value))
    return [_one_seed(seed) for seed in (value if isinstance(value, range) else one_or_many(value))]


def _check_number_of_seeds(number: int) -> None:
    if number > MOST_SEEDS:
        written = f"{number:,}" if number <= LARGEST else "far too many"
        raise ValueError(f"{written} seeds: a study can have at most {MOST_SEEDS:,}")


def _one_seed(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"init": value, "order": value, "dropout": value}
    if not isinstance(value, (Mapping, Seeds)):
        raise ValueError(
            f"give a number of seeds, a grid {{vary, values}}, or a list of integers or of {{init, order, dropout}}, "
            f"not {value!r:.60}"
        )
    return value


def _check_name(name: str, longest: int) -> None:
    """Reject names that could not be read when shown, or would control a terminal."""
    if not name.strip():
        raise ValueError("a name is empty")
    if len(name) > longest:
        raise ValueError(f"a name has {len(name):,} characters, at most {longest} are allowed ({name[:40]!r}...)")
    if not name.isprintable():
        raise ValueError(f"a name contains characters that cannot be printed: {name!r:.80}")


def _distinct(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"duplicate {what} '{repeated}'")


class Study(Shown, Config):
    """A study: models x tasks x recipes x seeds.

    Attributes:
        model: Hub ids, folders, or the offline models: "minilm", an encoder, and "smollm2", a decoder.
        task: Task names or mappings with the keys of `TaskSpec`.
        seeds: A number of seeds, a grid {vary, values}, or a list of integers or of {init, order, dropout, data}.
        training: Hyper-parameters shared by all recipes.
        recipes: Name -> recipe. In Python a list of preset names works too.
    """

    sections: ClassVar[Mapping[str, type[Config]]] = {
        "training": Training,
        "task": TaskSpec,
        "recipes": Recipe,
        "seeds": Seeds,
    }

    model: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_models), Field(min_length=1)]
    task: Annotated[tuple[TaskSpec, ...], BeforeValidator(_tasks), Field(min_length=1)]
    seeds: Annotated[tuple[Seeds, ...], BeforeValidator(_seeds), PlainSerializer(spelled), Field(min_length=1)] = tuple(
        map(Seeds.all, range(5))
    )
    training: Training = Training()
    recipes: Annotated[dict[str, Recipe], Field(min_length=1, default_factory=lambda: {STANDARD: Recipe()})]

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, content: Any) -> Any:
        # A key without a value, for example because its lines are commented out, counts as absent.
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if value is not None}

    @field_validator("recipes", mode="before")
    @classmethod
    def _read_presets(cls, value: Any) -> Any:
        if isinstance(value, (str, list, tuple)):
            names = one_or_many(value)
            if not all(isinstance(name, str) for name in names):
                raise ValueError(
                    "a list can hold only names of presets; write your own recipe as name: {stabilizers: [...]}"
                )
            _distinct("recipe", list(names))
            return {name: Recipe.preset(name) for name in names}
        if isinstance(value, Mapping):
            return {name: _recipe(name, recipe) for name, recipe in value.items()}
        return value

    @field_validator("model", "task", "recipes")
    @classmethod
    def _check_names(cls, value: Any, info: ValidationInfo) -> Any:
        # Folders written by older versions stay readable.
        if not (info.context or {}).get("held"):
            for entry in value:
                name = entry.name if isinstance(entry, TaskSpec) else entry
                _check_name(name, _LONGEST_RECIPE if info.field_name == "recipes" else _LONGEST_NAME)
        return value

    @model_validator(mode="after")
    def _check(self) -> Study:
        number = len(self.model) * len(self.task) * len(self.recipes) * len(self.seeds)
        if number > MOST_RUNS:
            raise ValueError(
                f"models x tasks x recipes x seeds make {number:,} runs: a study can have at most {MOST_RUNS:,}"
            )
        _distinct("model", list(self.model))
        _distinct("task", [task.name for task in self.task])
        _distinct("seed", [seeds.label for seeds in self.seeds])
        for name in self.recipes:
            self.recipe_training(name)
        return self

    @classmethod
    def parse(cls, content: Mapping[str, Any], source: str = "study", *, held: bool = False) -> Study:
        """Validate plain data and turn it into a study.

        Args:
            content: The data.
            source: Where it comes from, for error messages.
            held: The data were validated when written, perhaps by an older version: any name is accepted.

        Raises:
            UserError: The data are invalid; names `source`, the key and what it may be.
        """
        try:
            return cls.model_validate(dict(content), context={"held": held})
        except ValidationError as error:
            raise UserError(f"{source}: {first_problem(error, cls)}") from error

    @classmethod
    def from_yaml(cls, path: str | Path) -> Study:
        """Read a study file.

        Raises:
            UserError: The file is missing, is not YAML, or is not a valid study.
        """
        return cls.parse(read_yaml(path), str(path))

    def summary(self) -> str:
        """Return the study as YAML, headed by the number of its runs."""
        runs = sum(1 for _ in self.grid())
        body = yaml.safe_dump(self.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)
        return f"Study of {runs} runs\n{body}"

    def to_frame(self) -> pd.DataFrame:
        """Return one row per run: model, task, recipe and seed."""
        import pandas as pd

        rows = [(model, task.name, recipe, seeds.label) for model, task, recipe, seeds in self.grid()]
        return pd.DataFrame(rows, columns=["model", "task", "recipe", "seed"])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `parse` can read."""
        return self.model_dump(mode="json")

    def recipe_training(self, name: str) -> Training:
        """Return the hyper-parameters of one recipe: the study's, overridden by the recipe's own.

        Raises:
            UserError: The combination is invalid.
        """
        recipe = self.recipes[name]
        try:
            training = Training.model_validate({**self.training.model_dump(exclude_unset=True), **recipe.training})
        except ValidationError as error:
            raise UserError(f"recipe '{name}': {first_problem(error, Training)}") from None
        for stabilizer in recipe.stabilizers:
            if training.mode not in stabilizer.modes:
                raise UserError(f"recipe '{name}': {stabilizer.wrong_mode}")
        return training

    def grid(self) -> Iterator[tuple[str, TaskSpec, str, Seeds]]:
        """Yield every combination, seed by seed, so that an interrupted study has complete seeds to compare."""
        for model, task, seeds, name in itertools.product(self.model, self.task, self.seeds, self.recipes):
            yield model, task, name, seeds


def _recipe(name: Any, recipe: Any) -> Any:
    """Parse the value of a recipe's key: an empty value means the preset of that name, if there is one."""
    presets = [STANDARD, *STABILIZERS]
    is_preset = isinstance(name, str) and all(part in presets for part in name.split("+"))
    if recipe is None:
        return Recipe.preset(name) if is_preset else {}
    if is_preset and name != STANDARD and isinstance(recipe, Mapping) and not recipe.get("stabilizers"):
        # It would have a stabilizer's name but train without it.
        meant = ", ".join(name.split("+"))
        raise ValueError(f"recipe '{name}' has no stabilizers: write {name}: {{stabilizers: [{meant}]}}")
    return recipe
