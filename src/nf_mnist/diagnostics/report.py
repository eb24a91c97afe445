"""A diagnosis as one page of HTML, pictures inside, no scripts."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from nf_mnist.diagnostics.check import Result

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Diagnosis of $flow</title>
<style>
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3em .6em; border-bottom: 1px solid #ddd; }
code { background: #f3f3f3; padding: .1em .3em; }
img { max-width: 100%; }
.pass { color: #187a2f; } .warn { color: #a56a00; } .fail { color: #b3141d; font-weight: bold; } .skip { color: #888; }
</style>
</head>
<body>
<h1>Diagnosis of $flow</h1>
<p>$about</p>
<p>$summary</p>
$broken
<h2>All laws</h2>
<table>
<tr><th>law</th><th>verdict</th><th>figure</th><th>expected</th></tr>
$rows
</table>
$pictures
</body>
</html>
""")
BROKEN = Template("""<h3 class="$status">$status: $law</h3>
<p>$figure; expected: $expected</p>
<p><b>Likely cause.</b> $cause<br><b>Try.</b> <code>$cure</code></p>""")
ROW = Template('<tr><td>$law</td><td class="$status">$status</td><td>$figure</td><td>$expected</td></tr>')
PICTURE = Template('<h2>$title</h2>\n<img alt="$title" src="data:image/png;base64,$content">')


def page(about: Mapping[str, Any], verdicts: Sequence[Result], pictures: Mapping[str, bytes]) -> str:
    """Return the whole page.

    Args:
        about: What was looked at; ``flow`` is its title.
        verdicts: In order.
        pictures: PNG files by title.
    """
    counts = {
        status: sum(verdict.status == status for verdict in verdicts) for status in ("pass", "warn", "fail", "skip")
    }
    broken = [verdict for verdict in verdicts if verdict.cause]
    return PAGE.substitute(
        flow=escape(str(about["flow"])),
        about=escape(", ".join(f"{name} {value}" for name, value in about.items() if name != "flow")),
        summary=", ".join(f'<span class="{status}">{count} {status}</span>' for status, count in counts.items()),
        broken="\n".join(BROKEN.substitute(_escaped(verdict)) for verdict in broken),
        rows="\n".join(ROW.substitute(_escaped(verdict)) for verdict in verdicts),
        pictures="\n".join(
            PICTURE.substitute(title=escape(title), content=base64.b64encode(content).decode())
            for title, content in pictures.items()
        ),
    )


def _escaped(verdict: Result) -> dict[str, str]:
    return {name: escape(str(value)) for name, value in verdict._asdict().items()}
