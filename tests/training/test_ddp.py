"""Training with two processes: no image is dropped or counted twice, and the metrics are those of one process."""

import csv
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.testing import assert_close

from nf_mnist.app.building import build_datamodule, build_module, build_trainer
from nf_mnist.bijectors import ActNorm, BatchNorm
from nf_mnist.errors import DataError
from nf_mnist.training.datamodule import ImageDataModule
from nf_mnist.training.loader import EvaluationLoader, TrainingLoader
from tests.support.helpers import compose_config, fit, merge, tiny_overrides, write_images
from tests.support.processes import context, end


class Process:
    """Stands in for the trainer of one process among several."""

    def __init__(self, global_rank: int, world_size: int):
        self.global_rank, self.world_size = global_rank, world_size
        self.strategy = SimpleNamespace(root_device=torch.device("cpu"))


def loaders(images: Path, world_size: int, batch_size: int) -> list[ImageDataModule]:
    overrides = [*tiny_overrides(images, images.parent / "run"), "run_dir=x"]
    cfg = compose_config(merge(overrides, [f"data.batch_size={batch_size}"]))
    modules = [build_datamodule(cfg) for _ in range(world_size)]
    for rank, module in enumerate(modules):
        module.setup()
        module.trainer = Process(rank, world_size)
    return modules


@pytest.mark.parametrize("n", [96, 97, 101])
def test_processes_share_the_validation_images_exactly(n, tmp_path):
    modules = loaders(write_images(tmp_path / "images.npz", n=n), world_size=2, batch_size=16)
    shares: list[EvaluationLoader] = [module.val_dataloader() for module in modules]
    seen = [share.indices(number).tolist() for share in shares for number in range(len(share))]
    assert sorted(itertools.chain(*seen)) == list(range(len(modules[0].validation.levels)))


def test_each_step_of_two_processes_sees_the_images_of_one_with_twice_the_batch(tmp_path):
    images = write_images(tmp_path / "images.npz")
    (one,) = loaders(images, world_size=1, batch_size=16)
    shares: list[TrainingLoader] = [module.train_dataloader() for module in loaders(images, 2, 8)]
    n_steps = 0
    for (whole, _), (first, _), (second, _) in zip(one.train_dataloader(), *shares, strict=True):
        assert torch.equal(torch.cat([first, second]).flatten(1).sort(0)[0], whole.flatten(1).sort(0)[0])
        n_steps += 1
    assert n_steps == 4


def test_a_process_without_a_batch_is_refused(tmp_path):
    first, _ = loaders(write_images(tmp_path / "images.npz"), 2, batch_size=36)  # of 70 training images
    with pytest.raises(DataError, match=r"batch_size=36 for each of 2 processes exceeds the 70 training images; lower"):
        first.train_dataloader()


