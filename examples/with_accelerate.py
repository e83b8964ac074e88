"""Stabilizers under Accelerate, with gradient accumulation, in float32 or bfloat16.

    python examples/with_accelerate.py
    accelerate launch examples/with_accelerate.py --model google-bert/bert-base-uncased --task glue/rte

What differs from `plain_loop.py`: methods are put to work before `prepare` wraps the model, `accelerator.backward`
makes the gradient, and what comes once a step waits until all its passes are done.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from accelerate import Accelerator
from texts import Texts, options, report
from transformers import get_linear_schedule_with_warmup, set_seed

import steadytune as st

PASSES = 2


def main() -> None:
    """Train, and report."""
    given = options(__doc__)
    accelerator = Accelerator(gradient_accumulation_steps=PASSES)
    texts = Texts(given.model, given.task)
    set_seed(given.seed)
    model = texts.classifier()
    loader = torch.utils.data.DataLoader(
        texts.train, max(1, given.batch_size // PASSES), shuffle=True, collate_fn=texts.batch
    )

    stabilization = st.Stabilization(
        model,
        [st.LLRD(decay=0.95), st.MHLoss(heads=5)],
        seed=given.seed,
        average=partial(accelerator.reduce, reduction="mean"),  # what methods average, all processes share
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.learning_rate, weight_decay=0.01)
    optimizer = stabilization.prepare_optimizer(optimizer)
    wrapped, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    steps = given.epochs * math.ceil(len(loader) / PASSES)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.1 * steps), steps)
    stabilization.begin(lambda: loader, steps)

    def one_pass(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with accelerator.autocast():
            loss, _ = stabilization.loss(wrapped, batch)
        accelerator.backward(loss)  # divides by the number of passes
        return loss.detach()

    wrapped.train()
    for _ in range(given.epochs):
        for batch in loader:
            with accelerator.accumulate(wrapped):
                # A method such as FreeLB makes several passes of one.
                stabilization.passes(partial(one_pass, batch), batch)
                if accelerator.sync_gradients:
                    stabilization.before_step(max_norm=1.0)
                optimizer.step()
                if accelerator.sync_gradients:
                    stabilization.after_step(optimizer)
                    schedule.step()
                optimizer.zero_grad()
    stabilization.finish()
    if accelerator.is_main_process:
        report(model, texts, given.out)


if __name__ == "__main__":
    main()
