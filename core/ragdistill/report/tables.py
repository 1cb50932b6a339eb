"""Tables on the terminal, for every summary."""

from rich.console import Console
from rich.table import Table
from rich.text import Text


def table(*columns: str) -> Table:
    """A table whose first column is words and the others figures."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    made.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        made.add_column(column, justify="right", no_wrap=True)
    return made


def put(rows: Table, console: Console) -> None:
    """A line too long is better than a figure cut off."""
    wide = console.options.update(width=1000)
    width = max(console.width, console.measure(rows, options=wide).maximum)
    for line in console.render_lines(rows, console.options.update(width=width), pad=False):
        text = Text.assemble(*((part.text, part.style or "") for part in line))
        text.rstrip()
        console.print(text, soft_wrap=True)
    console.print()
