"""Checks the documents against the code: keys and defaults, links, command lines, study files and imports in them."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import typer
import yaml
from pydantic import BaseModel

from steadytune.adapter import Lora
from steadytune.cli.main import app
from steadytune.decoding import Decoding
from steadytune.errors import UserError
from steadytune.seeds import SeedGrid, Seeds
from steadytune.stabilizers import STABILIZERS, parse_stabilizer
from steadytune.study import Recipe, Study, TaskSpec, Training

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/study.md"
# What a model cannot do without, so that one key can be tried.
NEEDED: dict[type[BaseModel], dict[str, Any]] = {
    Study: {"model": "minilm", "task": "acceptability"},
    TaskSpec: {"name": "acceptability"},
    Seeds: {"init": 0, "order": 0, "dropout": 0},
    SeedGrid: {"vary": "init"},
}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| .+ \|$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def check_structure() -> Iterator[str]:
    """Yield where docs/architecture.md says otherwise than the imports, or names a file that is not there."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    sources = ROOT / "src/steadytune"
    measured: dict[str, set[str]] = {}
    for file in sources.rglob("*.py"):
        if file.relative_to(sources).parts != ("__init__.py",):
            here = _room(file.relative_to(sources).parts[0].removesuffix(".py"))
            measured.setdefault(here, set()).update(set(_imported_rooms(file)) - {here})
    table = text[text.index("| room | imports |") :]
    said: dict[str, set[str]] = {}
    for row in table[: table.index("\n\n")].splitlines()[2:]:
        rooms, imports = (re.findall(r"`([^`]+)`", cell) for cell in row.strip("| ").split(" | "))
        for room in rooms:
            if room in said:
                yield f"docs/architecture.md: {room} has two rows"
            elif unknown := [one for one in imports if one not in said]:
                yield f"docs/architecture.md: {room} imports {unknown[0]}, which has no row above it"
            said[room] = set(imports)
    for room in sorted(measured.keys() | said.keys()):
        if measured.get(room) != said.get(room):
            wanted = ", ".join(f"`{one}`" for one in said if one in measured.get(room, ())) or "nothing"
            yield f"docs/architecture.md: the row of {room} is, by the imports: {wanted}"
    files = {file.name for file in [*sources.rglob("*.*"), *(ROOT / "tests").rglob("*.py")]}
    for name in sorted(set(re.findall(r"`(?:[\w/]+/)?(\w+\.(?:py|j2|js|css))`", text)) - files):
        yield f"docs/architecture.md: there is no {name}"


def _room(name: str) -> str:
    return f"{name}/" if (ROOT / "src/steadytune" / name).is_dir() else f"{name}.py"


