"""What is asked of a torch model, whoever made it: its parts, its head, its padding, its loss and its states."""
