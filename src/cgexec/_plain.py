"""Other people's text for a terminal or a log. Pure."""

__all__ = ["plain", "plain_lines"]


def plain(text: str) -> str:
    """Return *text* with "?" for what does not print: a terminal or a CI's log would act on it (escapes, new lines)."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def plain_lines(text: str) -> str:
    """Return `plain` of each line of *text*."""
    return "\n".join(plain(line) for line in text.split("\n"))
