"""The table of the riddles, from the headers of ``conf/experiment/riddle_*.yaml`` and ``results/riddles.json``."""

from tools.from_results import read_result, table

COLUMNS = ("riddle", "the diary says", "believed beforehand", "verdict", "measured")


def riddles() -> str:
    """Return what each riddle says, what was believed, and what was measured."""
    from riddles.runs import riddles as headers  # torch, which few tables need

    outcomes = read_result("riddles")["riddles"]
    rows = []
    for number, riddle in headers().items():
        outcome = outcomes[str(number)]
        link = f"[{number}](../conf/experiment/{riddle.name}.yaml)"
        rows.append((link, riddle.fields["Diary"], riddle.fields["Belief"], outcome["verdict"], outcome["found"]))
    n = {verdict: sum(row[3] == verdict for row in rows) for verdict in ("confirmed", "partly", "refuted")}
    summary = (
        f"Of {len(rows)} beliefs {n['confirmed']} were confirmed, {n['partly']} in part, and {n['refuted']} refuted, "
        f"by what each file says would refute it."
    )
    return f"{summary}\n\n{table(COLUMNS, rows)}"
