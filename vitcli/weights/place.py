"""Where a native tensor stands in another layout."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Some rows of a native tensor under another name: axes permuted, then written with another shape.

    Attributes:
        name: there.
        shape: there.
        axes: the native axes in the order that they have there.
        rows: of the native tensor's first axis, from and to; none: all.
    """

    name: str
    shape: Shape
    axes: Shape
    rows: tuple[int, int] | None = None

    def native_shape(self, whole: Shape) -> Shape:
        """Returns the native shape of what stands here, a part of a tensor of shape `whole`."""
        return whole if self.rows is None else (self.rows[1] - self.rows[0], *whole[1:])


def permuted(shape: Shape, axes: Shape) -> Shape:
    """Returns the sides of a shape in another order."""
    return tuple(shape[axis] for axis in axes)


def inverse(axes: Shape) -> Shape:
    """Returns the permutation that undoes one."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))
