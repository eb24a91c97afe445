"""The table of inpainting keeps parts of a row, and combines them into the metrics of all images."""

import pytest
import torch

from benchmarks.inpainting import table as inpainting


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(inpainting, "COMPLETIONS", tmp_path)
    monkeypatch.setattr(inpainting, "PARTS", tmp_path / "parts.json")


def part_of(errors: torch.Tensor, start: int) -> tuple[dict[str, float | str], torch.Tensor]:
    """Return the metrics of a part, given the squared errors of all images, shape (n_images,)."""
    errors = errors[start : start + inpainting.PART]
    metrics = {"n_images": len(errors), "squared_error": errors.mean().item(), "stopped": float(len(errors))}
    metrics |= {"r_hat": errors.max().item(), "hardware": "a CPU" if start else "a GPU"}
    return metrics, torch.zeros(len(errors), 1, 28, 28)


def test_a_row_of_parts_is_that_of_all_images(outputs):
    errors = torch.rand(2 * inpainting.PART + 7, dtype=torch.float64)
    row = inpainting.row("model lower mode", "weights", len(errors), lambda start: part_of(errors, start))
    assert row["squared_error"] == pytest.approx(errors.mean().item(), rel=1e-12)
    assert row["n_images"] == row["stopped"] == len(errors)
    assert row["r_hat"] == errors.max()
    assert row["hardware"] == "a GPU; a CPU"


def test_a_stopped_row_goes_on_and_a_larger_one_begins_with_its_parts(outputs):
    computed = []

    def stopping(start: int) -> tuple[dict[str, float | str], torch.Tensor]:
        if len(computed) == 2:
            raise KeyboardInterrupt
        return going(start)

    def going(start: int) -> tuple[dict[str, float | str], torch.Tensor]:
        computed.append(start)
        return part_of(torch.arange(200.0), start)

    with pytest.raises(KeyboardInterrupt):
        inpainting.row("model lower mode", "weights", 150, stopping)
    inpainting.row("model lower mode", "weights", 150, going)
    inpainting.row("model lower mode", "weights", 200, going)
    assert computed == [0, 50, 100, 150]
    inpainting.row("model lower mode", "other weights", 50, going)
    assert computed[4:] == [0]
