"""Many linear heads on the same features, trained as one batched problem."""
