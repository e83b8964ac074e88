"""Execution of many RunSpecs: planning, executors and progress."""
