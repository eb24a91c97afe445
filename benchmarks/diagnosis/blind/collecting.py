"""Write ``results/blind_diagnosis.json``: what the diagnosis said of each flow, what is true, and how it was judged."""

import json
from pathlib import Path
from typing import Any

from benchmarks.diagnosis.blind.cases import BlindSet
from nf_mnist.checkpoints.writing import write_json

RESULT = Path("results/blind_diagnosis.json")


def collect(blind: BlindSet) -> None:
    """Write the results of a set's flows, each with its judgement; those of other sets stay as they are.

    A flow that has no answer in the set's folder keeps the answer that was published before. ``causes.json`` was
    written before the first run. ``judgements.json`` has what a reader made of each answer of that run. An answer that
    is not word for word the one that was judged has no judgement.
    """
    published = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    before = published.get(blind.name, {"faults": {}, "healthy": {}})
    found = before["faults"] | before["healthy"]
    found |= {name: json.loads(file.read_text()) for name in blind.cases if (file := blind.answer_file(name)).exists()}
    causes, judgements = (_read(blind.notes(kind)) for kind in ("causes", "judgements"))
    rows = {
        name: _row(found[name], causes.get(name, {}), judgements.get(name, {})) for name in blind.cases if name in found
    }
    published[blind.name] = {
        "faults": {name: row for name, row in rows.items() if name in blind.faulty},
        "healthy": {name: row for name, row in rows.items() if name in blind.fine},
    }
    write_json(RESULT, published)


def _row(found: dict[str, Any], cause: dict[str, str], judged: dict[str, str]) -> dict[str, Any]:
    if judged.get("answer") != found["answer"]:
        judged = {}
    row = {
        **cause,
        "first": _first(found["violations"]),
        "judgement": judged.get("judgement"),
        "why": judged.get("why", ""),
    }
    return row | {key: value for key, value in found.items() if key not in row}


def _read(path: Path) -> dict[str, dict[str, str]]:
    return json.loads(path.read_text()) if path.exists() else {}


def _first(violations: list[dict[str, Any]]) -> str:
    """Return the first check that fails, or else the first that warns, with its status."""
    ranked = sorted(violations, key=lambda violation: (violation["status"] != "fail", violation["is_usual"]))
    return f"{ranked[0]['check']} ({ranked[0]['status']})" if ranked else "nothing"
