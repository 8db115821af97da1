"""How a job tells what it does without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a progress bar."""

    def __call__(self, amount: int, detail: str = "") -> None:
        """Adds `amount` units; `detail` is shown behind the bar."""
        ...


class Reporter(Protocol):
    """Notes and progress of a job."""

    def note(self, text: str) -> None:
        """Tells one line."""
        ...

    def track(self, title: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Returns a context in which `total` units of work are done (0: nobody knows how many)."""
        ...


class Silent:
    """A reporter that tells nothing."""

    def note(self, text: str) -> None:
        """Tells nothing."""

    @contextmanager
    def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Tracks nothing."""
        yield lambda amount, detail="": None
