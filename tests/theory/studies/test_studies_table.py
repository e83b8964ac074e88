import numpy as np
import pandas as pd
import pytest

from steadytune.theory.studies.dataset import DataSet
from steadytune.theory.studies.synthetic import SyntheticSpec, generate
from steadytune.theory.studies.table import DESIGN, default_specs, synthetic_study
from steadytune.theory.studies.varied import Grid, studied

TINY = Grid(
    steps=(5,), rates=(1.0,), scales=(1.0,), heads=(1, 2), alphas=(0.0,), seeds=2, left_out=2, epochs=1, adapter_steps=2
)
SPECS = [SyntheticSpec(n=8, d=3, seed=1), SyntheticSpec(n=12, d=10, classes=3, seed=2), SyntheticSpec(n=10, d=12)]


@pytest.fixture(scope="module")
def alone():
    shares = []
    return synthetic_study(SPECS, TINY, progress=shares.append), shares


def test_there_are_several_hundred_different_data_sets():
    specs = default_specs()
    assert len(set(specs)) == len(specs) >= 200
    for name in ("n", "d", "classes", "shift", "anisotropy", "label_noise", "margin", "seed"):
        assert len({getattr(spec, name) for spec in specs}) > 1


def test_the_table_holds_every_data_set_in_order_with_its_design(alone):
    table, _ = alone
    assert list(dict.fromkeys(table["dataset"])) == [0, 1, 2]
    for place, spec in enumerate(SPECS):
        rows = table[table["dataset"] == place]
        design = rows[list(DESIGN)].drop_duplicates()
        assert len(design) == 1
        assert design["n"].iloc[0] == spec.n
        assert design["data_seed"].iloc[0] == spec.seed
        assert design["minimal_margin"].iloc[0] == spec.margin
        assert rows["separable"].nunique() == 1
        assert set(rows["part"]) == {"geometry", "training", "order", "heads", "mmr"}


def test_no_value_of_a_part_is_lost_and_every_column_has_one(alone):
    table, _ = alone
    data = DataSet(*generate(SPECS[2]), SPECS[2].seed)
    assert {name for row in studied(data, TINY) for name in row} <= set(table.columns)
    assert table.notna().any().all()


def test_progress_rises_to_the_end(alone):
    _, shares = alone
    assert len(shares) == 3
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_a_data_set_has_the_same_numbers_in_whatever_company_and_process(alone):
    table, _ = alone
    pd.testing.assert_frame_equal(synthetic_study(SPECS, TINY, workers=2), table, check_exact=True)
    last = synthetic_study(SPECS[2:], TINY)
    rows = table[table["dataset"] == 2].reset_index(drop=True)
    for column in ("loo_directions", "seed_directions", "max_margin_loo"):
        assert np.array_equal(last[column], rows[column], equal_nan=True)
