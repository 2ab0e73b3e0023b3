"""Tables of kept results in pages that are otherwise written by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(page: Path, parts: Mapping[str, Callable[[], str]]) -> None:
    """Puts what `parts` make between `<!-- name -->` and `<!-- end -->` in `page`.

    Raises:
        KeyError: the page has a place for a part that is not there.
    """

    def made(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n{parts[found[1]]()}\n<!-- end -->"

    text, count = re.subn(
        r"<!-- (\w+) -->\n.*?<!-- end -->", made, page.read_text("utf-8"), flags=re.DOTALL
    )
    page.write_text(text, "utf-8")
    print(f"{page}: {count} tables")