def _imported_rooms(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in for_types and node.module:
            first, _, rest = node.module.partition(".")
            if first == "steadytune":
                yield from [_room(rest.split(".")[0])] if rest else (_room(alias.name) for alias in node.names)


def check_reference() -> Iterator[str]:
    """Yield what the tables of docs/study.md lack, have too much, or give another default than the code."""
    text = REFERENCE.read_text(encoding="utf-8")
    tables: dict[str, type[BaseModel]] = {
        "Study": Study,
        "Task": TaskSpec,
        "Training": Training,
        "Decoding": Decoding,
        "Adapters": Lora,
        "Recipe": Recipe,
        "Seeds": Seeds,
        "Grid of seeds": SeedGrid,
        **{name: type(parse_stabilizer(name)) for name in STABILIZERS},
    }
    for heading, model in tables.items():
        found = re.search(rf"^##+ {heading}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
        rows = dict(_ROW.findall(found[1])) if found else {}
        for key in [name for name in model.model_fields if name not in rows]:
            yield f"docs/study.md: '{heading}' has no row for `{key}`"
        for key, default in rows.items():
            if key not in model.model_fields:
                yield f"docs/study.md: '{heading}' has a row for `{key}`, which the code does not know"
            elif not _is_default(model, key, default):
                yield f"docs/study.md: the default of `{key}` in '{heading}' is not {default}"


def _is_default(model: type[BaseModel], key: str, written: str) -> bool:
    field = model.model_fields[key]
    if field.is_required() or written == "required":
        return field.is_required() and written == "required"
    try:
        made = model.model_validate({**NEEDED.get(model, {}), key: yaml.safe_load(written)})
    except ValueError:
        return False
    return bool(getattr(made, key) == field.get_default(call_default_factory=True))


def check_links(page: Path, text: str) -> Iterator[str]:
    """Yield links to files and headings that are not there."""
    for target in _LINK.findall(_FENCE.sub("", text)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists():
            yield f"link to {target}, which is not there"
        elif anchor and anchor not in _anchors(file):
            yield f"link to {target}: {file.name} has no such heading"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def fenced(text: str) -> list[tuple[str, str]]:
    """Return (language, content) of the code blocks of a page."""
    return [(language, dedent(block)) for _, language, block in _FENCE.findall(text)]


def command_lines(text: str, bare: str = "run") -> Iterator[list[str]]:
    """Yield the words of every `steadytune` command in shell blocks and inline code; a bare option is one of `bare`."""
    shell = [block.replace("\\\n", " ") for language, block in fenced(text) if language in {"sh", "bash", "console"}]
    lines = [line for block in shell for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))]:
        command = f"steadytune {bare} {line}" if line.startswith("--") else line.strip().removeprefix("$ ")
        if command.startswith("steadytune "):
            yield shlex.split(command, comments=True)[1:]


def check_command(words: list[str]) -> Iterator[str]:
    """Yield what a command line names that the program does not have."""
    command: Any = typer.main.get_command(app)
    name, rest = "", words
    while rest and hasattr(command, "commands"):
        name, rest = f"{name} {rest[0]}".strip(), rest[1:]
        if name.endswith("--help"):
            return
        command = command.commands.get(name.split()[-1])
    if command is None:
        yield f"no command 'steadytune {name}'"
        return
    # What follows is the command of somebody else.
    rest = rest[: rest.index("--")] if "--" in rest else rest
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in rest:
        if word.startswith("-") and word.partition("=")[0] not in options:
            yield f"'steadytune {name}' has no option {word}"
    sections: dict[str, type[BaseModel]] = {"task": TaskSpec, "training": Training}
    if name == "sweep":
        return
    for setting in (after for before, after in pairwise(rest) if before == "--set"):
        first, _, second = setting.partition("=")[0].partition(".")
        known = sections[first].model_fields if first in sections and second else {second: None}
        if setting != "KEY=VALUE" and second != "KEY" and (first not in Study.model_fields or second not in known):
            yield f"--set {setting}: no such key"


def check_block(language: str, block: str) -> Iterator[str]:
    """Yield why a whole study file in a document is none, and names that a Python block takes from nowhere."""
    if language == "yaml" and {"model", "task"} <= set(content := yaml.safe_load(block)):
        try:
            Study.parse(content, "study file")
        except UserError as error:
            yield str(error)
    if language != "python":
        return
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "st":
            yield from _missing("steadytune", [node.attr])
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("steadytune"):
            yield from _missing(node.module or "", [alias.name for alias in node.names])


def _missing(module: str, names: list[str]) -> Iterator[str]:
    found = import_module(module)
    for name in names:
        # Names that load torch when they are asked for are believed.
        if name not in getattr(found, "__all__", ()) and not hasattr(found, name):
            yield f"{module} has no {name}"


def main() -> int:
    """Check everything; print what is wrong, or one line; 1 if anything is wrong."""
    pages = [page for page in sorted(ROOT.rglob("*.md")) if not page.relative_to(ROOT).parts[0].startswith(".")]
    problems = [*check_reference(), *check_structure()]
    commands = blocks = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        found = list(check_links(page, text))
        for words in command_lines(text, "sweep" if page.stem == "sweep" else "run"):
            found += check_command(words)
            commands += 1
        for language, block in fenced(text):
            found += check_block(language, block)
            blocks += language in {"yaml", "python"}
        problems += [f"{page.relative_to(ROOT)}: {problem}" for problem in found]
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return 1
    print(f"docs ok: {len(pages)} pages, {commands} command lines, {blocks} study and Python blocks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
