"""A page that samples and completes digits in the browser itself: the flow as ONNX, and what runs it."""

import importlib.util
import math
import shutil
import subprocess
import tarfile
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.quantile_map import N_LEVELS
from nf_mnist.checkpoints.writing import write_text
from nf_mnist.errors import ConfigError, MachineError, first_line
from nf_mnist.flows import Flow
from nf_mnist.pages import render

EXTRA = ("onnx", "onnxruntime")
OPSET = 18
SAMPLER = "sampler.onnx"
SHAPE = (1, 28, 28)  # of the images that the page shows
N_COMPARED = 4
RUNTIME = "onnxruntime-web@1.30.0"  # in the npm registry
RUNTIME_FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
SECONDS_FOR_NPM = 600


class Sampler(nn.Module):
    """The map from a latent and an observed image to grey levels, one image at a time.

    Args:
        flow: A flow that is conditioned on observed pixels, in evaluation mode.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, z: Tensor, observed: Tensor) -> Tensor:
        """Return grey levels, as floats, shape (1, 1, height, width).

        Args:
            z: Latent, shape (1, dims).
            observed: Levels and flags of observed pixels, shape (1, 2, height, width); see
                :class:`~nf_mnist.flows.ConditionalFlow`.
        """
        return (self.flow.decode(z, observed) * N_LEVELS).floor().clamp(0, N_LEVELS - 1)


def check_exportable(flow: Flow) -> None:
    """Check that a flow completes images of the page's size in one pass, and that the extra ``page`` is installed.

    Raises:
        ConfigError: If it does not.
        MachineError: If the extra is not installed.
    """
    if not flow.takes_observed_pixels:
        raise ConfigError(
            "the page completes digits and needs a flow conditioned on observed pixels, such as pretrained:conditional"
        )
    if flow.event_shape != SHAPE:
        raise ConfigError(f"the page shows images of {SHAPE}, and this flow's are {flow.event_shape}")
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise MachineError(f"{' and '.join(missing)} is not installed: pip install 'nf_mnist[page]'")


def export_sampler(flow: Flow, folder: Path) -> float:
    """Write the sampler of a flow into a folder, as ONNX.

    Returns:
        The share of pixels of samples that have the same grey level in ONNX Runtime as in torch.

    Raises:
        ConfigError: If the flow has an operation that ONNX or ONNX Runtime does not have.
    """
    import onnxruntime  # of the extra page

    sampler = Sampler(flow.requires_grad_(False)).eval()
    latents = flow.base.sample(N_COMPARED, torch.Generator().manual_seed(0)).split(1)
    observed = torch.zeros(1, 2, *flow.event_shape[1:])
    try:
        _trace(sampler, latents[0], observed, folder / SAMPLER)
        session = onnxruntime.InferenceSession(folder / SAMPLER)
    except Exception as error:  # the exporter and the runtime have many of their own
        raise ConfigError(f"this flow cannot be exported as ONNX: {first_line(error)}") from error
    found = [session.run(None, {"z": z.numpy(), "observed": observed.numpy()})[0] for z in latents]
    same = [torch.from_numpy(levels) == sampler(z, observed) for levels, z in zip(found, latents, strict=True)]
    return torch.cat(same).double().mean().item()


def _trace(sampler: Sampler, z: Tensor, observed: Tensor, path: Path) -> None:
    torch.onnx.register_custom_op_symbolic("aten::special_ndtr", _normal_distribution_function, OPSET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a trace cannot see: the sizes are fixed here
        torch.onnx.export(
            sampler,
            (z, observed),
            str(path),
            dynamo=False,  # the newer exporter is many times slower for 14 passes of networks
            input_names=["z", "observed"],
            output_names=["levels"],
            opset_version=OPSET,
        )


def _normal_distribution_function(graph: Any, z: Any) -> Any:
    """Return the graph of the standard normal distribution function, for which ONNX has no operator of its own."""

    def constant(value: float) -> Any:
        return graph.op("Constant", value_t=torch.tensor(value))

    erf = graph.op("Erf", graph.op("Mul", z, constant(math.sqrt(0.5))))
    return graph.op("Mul", constant(0.5), graph.op("Add", constant(1.0), erf))


def copy_runtime(folder: Path) -> None:
    """Fetch ONNX Runtime for browsers from the npm registry, and put its files into a folder.

    Raises:
        MachineError: If npm is not installed, or cannot fetch the package.
    """
    if shutil.which("npm") is None:
        raise MachineError(f"npm, which fetches {RUNTIME}, is not installed; it comes with Node.js")
    with tempfile.TemporaryDirectory() as place:
        command = ["npm", "pack", RUNTIME, "--silent", "--pack-destination", place]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS_FOR_NPM)
            (archive,) = Path(place).glob("*.tgz")
            with tarfile.open(archive) as package:
                for name in RUNTIME_FILES:
                    member: Any = package.extractfile(f"package/dist/{name}")
                    (folder / name).write_bytes(member.read())
        except subprocess.CalledProcessError as error:
            raise MachineError(f"npm cannot fetch {RUNTIME}: {first_line(Exception(error.stderr))}") from error
        except (subprocess.TimeoutExpired, ValueError, KeyError, tarfile.TarError) as error:
            raise MachineError(f"npm cannot fetch {RUNTIME}: {first_line(error)}") from error


def write_html(folder: Path, name: str) -> None:
    """Write the page itself into a folder.

    Args:
        folder: The folder.
        name: Name of the checkpoint, for people.
    """
    write_text(folder / "index.html", render("sampler", "Sample and complete digits", {}, name=name))
