"""sentence-transformers' trainer: a loss that holds the model, batches of several texts, no labels."""

import pytest
import torch
from datasets import Dataset
from saying import says
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss, MultipleNegativesRankingLoss
from somebodys import CNGC, SWA, Script, check_plain, check_recorded, check_stabilized

from steadytune.errors import UserError

TEXTS = ["anna likes the glad apple", "ben sees the awful boat", "emma hears a song", "hugo finds the lamp"]


@pytest.fixture
def pairs(tiny_model):
    def made():
        torch.manual_seed(0)
        return SentenceTransformer(str(tiny_model), device="cpu")

    data = {"anchor": TEXTS * 4, "positive": (TEXTS[1:] + TEXTS[:1]) * 4}
    return Script(
        made,
        Dataset.from_dict(data),
        Dataset.from_dict({name: texts[:8] for name, texts in data.items()}),
        trainer=SentenceTransformerTrainer,
        arguments=SentenceTransformerTrainingArguments,
        options={"loss": MultipleNegativesRankingLoss},
    )


def test_without_stabilizers_it_is_the_plain_trainer(pairs, tmp_path):
    check_plain(pairs, tmp_path)


@pytest.mark.parametrize("method", ["l2_sp", "mixout", "wd_pre", "ema", SWA, "llrd", "neftune", "hype", CNGC])
def test_methods_serve_it(method, pairs, tmp_path):
    check_stabilized(pairs, tmp_path, method)


def test_similarities_are_served_as_well_and_passes_are_added(pairs, tmp_path):
    for data in (pairs.train, pairs.held_out):
        assert len(data)
    pairs.train = pairs.train.add_column("score", [0.0, 1.0] * 8)
    pairs.held_out = pairs.held_out.add_column("score", [0.0, 1.0] * 4)
    pairs.options = {"loss": CosineSimilarityLoss}
    pairs.settings = {"gradient_accumulation_steps": 2, "max_steps": 2}
    check_plain(pairs, tmp_path)
    check_stabilized(pairs, tmp_path, "l2_sp", "llrd", "ema")


def test_what_reads_outputs_is_refused_with_the_way_out(pairs, tmp_path):
    with pytest.raises(UserError, match=says("compute_loss")):
        check_stabilized(pairs, tmp_path, "mmr")


def test_a_run_that_is_not_recorded_says_how_to(pairs, tmp_path):
    run, said = check_recorded(pairs, tmp_path)
    assert run is None
    assert len(said) == 1
    assert "record_run" in said[0]
