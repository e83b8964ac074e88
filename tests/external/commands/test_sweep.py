"""What a sweep of a command is: its placeholders, its runs, and what is refused before anything starts."""

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.external.commands.sweep import CommandRun, Sweep

COMMAND = (sys.executable, "-c", "pass", "{seed}", "{out}")


def swept(*command, **content):
    return Sweep(**{"command": command or COMMAND, "folder": "/", "seeds": (0, 1), **content})


def test_placeholders_are_filled_and_other_braces_are_text():
    run = CommandRun.of(3, {"lr": "1e-5"})
    said = {
        "{seed}": "3",
        "--out={out}/x": "--out=/o/x",
        "{lr}{lr}": "1e-51e-5",
        "{{seed}}": "{seed}",
        '{"seed": {seed}}': '{"seed": 3}',
        "{}": "{}",
        "{ seed }": "{ seed }",
        "awk {print $1}": "awk {print $1}",
    }
    assert {word: run.filled(word, "/o") for word in said} == said


def test_what_is_put_in_is_not_filled_again():
    assert CommandRun.of(3, {"name": "{seed}"}).filled("{name}", "/o") == "{seed}"


def test_a_value_in_a_pattern_of_file_names_stands_for_itself():
    assert CommandRun.of(3, {"name": "a*[b]"}).filled("{name}/*.csv", "/o", pattern=True) == "a[*][[]b]/*.csv"


def test_every_combination_is_run_seed_by_seed():
    sweep = swept(values={"lr": ("2", "1"), "size": ("8", "16")})
    names = [run.name for run in sweep.runs()]
    assert names == [
        f"lr={rate}, size={size}, seed {seed}" for seed in (0, 1) for rate in ("2", "1") for size in ("8", "16")
    ]
    assert [run.name for run in swept().runs()] == ["seed 0", "seed 1"]


def test_the_folder_of_a_run_says_what_it_is():
    assert CommandRun.of(3, {}).id == "seed-3"
    assert CommandRun.of(3, {"size": "8", "lr": "1e-5"}).id == "lr-1e-5_size-8_seed-3"


@given(st.dictionaries(st.sampled_from(["lr", "model", "x"]), st.text(max_size=80)), st.text(max_size=80))
def test_every_run_has_a_folder_of_its_own_that_any_system_takes(values, other):
    run = CommandRun.of(1, values)
    assert re.fullmatch(r"[\w.+-]{1,220}", run.id, re.ASCII)
    for name, value in values.items():
        if value != other:
            changed = CommandRun.of(1, {**values, name: other})
            # Where capitals are small letters, too.
            assert changed.id.casefold() != run.id.casefold()


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (swept("true", "{out}"), ["{seed}", "--seed {seed}", "env SEED={seed}"]),
        (swept("true", "{seed}"), ["{out}", "--results"]),
        (swept("true", "{sed}", "{out}"), ["'sed'", "'seed'", "--set sed", "{{sed}}"]),
        (swept(*COMMAND, values={"lr": ("1",)}), ["{lr}"]),
        (swept(*COMMAND, "{lr}"), ["'lr'", "--set lr"]),
        (swept(*COMMAND, "{lr}", values={"lr": ("1", "1")}), ["lr", "twice"]),
        (swept(*COMMAND, values={"seed": ("1",)}), ["--set seed"]),
        (swept(*COMMAND, values={"a b": ("1",)}), ["--set a b"]),
        (swept("true", "{seed}", results="x.csv"), ["--results x.csv", "{seed}"]),
        (swept("true", "{seed}", "{lr}", results="{seed}.csv", values={"lr": ("1", "2")}), ["--results", "{lr}"]),
        (swept(*COMMAND, results="/tmp/x.csv"), ["--results /tmp/x.csv", "{seed}"]),
        (swept(*COMMAND, results="{sed}.csv"), ["'sed'"]),
        (swept("no-such-program", *COMMAND), ["'no-such-program'", "not found"]),
        (swept("./no-such-program", *COMMAND), ["'./no-such-program'", "not found"]),
        (swept("/etc/passwd", *COMMAND), ["'/etc/passwd'", "not executable"]),
        (swept(sys.executable, "trian.py", *COMMAND), ["trian.py", "script"]),
        (swept(*COMMAND, "{lr}", seeds=tuple(range(5001)), values={"lr": ("1", "2")}), ["5001", "10,002", "10,000"]),
    ],
)
def test_what_could_not_go_well_is_refused_before_it_starts(sweep, said):
    with pytest.raises(UserError, match=says(*said)):
        sweep.check()


@pytest.mark.parametrize(
    "sweep",
    [
        swept(),
        swept("env", "SEED={seed}", *COMMAND[:3], "{out}"),
        swept(*COMMAND[:3], "{seed}", results="outputs/{seed}/*.csv"),
        swept(results="*.csv"),
        swept(results="{out}/*.csv"),
        swept(*COMMAND, "{lr}", "{{text}}", values={"lr": ("1",)}),
    ],
)
def test_what_can_go_well_is_not(sweep):
    sweep.check()


@pytest.mark.parametrize(
    ("results", "mentions", "outside"),
    [
        (None, True, False),
        ("*.csv", True, False),
        ("{out}/*.csv", True, False),
        ("/data/{seed}.csv", True, True),
        ("{seed}/*.csv", False, True),
    ],
)
def test_results_are_in_the_folder_of_the_run_if_the_command_is_told_of_it(results, mentions, outside):
    command = COMMAND if mentions else COMMAND[:-1]
    assert swept(*command, results=results).outside == outside


def test_a_folder_takes_more_seeds_and_values_of_the_same_command_and_nothing_else(tmp_path):
    command = (*COMMAND, "{lr}")
    held = swept(*command, values={"lr": ("1", "2")}, seeds=(0, 1), metric="f1")
    more = swept(*command, values={"lr": ("3", "1")}, seeds=(7, 1))
    joined = more.joined(held, tmp_path)
    assert joined.seeds == (0, 1, 7)
    assert joined.values == {"lr": ("1", "2", "3")}
    assert joined.metric == "f1", "how it is measured stays, unless it is said anew"
    assert more.model_copy(update={"metric": "accuracy"}).joined(held, tmp_path).metric == "accuracy"
    for other, said in [
        (swept(*command, "--more", values={"lr": ("1",)}), ["another command", "--out"]),
        (swept(*command, values={"lr": ("1",)}, folder="/tmp"), ["in /", "--out"]),
        (swept(*command, values={"size": ("1",)}), ["lr", "size", "--out"]),
    ]:
        with pytest.raises(UserError, match=says(tmp_path, *said)):
            other.joined(held, tmp_path)
