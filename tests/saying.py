"""What a message must say, whatever its words: names, keys, values and numbers in an order."""

import re


def says(*tokens: str) -> str:
    """A pattern that matches the `tokens` as they stand and in this order, with anything between them, for `match=`."""
    return "(?s)" + ".*".join(map(re.escape, tokens))


def names(text: str, *tokens: str) -> bool:
    """Whether `text` says the `tokens`, in this order."""
    return re.search(says(*tokens), text) is not None
