"""Benchmarks that run side by side keep each other's rows."""

import threading

import pytest

from benchmarks.measuring import Child, add_row, rows_of, time_budget


def test_rows_that_are_added_at_once_are_all_kept(tmp_path):
    result, names = tmp_path / "rows.json", [f"row {number}" for number in range(20)]
    together = threading.Barrier(len(names))

    def add(name: str) -> None:
        together.wait()
        add_row(result, name, {"name": name})

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows_of(result) == {name: {"name": name} for name in names}


def test_the_lock_is_given_back_when_a_row_cannot_be_written(tmp_path):
    result = tmp_path / "rows.json"
    with pytest.raises(TypeError):
        add_row(result, "bad", {"figure": object()})
    add_row(result, "good", {"figure": 1})
    assert list(rows_of(result)) == ["good"]


def test_a_row_comes_before_the_last_one_and_a_failure_is_raised(tmp_path):
    late = tmp_path / "late"
    program = f"""
from benchmarks.measuring import serve
def answers():
    yield {{"row": 1}}
    open({str(late)!r}, "w")
    raise SystemExit(3)
serve(answers())
"""
    child = Child(["-c", program])
    assert child.ask() == {"row": 1}
    assert not late.exists()
    with pytest.raises(RuntimeError, match="ended with status 3"):
        child.ask()
    assert late.exists()


@pytest.mark.parametrize(
    ("minutes", "override"), [(3, "00:00:03:00"), (2.999, "00:00:03:00"), (0.5, "00:00:00:30"), (120, "00:02:00:00")]
)
def test_a_budget_of_minutes_is_what_lightning_reads(minutes, override):
    assert time_budget(minutes) == f"trainer.max_time={override}"
