"""What users name is printed as they wrote it: brackets and colons are not read as Rich's markup and emoji."""

import pytest

from nf_mnist.app.diagnosis import print_results
from nf_mnist.app.progress import progress_bar
from nf_mnist.app.tables import metric_rows, print_metrics
from nf_mnist.diagnostics import Result
from nf_mnist.runs.sweep.report import print_rows

NAMES = ["a[/x]b", "a[bold]b", "[x]", "a:smile:b", "[/]", "c\\[d]"]
METRICS = {
    "split": "test",
    "n_draws": 1,
    "log_likelihood": -1.0,
    "radius_expected": 1.0,
    "radius_std_expected": 1.0,
    "radius_mean": 1.0,
    "radius_std": 1.0,
    "round_trip_error": 0.0,
    "round_trip_error_samples": 0.0,
    "round_trip_error_noise": 0.0,
    "n_images": 1,
    "seed": 0,
    "parameters": 1,
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are_in_every_table(name, capsys):
    print_metrics({**metric_rows(METRICS, f"unit of {name}"), f"row {name}": f"checkpoint {name}"})
    out = capsys.readouterr().out
    assert all(f"{what} {name}" in out for what in ("unit of", "row", "checkpoint"))
    print_rows([{"run": f"run {name}", f"key {name}": "1", "status": "completed", "val bpd": 1.0}], f"title {name}")
    out = capsys.readouterr().out
    assert all(f"{what} {name}" in out for what in ("run", "key", "title"))
    texts = {field: f"{field} {name}" for field in ("check", "measured", "expected", "cause", "remedy")}
    print_results([Result(status="fail", size=None, **texts)], {})
    out = capsys.readouterr().out
    assert all(text in out for text in texts.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_progress_bar_shows_its_description_as_it_is(name, capsys):
    assert list(progress_bar(f"evaluating on {name} images")([1, 2])) == [1, 2]
    assert f"evaluating on {name} images" in capsys.readouterr().err
