import pytest

from steadytune.errors import UserError
from steadytune.stabilizers import Stabilizer, check_together, parse_stabilizer, stabilizer_names
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
