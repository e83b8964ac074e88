import re
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from saying import says

from steadytune import registry
from steadytune.errors import FolderWarning, UserError
from steadytune.stabilizers import STABILIZERS, Stabilizer, check_together, parse_stabilizer
from steadytune.stabilizers.mhloss import MHLoss
from steadytune.stabilizers.mmr import MMR
from steadytune.study import Study


class _OtherHead(Stabilizer):
    name = "other_head"

    def wrap_head(self, head):
        return head


@pytest.mark.parametrize("name", STABILIZERS)
def test_every_name_gives_its_stabilizer_and_survives_a_round_trip(name):
    stabilizer = parse_stabilizer(name)

    assert stabilizer.name == name
    assert parse_stabilizer(stabilizer.entry()) == stabilizer
    assert type(stabilizer).__doc__


def test_the_page_says_which_kinds_a_method_serves():
    text = (Path(__file__).parents[2] / "docs" / "study.md").read_text(encoding="utf-8")
    table = text.partition("| methods | kinds |")[2].partition("\n\n")[0]
    said = {}
    for row in table.splitlines()[2:]:
        methods, kinds = (re.findall(r"`(\w+)`", cell) for cell in row.strip("|").split("|"))
        said |= {name: set(kinds) for name in methods}

    assert said == {name: set(cls.kinds) for name, cls in STABILIZERS.items()}


def test_two_methods_that_replace_the_last_layer_are_refused():
    with pytest.raises(ValueError, match=says("'mhloss'", "'other_head'", "last layer")):
        check_together([MHLoss(), _OtherHead()])


def test_methods_that_add_to_each_other_are_not():
    check_together([MMR(), MHLoss(), parse_stabilizer("surt")])


def test_a_method_that_says_nothing_about_head_tuning_is_refused_there():
    with pytest.raises(UserError, match="mode 'full'"):
        Study.parse(
            {
                "model": "m",
                "task": "t",
                "training": {"mode": "head"},
                "recipes": {"a": {"stabilizers": [_OtherHead()]}},
            }
        )


class Shrink(Stabilizer):
    """Another package's method."""

    name = "shrink"
    alpha: float = 0.1

    def penalty(self, step):
        return self.alpha * step.features.square().mean()


@pytest.fixture
def other_package(monkeypatch):
    """Pretend that an installed package has entry points, and another the same where a name has two."""

    def install(**points):
        pairs = [(name, value) for name, values in points.items() for value in values.split()]
        made = [EntryPoint(name, value, STABILIZERS.group) for name, value in pairs]
        monkeypatch.setattr(registry, "entry_points", lambda group: made if group == STABILIZERS.group else [])
        STABILIZERS.forget()

    yield install
    STABILIZERS.forget()


def test_another_packages_method_is_found_by_its_entry_point(other_package):
    other_package(shrink="test_registry:Shrink")

    assert list(STABILIZERS)[-1] == "shrink"
    assert parse_stabilizer({"shrink": {"alpha": 0.5}}) == Shrink(alpha=0.5)
    study = Study.parse({"model": "m", "task": "t", "recipes": ["mmr+shrink"]})
    assert study.recipes["mmr+shrink"].stabilizers == (MMR(), Shrink())


def test_a_name_that_two_other_packages_give_is_an_error_that_names_both(other_package):
    other_package(shrink="test_registry:Shrink other:Shrink")

    assert list(STABILIZERS).count("shrink") == 1
    owners = ("test_registry:Shrink", "other:Shrink")
    with pytest.raises(UserError, match=says("'shrink'", *owners)):
        parse_stabilizer("shrink")
    assert parse_stabilizer("mhloss") == MHLoss()


def test_a_package_that_takes_a_built_in_name_changes_no_run_and_is_named(other_package):
    other_package(mmr="test_registry:Shrink", standard="test_registry:Shrink")

    assert list(STABILIZERS).count("mmr") == 1
    with pytest.warns(FolderWarning, match=says("'mmr'", "test_registry:Shrink")):
        assert type(parse_stabilizer("mmr")) is MMR
    with pytest.raises(UserError, match=says("stabilizer", "'standard'")):
        parse_stabilizer("standard")


def test_a_package_that_calls_sys_exit_is_an_error_that_names_it(other_package, monkeypatch, tmp_path):
    (tmp_path / "leaves_at_import.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "leaves_when_made.py").write_text(
        "import sys\nfrom pydantic import model_validator\nfrom steadytune import Stabilizer\n"
        "class Made(Stabilizer):\n    name = 'made'\n"
        "    @model_validator(mode='before')\n    @classmethod\n    def leave(cls, content): sys.exit(0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    other_package(imported="leaves_at_import:X", made="leaves_when_made:Made")
    for name in ("imported", "made"):
        with pytest.raises(
            ValueError, match=f"stabilizer '{name}': .*{'SystemExit' if name == 'imported' else 'sys.exit'}"
        ):
            parse_stabilizer(name)


def test_a_package_is_told_by_its_name_and_what_it_gives():
    (installed,) = [point for point in entry_points(group="console_scripts") if point.name == "pytest"]
    assert registry._package(installed) == f"pytest ({installed.value})"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_package:Shrink", says("'shrink'", "no_such_package:Shrink", "No module named")),
        ("test_registry:_OtherHead", says("test_registry:_OtherHead", "Stabilizer", "'shrink'")),
        ("test_registry:pytest", says("test_registry:pytest", "Stabilizer", "'shrink'")),
    ],
)
def test_a_broken_entry_point_is_an_error_of_its_own_name_alone(other_package, value, message):
    other_package(shrink=value)

    with pytest.raises(UserError, match=message):
        parse_stabilizer("shrink")
    assert parse_stabilizer("mmr") == MMR()


def test_an_unknown_name_is_answered_with_the_closest_one_of_any_package(other_package):
    other_package(shrink="test_registry:Shrink")

    with pytest.raises(UserError, match=says("'shrnk'", "'shrink'")):
        parse_stabilizer("shrnk")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("soup", ("st.uniform_soup", "st.greedy_soup")),
        ("ensemble", ("st.ensemble",)),
        ("bias_correction", ("AdamW", "no_bias_correction")),
    ],
)
def test_what_is_no_stabilizer_is_answered_with_what_has_it(name, words):
    with pytest.raises(UserError, match=says(*words)):
        parse_stabilizer(name)
    with pytest.raises(UserError, match=says("recipe", f"'{name}'", *words)):
        Study.parse({"model": "m", "task": "t", "recipes": [f"mmr+{name}"]})


def test_an_unknown_name_may_be_that_of_a_package_to_install():
    with pytest.raises(UserError, match=says("'shrink'", "bitfit", "wd_pre", "install")):
        parse_stabilizer("shrink")


def test_names_are_read_without_torch():
    code = "import sys; from steadytune.stabilizers import *; [parse_stabilizer(n) for n in STABILIZERS]"
    assert (
        subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=False).returncode
        == 0
    )
