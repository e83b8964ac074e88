"""Compare recipes with a baseline: differences, tests, seeds needed, and a verdict in words."""
