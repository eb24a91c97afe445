"""Benchmarks that run side by side keep each other's rows."""

import threading

import pytest

from benchmarks.measuring import add_row, rows_of, time_budget


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


@pytest.mark.parametrize(
    ("minutes", "override"), [(3, "00:00:03:00"), (2.999, "00:00:03:00"), (0.5, "00:00:00:30"), (120, "00:02:00:00")]
)
def test_a_budget_of_minutes_is_what_lightning_reads(minutes, override):
    assert time_budget(minutes) == f"trainer.max_time={override}"
