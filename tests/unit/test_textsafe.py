"""Is what `textsafe` lets through harmless, and is what is harmless let through?"""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent import textsafe

KEPT = "plain ASCII ~ äöü 日本語 العربية ● ✓ 🎉 \u00a0\u3000 e\u0301\n\tnext"


def test_safe_keeps_what_people_write() -> None:
    assert textsafe.safe(KEPT) == KEPT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb", "a\\x0db"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("\u202e", "\\u202e"),
        ("\u2066", "\\u2066"),
        ("\u061c", "\\u061c"),
        ("\u200b", "\\u200b"),
        ("\ufeff", "\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\ue000", "\\ue000"),
        ("\udc80", "\\udc80"),
        ("\u2028", "\\u2028"),
        ("\u3164", "\\u3164"),
        ("\U000e0101", "\\U000e0101"),
        (b"\xff\x1bc", "\ufffd\\x1bc"),
    ],
)
def test_safe_shows_what_commands_or_hides(text: str | bytes, shown: str) -> None:
    assert textsafe.safe(text) == shown


def test_line_stays_on_one_line() -> None:
    assert textsafe.line("a\n\tb\x1b") == "a\\n\\tb\\x1b"
    assert textsafe.line(b"a\nb") == "a\\nb"


@given(st.text(st.characters()))
def test_safe_leaves_no_control_and_is_idempotent(text: str) -> None:
    shown = textsafe.safe(text)
    assert not [char for char in shown if unicodedata.category(char)[0] == "C" and char not in "\n\t"]
    assert textsafe.safe(shown) == shown
    assert "\n" not in textsafe.line(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_line_means_the_same(text: str) -> None:
    document = json.dumps({"text": text}, ensure_ascii=False)
    shown = textsafe.json_line(document)
    assert json.loads(shown) == {"text": text}
    assert textsafe.safe(shown) == shown
