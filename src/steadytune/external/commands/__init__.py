"""Runs of any command: what is run, the folder of its runs, and what each of them left."""
