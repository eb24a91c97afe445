"""A flow of ``python -m benchmarks.speed.peers`` at one setting: it is trained, scored and sampled batch by batch."""

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.measuring import default_device, seconds_per_call, shipped_autocast, training_levels
from benchmarks.speed.depth import begin_memory, peak_memory
from benchmarks.speed.peers_families import PLAIN
from benchmarks.speed.peers_models import build, conditioners
from nf_mnist.data import UniformDequantizer, draw_noise
from nf_mnist.hardware import keep_freed_memory
from nf_mnist.metrics import count_parameters

OURS = "nf_mnist"
LEAST_SECONDS = 0.5  # of the calls that are timed together
SPEEDS = ("training", "log_prob", "samples")


class Variant(NamedTuple):
    """An architecture, the library that builds it, and the setting under which it runs."""

    architecture: str
    library: str
    setting: str


class PeerFlow:
    """A flow that is trained, scored and sampled one batch at a time.

    Args:
        variant: Architecture, library and setting.
        batch_size: Number of images of a training step and of a call that scores.
        n_samples: Number of samples of a call.
    """

    def __init__(self, variant: Variant, batch_size: int, n_samples: int) -> None:
        self.is_tuned, is_ours = variant.setting != "shipped", variant.library == OURS
        self.device = default_device()
        self.batch_size, self.n_samples = batch_size, n_samples
        is_plain = variant[:2] in PLAIN
        self.trains_in_bfloat16 = (self.is_tuned or is_ours) and not is_plain
        self.scores_in_bfloat16 = self.is_tuned and not is_plain
        if self.is_tuned or is_ours:
            keep_freed_memory()
        self.base_memory = begin_memory(self.device)
        self.flow = build(variant.architecture, variant.library).to(self.device)
        if self.trains_in_bfloat16:
            self.flow = self.flow.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.flow.parameters(), lr=1e-3, fused=self.is_tuned or is_ours or None)
        self.dequantizer = UniformDequantizer()
        self.levels = training_levels(50 * batch_size).to(self.device).split(batch_size)
        self.n_taken = 0

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next dequantized images and their log q, in nats."""
        levels = self.levels[self.n_taken % len(self.levels)]
        self.n_taken += 1
        return self.dequantizer(levels, draw_noise(levels))

    def training(self) -> None:
        """Take a training step."""
        x, log_q = self.batch()
        with shipped_autocast(self.trains_in_bfloat16):
            loss = self.flow.training_loss(x, log_q)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def log_prob(self) -> None:
        """Score the next batch."""
        with shipped_autocast(self.scores_in_bfloat16):
            self.flow.log_prob(self.batch()[0])

    @torch.no_grad()
    def samples(self) -> None:
        """Draw samples."""
        with shipped_autocast(self.scores_in_bfloat16):
            self.flow.sample(self.n_samples)

    @torch.no_grad()
    def round_trip_error(self) -> float:
        """Return the largest error of as many images in (0, 1) as samples are drawn, after encoding and decoding."""
        x = self.batch()[0][: self.n_samples]
        with shipped_autocast(self.scores_in_bfloat16):
            return (self.flow.decode(self.flow.encode(x)) - x).abs().max().item()

    def warm_up(self, compiles: bool) -> dict[str, Any]:
        """Initialize, compile if asked to, and return what is measured only once, such as the memory of training."""
        self.training()  # sets activation normalizations, before anything is compiled
        if compiles:
            for network in conditioners(self.flow):
                network.compile()
        begin = time.perf_counter()
        self.training()
        self._evaluate()
        seconds = time.perf_counter() - begin
        begin_memory(self.device)
        self.flow.train()
        self.training()
        memory = (peak_memory(self.device) - self.base_memory) / 2**20
        return {
            "parameters": count_parameters(self.flow),
            "compiled": compiles,
            "seconds_of_first_calls": seconds,
            "mebibytes": memory,
        }

    def measure(self, n_steps: int) -> dict[str, float]:
        """Return images per second in training, scoring and sampling, and the round-trip error."""
        metrics = {}
        for name in SPEEDS:
            self.flow.train(name == "training")
            n_images = self.n_samples if name == "samples" else self.batch_size
            metrics[name] = n_images / seconds_per_call(getattr(self, name), n_steps, self.device, LEAST_SECONDS)
        return {**metrics, "round_trip_error": self.round_trip_error()}

    def _evaluate(self) -> None:
        self.flow.eval()
        for call in (self.log_prob, self.samples, self.round_trip_error):
            call()
