"""What do models cost today? From the price list that this release brings, or the operator's own."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import ConfigError
from eleagent_daemon.domain.prices import PriceList


def read_prices(path: str) -> PriceList:
    """The operator's list, or the release's for ''. Raises ConfigError naming what is wrong with it."""
    if not path:
        return SHIPPED
    try:
        return parse_prices(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"model.prices: {path}: {err}") from None


def parse_prices(text: str, where: str) -> PriceList:
    try:
        table = tomllib.loads(text)
        return msgspec.convert(table | {"date": str(table.get("date", ""))}, PriceList, strict=False)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as err:
        raise ConfigError(f"model.prices: {where}: {err}") from None


SHIPPED: Final = parse_prices((files("eleagent_daemon.gateway") / "prices.toml").read_text(encoding="utf-8"), "its own")
