"""From RunSpec to RunRecord: loading a model, full fine-tuning with the Trainer, batched head tuning, recording."""
