"""Tables as Markdown."""


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table with a head; bars in cells are escaped."""
    lines = ([cell.replace("|", "\\|") for cell in line] for line in (columns, ("---",) * len(columns), *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
