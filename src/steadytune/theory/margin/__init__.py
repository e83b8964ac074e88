"""Head tuning on separable features: the max-margin head, its leave-one-out versions, the stability bound."""
