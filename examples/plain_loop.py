"""Stabilizers in a training loop of PyTorch alone: five lines more, marked 1 to 5, and two replaced, marked A and B.

python examples/plain_loop.py
python examples/plain_loop.py --model google-bert/bert-base-uncased --task glue/rte --learning-rate 2e-5
"""

from __future__ import annotations

import math

import torch
from texts import Texts, options, report
from transformers import get_linear_schedule_with_warmup, set_seed

import steadytune as st


def main() -> None:
    """Train, and report."""
    given = options(__doc__)
    texts = Texts(given.model, given.task)
    set_seed(given.seed)  # before the model is loaded: it draws the head
    model = texts.classifier()
    loader = torch.utils.data.DataLoader(texts.train, given.batch_size, shuffle=True, collate_fn=texts.batch)
    steps = given.epochs * len(loader)

    stabilization = st.Stabilization(model, [st.LLRD(decay=0.95), st.MHLoss(heads=5)], seed=given.seed)  # 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.learning_rate, weight_decay=0.01)
    optimizer = stabilization.prepare_optimizer(optimizer)  # 2: before the schedule is made
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.1 * steps), steps)
    stabilization.begin(lambda: loader, steps)  # 3
    model.train()
    for _ in range(given.epochs):
        for batch in loader:
            loss = stabilization.backward(model, batch)  # A: in the place of `loss.backward()`
            if not math.isfinite(loss):
                raise SystemExit("the loss is not finite: a lower learning rate, more warm-up")
            stabilization.before_step(max_norm=1.0)  # B: in the place of `clip_grad_norm_`
            optimizer.step()
            stabilization.after_step(optimizer)  # 4: before the schedule moves on
            schedule.step()
            optimizer.zero_grad()
    stabilization.finish()  # 5: leaves a plain model
    report(model, texts, given.out)


if __name__ == "__main__":
    main()
