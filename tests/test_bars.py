"""Progress bars where there is a terminal, where there is a notebook, and where there is neither."""

import io
import sys
from types import SimpleNamespace

import pytest

from nf_mnist import bars
from nf_mnist.app.progress import progress_bar


@pytest.fixture
def shown(monkeypatch) -> list[dict[str, str]]:
    """Pretend to be the kernel of a notebook; return what is shown, the latest last."""
    shown = []
    handle = SimpleNamespace(update=lambda content, raw: shown.append(content))

    def display(content, raw, display_id):
        shown.append(content)
        return handle

    shell = SimpleNamespace(kernel=object())
    modules = {
        "IPython": SimpleNamespace(get_ipython=lambda: shell),
        "IPython.display": SimpleNamespace(display=display),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return shown


def test_a_notebook_gets_a_bar_whose_last_state_stays(shown):
    bar = bars.open_bar("starting <all>")
    bar.update(0.25, "step 1")
    bar.update(1.0, "step 4")
    bar.stop()
    assert "0% starting <all>, 0:00 passed" in shown[0]["text/plain"]
    assert "&lt;all&gt;" in shown[0]["text/html"]
    assert 'value="1.0000"' in shown[-1]["text/html"]
    assert "100% step 4" in shown[-1]["text/plain"]
    assert "left" not in shown[-1]["text/plain"]


def test_the_time_left_counts_from_where_the_bar_began(shown, monkeypatch):
    now = 100.0
    monkeypatch.setattr(bars.time, "monotonic", lambda: now)
    bar = bars.open_bar("resumed", share=0.5)
    now = 190.0
    bar.update(0.75, "half of the rest")
    assert shown[-1]["text/plain"] == "75% half of the rest, 1:30 passed, 1:30 left"


def test_a_notebook_is_not_flooded(shown):
    items = list(range(1000))
    assert list(progress_bar("counting")(items)) == items
    assert len(shown) < 100
    assert "100% counting" in shown[-1]["text/plain"]


def test_a_log_gets_no_bar_and_a_terminal_does(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert bars.open_bar("starting") is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = bars.open_bar("starting [1]")
    bar.update(1.0, "done [2]")
    bar.stop()
    assert "done [2]" in sys.stderr.getvalue()
