"""StableTrainer in the place of Trainer: five lines of a script change, marked below.

python examples/stable_trainer.py
python examples/stable_trainer.py --model google-bert/bert-base-uncased --task glue/rte --learning-rate 2e-5
"""

from __future__ import annotations

import tempfile

from texts import Texts, options, report
from transformers import DataCollatorWithPadding, TrainingArguments

import steadytune as st  # 1: in the place of `from transformers import Trainer`


def main() -> None:
    """Train, and report."""
    given = options(__doc__)
    texts = Texts(given.model, given.task)
    with tempfile.TemporaryDirectory() as folder:
        trainer = st.StableTrainer(  # 2: in the place of `Trainer(`
            model_init=texts.classifier,  # 3: in the place of `model=`, so that `seed` draws the head
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=given.epochs,
                per_device_train_batch_size=given.batch_size,
                learning_rate=given.learning_rate,
                warmup_steps=0.1,
                seed=given.seed,
                logging_nan_inf_filter=False,  # 4: so that the log shows a loss that is NaN
                save_strategy="no",
                report_to="none",
            ),
            train_dataset=texts.train,
            eval_dataset=texts.validation,
            data_collator=DataCollatorWithPadding(texts.tokenizer),
            processing_class=texts.tokenizer,
            stabilizers=[st.LLRD(decay=0.95), st.MHLoss(heads=5)],  # 5: the methods
        )
        trainer.train()
    # MHLoss has folded its five heads into one: what is left is a plain model.
    report(trainer.model, texts, given.out)


if __name__ == "__main__":
    main()
