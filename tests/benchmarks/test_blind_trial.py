"""The blind trial keeps what it has published, and knows what is wrong with each of its faulty flows."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.diagnosis.blind import cases, collecting

SETS = pytest.importorskip("benchmarks.diagnosis.blind.sets", reason="needs nf_mnist[peers]").SETS

PUBLISHED = Path(__file__).parents[2] / collecting.RESULT
FIRST = SETS["first"]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The published results, in a file that may be changed, and an empty folder for answers."""
    monkeypatch.setattr(cases, "FOLDER", tmp_path / "answers")
    monkeypatch.setattr(collecting, "RESULT", tmp_path / "results.json")
    collecting.RESULT.write_text(PUBLISHED.read_text())
    FIRST.folder.mkdir(parents=True)
    return json.loads(PUBLISHED.read_text())


def collected() -> dict[str, Any]:
    collecting.collect(FIRST)
    return json.loads(collecting.RESULT.read_text())


def test_without_new_answers_the_results_stay(published: dict[str, Any]) -> None:
    assert collected() == published


def test_a_new_answer_replaces_its_own_flow_only(published: dict[str, Any]) -> None:
    before = published["first"]["healthy"]["own_dense"]
    new = {**before, "answer": "Something else.", "violations": []}
    FIRST.answer_file("own_dense").write_text(json.dumps(new))
    after = collected()
    row = after["first"]["healthy"].pop("own_dense")
    assert (row["answer"], row["first"], row["judgement"]) == ("Something else.", "nothing", None)
    published["first"]["healthy"].pop("own_dense")
    assert after == published


@pytest.mark.parametrize("blind", SETS.values(), ids=SETS)
def test_each_fault_and_no_other_flow_has_a_cause(blind: cases.BlindSet) -> None:
    assert set(json.loads(blind.notes("causes").read_text())) == set(blind.faulty)
    assert not set(blind.faulty) & set(blind.fine)


@pytest.mark.parametrize("blind", SETS.values(), ids=SETS)
def test_weights_of_another_flow_and_flows_by_command_are_of_the_set(blind: cases.BlindSet) -> None:
    sources = {case.weights for case in blind.cases.values() if case.weights}
    assert sources | set(blind.by_command) <= set(blind.cases)
    assert all(blind.cases[source].fit for source in sources)
