"""The errors that callers catch."""

import queue
from typing import Literal

__all__ = ["QueueFull", "Reason"]

Reason = Literal["queue", "memory", "wait"]


class QueueFull(queue.Full):
    """
    A pool accepts no task now; nothing was queued.

    Attributes:
        reason: ``"queue"``: no place. ``"wait"``: it would wait longer than ``max_wait``.
        retry_after: seconds until it is worth trying again, from the rate at which tasks end; None if none has ended.
    """

    def __init__(self, message: str, *, reason: Reason = "queue", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (str(self),), {"reason": self.reason, "retry_after": self.retry_after})
