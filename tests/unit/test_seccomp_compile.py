from __future__ import annotations

import errno

from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.bpf import AUDIT_ARCH_I386, RET_ALLOW, RET_ERRNO, X32_BIT, Call, Program, denies
from eleagent_daemon.domain.seccomp_compile import compile_filter

PROFILE = seccomp.load()
FILTER = compile_filter(PROFILE)
INSTRUCTIONS_LIMIT = 4096
"""BPF_MAXINSNS of linux/bpf_common.h."""


def test_compiled_filter_means_what_the_profile_says() -> None:
    program = Program(FILTER)
    for call in PROFILE.probes():
        answer = program.run(call)
        assert (answer == RET_ALLOW) == PROFILE.allows(call), call
        assert denies(answer) != PROFILE.allows(call), call
    assert seccomp.differences((FILTER,), PROFILE) == ()


def test_compiled_filter_refuses_the_entries_of_other_architectures() -> None:
    program = Program(FILTER)
    for number in (0, 1, 39, 59):
        assert denies(program.run(Call(number | X32_BIT)))
        assert denies(program.run(Call(number, arch=AUDIT_ARCH_I386)))


def test_compiled_filter_answers_as_the_profile_says() -> None:
    answered = {number: Program(FILTER).run(Call(number)) for number in PROFILE.errnos}
    assert answered == {number: RET_ERRNO | told for number, told in PROFILE.errnos.items()}
    assert Program(FILTER).run(Call(PROFILE.numbers["ptrace"])) == RET_ERRNO | errno.EPERM


def test_compiled_filter_is_one_that_the_kernel_takes() -> None:
    assert len(FILTER) // 8 < INSTRUCTIONS_LIMIT