def test_the_learning_rate_is_that_of_the_first_process(tmp_path, monkeypatch):
    """Each process has its own clock; here the first process sets a quarter of the peak rate."""

    def broadcast(self, value, src=0):
        return 0.25 if isinstance(value, float) else value

    monkeypatch.setattr(SingleDeviceStrategy, "broadcast", broadcast)
    settings = ["trainer.max_time=00:00:01:00", "trainer.max_steps=3", "logger.tensorboard=null", "optimizer.lr=1.0e-3"]
    trainer, module, _ = fit([*tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run"), *settings])
    assert module.rate_factors == [0.25] * 3
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.25e-3


def train_norms(rank: int, world_size: int, folder: Path) -> None:
    """Take a step through each norm on this process's share of 12 vectors; save statistics and gradients."""
    store = dist.FileStore(str(folder / f"store{world_size}"), world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    torch.manual_seed(0)
    x = (3 * torch.randn(12, 5) + 1)[rank::world_size]
    result = {}
    for name, norm in (
        ("batch", BatchNorm((5,))),
        ("running", BatchNorm((5,), policy="running")),
        ("act", ActNorm((5,))),
    ):
        z, log_det = norm.train()(x)
        (z.square().sum() - log_det.sum()).backward()
        result[name] = {**norm.state_dict(), "z": z.detach(), "log_det": log_det.detach()[0]}
        for parameter, value in norm.named_parameters():
            dist.all_reduce(value.grad)
            result[name][f"grad {parameter}"] = value.grad
    torch.save(result, folder / f"norms_{rank}_of_{world_size}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_statistics_of_the_flow_are_those_of_one_process(tmp_path):
    for world_size in (1, 2):
        processes = [
            context().Process(target=train_norms, args=(rank, world_size, tmp_path)) for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        assert [end(process) for process in processes] == [0] * world_size
    one, first, second = (torch.load(tmp_path / f"norms_{name}.pt") for name in ("0_of_1", "0_of_2", "1_of_2"))
    for name in ("batch", "running", "act"):
        assert_close(first[name].pop("z"), one[name]["z"][0::2], atol=1e-6, rtol=1e-6)
        assert_close(second[name].pop("z"), one[name]["z"][1::2], atol=1e-6, rtol=1e-6)
        for share in (first, second):
            expected = {key: value for key, value in one[name].items() if key != "z"}
            assert_close(share[name], expected, atol=1e-5, rtol=1e-6)
    assert (one["batch"]["running_mean"] - 0.1).abs().max() > 0.01
    assert one["act"]["log_scale"].abs().min() > 0.5


def train(*overrides: str) -> None:
    command = [sys.executable, "-m", "nf_mnist.train", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]


class Watch(L.Callback):
    """Records which images a process validates, its loss, and its BatchNorm statistics."""

    def __init__(self, folder: str):
        self.folder, self.images = Path(folder), []

    def on_validation_start(self, trainer, pl_module):
        self.images = []

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.images += trainer.val_dataloaders.indices(batch_idx).tolist()

    def on_validation_end(self, trainer, pl_module):
        norm = next(module for module in pl_module.flow.modules() if isinstance(module, BatchNorm))
        seen = {
            "val/loss": float(trainer.callback_metrics["val/loss"]),
            "images": self.images,
            "statistics": norm.running_mean.flatten().tolist() + norm.running_var.flatten().tolist(),
        }
        (self.folder / f"seen_{trainer.global_rank}.json").write_text(json.dumps(seen))


@pytest.mark.slow
def test_two_processes_train_one_model_and_validate_as_one_process_does(tmp_path):
    images = write_images(tmp_path / "images.npz", n=133)  # 17 to validate: 9 and 8, in two batches and one
    overrides = tiny_overrides(images, tmp_path / "run")
    settings = ["model.norm=batchnorm", "trainer.max_steps=6", "trainer.val_check_interval=3"]
    watch = f"+callbacks.watch={{_target_:tests.training.test_ddp.Watch,folder:'{tmp_path}'}}"
    train(*merge(overrides, ["data.batch_size=8", *settings]), "trainer.devices=2", "trainer.strategy=ddp", watch)
    seen = [json.loads((tmp_path / f"seen_{rank}.json").read_text()) for rank in (0, 1)]
    assert seen[0]["val/loss"] == seen[1]["val/loss"], "the same on both"
    assert seen[0]["statistics"] == seen[1]["statistics"]
    rows = list(csv.DictReader((tmp_path / "run" / "csv" / "metrics.csv").open()))
    assert len([row for row in rows if row["val/loss"]]) >= 2, "one process writes"
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "completed"

    cfg = compose_config([*merge(overrides, settings), "run_dir=${output_dir}", "logger.tensorboard=null"])
    data, module = build_datamodule(cfg), build_module(cfg)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    data.setup()
    n = len(data.validation.levels)
    assert n % 2 == 1, "shares differ"
    assert sorted(seen[0]["images"] + seen[1]["images"]) == list(range(n)), "each image once"
    (alone,) = build_trainer(cfg).validate(module, data, ckpt_path=last, verbose=False, weights_only=True)
    assert alone["val/loss"] == pytest.approx(seen[0]["val/loss"], rel=1e-6)
