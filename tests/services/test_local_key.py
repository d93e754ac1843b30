"""The key of secrets beside an embedded database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.local_key import KEY_FILE, local_key
from services.secret_keeping import keys_of


def test_it_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "data"
    key = local_key(home)

    assert len(key) == 32
    assert local_key(home) == key
    assert (home / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in home.iterdir()] == [KEY_FILE]


def test_all_who_make_it_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: local_key(tmp_path), range(32)))

    assert len(keys) == 1


@pytest.mark.parametrize("text", ["", "hunter2", "ab" * 31])
def test_a_file_that_holds_no_key_is_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / KEY_FILE).write_text(text)

    with pytest.raises(RuntimeError, match="holds no key"):
        local_key(tmp_path)
    assert (tmp_path / KEY_FILE).read_text() == text


def test_a_database_of_ones_own_has_the_configured_keys_only(tmp_path: Path) -> None:
    assert keys_of([], None) == []
    assert keys_of([b"c" * 32], None) == [b"c" * 32]


def test_a_key_that_is_configured_later_comes_before_the_local_one(tmp_path: Path) -> None:
    (local,) = keys_of([], tmp_path)

    assert keys_of([b"c" * 32], tmp_path) == [b"c" * 32, local]


def test_no_local_key_is_made_where_one_is_configured(tmp_path: Path) -> None:
    assert keys_of([b"c" * 32], tmp_path) == [b"c" * 32]
    assert list(tmp_path.iterdir()) == []
