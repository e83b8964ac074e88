import json
from pathlib import Path

import pytest


@pytest.fixture
def data() -> Path:
    """The folder of real tasks beside the checkout."""
    folder = Path(__file__).parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real tasks are not at {folder}")
    return folder


@pytest.fixture
def write_splits(tmp_path):
    """Return a function that writes train.jsonl and validation.jsonl and returns their folder."""

    def write(train, validation=None):
        for name, rows in (("train", train), ("validation", train if validation is None else validation)):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path

    return write
