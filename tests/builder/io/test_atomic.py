"""Folders that are replaced atomically, and what stopped them."""

from pathlib import Path

import pytest

from builder.errors import DataError
from builder.io.atomic import replace_folder


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), r"cannot write .*model: No space left on device\n.*make room"),
        (OSError("Corrupt snappy compressed data."), r"cannot be read: Corrupt snappy .*\n.*synthmir verify"),
    ],
)
def test_a_full_disk_and_damaged_input_are_different_errors(error: OSError, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message), replace_folder(tmp_path / "model", lambda _: True, "a model"):
        raise error
    assert list(tmp_path.iterdir()) == []
