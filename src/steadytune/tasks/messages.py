"""Chats: lists of messages {"role", "content"}, as OpenAI and TRL write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from steadytune.tasks.table import is_missing

ROLES = ("system", "developer", "user", "assistant")
ANSWERS = "assistant"

Message = tuple[str, str]
"""Role and content."""
Chat = tuple[Message, ...]


def are_messages(value: Any) -> bool:
    """Return whether a value is meant as a list of messages, whatever is wrong with them."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "role" in one for one in value)


def read_messages(value: Any) -> Chat:
    """Read a list of messages.

    Raises:
        ValueError: It is none, or a message says more than its role and its content; says which.
    """
    if not isinstance(value, list) or not value:
        raise ValueError(f"{value!r:.80} is not a list of messages such as {{'role': 'user', 'content': '...'}}")
    return tuple(_message(number, one) for number, one in enumerate(value, start=1))


def _message(number: int, value: Any) -> Message:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise ValueError(f"message {number} is {value!r:.80}, not of the form {{'role': 'user', 'content': '...'}}")
    role, content = value["role"], value["content"]
    if role not in ROLES:
        raise ValueError(f"message {number} has the role {role!r:.40}: it must be one of {', '.join(ROLES)}")
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"message {number} (of the {role}) has no text as its content, but {content!r:.80}")
    # A file of columns has every key in every message.
    further = [key for key, held in value.items() if key not in ("role", "content") and not is_missing(held) and held]
    if further:
        raise ValueError(f"message {number} (of the {role}) has '{further[0]}', which is not read: remove it")
    return role, content


def split_chat(chat: Chat) -> tuple[Chat, str]:
    """Return a chat without its last message, which must be the assistant's, and that message.

    Raises:
        ValueError: It does not end with the assistant's answer to something.
    """
    if chat[-1][0] != ANSWERS:
        raise ValueError(
            f"the messages end with the {chat[-1][0]}'s, not with the {ANSWERS}'s, which is to be generated"
        )
    return check_question(chat[:-1]), chat[-1][1]


def check_question(chat: Chat) -> Chat:
    """Return a chat that the assistant is to answer.

    Raises:
        ValueError: There is nothing to answer.
    """
    if not chat or chat[-1][0] == ANSWERS:
        raise ValueError(f"before the {ANSWERS}'s last message there is no message to answer")
    return chat


def shown(chat: Sequence[Message]) -> str:
    """Return a chat as one text, to be shown: what a model reads is made by its own template."""
    return "\n".join(f"{role}: {content}" for role, content in chat)
