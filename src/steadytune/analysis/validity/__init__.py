"""Assess whether the measures of a study are worth reporting: validity, consistency, a recommendation."""
