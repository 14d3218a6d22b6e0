"""Does no number of requests at once get past a limit, and is each limit told in words?"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent.errors import ConfigError, LimitReached
from eleagent.wire.limits import LimitsUpdate, Raise
from eleagent.wire.sessions import Usage
from eleagent_daemon.domain.doors import Grant
from eleagent_daemon.domain.limits import (
    LEAST_OUTPUT_TOKENS,
    MICRO,
    NAMES,
    Allowance,
    Ask,
    Measure,
    Resources,
    Sum,
    Totals,
    amount,
    describe_raise,
    duration,
    first_reached,
    grant,
    near,
    raise_of,
    raised,
    update_of,
)
from eleagent_daemon.domain.prices import LongRates, Price
from eleagent_daemon.gateway.body import CheckedBody
from eleagent_daemon.gateway.prices import SHIPPED, parse_prices
from eleagent_daemon.gateway.record import Exchange
from eleagent_daemon.gateway.spending import ask_for, estimate, shortened

PRICE = Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75, cache_write_1h=6.0)


def ask(**changes: object) -> Ask:
    plain = Ask(model="m", input_tokens=1000, output_tokens=32_000, least_output_tokens=1, price=PRICE)
    return msgspec.structs.replace(plain, **changes)


requests = st.builds(
    ask,
    input_tokens=st.integers(1, 400_000),
    output_tokens=st.integers(1, 64_000),
    least_output_tokens=st.integers(1, 2000),
)


@given(st.lists(requests, max_size=30), st.floats(0.01, 20), st.integers(0, 2_000_000), st.integers(0, 20), st.data())
def test_limits_hold_whatever_runs_at_once(
    asked: list[Ask], usd: float, tokens: int, turns: int, data: st.DataObject
) -> None:
    """Requests come and end in any order, each costing anything up to what it reserved: no sum gets past its limit."""
    allowance = Allowance(max_cost_usd=usd, max_tokens=tokens, max_turns=turns)
    open_: list[tuple[int, int]] = []
    money = used_tokens = used_turns = 0
    for one in asked:
        while open_ and data.draw(st.booleans()):
            most, most_tokens = open_.pop(data.draw(st.integers(0, len(open_) - 1)))
            money += data.draw(st.integers(0, most))
            used_tokens += data.draw(st.integers(0, most_tokens))
            used_turns += 1
        totals = Totals(
            session=Sum(money, sum(most for most, _ in open_)),
            tokens=Sum(used_tokens, sum(most for _, most in open_)),
            turns=Sum(used_turns, len(open_)),
        )
        try:
            granted = grant(one, allowance, totals)
        except LimitReached:
            continue
        if granted is not None:
            assert 0 < granted <= one.output_tokens
            assert granted >= min(one.output_tokens, max(LEAST_OUTPUT_TOKENS, one.least_output_tokens))
            open_.append((one.ceiling(granted), one.input_tokens + granted))
    money += sum(most for most, _ in open_)
    assert money <= usd * MICRO + len(asked), "rounded up by less than one each"
    assert not tokens or used_tokens + sum(most for _, most in open_) <= tokens
    assert not turns or used_turns + len(open_) <= turns


def test_limits_wait_for_what_is_under_way_and_stop_at_what_was_used() -> None:
    allowance = Allowance(max_cost_usd=1.0)
    assert grant(ask(), allowance, Totals(session=Sum(0, 900_000))) is None, (
        "those under way cost less than they reserve"
    )
    with pytest.raises(
        LimitReached, match=r"the session's budget is used up: 0.99 USD of 1.00 USD \(limit max_cost_usd\)"
    ):
        grant(ask(), allowance, Totals(session=Sum(990_000, 0)))


def test_limits_shorten_the_last_answer_to_what_the_budget_pays() -> None:
    granted = grant(ask(), Allowance(max_cost_usd=1.0), Totals(session=Sum(900_000, 0)))
    assert granted is not None
    assert LEAST_OUTPUT_TOKENS <= granted < 32_000
    assert 900_000 + ask().ceiling(granted) <= MICRO


def test_limits_of_a_day_are_each_their_own() -> None:
    spent = Sum(2 * MICRO, 0)
    for name in ("user_day", "key_day", "project_day"):
        allowance = Allowance(**{f"{name}_usd": 1.0})
        with pytest.raises(LimitReached) as met:
            grant(ask(), allowance, Totals(**{name: spent}))
        assert met.value.limit == f"{name}_usd"
        assert grant(ask(), allowance, Totals(session=spent)) == 32_000


def test_limits_on_money_hold_no_model_without_a_price_and_those_on_tokens_do() -> None:
    unpriced = ask(price=None)
    assert grant(unpriced, Allowance(max_cost_usd=0.01), Totals(session=Sum(MICRO, 0))) == 32_000
    with pytest.raises(LimitReached, match="the session's tokens"):
        grant(unpriced, Allowance(max_tokens=1500), Totals())


def test_near_tells_each_limit_once_from_its_share_on() -> None:
    measures = [Measure("max_turns", 8, 10), Measure("max_tokens", 79, 100), Measure("timeout_s", 5, 0)]
    assert [one.limit for one in near(measures, percent=80, warned=frozenset())] == ["max_turns"]
    assert near(measures, percent=80, warned=frozenset({"max_turns"})) == []
    assert first_reached(measures) is None
    met = first_reached([*measures, Measure("max_turns", 10, 10)])
    assert met is not None
    assert (met.limit, met.used, met.allowed, met.exit_code) == ("max_turns", 10, 10, 123)


def test_each_limit_of_a_session_has_a_name_for_people() -> None:
    assert {"timeout_s", *LimitsUpdate.__struct_fields__} <= NAMES.keys()
    assert set(Allowance.__struct_fields__) <= NAMES.keys()


def test_amounts_are_words() -> None:
    assert [amount("max_cost_usd", 1.5), amount("max_tokens", 12345), amount("max_egress_bytes", 3 << 20)] == [
        "1.50 USD", "12,345 tokens", "3.0 MiB",
    ]  # fmt: skip
    assert [duration(7200), duration(1800), duration(90), duration(5)] == ["2 h", "30 min", "1.5 min", "5 s"]


# Prices


def test_price_of_a_request_is_that_of_its_tokens_rounded_up() -> None:
    usage = Usage(
        input_tokens=10, output_tokens=2, cache_read_tokens=10, cache_write_tokens=20, cache_write_1h_tokens=4
    )
    assert PRICE.cost(usage) == 10 * 3 + 2 * 15 + 3 + 16 * 3.75 + 4 * 6
    assert PRICE.cost(Usage(cache_read_tokens=1)) == 1


def test_price_of_a_long_prompt_is_another() -> None:
    long = LongRates(above=100, input=6.0, output=30.0, cache_read=0.6, cache_write=7.5, cache_write_1h=12.0)
    price = msgspec.structs.replace(PRICE, long=long)
    assert price.cost(Usage(input_tokens=50, cache_read_tokens=51, output_tokens=1)) == 50 * 6 + 31 + 30
    assert price.cost(Usage(input_tokens=100, output_tokens=1)) == 315


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_price_never_is_more_than_what_was_reserved(fresh: int, read: int, write: int, output: int) -> None:
    usage = Usage(
        input_tokens=fresh, cache_read_tokens=read, cache_write_tokens=write, cache_write_1h_tokens=write // 2,
        output_tokens=output,
    )  # fmt: skip
    assert PRICE.cost(usage) <= ask(input_tokens=fresh + read + write).ceiling(output)


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("claude-opus-4-8", True), ("claude-opus-4-8[1m]", True), ("claude-haiku-4-5-20251001", True),
        ("claude-opus-4-20250514", True), ("claude-opus-99", False), ("gpt-5", False), ("", False),
    ],
)  # fmt: skip
def test_price_list_knows_a_model_under_its_dated_name_too(model: str, known: bool) -> None:
    assert (SHIPPED.find(model) is not None) == known


def test_price_list_says_whose_prices_of_which_day() -> None:
    assert SHIPPED.source.startswith("https://")
    assert len(SHIPPED.date) == len("2026-01-31")
    for name, price in SHIPPED.models.items():
        assert 0 < price.cache_read < price.input < price.cache_write < price.cache_write_1h < price.output, name


def test_price_list_of_the_operator_is_read_whole_or_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.prices: mine: .*input"):
        parse_prices('date = 2026-01-01\nsource = "x"\n[models.m]\noutput = 1.0', "mine")
    with pytest.raises(ConfigError, match="mine"):
        parse_prices("[", "mine")


# What is asked of the budget for a request


def body(**message: object) -> CheckedBody:
    full = {"model": "claude-opus-4-8", "messages": []} | message
    return CheckedBody(encoded=msgspec.json.encode(full), message=full)


def test_ask_is_for_the_answer_that_the_request_wants() -> None:
    plain = ask_for(body(max_tokens=500), PRICE)
    assert (plain.output_tokens, plain.least_output_tokens) == (500, 1)
    thinking = ask_for(body(max_tokens=9000, thinking={"type": "enabled", "budget_tokens": 4000}), PRICE)
    assert (thinking.output_tokens, thinking.least_output_tokens) == (9000, 4001)
    for odd in (None, True, -1, "9", 0):
        assert ask_for(body(max_tokens=odd), PRICE).output_tokens == 32_000


def test_request_is_shortened_in_what_is_sent_too() -> None:
    short = shortened(body(max_tokens=9000, stream=True), 2000)
    assert msgspec.json.decode(short.encoded) == short.message
    assert short.message == body(max_tokens=2000, stream=True).message
    assert shortened(body(max_tokens=9000), 9000).message["max_tokens"] == 9000


def test_estimate_of_what_was_broken_off_is_never_less_than_can_have_been_written() -> None:
    asked, granted = ask(input_tokens=700), Grant(1, 1000)
    silent = estimate(Exchange(method="POST", path="/v1/messages"), asked, granted, asked_s=0)
    assert (silent.input_tokens, silent.output_tokens) == (700, 0)
    unread = estimate(Exchange(method="POST", path="/v1/messages"), asked, granted, asked_s=1.5)
    assert unread.output_tokens == 750, "the provider bills what it wrote, read or not"
    long = estimate(Exchange(method="POST", path="/v1/messages"), asked, granted, asked_s=60)
    assert long.output_tokens == granted.output_tokens
    cached = estimate(Exchange(method="POST", path="/v1/messages"), ask(caches=True), granted, asked_s=0)
    assert PRICE.cost(cached) == PRICE.input_ceiling(1000)
    exchange = Exchange(
        method="POST", path="/v1/messages", usage=Usage(input_tokens=9, output_tokens=3), bytes_down=3000
    )
    told = estimate(exchange, asked, granted, asked_s=0.1)
    assert (told.input_tokens, told.output_tokens) == (9, 100)
    exchange.bytes_down = 1 << 30
    assert estimate(exchange, asked, granted, asked_s=0.1).output_tokens == 1000


@pytest.mark.parametrize(
    ("met", "wanted", "told"),
    [
        (("max_cost_usd", 5.0, 5.0), Raise(limit="max_cost_usd", allowed=10), "max_cost_usd 10.00 USD"),
        (("max_turns", 9, 4), Raise(limit="max_turns", allowed=13), "max_turns 13 turns"),
        (("timeout_s", 7200.2, 7200), Raise(limit="timeout_s", allowed=14400.2), "timeout_s 4.0 h"),
        (("idle_timeout_s", 61, 60), Raise(limit="idle_timeout_s", allowed=60), "idle_timeout_s 1 min"),
        (
            ("user_day_usd", 50.25, 50.0),
            Raise(limit="user_day_usd", allowed=52.25, day="2026-01-31"),
            "user_day_usd 52.25 USD on 2026-01-31",
        ),
    ],
)
def test_what_is_asked_for_at_a_limit(met: tuple[str, float, float], wanted: Raise, told: str) -> None:
    limit, used, allowed = met
    assert raise_of(limit, used=used, allowed=allowed, step=2.0, day="2026-01-31") == wanted
    assert describe_raise(wanted) == told


def test_allowed_raise_is_the_limit_that_was_stated() -> None:
    assert update_of(Raise(limit="max_turns", allowed=13)) == LimitsUpdate(max_turns=13)
    assert update_of(Raise(limit="max_cost_usd", allowed=10.5)) == LimitsUpdate(max_cost_usd=10.5)


def test_limit_of_a_day_is_raised_on_that_day_alone_and_never_made() -> None:
    day = Raise(limit="user_day_usd", allowed=55, day="2026-01-31")
    key = Raise(limit="key_day_usd", allowed=9, day="2026-01-31")
    allowance = Allowance(user_day_usd=50, max_turns=3)
    assert raised(allowance, [day, key], "2026-01-31") == Allowance(user_day_usd=55, max_turns=3)
    assert raised(allowance, [day, key], "2026-02-01") == allowance
    assert raised(Allowance(user_day_usd=60), [day], "2026-01-31").user_day_usd == 60, "the operator set more since"


def test_what_a_sandbox_came_up_against_is_told_once_and_in_words() -> None:
    before = Resources(memory_limit_bytes=512 << 20, pids_limit=77, disk_limit_bytes=200 << 20, files_limit=10)
    after = msgspec.structs.replace(before, killed=2, refused=5, full=True, disk_bytes=200 << 20, files=4)
    assert [text for _, text in after.met(before)] == [
        "the sandbox's memory is used up (memory_bytes: 512.0 MiB): the kernel ended 2 processes",
        "the sandbox's share of processes is used up (pids: 77 processes): 5 more could not be started",
        "the sandbox's disk is used up (disk_bytes: 200.0 MiB): no room in workspace, artefacts and HOME",
    ]
    assert list(after.met(after)) == []
    assert [one.limit for one in near(after.measures(), percent=80, warned=frozenset())] == ["disk_bytes"]
    by_files = msgspec.structs.replace(after, files=10, disk_bytes=1)
    assert next(text for one, text in by_files.met(before) if "files" in text).startswith(
        "the sandbox's share of files is used up (disk_files: 10 files)"
    )
