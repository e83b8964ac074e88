"""RunSpec -> RunRecord: loading a model, full fine-tuning on the Trainer, batched head tuning, recording."""
