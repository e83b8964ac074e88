"""What every command prints with, and how the words of a command line become a study."""
