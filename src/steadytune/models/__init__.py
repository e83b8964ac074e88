"""Inspection of any torch model: its parts, head, padding, loss and states."""
