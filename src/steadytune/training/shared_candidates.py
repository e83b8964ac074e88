"""Words at which the generators of a study are compared, computed once from the pre-trained model and cached."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig

from steadytune.cache import cached_arrays
from steadytune.files import Arrays, canonical_json, sha256
from steadytune.kinds import KINDS
from steadytune.models.candidates import EXACT, SAMPLED, Candidates
from steadytune.models.random_state import preserved_random_state
from steadytune.models.texts import check_room
from steadytune.study import RunSpec
from steadytune.training.data import RunData
from steadytune.training.loading import build_model
from steadytune.training.observed import find_candidates
from steadytune.training.weights import model_folder


def shared_candidates(spec: RunSpec, data: RunData, cache: Path) -> Candidates | None:
    """Return the candidate words of the measured examples, the same for all runs; None for a kind without texts.

    Raises:
        UserError: The model has no positions for the texts, see `check_room`.
    """
    if not KINDS[data.task.kind].has_texts:
        return None
    config = AutoConfig.from_pretrained(model_folder(spec.model), trust_remote_code=False)
    for dataset in (data.measure, data.select):
        if dataset is not None:
            check_room(config, [row["prompt"] for row in dataset.rows], spec.training.decoding)
    training = spec.training

    def compute() -> tuple[Arrays, dict[str, int]]:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with preserved_random_state():
            model = build_model(spec.model, data.task, training, data.tokenizer).to(device)
            found = find_candidates(model, data.measure, data.collate, device)
        return {"words": found.words.numpy(), "weights": found.weights.numpy()}, {"exact": found.exact}

    split = [training.split_seed, training.select_checkpoint, training.max_length]
    key = sha256(canonical_json([spec.weights, spec.data, *split, EXACT, SAMPLED]))[:16]
    arrays, about = cached_arrays(cache, f"candidates-{key}", compute)
    return Candidates(torch.from_numpy(arrays["words"]), torch.from_numpy(arrays["weights"]), int(about["exact"]))
