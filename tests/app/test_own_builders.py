"""Mistakes in a user's own builder are said with file and line."""

import pytest
from omegaconf import OmegaConf

from nf_mnist.app.own_builders import build_own
from nf_mnist.errors import CheckpointError, ConfigError

CODE = {
    "syntax": ("def build(:\n    pass\n", "cannot be imported: SyntaxError", "line 1"),
    "imports": ("import torch\nimport no_such_thing\n", "No module named 'no_such_thing'", "line 2"),
    "raises": (
        "def build():\n    return helper()\n\n\ndef helper():\n    return 1 / 0\n",
        "ZeroDivisionError",
        "line 6",
    ),
    "typo": ("def builds():\n    return 1\n", "has no build; it has builds", ""),
    "nothing": ("def build():\n    return 1\n", "built a int, which has no forward_and_log_det", ""),
}


@pytest.mark.parametrize("name", CODE)
def test_a_mistake_in_a_builder_is_said_with_file_and_line(name, tmp_path, monkeypatch):
    module, (code, said, line) = f"own_{name}", CODE[name]
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as error:
        build_own(OmegaConf.create({"_target_": f"{module}.build"}), (module,))
    text = str(error.value)
    assert said in text
    assert line in text
    assert f"{module}.py" in text or not line
    assert "trust" not in text


def test_a_module_that_is_not_trusted_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "own_untrusted.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckpointError, match="trust"):
        build_own(OmegaConf.create({"_target_": "own_untrusted.build"}), ())
