import io
import shlex
import shutil

import pytest
import yaml
from commands import command, refused
from made_runs import made_store, made_study
from rich.table import Table

from steadytune.records import RunStore
from steadytune.terminal.console import Console
from steadytune.terminal.lines import on_one_line, printable

ESCAPE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e"


def steering(text):
    return [letter for letter in text if (ord(letter) < 32 and letter != "\n") or letter in "\x7f\x9b\u202e"]


def test_nothing_that_steers_a_terminal_is_left_and_all_else_stays():
    assert printable("naïve\ttext\n東京") == "naïve\ttext\n東京"
    assert printable("\x1b[31m") == "␛[31m"
    assert not steering(printable(ESCAPE))
    assert len(printable(ESCAPE)) == len(ESCAPE)
    assert on_one_line("a\nb\tc") == "a␊b␉c"


def test_a_console_colours_what_it_prints_and_nothing_else_does():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard", width=80)
    table = Table("name")
    table.add_row(ESCAPE)
    console.print("[bold]bold[/]")
    console.print(table)
    console.print(ESCAPE, markup=False)
    text = stream.getvalue()
    assert "\x1b[1mbold" in text
    assert "owned" in text
    for harm in ("\x1b]0", "\x07", "\x1b[2J", "\x9b", "\u202e"):
        assert harm not in text


@pytest.mark.parametrize("name", ["ls", "report", "compare", "measure", "validate", "doctor"])
def test_names_in_a_folder_do_not_reach_the_terminal_as_they_are(tmp_path, name):
    def hostile(content):
        content["recipes"] = {ESCAPE: {}, "standard": {}}
        return content

    study = made_study().to_dict()
    given = type(made_study()).parse(hostile(study), held=True)
    store = made_store(tmp_path / "out", given)
    result = command(name, store.path)
    assert "owned" in result.out + result.err
    assert not steering(result.out + result.err)


def test_names_in_errors_do_not_reach_the_terminal_as_they_are(tmp_path):
    for words in (["ls", f"no{ESCAPE}where"], ["run", "--task", "x", "--model", ESCAPE, "--out", tmp_path / "o"]):
        said = refused(*words)
        assert "owned" in said
        assert not steering(said)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"model": "m", "task": "t", ESCAPE: 1}))
    assert not steering(refused("run", file, "--out", tmp_path / "out"))


def test_hints_are_quoted_for_the_shell_and_name_the_way_to_try_again(tmp_path):
    store = made_store(tmp_path / "it's $(HOME) out", made_study(seeds=3))
    for record, status in zip(store.records(), ("crashed", None, None), strict=True):
        if status:
            shutil.rmtree(store.path / "runs" / record.spec.id)
            store.write(record.model_copy(update={"status": status, "score": None, "reason": "FileExistsError"}), {})
    text = command("ls", store.path).out
    hint = next(line for line in text.splitlines() if "--retry-failed" in line)
    place = [str(store.path / "study.yaml"), "--out", str(store.path)]
    assert shlex.split(hint.partition(": ")[2]) == ["steadytune", "run", *place, "--retry-failed"]
    shutil.rmtree(store.path / "runs" / store.records()[2].spec.id)
    line = next(line for line in command("ls", store.path).out.splitlines() if line.startswith("1 of"))
    assert shlex.split(line.partition(": ")[2]) == ["steadytune", "run", *place]
    assert shlex.quote(str(store.path)) in refused("measure", store.path, "--metric", "f1")


def test_a_folder_that_cannot_be_written_is_reported_into_another(tmp_path):
    store = made_store(tmp_path / "out", made_study(seeds=3))
    # A folder in its place is what this process may not write, whoever it is.
    (store.path / "runs.csv").mkdir()
    before = set(store.path.rglob("*"))
    assert "--out" in refused("report", store.path)
    result = command("report", store.path, "--out", tmp_path / "elsewhere")
    assert result.code == 0
    assert (tmp_path / "elsewhere" / "report.html").is_file()
    assert command("validate", store.path, "--out", tmp_path / "elsewhere").code == 0
    # What was computed of hidden states is kept, and may be deleted at any time.
    shutil.rmtree(store.cache)
    assert set(store.path.rglob("*")) == before
    assert len(RunStore(store.path).records()) == 3
