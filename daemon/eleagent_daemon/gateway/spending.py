"""What may a request cost before it is sent, and what did it cost when nobody saw its end?"""

from __future__ import annotations

import math
from typing import Final, TypeGuard

import msgspec

from eleagent.wire.sessions import Usage
from eleagent_daemon.domain.doors import Grant
from eleagent_daemon.domain.limits import Ask
from eleagent_daemon.domain.prices import Price
from eleagent_daemon.gateway.body import CheckedBody
from eleagent_daemon.gateway.record import Exchange

BYTES_A_TOKEN: Final = 3
"""Of JSON text; real prompts have 3.5 to 4. What it truly was is settled from the answer."""
PROMPT_LIMIT_TOKENS: Final = 1_000_000
"""The longest prompt that a model takes (images are far more bytes than tokens)."""
BYTES_A_STREAMED_TOKEN: Final = 30
"""Of an event stream, whose events hold a few tokens each."""
TOKENS_A_SECOND: Final = 500
"""No model writes faster (the fastest of today's about 200). What it wrote is billed, also what nobody read."""
DEFAULT_OUTPUT_TOKENS: Final = 32_000
"""For a request that does not say, which the provider refuses."""


def ask_for(checked: CheckedBody, price: Price | None) -> Ask:
    wanted = checked.message.get("max_tokens")
    thinking = checked.message.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return Ask(
        model=checked.model,
        input_tokens=min(len(checked.encoded) // BYTES_A_TOKEN + 1, PROMPT_LIMIT_TOKENS),
        output_tokens=wanted if _is_count(wanted) else DEFAULT_OUTPUT_TOKENS,
        least_output_tokens=budget + 1 if _is_count(budget) else 1,
        price=price,
        caches=b'"cache_control"' in checked.encoded,
    )


def shortened(checked: CheckedBody, output_tokens: int) -> CheckedBody:
    """The same request for an answer of so many tokens at most: what the budget still pays."""
    wanted = checked.message.get("max_tokens")
    if not _is_count(wanted) or wanted <= output_tokens:
        return checked
    message = checked.message | {"max_tokens": output_tokens}
    return CheckedBody(encoded=msgspec.json.encode(message), message=message)


def estimate(exchange: Exchange, ask: Ask, grant: Grant, *, asked_s: float) -> Usage:
    """Of an answer whose end nobody saw: what was seen, and for what was not the most that it can have come to in the
    `asked_s` that the provider had. So nothing is got for less by hanging up, or by not reading.
    """
    seen = exchange.usage
    unseen = max(exchange.bytes_down // BYTES_A_STREAMED_TOKEN, math.ceil(asked_s * TOKENS_A_SECOND))
    usage = msgspec.structs.replace(seen, output_tokens=max(seen.output_tokens, min(grant.output_tokens, unseen)))
    if seen.input_tokens or seen.cache_read_tokens or seen.cache_write_tokens:
        return usage
    if ask.caches:
        return msgspec.structs.replace(
            usage, cache_write_tokens=ask.input_tokens, cache_write_1h_tokens=ask.input_tokens
        )
    return msgspec.structs.replace(usage, input_tokens=ask.input_tokens)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
