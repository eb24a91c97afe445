"""What other libraries say reaches a user in one line that names what to do, and can be pasted."""

import shlex

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nf_mnist.app.messages import one_line
from nf_mnist.app.translation import translated
from nf_mnist.errors import ConfigError, MachineError
from nf_mnist.overrides import override, pasteable

CHARACTERS = "ab5/\\\"'${}=,()[]é ^.:~\t#&-"
PARSER = OverridesParser.create()


def value_of(text: str) -> object:
    """Return the value that a command finds in its configuration for an override of the key ``k``."""
    return OmegaConf.create({"k": PARSER.parse_override(text).value()}).k


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from(CHARACTERS), max_size=12) | st.sampled_from(["null", "True", "nan", "1e3", "-inf", "0"]))
def test_hydra_and_a_shell_read_any_text_back(text):
    assert value_of(override("k", text)) == text
    (argument,) = shlex.split(pasteable("k", text))
    assert value_of(argument) == text


def test_plain_paths_are_not_quoted():
    assert pasteable("ckpt", "outputs/resflow/2026-11-28_10-00-00_1/checkpoints/last.ckpt").startswith("ckpt=outputs/")
    assert pasteable("ckpt", "/runs/lr=0.1/last.ckpt") == """'ckpt="/runs/lr=0.1/last.ckpt"'"""


@pytest.mark.parametrize("text", ["^flow", "/data/é", "images (1).npz", "epoch=3-step=5.ckpt", "[", "a,", "'"])
def test_an_override_that_hydra_cannot_read_is_shown_quoted(text):
    with pytest.raises(OverrideParseException) as caught:
        PARSER.parse_overrides([f"k={text}"])
    said = one_line(caught.value)
    assert said.startswith(f"cannot read k={text}, since ")
    (argument,) = shlex.split(said.rpartition("quote a text: ")[2])
    assert value_of(argument) == text


@pytest.mark.parametrize("text", ["resflow", "a.b.=3", "a..b=^", "=^"])
def test_what_is_no_setting_is_told_how_to_write_one(text):
    with pytest.raises(OverrideParseException) as caught:
        PARSER.parse_overrides([text])
    assert one_line(caught.value) == f"cannot read {text}: a setting is written key=value, such as optimizer.lr=1e-3"


def raised(module: str, error: Exception, function: str = "run") -> Exception:
    """Return an error after it was raised by a function of another module."""
    scope = {"__name__": module, "error": error.with_traceback(None)}
    exec(f"def {function}():\n    raise error", scope)
    with pytest.raises(type(error)) as caught:
        scope[function]()
    return caught.value


def too_large() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    return caught.value


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of\n139 GiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    MemoryError(),
    too_large(),
]


@pytest.mark.parametrize(
    ("module", "setting"),
    [
        ("lightning.pytorch.loops.fit_loop", "data.batch_size, or model.recompute=true"),
        ("nf_mnist.app.evaluation", "evaluation.batch_size"),
        ("nf_mnist.app.sample_quality", "samples.batch_size"),
        ("nf_mnist.app.sampling", "batch_size"),
    ],
)
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_too_little_memory_is_said_with_the_setting_that_saves_some(error, module, setting):
    found = translated(raised(module, error))
    assert isinstance(found, MachineError)
    assert str(found).startswith("out of memory")
    assert str(found).endswith(f"use a smaller {setting}")
    assert ("tried to allocate" in str(error).lower()) == ("more were wanted" in str(found))


def test_a_compiler_that_fails_is_said_with_the_switch_that_does_without():
    from torch._inductor.exc import InvalidCxxCompiler

    found = translated(raised("torch._inductor.codecache", InvalidCxxCompiler()))
    assert isinstance(found, MachineError)
    assert "No working C++ compiler" in str(found)
    assert "model.compile=false" in str(found)


def test_a_batch_of_one_image_is_said_with_its_setting():
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        torch.nn.BatchNorm1d(3)(torch.zeros(1, 3))
    found = translated(caught.value)
    assert isinstance(found, ConfigError)
    assert "raise data.batch_size" in str(found)


def test_other_errors_stay_tracebacks():
    for error in (ValueError("x"), RuntimeError("x"), KeyError("x")):
        assert translated(raised("nf_mnist.flows.flow", error)) is None
