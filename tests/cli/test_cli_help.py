import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from commands import command

COMMANDS = ["demo", "run", "sweep", "measure", "compare", "validate", "report", "ls", "doctor"]
HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "numpy",
    "pandas",
    "plotly",
    "pydantic",
    "scipy",
    "sklearn",
    "jinja2",
    "yaml",
}
SCRIPT = Path(sysconfig.get_path("scripts")) / "steadytune"


def imported_by(code):
    """Return the top-level modules that a process has imported at its end."""
    tell = "print(sorted({name.split('.')[0] for name in sys.modules}))"
    text = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\n{tell}"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(re.findall(r"'(\w+)'", done.stdout.splitlines()[-1]))


def test_help_imports_no_large_library():
    # What it takes to answer at once; how many seconds that is depends on what else the machine does.
    loaded = imported_by(
        "import sys; sys.argv = ['steadytune', '--help']; from steadytune.cli.main import main; main()"
    )
    assert "typer" in loaded
    assert not HEAVY & loaded


def test_the_package_imports_no_large_library_until_a_name_is_used():
    assert not HEAVY & imported_by("import steadytune")
    loaded = imported_by("import steadytune; steadytune.Study; steadytune.MHLoss; steadytune.RunStore; steadytune.run")
    assert "pydantic" in loaded
    assert not {"torch", "transformers", "datasets", "plotly"} & loaded


def test_every_name_of_the_package_can_be_had():
    import steadytune

    assert {"Study", "run", "profile", "compare", "Cohort", "StableTrainer", "MMR", "MHLoss", "UserError"} <= {
        *steadytune.__all__
    }
    for name in steadytune.__all__:
        assert getattr(steadytune, name).__name__ == name
    with pytest.raises(AttributeError, match="'Trainer'"):
        _ = steadytune.Trainer


def test_help_names_every_command():
    result = command("--help")
    assert result.code == 0
    for name in COMMANDS:
        assert f" {name} " in result.out
    assert command() == result


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_holds_an_example(name):
    result = command(name, "--help")
    assert result.code == 0
    assert "Example" in result.out
    assert f"steadytune {name}" in result.out.partition("Example")[2]


@pytest.mark.parametrize(
    ("words", "said", "where"),
    [
        (["rnu"], "No such command 'rnu'", "steadytune --help"),
        (["run", "--sedes", "3"], "No such option: --sedes", "steadytune run --help"),
        (["run", "--seeds", "x"], "Invalid value for '--seeds'", "steadytune run --help"),
        (["run", "--workers", "-1"], "Invalid value for '--workers'", "steadytune run --help"),
        (["measure"], "Missing argument", "steadytune measure --help"),
        (["demo", "--seeds", "0"], "Invalid value for '--seeds'", "steadytune demo --help"),
    ],
)
def test_a_word_that_means_nothing_is_said_in_two_lines(words, said, where):
    result = command(*words)
    assert result.code == 2
    assert result.out == ""
    assert re.fullmatch(rf"error: {re.escape(said)}[^\n]*\nSee {where}\n", result.err), result.err


def test_output_that_nobody_reads_to_the_end_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([SCRIPT, "run", "--help"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert "Traceback" not in done.stderr
