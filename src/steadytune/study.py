"""What shall run: a study, read from YAML or built in Python, and the runs that it expands to.

Everything here is plain data, checked on entry: an unknown or ill-typed key is an error that names the key and what it
may be. Nothing is loaded and nothing is trained.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from steadytune.errors import UserError, unknown_name
from steadytune.files import canonical_json, sha256
from steadytune.stabilizers import Stabilizer, parse_stabilizer, stabilizer_names

OFFLINE_MODEL = "minilm"
STANDARD = "standard"


class Config(BaseModel):
    """Data that refuses unknown keys and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSpec(Config):
    """Which task, and what cannot be inferred about it.

    Attributes:
        name: "glue/<task>", "super_glue/<task>", a folder of files, or "acceptability", the built-in generated task.
        path: For a hub name, a local copy of its repository, or a folder with its train and validation files.
        columns: Text columns, one or two; inferred when absent.
        label: Label column.
        metric: A metric instead of the task's own.
        train_examples: Size of the generated training set.
        validation_examples: Size of the generated validation set.
        seed: Seed of the generated task.
    """

    name: str
    path: str | None = None
    columns: tuple[str, ...] | None = None
    label: str = "label"
    metric: str | None = None
    train_examples: Annotated[int, Field(ge=2)] = 300
    validation_examples: Annotated[int, Field(ge=2)] = 400
    seed: int = 0


class Training(Config):
    """Hyper-parameters; the defaults are the strong baseline (Mosbach et al. 2021; Du & Nguyen 2023).

    Attributes:
        setting: "full" moves every weight; "head" trains a linear layer on frozen features.
        learning_rate: Peak learning rate; 2e-5 in full and 1e-2 in head unless given.
        epochs: Passes over the training set.
        batch_size: Examples per step.
        warmup: Share of the steps over which the learning rate rises; it then falls linearly to 0.
        weight_decay: Decoupled decay, none on biases and LayerNorm.
        clip: Global gradient norm limit; 0 for none.
        max_length: Tokens per input, longer ones are cut.
        pooling: What the head reads. "native" is the model class's own head; "cls", "mean", "last" put a plain linear
            head on that feature; "auto" is "native" in full and "mean" in head and for the offline model.
        precision: "float32", or "bf16" for bfloat16 autocast around float32 weights.
        train_size: Use this many training examples, drawn by `split_seed`.
        select_checkpoint: Half of the validation set picks the epoch, the other half is measured.
        split_seed: Draws the training subset and the two halves; the same for all models and recipes.
        representations: Token position recorded after each block; "auto" is "cls" for encoders, "last" for decoders.
        representation_dtype: Precision in which representations are stored.
        threads: CPU threads per run. Part of the run's identity: the number of threads changes the last bits.
    """

    setting: Literal["full", "head"] = "full"
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 16
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(ge=0)] = 1.0
    max_length: Annotated[int, Field(ge=4)] = 128
    pooling: Literal["auto", "native", "cls", "mean", "last"] = "auto"
    precision: Literal["float32", "bf16"] = "float32"
    train_size: Annotated[int, Field(ge=2)] | None = None
    select_checkpoint: bool = False
    split_seed: Annotated[int, Field(ge=0)] = 0
    representations: Literal["auto", "cls", "mean", "last", "none"] = "auto"
    representation_dtype: Literal["float16", "float32"] = "float16"
    threads: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _check_head(self) -> Training:
        if self.setting == "head" and self.pooling == "native":
            raise ValueError("setting 'head' trains a linear layer on a feature: pooling must be cls, mean or last")
        return self

    def resolved(self, model: str) -> Training:
        """Return a copy in which everything that depends on setting and model has a value."""
        pooling = self.pooling
        if pooling == "auto":
            pooling = "mean" if self.setting == "head" or model == OFFLINE_MODEL else "native"
        rate = self.learning_rate or (2e-5 if self.setting == "full" else 1e-2)
        return self.model_copy(update={"pooling": pooling, "learning_rate": rate})


class Seeds(Config):
    """Three sources of luck: weights of new layers, order of the examples, dropout masks."""

    init: Annotated[int, Field(ge=0)]
    order: Annotated[int, Field(ge=0)]
    dropout: Annotated[int, Field(ge=0)]

    @classmethod
    def all(cls, seed: int) -> Seeds:
        """Set all three to one integer."""
        return cls(init=seed, order=seed, dropout=seed)

    @property
    def label(self) -> str:
        """Return "3" where all three are 3, else "init/order/dropout" such as "3/0/0"."""
        values = (self.init, self.order, self.dropout)
        return str(self.init) if len(set(values)) == 1 else "/".join(map(str, values))


