"""The table of the riddles, from ``riddles/riddles.yaml`` and ``results/riddles.json``."""

from tools.from_results import read_result, table

COLUMNS = ("riddle", "the diary says", "believed beforehand", "result", "measured")


def riddles() -> str:
    """Return the diary's words, the belief, and the measured result of each riddle."""
    from riddles.runs import riddles as entries  # imports torch, which few tables need

    outcomes = read_result("riddles")["riddles"]
    rows = []
    for number, riddle in entries().items():
        outcome = outcomes[str(number)]
        link = f"[{number}](../conf/experiment/{riddle.name}.yaml)"
        rows.append((link, riddle.diary, riddle.belief, outcome["result"], outcome["found"]))
    n = {result: sum(row[3] == result for row in rows) for result in ("confirmed", "partly", "refuted")}
    summary = (
        f"Of {len(rows)} beliefs {n['confirmed']} were confirmed, {n['partly']} in part, and {n['refuted']} refuted, "
        f"by the criteria that [`riddles/riddles.yaml`](../riddles/riddles.yaml) states."
    )
    return f"{summary}\n\n{table(COLUMNS, rows)}"
