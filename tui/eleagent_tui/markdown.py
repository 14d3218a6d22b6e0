"""How does finished Markdown read as rows? Rendered once; links are text, nothing is opened or fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from eleagent_tui.rows import Row, Span, fit, pad, shown, shown_line, width_of, wrap_spans
from eleagent_tui.rows import wrap as wrap_text

LIMIT_CHARS: Final = 64_000
"""Longer texts are shown as they were written."""

_INLINE: Final = {"strong_open": "bold", "em_open": "think", "s_open": "dim"}
_CLOSES: Final = frozenset({"strong_close", "em_close", "s_close"})


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def rows(text: str, width: int) -> list[Row]:
    """Rows of `text`, which may be anybody's."""
    if len(text) > LIMIT_CHARS:
        return list(wrap_text(shown(text), width))
    laid = list(_blocks(_parser().parse(text), max(8, width)))
    while laid and not laid[-1]:
        laid.pop()
    return laid


def _blocks(tokens: Sequence[Token], width: int) -> Iterator[Row]:
    lead: list[str] = []  # what stands before each row: quotes, and lists that are open
    bullet = ""  # what stands before the next row alone
    numbers: list[int | None] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        match token.type:
            case "inline":
                heading = tokens[at - 2].type == "heading_open"
                for line in _lines(token.children or [], "head" if heading else ""):
                    first = bullet or "".join(lead)
                    for one in wrap_spans(line, width - len("".join(lead))):
                        yield (("dim", first), *one) if first else one
                        first = "".join(lead)
                    bullet = ""
            case "paragraph_close" if not token.hidden and not numbers:
                yield ()
            case "heading_close":
                yield ()
            case "bullet_list_open":
                numbers.append(None)
            case "ordered_list_open":
                numbers.append(int(token.attrGet("start") or 1))
            case "bullet_list_close" | "ordered_list_close":
                numbers.pop()
                if not numbers:
                    yield ()
            case "list_item_open":
                number = numbers[-1]
                mark = "• " if number is None else f"{number}. "
                bullet = "".join(lead) + mark
                lead.append(" " * len(mark))
                if number is not None:
                    numbers[-1] = number + 1
            case "list_item_close" | "blockquote_close":
                lead.pop()
            case "blockquote_open":
                lead.append("│ ")
            case "fence" | "code_block":
                before = "".join(lead)
                for one in wrap_text(shown(token.content.rstrip("\n")), width - len(before) - 2, "code", words=False):
                    yield ("dim", before + "  "), *one
                yield ()
            case "hr":
                yield (("dim", "─" * width),)
                yield ()
            case "table_open":
                end = next(n for n in range(at, len(tokens)) if tokens[n].type == "table_close")
                yield from _table(tokens[at:end], width)
                yield ()
                at = end + 1


def _lines(children: Sequence[Token], role: str) -> Iterator[list[Span]]:
    """The spans of each line of a paragraph."""
    line: list[Span] = []
    roles = [role]
    target = ""
    for child in children:
        if child.type in _INLINE:
            roles.append(_INLINE[child.type])
        elif child.type in _CLOSES:
            roles.pop()
        elif child.type == "code_inline":
            line.append(("code", shown_line(child.content)))
        elif child.type == "hardbreak":
            yield line
            line = []
        elif child.type == "softbreak":
            line.append((roles[-1], " "))
        elif child.type == "link_open":
            target = str(child.attrGet("href") or "")
        elif child.type == "link_close":
            if target and target != "".join(text for _, text in line[-1:]):
                line.append(("dim", f" ({shown_line(target)})"))
            target = ""
        elif child.type == "image":
            line.append(("dim", f"[image {shown_line(child.content)}: {shown_line(str(child.attrGet('src') or ''))}]"))
        else:
            line.append((roles[-1], shown_line(child.content)))
    yield line


def _table(tokens: Sequence[Token], width: int) -> Iterator[Row]:
    table: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            table.append([])
        elif token.type == "inline":
            table[-1].append("".join(text for line in _lines(token.children or [], "") for _, text in line))
    if not table:
        return
    columns = max(map(len, table))
    table = [[*line, *[""] * (columns - len(line))] for line in table]
    widths = [max(width_of([("", line[n])]) for line in table) for n in range(columns)]
    while sum(widths) + 2 * (columns - 1) > width and max(widths) > 4:
        widths[widths.index(max(widths))] -= 1
    for number, line in enumerate(table):
        text = "  ".join(pad(cell, wide) for cell, wide in zip(line, widths, strict=True))
        yield (("bold" if number == 0 else "", fit(text, width)),)
        if number == 0:
            yield (("dim", fit("  ".join("─" * wide for wide in widths), width)),)
