"""Tests of the theory on generated data and real tasks, one table each."""
