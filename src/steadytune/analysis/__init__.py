"""Analysis of measured cohorts: intervals, comparisons with a baseline, and the verdict in words."""
