"""The lock of a sweep's folder, and the devices that are reserved for each run."""

import getpass
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable

import pytest
from omegaconf import OmegaConf

from nf_mnist.errors import MachineError
from nf_mnist.runs.lock import is_locked, lock_folder
from nf_mnist.runs.sweep import devices, run_name


def test_a_run_is_named_by_its_settings_alone():
    name = run_name(["seed=0", "model=cp3"])
    assert name == run_name(["model=cp3", "output_dir=elsewhere", "seed=0", "launcher=joblib"])
    assert name != run_name(["model=cp3", "seed=1"])
    assert len(name) == 10


def test_a_folder_has_one_owner_who_is_named(tmp_path):
    with lock_folder(tmp_path / "new", "sweep"):
        assert is_locked(tmp_path / "new")
        with pytest.raises(MachineError, match=rf"a sweep that is under way: process {os.getpid()} on"):
            lock_folder(tmp_path / "new", "sweep").__enter__()
    assert not is_locked(tmp_path / "new")
    with lock_folder(tmp_path / "new", "sweep"):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    lock = f"lock = filelock.FileLock({str(tmp_path / '.lock')!r}); lock.acquire()"
    code = f"import filelock, time; {lock}; print(1, flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert is_locked(tmp_path)
    process.kill()
    process.wait()
    assert not is_locked(tmp_path)


def launcher(**settings: int) -> OmegaConf:
    return OmegaConf.create(settings)


def trainer(accelerator: str = "auto", devices: int | str = 1) -> OmegaConf:
    return OmegaConf.create({"accelerator": accelerator, "devices": devices})


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Callable[..., None]:
    """Return a function that sets how many CPUs and which GPUs the machine seems to have."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(devices, "SECONDS_BETWEEN_LOOKS", 0.01)

    def seem(n_cpus: int, *gpus: str) -> None:
        monkeypatch.setattr(devices, "_n_cpus", lambda: n_cpus)
        monkeypatch.setattr(devices, "visible_gpus", lambda: list(gpus))

    return seem


def test_jobs_share_the_threads(machine):
    machine(8)
    for settings, threads in ((launcher(n_jobs=3), "2"), (launcher(n_jobs=20), "1"), (launcher(cpus_per_task=4), "4")):
        with devices.reserve_devices(settings, trainer()) as (environment, _):
            assert environment == {"OMP_NUM_THREADS": threads}
    with devices.reserve_devices(launcher(), trainer()) as (environment, _):
        assert environment == {}, "one job has the whole machine"


def test_each_job_has_gpus_of_its_own_until_it_ends(machine):
    machine(8, "4", "5", "6")
    with (
        devices.reserve_devices(launcher(), trainer()) as (one, _),
        devices.reserve_devices(launcher(), trainer(devices=2)) as (other, _),
    ):
        assert (one["CUDA_VISIBLE_DEVICES"], other["CUDA_VISIBLE_DEVICES"]) == ("4", "5,6")
    for everything in ("auto", -1):
        with devices.reserve_devices(launcher(), trainer(devices=everything)) as (whole, _):
            assert whole["CUDA_VISIBLE_DEVICES"] == "4,5,6"
    with devices.reserve_devices(launcher(), trainer(accelerator="cpu")) as (none, _):
        assert none == {}


CARDS = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-0aaa-1)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-1bbb-2)
  MIG 1g.5gb      Device  0: (UUID: MIG-cc-1)
  MIG 1g.5gb      Device  1: (UUID: MIG-dd-2)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-2eee-3)
"""


@pytest.mark.parametrize(
    ("count", "visible", "listed", "expected"),
    [
        (2, "4,5,6", "", ["4", "5"]),
        (0, "0,1", CARDS, []),
        (0, "", CARDS, []),
        (2, None, "", ["0", "1"]),
        (2, "0, 2", CARDS, ["GPU-0aaa-1", "GPU-2eee-3"]),
        (1, "GPU-0aa", CARDS, ["GPU-0aaa-1"]),
        (1, "MIG-cc-1,MIG-dd", CARDS, ["MIG-cc-1", "MIG-dd-2"]),
        (2, "0,1", CARDS, ["GPU-0aaa-1", "MIG-cc-1", "MIG-dd-2"]),
    ],
)
def test_gpus_are_those_that_torch_sees(count, visible, listed, expected, monkeypatch, tmp_path):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{listed}END\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.visible_gpus() == expected


def test_a_run_keeps_its_gpu_when_its_sweep_is_killed(machine):
    machine(8, "4", "5")
    with devices.reserve_devices(launcher(), trainer()) as (one, descriptors):
        run = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=descriptors)
        for descriptor in descriptors:
            os.dup2(os.open(os.devnull, os.O_RDONLY), descriptor)  # as if this process had ended
    try:
        with devices.reserve_devices(launcher(), trainer()) as (other, _):
            assert (one["CUDA_VISIBLE_DEVICES"], other["CUDA_VISIBLE_DEVICES"]) == ("4", "5")
    finally:
        run.communicate(b"\n")
    with devices.reserve_devices(launcher(), trainer()) as (again, _):
        assert again == one, "it is free when the run has ended"


@pytest.mark.parametrize(
    ("of_sweep", "of_submitit", "expected"), [("2,3", "", "2,3"), (None, "", None), ("2", "0", "0")]
)
def test_a_job_of_submitit_sees_the_gpus_of_its_sweep(of_sweep, of_submitit, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", of_sweep or "")
    monkeypatch.setenv(devices.OF_SWEEP, "")
    if of_sweep is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    devices.pass_devices_on()
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", of_submitit)
    devices.take_devices_over()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == expected


def test_locks_that_cannot_be_written_are_refused_in_one_line(machine, monkeypatch):
    def refuse():
        raise PermissionError(13, "Permission denied", "/tmp/nf_mnist-0")

    machine(8, "4")
    monkeypatch.setattr(devices, "user_folder", refuse)
    with pytest.raises(MachineError, match=r"Permission denied: '/tmp/nf_mnist-0'; set TMPDIR to a folder of yours$"):
        devices.reserve_devices(launcher(), trainer()).__enter__()


def test_devices_are_reserved_for_a_user_without_a_name(machine, monkeypatch):
    def unnamed():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", unnamed)
    machine(2)
    with devices.reserve_devices(launcher(cpus_per_task=1), trainer()) as (environment, _):
        assert environment == {"OMP_NUM_THREADS": "1"}


def test_a_job_waits_for_free_devices(machine):
    machine(2)
    taken: list[str] = []

    def work() -> None:
        with devices.reserve_devices(launcher(cpus_per_task=2), trainer()):
            taken.append("second")

    with devices.reserve_devices(launcher(cpus_per_task=2), trainer()):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(0.3)
        taken.append("first")
    thread.join(10)
    assert taken == ["first", "second"]


def test_slurm_assigns_devices_itself(machine, monkeypatch):
    machine(8, "0", "1")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    with devices.reserve_devices(launcher(cpus_per_task=4), trainer()) as (environment, _):
        assert environment == {}
