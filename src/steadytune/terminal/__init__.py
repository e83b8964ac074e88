"""Printing for all commands, and studies from command-line options."""
