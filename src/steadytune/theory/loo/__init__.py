"""Leave-one-out stability: exact, by one Newton step, by influence functions; seeds in a column of their own."""
