"""Head tuning on separable features: the max-margin head, what it becomes without an example, the bound."""
