"""Recipes against a baseline: differences, tests, how many seeds it takes, and all of it in words."""
