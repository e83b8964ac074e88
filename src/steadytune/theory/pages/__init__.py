"""Pages for studies of the theory: figures, and predictions compared with measurements."""
