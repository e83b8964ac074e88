"""What the examples train on: words on the command line, a classifier, and its texts as token ids."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from steadytune.study import TaskSpec
from steadytune.tasks import load_task
from steadytune.training.weights import model_folder


def options(about: str | None) -> argparse.Namespace:
    """Read the command line.

    Without any words the offline model trains on the generated task. It learns little of it, as its pooler never was
    trained: what is shown is the code.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--model", default="minilm", help="hub id, folder, or 'minilm', the offline model")
    parser.add_argument("--task", default="acceptability", help="glue/..., a folder, or 'acceptability'")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for the trained model")
    return parser.parse_args()


class Texts:
    """A classification task, tokenized for a model.

    Args:
        model: Hub id, folder, or "minilm".
        task: Name of a task, or folder with train and validation files.
    """

    def __init__(self, model: str, task: str) -> None:
        self.folder = model_folder(model)
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        loaded = load_task(TaskSpec(name=task))
        assert loaded.kind == "classification", f"{task} is a {loaded.kind}: these examples classify"
        self.classes = len(loaded.label_names)
        self.train, self.validation = (self._rows(split) for split in (loaded.train, loaded.validation))

    def _rows(self, split: Any) -> list[dict[str, Any]]:
        return [
            {**self.tokenizer(*filter(None, texts), truncation=True, max_length=128), "labels": int(label)}
            for (texts,), label in zip(split.candidates, split.labels, strict=True)
        ]

    def classifier(self) -> Any:
        """Load the model with a new head. In float32, whatever its checkpoint is stored in."""
        return AutoModelForSequenceClassification.from_pretrained(
            self.folder, num_labels=self.classes, dtype=torch.float32
        )

    def batch(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad rows into tensors."""
        return dict(self.tokenizer.pad(rows, return_tensors="pt"))


@torch.no_grad()
def accuracy(model: Any, texts: Texts, size: int = 64) -> float:
    """Return the share of the validation set that a model gets right."""
    model.eval()
    right = 0
    for start in range(0, len(texts.validation), size):
        batch = texts.batch(texts.validation[start : start + size])
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        right += int((model(**batch).logits.argmax(-1) == batch["labels"]).sum())
    return right / len(texts.validation)


def report(model: Any, texts: Texts, out: str | None) -> None:
    """Print the accuracy, and keep the model: it is a plain one that transformers loads without steadytune."""
    print(f"accuracy {accuracy(model, texts):.3f} on {len(texts.validation)} examples, {type(model).__name__}")
    if out:
        model.save_pretrained(out)
        texts.tokenizer.save_pretrained(out)
