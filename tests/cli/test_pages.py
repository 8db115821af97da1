"""`vit convert weights --help-layout NAME`: every layout has a page, with the names that its files have."""

from __future__ import annotations

import pytest

from tests.cli.running import here
from tests.weights.kinds import KINDS, Kind
from vitcli.core.parameters import parameter_table
from vitcli.weights.names import CODES, LAYOUTS, code_for, places
from vitcli.weights.peft import PEFT_LAYOUTS


@pytest.mark.parametrize("layout", [*LAYOUTS, *PEFT_LAYOUTS])
def test_every_layout_has_a_page(layout: str) -> None:
    said = here("convert", "weights", "--help-layout", layout)
    assert said.code == 0, said.err
    first, *lines = said.out.splitlines()
    assert first == layout
    assert any(line.startswith("- ") for line in lines)
    assert max(map(len, lines)) < 400


# A page tells the names of the plainest family.
FAMILIES = {
    name: kind
    for name, kind in KINDS.items()
    if kind.layout in CODES and code_for(kind.spec, kind.layout) is CODES[kind.layout][-1]
}


@pytest.mark.parametrize("kind", FAMILIES.values(), ids=FAMILIES)
def test_a_page_has_the_names_that_are_written(kind: Kind) -> None:
    page, spec = here("convert", "weights", "--help-layout", kind.layout).out, kind.spec
    native = {name for name in parameter_table(spec) if not name.startswith("blocks.1.")}
    told = {line.split()[0] for line in page.splitlines() if line.startswith("  ")}
    for name, parts in places(spec, kind.layout).items():
        if name in native and [part.name for part in parts] != [name]:
            assert name.replace("blocks.0.", "blocks.{i}.") in told


def test_an_unknown_layout_is_told_with_the_nearest() -> None:
    said = here("convert", "weights", "--help-layout", "tim")
    assert said.code == 2
    assert "did you mean 'timm'?" in said.errors[0]
