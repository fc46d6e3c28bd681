"""Other people's text for a terminal or a log. Pure."""

__all__ = ["plain"]


def plain(text: str) -> str:
    """Return *text* with "?" for what does not print: a terminal or a CI's log would act on it (escapes, new lines)."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
