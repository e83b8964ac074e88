"""What a message must say, whatever its words: names, values, places, suggestions."""

import re


def says(*tokens: object) -> str:
    """Return a regex for `match=` that finds all tokens, in any order, with anything between them."""
    return "(?s)^" + "".join(f"(?=.*{re.escape(str(token))})" for token in tokens)


def names(text: str, *tokens: object) -> bool:
    """Tell whether a text holds all tokens, in any order."""
    return all(str(token) in text for token in tokens)
