"""Predict which recipes will be unstable over seeds, from one run or none, and test whether that is possible at all."""
