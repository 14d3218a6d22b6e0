"""Do keys mean on the line what a person means by them?"""

from __future__ import annotations

import pytest

from eleagent.cli.lineedit import LIMIT, Key, LineEditor


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (b"hello\r", "hello"),
        (b"hellp\x7fo\r", "hello"),
        (b"no\x15yes\r", "yes"),
        (b"one two\x17three\r", "one three"),
        ("grüß dich\r".encode(), "grüß dich"),
        (b"a\x1b[Ab\x1b[1;5Cc\x1bOPd\x1bxe\r", "abcde"),
        (b"\x1b[200~first\r\nsecond\x1b[201~\r", "first\n\nsecond"),
        (b"say \x1b[200~a\nb\x04\x10\x11\x1b[201~!\r", "say a\nb\x04\x10\x11!"),
        (b"a\x01\x0e\x11b\r", "ab"),
    ],
)
def test_line_is_what_was_typed(typed: bytes, line: str) -> None:
    assert LineEditor().feed(typed) == [line]
    editor, said = LineEditor(), []
    for byte in typed:
        said += editor.feed(bytes([byte]))
    assert said == [line], "whole or in single bytes"
    assert editor.text == ""


def test_ctrl_p_ctrl_q_and_ctrl_d_on_an_empty_line_leave() -> None:
    assert LineEditor().feed(b"text\x10\x11") == [Key.DETACH]
    assert LineEditor().feed(b"\x04") == [Key.DETACH]
    editor = LineEditor()
    assert editor.feed(b"text\x04\x10x\x11") == []
    assert editor.text == "textx"


def test_line_has_an_end() -> None:
    editor = LineEditor()
    editor.feed(b"x" * (LIMIT + 10))
    assert len(editor.text) == LIMIT
