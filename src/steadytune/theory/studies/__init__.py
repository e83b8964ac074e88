"""The theory held against generated data and real tasks, one table each."""
