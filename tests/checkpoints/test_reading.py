"""A checkpoint is tensors and plain values; whatever else a file holds is refused, and nothing of it runs."""

import copy
import pkgutil
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nf_mnist import load_flow
from nf_mnist.app.building import build_flow
from nf_mnist.app.trained import load_trained
from nf_mnist.checkpoints.old_names import current_config, current_parameter
from nf_mnist.checkpoints.reading import load_weights
from nf_mnist.errors import CheckpointError
from tests.support.helpers import compose_config, first_difference, run_command, tiny_overrides, write_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and the checkpoint of a training with ActNorm, ``last.ckpt``."""
    folder = tmp_path_factory.mktemp("checkpoint")
    images = write_images(folder / "images.npz")
    overrides = [*tiny_overrides(images, folder / "run"), "model.norm=actnorm", "trainer.max_steps=2"]
    assert run_command("train", *overrides).code == 0
    (folder / "run" / "checkpoints" / "last.ckpt").rename(folder / "last.ckpt")
    return folder


@pytest.fixture
def checkpoint(folder) -> dict[str, Any]:
    """Return the content of a good checkpoint, to be spoiled."""
    return torch.load(folder / "last.ckpt", weights_only=True)


def refused(path: Path, said: str, **settings: Any) -> None:
    """Check that a file is refused in one line that names the file."""
    with pytest.raises(CheckpointError) as refusal:
        load_flow(path, **settings)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert said in str(refusal.value)


def test_a_checkpoint_holds_tensors_and_plain_values(checkpoint):
    def kinds(node: Any) -> set[type]:
        if isinstance(node, dict):
            return set().union(*map(kinds, [*node.keys(), *node.values()]))
        if isinstance(node, list | tuple | set):
            return set().union(*map(kinds, node))
        return {type(node)}

    assert kinds(checkpoint) <= {Tensor, str, int, float, bool, type(None)}


def test_a_loaded_flow_is_not_compiled(checkpoint, tmp_path):
    checkpoint["config"]["model"]["compile"] = True
    torch.save(checkpoint, tmp_path / "compiled.ckpt")
    flow = load_flow(tmp_path / "compiled.ckpt")
    assert all(module._compiled_call_impl is None for module in flow.modules())


def test_a_flow_is_rebuilt_with_the_same_density(folder, checkpoint):
    flow, _, cfg, _ = load_trained(folder / "last.ckpt")
    trained = build_flow(compose_config([*tiny_overrides(folder / "images.npz", folder), "model.norm=actnorm"]).model)
    trained.load_state_dict({name.removeprefix("flow."): value for name, value in checkpoint["state_dict"].items()})
    x = torch.rand(5, 1, 14, 14)
    assert not flow.training
    assert cfg.model.norm == "actnorm"
    assert torch.equal(flow.log_prob(x), trained.eval().log_prob(x))


def test_a_checkpoint_is_read_once(folder, tmp_path, monkeypatch):
    reads, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *given, **settings: reads.append(given) or load(*given, **settings))
    trained = load_trained(folder / "last.ckpt")
    assert len(reads) == 1
    assert trained.record["steps"] == 2
    assert trained.record["images"] == 2 * trained.cfg.data.batch_size
    for command in ("evaluate", "export"):
        reads.clear()
        finished = run_command(command, f"ckpt={folder}/last.ckpt", f"out={tmp_path}/{command}")
        assert finished.code == 0, finished.err
        assert len(reads) == 1, command


def test_settings_and_parameters_of_an_older_checkpoint_are_read_under_their_present_names(checkpoint, tmp_path):
    config = checkpoint["config"]
    config["trained"] = config.pop("trainable")
    config["model"]["flow"]["scale"] = config["model"]["flow"].pop("scale_activation")
    config["trainer"]["plugins"] = [{"_target_": "nf_mnist.training.whole_files.WholeFiles"}]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    cfg = load_trained(tmp_path / "old.ckpt").cfg
    assert ("trained" in cfg, "scale" in cfg.model.flow) == (False, False)
    assert (cfg.trainable, cfg.model.flow.scale_activation) == (None, "tanh")
    assert cfg.trainer.plugins[0]._target_ == "nf_mnist.training.checkpoint_io.AtomicCheckpointIO"
    flow = {"n_levels": 2, "trained_on": ["random", "upper", "left"]}
    assert current_config({"model": {"flow": flow}})["model"]["flow"] == {
        "n_scales": 2,
        "training_mask": ["random", "lower", "right"],
    }
    assert current_config({"data": {"n_levels": 2}, "scale": "upper"}) == {"data": {"n_levels": 2}, "scale": "upper"}
    known = {"net.conv_in.weight": None, "net.proj_out.bias": None}
    for old, new in (("net.enter.weight", "net.conv_in.weight"), ("net.leave.bias", "net.proj_out.bias")):
        assert current_parameter(old, known) == new
    assert current_parameter("net.enter.bias", known) == "net.enter.bias"


def test_a_missing_file_is_refused(folder):
    refused(folder / "missing.ckpt", "there is no checkpoint")
    refused(folder, "there is no checkpoint")


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, folder, tmp_path):
    content = (folder / "last.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(content[: int(share * len(content))])
    refused(tmp_path / "cut.ckpt", "is truncated or not a checkpoint")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0" * 5000, "is truncated or not a checkpoint"),
        (random.Random(0).randbytes(5000), "is refused: it is damaged"),
        (b"PK\3\4", "is truncated or not a checkpoint"),
        (b"\x80\2}.", "is truncated or not a checkpoint"),
        (b"text", "is truncated or not a checkpoint"),
    ],
)
def test_a_file_of_another_kind_is_refused(content, said, tmp_path):
    (tmp_path / "other.ckpt").write_bytes(content)
    refused(tmp_path / "other.ckpt", said)


def test_a_refusal_does_not_pass_on_the_advice_to_load_without_protection(tmp_path):
    (tmp_path / "tar.ckpt").write_bytes(b"\0" * 5000)
    with pytest.raises(CheckpointError) as refusal:
        load_flow(tmp_path / "tar.ckpt")
    assert "False" not in str(refusal.value)


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("key", ["state_dict", "config", "callbacks", "elsewhere"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_the_code_does_not_run(key, zipped, checkpoint, tmp_path):
    checkpoint[key] = Hostile(tmp_path / "created")
    torch.save(checkpoint, tmp_path / "hostile.ckpt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "hostile.ckpt", "nothing of it was run")
    assert not (tmp_path / "created").exists()


LACKS = "was not written by nf_mnist: it lacks a state_dict or a config"
UNBUILT = "has a configuration from which no flow can be built"
MORE = "was not written by nf_mnist: its state_dict holds more than tensors"


@pytest.mark.parametrize(
    ("foreign", "said"),
    [
        ([1, 2], LACKS),
        (torch.zeros(3), LACKS),
        ({"weight": torch.zeros(3)}, LACKS),
        ({"state_dict": {"weight": torch.zeros(3)}}, LACKS),
        ({"state_dict": {}, "config": {}}, UNBUILT),
        ({"state_dict": {}, "config": {"model": None}}, UNBUILT),
        ({"state_dict": {}, "config": {"model": {"flow": 3}}}, UNBUILT),
        ({"state_dict": {}, "config": {"model": {"flow": {torch.zeros(1): 3}}}}, UNBUILT),
        ({"state_dict": [], "config": {}}, "was not written by nf_mnist: its state_dict or config is no dict"),
        ({"state_dict": {"weight": 3}, "config": {}}, MORE),
        ({"state_dict": {3: torch.zeros(3)}, "config": {}}, MORE),
    ],
    ids=repr,
)
def test_a_checkpoint_of_another_project_is_refused(foreign, said, tmp_path):
    torch.save(foreign, tmp_path / "foreign.ckpt")
    refused(tmp_path / "foreign.ckpt", said)


@pytest.mark.parametrize(
    "spoil", [Tensor.to_sparse, lambda value: value.to("meta"), lambda value: value.to(torch.cfloat)]
)
def test_tensors_that_are_no_weights_are_refused(spoil, checkpoint, tmp_path):
    name = list(checkpoint["state_dict"])[-2]
    checkpoint["state_dict"][name] = spoil(checkpoint["state_dict"][name])
    torch.save(checkpoint, tmp_path / "spoilt.ckpt")
    refused(tmp_path / "spoilt.ckpt", f"is damaged or foreign: {name.removeprefix('flow.')} is no dense tensor of")


HOSTILE_TARGETS = [
    ("os.system", {"_args_": ["touch {}"]}),
    ("posix.system", {"_args_": ["touch {}"]}),
    ("builtins.eval", {"_args_": ["open('{}', 'w')"]}),
    ("subprocess.call", {"args": ["touch", "{}"]}),
    ("pathlib.Path.touch", {"_args_": ["{}"]}),
    ("nf_mnist.app.command.os.system", {"_args_": ["touch {}"]}),
    ("nf_mnist.app.output.Path.touch", {"_args_": ["{}"]}),
    ("nf_mnist.training.fit.shutil.copyfile", {"_args_": [__file__, "{}"]}),
    ("nf_mnist.app.composing.hydra_instantiate", {"_args_": [{"_target_": "nf_mnist.flows.resflow"}]}),
    ("nf_mnist.metrics.likelihood.torch.save", {"_args_": [1, "{}"]}),
    ("nf_mnist.metrics.likelihood.torch.randn", {"_args_": [1]}),
    ("nf_mnist.flows.resflow.__globals__.get", {"_args_": ["x"]}),
    ("nf_mnist.checkpoints.writing.write_text", {"_args_": ["{}", "mine now"]}),
    ("nf_mnist.checkpoints.writing.write_json", {"_args_": ["{}", "mine now"]}),
    ("nf_mnist.app.output.new_path", {"_args_": ["{}/deeper"]}),
    ("nf_mnist.app.command.fail", {"_args_": ["stop"]}),
    ("nf_mnist.app.trained.load_trained", {"path": "{}.ckpt", "trust": ["os", "posix"]}),
    ("nf_mnist.train.main", {}),
    ("nf_mnist..flows.resflow", {}),
    ("nf_mnist", {}),
    ("nf_mnist_evil.flows.resflow", {}),
    ("", {}),
    (3, {}),
    (["os.system"], {}),
]


PLACES = ("model.flow", "model.flow.preprocess", "data.source", "model.deep", "model.tuple", "model.quiet")


@pytest.mark.parametrize(
    ("target", "arguments", "place"),
    [(*HOSTILE_TARGETS[0], place) for place in PLACES] + [(*hostile, PLACES[0]) for hostile in HOSTILE_TARGETS[1:]],
    ids=str,
)
def test_a_configuration_that_names_foreign_code_is_refused(target, arguments, place, checkpoint, tmp_path):
    created = str(tmp_path / "created")
    filled = {
        key: [text.replace("{}", created) if isinstance(text, str) else text for text in value]
        if isinstance(value, list)
        else value.replace("{}", created)
        for key, value in arguments.items()
    }
    node = {"_target_": target, **filled}
    model, data = checkpoint["config"]["model"], checkpoint["config"]["data"]
    if place == "model.flow":
        model["flow"] = node
    elif place == "model.flow.preprocess":
        model["flow"]["preprocess"] = node
    elif place == "data.source":
        data["source"] = node
    elif place == "model.deep":
        model["flow"]["deep"] = [{"list": [[node]]}]
    elif place == "model.tuple":  # torch.load lets tuples through, and Hydra builds what is in them
        model["flow"]["mask"] = (node,)
    else:
        model["flow"]["quiet"] = {"_partial_": True, "_recursive_": False, **node}
    torch.save(checkpoint, tmp_path / "hostile.ckpt")
    refused(tmp_path / "hostile.ckpt", "is refused")
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.ckpt"]


def test_the_hostile_targets_of_nf_mnist_are_functions_that_exist():
    names = [name for name, _ in HOSTILE_TARGETS if isinstance(name, str) and name.startswith("nf_mnist.")]
    found = [pkgutil.resolve_name(name) for name in names if ".." not in name]
    assert len(found) > 10
    assert all(map(callable, found))


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "${array_event_shape:x.npz}", "a ${model.norm}", "${"])
@pytest.mark.parametrize("place", [lambda text: {text: 1}, lambda text: [{"deep": text}], lambda text: (text,)])
def test_a_configuration_with_an_interpolation_is_refused(text, place, checkpoint, tmp_path):
    checkpoint["config"]["model"]["flow"]["mask"] = place(text)
    torch.save(checkpoint, tmp_path / "hostile.ckpt")
    refused(tmp_path / "hostile.ckpt", text)


def test_another_package_runs_only_if_it_is_trusted(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "their_flows.py").write_text(
        "from pathlib import Path\nfrom nf_mnist.flows import resflow\n"
        "Path(__file__).with_name('imported').touch()\n"
        "def build(**settings):\n    return resflow(**settings)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint["config"]["model"]["flow"]["_target_"] = "their_flows.build"
    torch.save(checkpoint, tmp_path / "theirs.ckpt")
    refused(tmp_path / "theirs.ckpt", "trust=[their_flows]")
    refused(tmp_path / "theirs.ckpt", "'their_flows.build'", trust=["their"])
    assert not (tmp_path / "imported").exists()
    flow = load_flow(tmp_path / "theirs.ckpt", trust=["their_flows"])
    assert flow.event_shape == (1, 14, 14)


def test_another_architecture_is_named_by_its_first_difference_and_nothing_is_loaded(folder, checkpoint):
    base = tiny_overrides(folder / "images.npz", folder)
    first, last = "bijector.bijectors.1.scale_net.0.layers.0.weight", list(checkpoint["state_dict"])[-1]
    cases = [
        (["model.norm=actnorm", "model.flow.hidden_channels=5"], first, "(5, 1, 3, 3)"),
        (["model.norm=none"], "bijector.bijectors.2.", "absent"),
    ]
    for overrides, name, shape in cases:
        flow = build_flow(compose_config([*base, *overrides]).model)
        before = copy.deepcopy(flow.state_dict())
        with pytest.raises(CheckpointError, match=r"another architecture") as refusal:
            load_weights(flow, checkpoint, "x.ckpt")
        assert name in str(refusal.value)
        assert shape in str(refusal.value)
        assert first_difference(flow.state_dict(), before) == ""
    del checkpoint["state_dict"][last]
    flow = build_flow(compose_config([*base, "model.norm=actnorm"]).model)
    before = copy.deepcopy(flow.state_dict())
    with pytest.raises(CheckpointError, match=last.removeprefix("flow.")):
        load_weights(flow, checkpoint, "x.ckpt")
    assert first_difference(flow.state_dict(), before) == ""


def test_a_damaged_file_is_refused_or_still_loads(folder, tmp_path):
    draw, content = random.Random(0), (folder / "last.ckpt").read_bytes()
    good = load_flow(folder / "last.ckpt")
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 1, 4, 64])):
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path = tmp_path / "damaged.ckpt"
        path.write_bytes(damaged[: draw.choice([None, None, draw.randrange(len(content))])])
        try:
            flow = load_flow(path)
        except CheckpointError:
            continue
        assert first_difference(flow.state_dict(), good.state_dict()) == "", "it loads, so the damage is outside"
