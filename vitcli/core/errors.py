"""Every error that a user can cause, and the exit code that each one means.

    VitError                 1  the job failed
    ├── RequestError         2  the request was wrong: usage, recipe, missing or unreadable file
    │   ├── RecipeError         a key or a value of a recipe or an override
    │   ├── DataError           images, labels, folders
    │   ├── WeightsError        a weights file
    │   └── BackendError        an engine that is absent or lacks a device
    ├── DivergedError        1  the loss is no longer a finite number
    ├── VerificationError    3  a conversion, parity or checksum test failed
    └── Interrupted        130  stopped by Ctrl-C (143 by SIGTERM)

Only `vitcli.main` turns one into a line on stderr and an exit code. A message says what was given, what
is allowed and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class VitError(Exception):
    """A failure that is told in one line, without a traceback."""

    exit_code = 1
    # The folder of the run that was under way, where there was one.
    run: Path | None = None


class RequestError(VitError):
    """The request was wrong; nothing has been done."""

    exit_code = 2


class RecipeError(RequestError):
    """A recipe or an override holds an unknown key, a bad value or an impossible combination."""


class DataError(RequestError):
    """Images, labels or folders cannot be used as they are."""


class WeightsError(RequestError):
    """A weights file is unreadable, or is not what the spec asks for."""


class BackendError(RequestError):
    """An engine is not installed, or has no such device or precision."""


class DivergedError(VitError):
    """Training produced a loss that is not a finite number."""


class VerificationError(VitError):
    """Two things that must be equal are not."""

    exit_code = 3


class Interrupted(VitError):
    """The user or the system asked the job to stop; what was reached has been written."""

    exit_code = 130

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def reason(error: Exception) -> str:
    """Returns the first line of what a library says of an error, cut where it quotes a whole file; or its type."""
    text = " ".join(str(error).strip().splitlines()[:1]) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def nearest(word: str, words: Iterable[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the closest of `words`, or nothing where none is close."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""
