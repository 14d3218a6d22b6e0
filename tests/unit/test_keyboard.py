"""Is what was pasted never taken for keys, and does a paste always end?"""

from __future__ import annotations

import pytest
from textual.events import Key, Paste

from eleagent_tui.keyboard import END, START, Keyboard


def typed(*pieces: str) -> list[str]:
    """What comes of it, as the terminal sent it: keys by name, what was pasted in quotes."""
    keyboard = Keyboard()
    found = [message for piece in pieces for message in keyboard.feed(piece)]
    assert all(isinstance(one, Key | Paste) for one in found), found
    return [one.key if isinstance(one, Key) else repr(one.text) for one in found if isinstance(one, Key | Paste)]


HOSTILE = {
    "colour": ("ab\x1bcd\x1b[31m", "'abcd[31m'"),
    "clipboard": ("\x1b]52;c;aGk=\x07", "']52;c;aGk=\\x07'"),
    "escape last": ("ab\x1b", "'ab'"),
    "a key": ("\x1b[A", "'[A'"),
    "begins again": (f"a{START}b", "'a[200~b'"),
    "long": ("\x1b" + "x" * 100, f"'{'x' * 100}'"),
    "of other keys": ("A\x1bD\x1bq\x1by\r", "'ADqy\\r'"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_escape_in_a_paste_types_nothing_however_it_comes(name: str, size: int) -> None:
    text, pasted = HOSTILE[name]
    sent = f"x{START}{text}{END}y"
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert typed(*pieces) == ["x", pasted, "y"]


def test_keys_are_keys_as_before() -> None:
    assert typed("q\x1b[A", "\x1b[5~", "\x1b", "[", "B", "Z") == ["q", "up", "pageup", "down", "Z"]


def test_pastes_behind_each_other_are_each_one() -> None:
    assert typed(f"{START}a{END}{START}b{END}z{START}{END}") == ["'a'", "'b'", "z", "''"]


def test_control_c_leads_out_of_a_paste_that_does_not_end() -> None:
    assert typed(f"{START}half", "\x03", "q") == ["''", "ctrl+c", "q"]
    assert typed(f"{START}half\x03", f"more{END}") == ["'half\\x03more'"]  # it was pasted, too


def test_escape_key_is_told_when_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard = Keyboard()
    assert list(keyboard.feed("\x1b")) == []
    monkeypatch.setattr("textual._parser.get_time", lambda: float("inf"))
    assert [one.key for one in keyboard.tick() if isinstance(one, Key)] == ["escape"]
