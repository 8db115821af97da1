"""Many paths, of which few are asked for at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


class Files(Sequence[Path]):
    """Paths by index, kept as text: making 60,000 `Path`s takes longer than listing their folders.

    An array of positions picks several, as it does of a NumPy array.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def __len__(self) -> int:
        """Number of files."""
        return len(self.names)

    def __iter__(self) -> Iterator[Path]:
        """Yields each path."""
        return map(Path, self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Files: ...
    @overload
    def __getitem__(self, index: NDArray[np.int64]) -> Files: ...
    def __getitem__(self, index: int | slice | NDArray[np.int64]) -> Path | Files:
        """Returns one path, or several."""
        if isinstance(index, slice):
            return Files(self.names[index])
        if isinstance(index, np.ndarray):
            return Files([self.names[i] for i in index.tolist()])
        return Path(self.names[index])

    def __eq__(self, other: Any) -> bool:
        """Returns whether another sequence holds the same paths in the same order."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
