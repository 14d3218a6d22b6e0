from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent_daemon.domain.bpf import INSTRUCTION, RET_ALLOW, RET_ERRNO, Call, FilterError, Program, denies, strictest

WORD = st.integers(0, (1 << 32) - 1)
LONG = st.integers(0, (1 << 64) - 1)
RET_A = (0x16, 0, 0, 0)


def _program(*instructions: tuple[int, int, int, int]) -> Program:
    return Program(b"".join(INSTRUCTION.pack(*instruction) for instruction in instructions))


@given(st.integers(0, 5), st.tuples(*[LONG] * 6))
def test_program_loads_both_halves_of_an_argument(index: int, args: tuple[int, ...]) -> None:
    low = _program((0x20, 0, 0, 16 + 8 * index), RET_A).run(Call(1, args))
    high = _program((0x20, 0, 0, 20 + 8 * index), RET_A).run(Call(1, args))
    assert high << 32 | low == args[index]


@given(WORD, WORD)
@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (0x15, lambda a, k: a == k),
        (0x25, lambda a, k: a > k),
        (0x35, lambda a, k: a >= k),
        (0x45, lambda a, k: a & k != 0),
    ],
)
@pytest.mark.parametrize("by_register", [False, True])
def test_program_jumps(code: int, meaning, by_register: bool, a: int, k: int) -> None:  # type: ignore[no-untyped-def]
    compare = (code | 8, 0, 1, 0) if by_register else (code, 0, 1, k)
    program = _program((0x01, 0, 0, k), (0x00, 0, 0, a), compare, (0x06, 0, 0, 1), (0x06, 0, 0, 0))
    assert program.run(Call(0)) == int(meaning(a, k))


@given(WORD, WORD)
@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (0x04, lambda a, b: a + b),
        (0x14, lambda a, b: a - b),
        (0x24, lambda a, b: a * b),
        (0x34, lambda a, b: a // b if b else 0),
        (0x44, lambda a, b: a | b),
        (0x54, lambda a, b: a & b),
        (0x64, lambda a, b: a << b if b < 32 else 0),
        (0x74, lambda a, b: a >> b if b < 32 else 0),
        (0x84, lambda a, b: -a),
        (0xA4, lambda a, b: a ^ b),
    ],
)
def test_program_computes_in_words(code: int, meaning, a: int, b: int) -> None:  # type: ignore[no-untyped-def]
    assert _program((0x00, 0, 0, a), (code, 0, 0, b), RET_A).run(Call(0)) == meaning(a, b) % (1 << 32)


@given(WORD, st.integers(0, 15))
def test_program_keeps_words_in_memory_and_registers(value: int, slot: int) -> None:
    keep = _program((0x00, 0, 0, value), (0x02, 0, 0, slot), (0x00, 0, 0, 0), (0x60, 0, 0, slot), RET_A)
    move = _program((0x00, 0, 0, value), (0x07, 0, 0, 0), (0x00, 0, 0, 0), (0x87, 0, 0, 0), RET_A)
    store = _program((0x01, 0, 0, value), (0x03, 0, 0, slot), (0x61, 0, 0, slot), (0x87, 0, 0, 0), RET_A)
    assert keep.run(Call(0)) == move.run(Call(0)) == store.run(Call(0)) == value


def test_program_jumps_always_forward_by_k() -> None:
    assert _program((0x05, 0, 0, 1), (0x06, 0, 0, 1), (0x06, 0, 0, 2)).run(Call(0)) == 2


@given(st.binary(max_size=80))
def test_program_of_any_bytes_answers_or_says_that_it_is_none(data: bytes) -> None:
    try:
        answer = Program(data).run(Call(3, (1, 2, 3, 4, 5, 6)))
    except FilterError:
        return
    assert 0 <= answer < 1 << 32


@pytest.mark.parametrize(
    ("answers", "strictest_one"),
    [
        ((), RET_ALLOW),
        ((RET_ALLOW, RET_ERRNO | 1), RET_ERRNO | 1),
        ((RET_ERRNO | 1, 0x00030000), 0x00030000),
        ((0x00000000, 0x80000000, RET_ALLOW), 0x80000000),
        ((0x7FFC0000, RET_ALLOW), 0x7FFC0000),
        ((0x7FC00000, 0x7FF00000), 0x7FC00000),
    ],
)
def test_strictest_action_wins(answers: tuple[int, ...], strictest_one: int) -> None:
    assert strictest([_program((0x06, 0, 0, answer)) for answer in answers], Call(0)) == strictest_one


@pytest.mark.parametrize(
    ("answer", "denied"),
    [(0x80000000, True), (0, True), (0x30000, True), (0x50026, True)]
    + [(action, False) for action in (0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000)],
)
def test_only_a_sure_denial_denies(answer: int, denied: bool) -> None:
    assert denies(answer) is denied
