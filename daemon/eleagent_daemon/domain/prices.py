"""What does a request to a model cost? In millionths of a dollar, which is a token's price in dollars per million."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec

from eleagent.wire.sessions import Usage

_VARIANT = re.compile(r"(-\d{8}|\[1m\])+$")


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars per million tokens."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    cache_write_1h: float


class LongRates(Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For every token of a request whose prompt is longer than `above` tokens."""

    above: int


class Price(Rates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    long: LongRates | None = None

    def rates(self, prompt_tokens: int) -> Rates:
        return self.long if self.long is not None and prompt_tokens > self.long.above else self

    def cost(self, usage: Usage) -> int:
        """Of one request, rounded up."""
        rates = self.rates(usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens)
        hour = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
        return math.ceil(
            usage.input_tokens * rates.input
            + usage.output_tokens * rates.output
            + usage.cache_read_tokens * rates.cache_read
            + (usage.cache_write_tokens - hour) * rates.cache_write
            + hour * rates.cache_write_1h
        )

    def input_ceiling(self, tokens: int) -> int:
        """The most that a prompt of so many tokens can cost: all of it written to the dearest cache."""
        rates = self.rates(tokens)
        return math.ceil(tokens * max(rates.input, rates.cache_write, rates.cache_write_1h))


class PriceList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    date: str
    source: str
    models: Mapping[str, Price]

    def find(self, model: str) -> Price | None:
        """By its name, without a date or a size of its context behind it."""
        return self.models.get(_VARIANT.sub("", model))
