"""
The log, as those use it on whom others wait: what a filter or a handler of the application raises stops none of them.
"""

import logging
import traceback
from contextlib import suppress

__all__ = ["Log"]

_CALLER = 3  # frames up, for a record's file and line


class Log:
    """
    A logger that never raises an Exception. One of a handler's is printed as `logging` prints those of its own, unless
    ``logging.raiseExceptions`` is false.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, text: str, *args: object) -> None:
        """Log at that level."""
        self._log(logging.INFO, text, args, exc_info=False)

    def warning(self, text: str, *args: object, exc_info: bool = False) -> None:
        """Log at that level, with *exc_info* and the exception that is being handled."""
        self._log(logging.WARNING, text, args, exc_info=exc_info)

    def exception(self, text: str, *args: object) -> None:
        """Log an ERROR with the exception that is being handled."""
        self._log(logging.ERROR, text, args, exc_info=True)

    def critical(self, text: str, *args: object, exc_info: BaseException | bool = True) -> None:
        """Log at that level, with an exception: the one that is being handled, or another."""
        self._log(logging.CRITICAL, text, args, exc_info=exc_info)

    def _log(self, level: int, text: str, args: tuple[object, ...], *, exc_info: BaseException | bool) -> None:
        try:
            self._logger.log(level, text, *args, exc_info=exc_info, stacklevel=_CALLER)
        except Exception:  # noqa: BLE001  # anybody's; or no memory
            if logging.raiseExceptions:
                with suppress(Exception):  # an error that cannot be shown
                    traceback.print_exc()
