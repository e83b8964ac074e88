"""RunSpec -> RunRecord: loading a model, full fine-tuning on the transformers Trainer, batched head tuning, recording."""