def _stabilizers(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError("stabilizers is a list, such as [mmr, {mhloss: {heads: 50}}]")
    return tuple(parse_stabilizer(entry) for entry in value)


StabilizerList = Annotated[
    tuple[Stabilizer, ...],
    BeforeValidator(_stabilizers),
    PlainSerializer(lambda value: [stabilizer.entry() for stabilizer in value]),
]


class Recipe(Config):
    """One way of fine-tuning: changes to the study's `training`, and stabilizers."""

    training: dict[str, Any] = {}
    stabilizers: StabilizerList = ()

    @model_validator(mode="after")
    def _check_stabilizers(self) -> Recipe:
        names = [stabilizer.name for stabilizer in self.stabilizers]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stabilizer '{repeated[0]}' stands twice in one recipe")
        return self

    @classmethod
    def preset(cls, name: str) -> Recipe:
        """Return the recipe that a name means: "standard", a stabilizer with its defaults, or names joined by "+"."""
        if name == STANDARD:
            return cls()
        for part in name.split("+"):
            if part not in stabilizer_names():
                raise unknown_name("recipe", part, [STANDARD, *stabilizer_names()])
        return cls.model_validate({"stabilizers": name.split("+")})


class RunSpec(Config):
    """One training: everything that determines it.

    `data` and `weights` are SHA-256 fingerprints of the task's content and of the model's files. The run's id covers
    them instead of the names, so a moved folder is the same run and a changed one is not.
    """

    model: str
    weights: str
    task: TaskSpec
    data: str
    recipe: str
    training: Training
    stabilizers: StabilizerList
    seeds: Seeds

    @property
    def id(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical spec."""
        return sha256(canonical_json(self.model_dump(mode="json", exclude={"model", "task"})))[:16]

    @property
    def cohort(self) -> tuple[str, str, str]:
        """Return (model, task, recipe): runs that share it differ in their seeds alone."""
        return self.model, self.task.name, self.recipe


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


def _tasks(value: Any) -> Any:
    return [{"name": task} if isinstance(task, (str, Path)) else task for task in _one_or_many(value)]


def _seeds(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("seeds is a number of seeds or a list")
    values = range(value) if isinstance(value, int) else _one_or_many(value)
    return [Seeds.all(seed) if isinstance(seed, int) else seed for seed in values]


class Study(Config):
    """Models x tasks x recipes x seeds.

    Attributes:
        model: Hub ids, folders, or "minilm", the built-in offline model.
        task: Task names or mappings with the keys of `TaskSpec`.
        seeds: A number of seeds, a list of integers, or a list of {init, order, dropout}.
        training: Hyper-parameters that all recipes share.
        recipes: Name -> recipe. In Python a list of preset names works too.
    """

    model: Annotated[tuple[str, ...], BeforeValidator(_one_or_many), Field(min_length=1)]
    task: Annotated[tuple[TaskSpec, ...], BeforeValidator(_tasks), Field(min_length=1)]
    seeds: Annotated[tuple[Seeds, ...], BeforeValidator(_seeds), Field(min_length=1)] = tuple(map(Seeds.all, range(5)))
    training: Training = Training()
    recipes: Annotated[dict[str, Recipe], Field(min_length=1)] = {STANDARD: Recipe()}

    @field_validator("recipes", mode="before")
    @classmethod
    def _read_presets(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return {name: Recipe.preset(name) for name in value}
        if isinstance(value, Mapping):
            return {name: {} if recipe is None else recipe for name, recipe in value.items()}
        return value

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, value: tuple[Seeds, ...]) -> tuple[Seeds, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a seed stands twice")
        return value

    @model_validator(mode="after")
    def _check_recipes(self) -> Study:
        for name in self.recipes:
            self.recipe_training(name)
        return self

    @classmethod
    def parse(cls, content: Mapping[str, Any], source: str = "study") -> Study:
        """Check plain data and turn it into a study.

        Raises:
            UserError: Naming `source`, the key and what it may be.
        """
        try:
            return cls.model_validate(dict(content))
        except ValidationError as error:
            raise UserError(f"{source}: {_first_problem(error)}") from error

    @classmethod
    def from_yaml(cls, path: str | Path) -> Study:
        """Read a study file.

        Raises:
            UserError: The file is missing, is not YAML, or says something that a study cannot say.
        """
        return cls.parse(read_yaml(path), str(path))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `parse` reads back."""
        return self.model_dump(mode="json")

    def recipe_training(self, name: str) -> Training:
        """Return the hyper-parameters of one recipe: the study's, with the recipe's own put over them."""
        recipe = self.recipes[name]
        training = Training.model_validate({**self.training.model_dump(exclude_unset=True), **recipe.training})
        for stabilizer in recipe.stabilizers:
            if training.setting not in stabilizer.settings:
                raise ValueError(f"recipe '{name}': {stabilizer.wrong_setting}")
        return training

    def grid(self) -> Iterator[tuple[str, TaskSpec, str, Seeds]]:
        """Yield every combination, seed by seed, so that an interrupted study has whole rows to compare."""
        for model, task, seeds, name in itertools.product(self.model, self.task, self.seeds, self.recipes):
            yield model, task, name, seeds


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping, or say in one line why that cannot be done."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no study file at {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; a study is a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise UserError(f"{path}{line}: not YAML ({getattr(error, 'problem', None) or 'not text'})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a study is a mapping with the keys {', '.join(Study.model_fields)}")
    return content


def _first_problem(error: ValidationError) -> str:
    """Say the first problem of a validation error as "key: what is wrong"."""
    problem = error.errors()[0]
    place = [part for part in problem["loc"] if isinstance(part, str)]
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        model: Any = {"training": Training, "task": TaskSpec, "recipes": Recipe, "seeds": Seeds}.get(
            place[0] if len(problem["loc"]) > 1 else "", Study
        )
        return str(unknown_name("key", where.rpartition(".")[2], model.model_fields)) + (
            f" (in {where.rpartition('.')[0]})" if "." in where else ""
        )
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
