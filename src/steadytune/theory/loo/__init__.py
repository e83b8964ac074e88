"""Leave-one-out stability: exact, by one Newton step, by influence functions; kept apart from stability over seeds."""
