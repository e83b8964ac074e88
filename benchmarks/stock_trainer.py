"""What is run in a shell loop over seeds: a fine-tuning by the transformers Trainer, as its own examples do it.

for seed in 0 1 2 3; do
    python benchmarks/stock_trainer.py --model FOLDER --data FOLDER --out runs/$seed --seed $seed
done
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)


def accuracy(given: Any) -> dict[str, float]:
    """Return the share of right answers."""
    logits, labels = given
    return {"accuracy": float((np.argmax(logits, axis=-1) == labels).mean())}


def main() -> None:
    """Train, evaluate, and write score and logits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of an encoder")
    parser.add_argument("--data", type=Path, required=True, help="folder of train.jsonl and validation.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for what the run leaves")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--bf16", action="store_true")
    given = parser.parse_args()
    set_seed(given.seed)
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForSequenceClassification.from_pretrained(given.model, num_labels=2)
    rows = {}
    for split in ("train", "validation"):
        read = [json.loads(line) for line in (given.data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        tokens = tokenizer([row["sentence"] for row in read], truncation=True, max_length=128)
        rows[split] = [
            {"input_ids": ids, "attention_mask": shown, "labels": row["label"]}
            for ids, shown, row in zip(tokens["input_ids"], tokens["attention_mask"], read, strict=True)
        ]
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(given.out),
            num_train_epochs=given.epochs,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=64,
            learning_rate=2e-5,
            warmup_steps=0.1,
            weight_decay=0.01,
            bf16=given.bf16,
            seed=given.seed,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_metrics=accuracy,
    )
    trainer.train()
    found = trainer.predict(rows["validation"])
    given.out.mkdir(parents=True, exist_ok=True)
    np.save(given.out / "logits.npy", found.predictions)
    (given.out / "score.json").write_text(json.dumps(found.metrics), encoding="utf-8")


if __name__ == "__main__":
    main()
