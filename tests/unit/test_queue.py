"""Does everybody get a turn before anybody gets a second one?"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from eleagent_daemon.domain.queue import FairQueue

USERS = "abcd"


def filled(users: str) -> FairQueue:
    queue = FairQueue()
    for number, user in enumerate(users):
        queue.add(f"{user}{number}", user)
    return queue


def drained(queue: FairQueue) -> list[str]:
    taken = []
    while found := queue.take(lambda user: True):
        taken.append(found[0])
    return taken


@given(st.text(USERS, max_size=40), st.integers(0, 10))
def test_queue_gives_each_waiting_user_a_turn_in_each_round(users: str, first: int) -> None:
    queue = filled(users)
    for _ in range(first):
        queue.take(lambda user: True)
    places = sorted((queue.place(f"{user}{number}") or 0, user) for number, user in enumerate(users))
    taken = drained(queue)
    assert [user for place, user in places if place] == [key[0] for key in taken], "the places that were told hold"
    for user in USERS:
        own = [key for key in taken if key[0] == user]
        assert own == sorted(own, key=lambda key: int(key[1:])), "first come, first served"
        turns = [at for at, key in enumerate(taken) if key[0] == user]
        for before, after in pairwise(turns):
            waiting = {key[0] for key in taken[before:]} - {user}
            between = {key[0] for key in taken[before + 1 : after]}
            assert {other for other in waiting if any(key[0] == other for key in taken[after:])} <= between


@given(st.text(USERS, max_size=40), st.sets(st.sampled_from(USERS)))
def test_queue_passes_over_who_may_have_no_more_and_forgets_nobody(users: str, full: set[str]) -> None:
    queue = filled(users)
    taken = []
    while found := queue.take(lambda user: user not in full):
        taken.append(found)
    assert {user for _, user in taken}.isdisjoint(full)
    assert len(queue) == sum(user in full for user in users)
    assert sorted([key for key, _ in taken] + drained(queue)) == sorted(f"{u}{n}" for n, u in enumerate(users))


def test_queue_of_a_thousand_does_not_keep_one_waiting() -> None:
    queue = filled("a" * 1000)
    queue.add("b", "b")
    assert queue.place("b") == 2
    assert queue.remove("a500")
    assert not queue.remove("a500")
    assert (queue.place("a499"), queue.place("a501"), queue.place("a500")) == (501, 502, None)


def test_queue_tells_ten_thousand_places() -> None:
    queue = filled(USERS * 2500)
    assert {queue.place(f"{user}{number}") for number, user in enumerate(USERS * 2500)} == set(range(1, 10_001))
