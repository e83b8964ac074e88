import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from steadytune import stabilizers
from steadytune.errors import UserError
from steadytune.stabilizers import ENTRY_POINTS, Stabilizer, check_together, parse_stabilizer, stabilizer_names
from steadytune.stabilizers.mhloss import MHLoss
from steadytune.stabilizers.mmr import MMR
from steadytune.study import Study


class _OtherHead(Stabilizer):
    name = "other_head"

    def wrap_head(self, head):
        return head


@pytest.mark.parametrize("name", stabilizer_names())
def test_every_name_gives_its_stabilizer_and_survives_a_round_trip(name):
    stabilizer = parse_stabilizer(name)

    assert stabilizer.name == name
    assert parse_stabilizer(stabilizer.entry()) == stabilizer
    assert type(stabilizer).__doc__


def test_two_methods_that_replace_the_last_layer_are_refused():
    with pytest.raises(ValueError, match="'mhloss' and 'other_head' both replace the last layer"):
        check_together([MHLoss(), _OtherHead()])


def test_methods_that_add_to_each_other_are_not():
    check_together([MMR(), MHLoss(), parse_stabilizer("surt")])


def test_a_method_that_says_nothing_about_head_tuning_is_refused_there():
    with pytest.raises(UserError, match="works in setting 'full' alone"):
        Study.parse(
            {
                "model": "m",
                "task": "t",
                "training": {"setting": "head"},
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
    """Pretend that an installed package has entry points."""

    def install(**points):
        made = [EntryPoint(name, value, ENTRY_POINTS) for name, value in points.items()]
        monkeypatch.setattr(stabilizers, "entry_points", lambda group: made if group == ENTRY_POINTS else [])
        stabilizers._others.cache_clear()

    yield install
    stabilizers._others.cache_clear()


def test_another_packages_method_is_found_by_its_entry_point(other_package):
    other_package(shrink="test_registry:Shrink")

    assert stabilizer_names()[-1] == "shrink"
    assert parse_stabilizer({"shrink": {"alpha": 0.5}}) == Shrink(alpha=0.5)
    study = Study.parse({"model": "m", "task": "t", "recipes": ["mmr+shrink"]})
    assert study.recipes["mmr+shrink"].stabilizers == (MMR(), Shrink())


def test_this_packages_names_cannot_be_taken(other_package):
    other_package(mmr="test_registry:Shrink")

    assert parse_stabilizer("mmr") == MMR()
    assert stabilizer_names().count("mmr") == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_package:Shrink", "no_such_package:Shrink cannot be imported"),
        ("test_registry:_OtherHead", "is not a Stabilizer with name = 'shrink'"),
        ("test_registry:pytest", "is not a Stabilizer"),
    ],
)
def test_a_broken_entry_point_is_an_error_of_its_own_name_alone(other_package, value, message):
    other_package(shrink=value)

    with pytest.raises(UserError, match=message):
        parse_stabilizer("shrink")
    assert parse_stabilizer("mmr") == MMR()


def test_an_unknown_name_is_answered_with_the_closest_one_of_any_package(other_package):
    other_package(shrink="test_registry:Shrink")

    with pytest.raises(UserError, match="did you mean 'shrink'"):
        parse_stabilizer("shrnk")


def test_names_are_read_without_torch():
    code = "import sys; from steadytune.stabilizers import *; [parse_stabilizer(n) for n in stabilizer_names()]"
    assert (
        subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=False).returncode
        == 0
    )
