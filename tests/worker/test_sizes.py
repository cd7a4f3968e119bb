"""Sizes in words."""

from __future__ import annotations

import pytest

from maitred.worker.sizes import in_words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (331_948_032, "317 MiB"),
        (1 << 30, "1 GiB"),
        (None, "unlimited"),
    ],
)
def test_three_digits(size: int | None, words: str) -> None:
    assert in_words(size) == words
