"""Write ``results/blind_diagnosis.json``: what the diagnosis said of each flow, what is true, and how it was judged."""

import json
from pathlib import Path
from typing import Any

from benchmarks.diagnosis.blind.weights import FAULTY, FINE, FOLDER
from nf_mnist.checkpoints.writing import write_json

HERE = Path(__file__).parent
RESULT = Path("results/blind_diagnosis.json")


def collect() -> None:
    """Write the results of the flows that were diagnosed, each with its judgement.

    ``causes.json`` was written before the first run. ``judgements.json`` has what a reader made of each answer of that
    run. An answer that is not word for word the one that was judged has no judgement.
    """
    causes, judgements = (json.loads((HERE / f"{name}.json").read_text()) for name in ("causes", "judgements"))
    faults = {name: {**causes[name], **_row(name, judgements)} for name in FAULTY if _found(name).exists()}
    healthy = {name: _row(name, judgements) for name in FINE if _found(name).exists()}
    write_json(RESULT, {"faults": faults, "healthy": healthy})


def _row(name: str, judgements: dict[str, Any]) -> dict[str, Any]:
    found = json.loads(_found(name).read_text())
    judged = judgements.get(name, {})
    if judged.get("answer") != found["answer"]:
        judged = {"judgement": None, "why": ""}
    return {"first": _first(found["violations"]), "judgement": judged["judgement"], "why": judged["why"], **found}


def _first(violations: list[dict[str, Any]]) -> str:
    """Return the first check that fails, or else the first that warns, with its status."""
    ranked = sorted(violations, key=lambda violation: (violation["status"] != "fail", violation["is_usual"]))
    return f"{ranked[0]['check']} ({ranked[0]['status']})" if ranked else "nothing"


def _found(name: str) -> Path:
    return FOLDER / f"{name}.json"
