"""Recipes are found by name or by file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitcli.core import recipes
from vitcli.core.errors import RecipeError


def test_a_recipe_is_read_by_name_and_by_path(tmp_path: Path) -> None:
    text, name = recipes.text("digits")
    assert name == "digits"
    copy = tmp_path / "mine.toml"
    copy.write_text(text, encoding="utf-8")
    assert recipes.text(str(copy)) == (text, str(copy))
    assert recipes.draft(str(copy)).values == recipes.draft("digits").values
    assert "#" + recipes.headline("digits") == text.splitlines()[0].replace("# ", "#")


def test_a_file_beside_us_does_not_hide_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").write_text("not a recipe")
    assert recipes.text("digits")[0].startswith("#")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", r"recipe 'digit' is not known \(did you mean 'digits'\?\); allowed: digits"),
        ("absent.toml", "cannot read recipe absent.toml: No such file"),
    ],
)
def test_an_absent_recipe_is_told_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipes.draft(name)


def test_a_recipe_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not UTF-8 text"):
        recipes.draft(str(tmp_path / "a.toml"))
