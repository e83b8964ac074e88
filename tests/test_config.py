"""YAML as it is read here: plain data, within bounds."""

import pytest
import yaml
from saying import names, says

from steadytune import config
from steadytune.config import read_yaml
from steadytune.errors import UserError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, ("100,000 values",)),
        ("seeds: &a [*a]", ("alias",)),
        ("model: m\ntraining: {epochs: 1, epochs: 2}", ("line 2", "YAML", "'epochs'")),
        ("model: m\nmodel: n", ("YAML", "'model'")),
        ("[" * 5000, ("40 levels",)),
        (f"seeds: {'1' * 5000}", ("YAML",)),
    ],
)
def test_a_study_file_that_would_grow_or_says_a_thing_twice_is_refused(tmp_path, text, said):
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(tmp_path / "study.yaml")
    assert names(str(caught.value), str(tmp_path / "study.yaml"), *said)


def test_a_list_without_end_is_not_composed_to_its_end(monkeypatch):
    monkeypatch.setattr(config, "_MOST_VALUES", 50)
    events = []
    get_event = config._Loader.get_event
    monkeypatch.setattr(config._Loader, "get_event", lambda self: events.append(self) or get_event(self))
    with pytest.raises(yaml.YAMLError, match="50 values"):
        config.parse_yaml(f"seeds: [{'1, ' * 1000}1]")
    assert len(events) < 60


@pytest.mark.parametrize(
    "value",
    [
        "!!timestamp x",
        "!!binary x",
        "!!set {a}",
        "!!omap [a: 1]",
        "!!python/name:os.system x",
        f"1{':00' * 400}.5",
    ],
)
def test_what_is_no_plain_data_is_not_yaml_here(value, tmp_path):
    (tmp_path / "study.yaml").write_text(f"seeds: {value}")
    with pytest.raises(UserError, match=says(str(tmp_path / "study.yaml"), "YAML")):
        read_yaml(tmp_path / "study.yaml")


def test_what_looks_like_a_date_is_text():
    assert config.parse_yaml("task: 2024-01-01") == {"task": "2024-01-01"}


def test_aliases_and_merged_keys_are_read_as_yaml_has_them(tmp_path):
    (tmp_path / "study.yaml").write_text("x: &x {epochs: 1, clip: 2}\ny: {<<: *x, epochs: 3}\nz: *x\n")
    assert read_yaml(tmp_path / "study.yaml")["y"] == {"epochs": 3, "clip": 2}
