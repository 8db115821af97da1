"""The names that a file's tensors have today, without what wrappers and older versions made of them."""

from __future__ import annotations

from vitcli.core.errors import WeightsError
from vitcli.core.reporter import Reporter
from vitcli.weights.header import Header
from vitcli.weights.names import code_of, detect

# What wrappers put before every name: DataParallel, torch.compile, and training frameworks.
_PREFIXES = ("module.", "_orig_mod.", "model.")


def with_current_names(header: Header, reporter: Reporter) -> tuple[Header, dict[str, str]]:
    """Returns the header under today's names, and what the file calls each tensor that logits depend on.

    `reporter` is told of wrappers.

    Raises:
        WeightsError: two names of the file are one today.
    """
    names, dropped = _unwrapped(header, reporter), set()
    code = code_of(names, detect(_renamed(header, names)))
    if code is not None and header.card is None:
        try:
            names = {now: names[old] for now, old in code.canonical(names).items()}
        except ValueError as error:
            raise WeightsError(f"{header.path} holds {error}: which of them is meant nobody knows") from error
        dropped = {now for now in names if code.drops(now)}
    return _renamed(header, names), {now: old for now, old in names.items() if now not in dropped}


def _unwrapped(header: Header, reporter: Reporter) -> dict[str, str]:
    """Returns names without what stands before all of them, and what the file calls them."""
    names, removed = {name: name for name in header.shapes}, ""
    while names and (prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in names)), "")):
        names = {name.removeprefix(prefix): old for name, old in names.items()}
        removed += prefix
    if removed:
        reporter.note(f"{header.path}: every name begins with '{removed}', which is taken away")
    return names


def _renamed(header: Header, names: dict[str, str]) -> Header:
    shapes = {now: header.shapes[old] for now, old in names.items()}
    return Header(path=header.path, shapes=shapes, metadata=header.metadata)
