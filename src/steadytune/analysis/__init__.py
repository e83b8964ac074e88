"""What the measures of a cohort say: intervals, comparisons with a baseline, and the verdict in words."""
