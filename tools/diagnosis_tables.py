"""Tables of the checks of ``python -m nf_mnist.diagnose``, and of the faults that they find."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tools.from_results import read_result, table

if TYPE_CHECKING:
    from nf_mnist.diagnostics import Check

JUDGEMENTS = (
    *("named rightly", "half", "cause unknown", "misleading", "missed"),  # of faulty flows
    *("clean", "true alarm", "false alarm"),  # of healthy ones
    "not judged",
)


def checks() -> str:
    """Return what each check measures and expects, the likely cause of a violation, and its remedy."""
    from nf_mnist.diagnostics import CHECKS  # imports torch, which no other table needs

    columns = ("check", "what passes", "what it measures, and why this threshold", "likely cause", "try")
    rows = [(check.name, check.expected, check.explanation, check.cause, _cure(check)) for check in CHECKS]
    return table(columns, rows)


def _cure(check: "Check") -> str:
    overrides = f" (`{' '.join(check.overrides)}`)" if check.overrides else ""
    return f"{check.remedy}{overrides}"


def planted_faults() -> str:
    """Return the first violation that is reported for each planted fault, and whether it is the right one."""
    rows = []
    for fault in read_result("planted_faults")["faults"].values():
        first = fault["first"]
        said = f"{first['check']} ({first['status']})" if first else "nothing"
        rows.append((fault["truth"], said, "yes" if fault["named"] else "no"))
    return f"{named_faults()}\n\n{table(('what is wrong', 'first violation', 'named rightly'), rows)}"


def cures() -> str:
    """Return what a diagnosis says of trainings with a bad setting, and after its own command was run."""
    rows = [
        (f"`{row['setting']}`", _said(row["before"]), f"`{row['cure']}`", _said(row["after"]))
        for row in read_result("cures")["rows"].values()
    ]
    return table(("training", "diagnosis", "command that it prints", "diagnosis of what that trains"), rows)


def _said(diagnosed: dict[str, Any]) -> str:
    alarms_of_it = ", ".join(diagnosed["fail"]) or "no check"
    n_warnings = len(diagnosed["warn"])
    return f"{diagnosed['answer']} Fails: {alarms_of_it}; {n_warnings} warning{'s' if n_warnings != 1 else ''}."


def blind_diagnosis() -> str:
    """Return what was said of the flows of each set of the blind trial, and how a reader judged each answer."""
    return "\n\n".join(_blind_set(name, **flows) for name, flows in read_result("blind_diagnosis").items())


def _blind_set(name: str, faults: dict[str, Any], healthy: dict[str, Any]) -> str:
    faulty_rows = [(flow["truth"], flow["parts"], *_judged(flow)) for flow in faults.values()]
    healthy_rows = [(f"`{flow_name}`", *_judged(flow)) for flow_name, flow in healthy.items()]
    sentence = (
        f"The {name} set, {len(faults)} faults: {_counted(faults)}; {len(healthy)} healthy flows: {_counted(healthy)}."
    )
    faulty_table = table(("what is wrong", "parts of", "first violation", "judgement"), faulty_rows)
    healthy_table = table(("healthy flow", "first violation", "judgement"), healthy_rows)
    return f"{sentence}\n\n{faulty_table}\n\n{healthy_table}"


def _counted(flows: dict[str, Any]) -> str:
    found = Counter(flow["judgement"] or "not judged" for flow in flows.values())
    return ", ".join(f"{judgement} {found[judgement]}" for judgement in JUDGEMENTS if found[judgement])


def _judged(flow: dict[str, Any]) -> tuple[str, str]:
    judgement = flow["judgement"] or "not judged"
    return flow["first"], f"{judgement}: {flow['why']}" if flow["why"] else judgement


def named_faults() -> str:
    """Return a sentence that says how many faults are named, and how many healthy flows raise an alarm."""
    planted = read_result("planted_faults")
    faults, healthy = planted["faults"].values(), planted["healthy"].values()
    n_named, n_alarms = sum(fault["named"] for fault in faults), sum(flow["alarm"] for flow in healthy)
    return (
        f"{n_named} of {len(faults)} faults are named rightly; {n_alarms} of {len(healthy)} healthy flows fail a check."
    )


def alarms() -> str:
    """Return a sentence that says how many trained flows raise an alarm."""
    flows = read_result("diagnosed_flows")["rows"].values()
    return f"{sum(bool(flow['fail']) for flow in flows)} of {len(flows)} trained flows fail a check."


def diagnosis() -> str:
    """Return both sentences: on planted faults, and on trained flows."""
    return f"{named_faults()} {alarms()}"


def diagnosed_flows() -> str:
    """Return the diagnoses of flows that were trained by their recipes, and of released weights."""
    rows = []
    for name, flow in read_result("diagnosed_flows")["rows"].items():
        alarms_of_it, warnings = (
            ", ".join(f"{check} ({measured})" for check, measured in flow[key].items()) for key in ("fail", "warn")
        )
        parameters, passed, seconds = f"{flow['parameters']:,}", str(flow["passed"]), f"{flow['seconds']:.0f} s"
        rows.append((f"`{name}`", parameters, passed, warnings, alarms_of_it, seconds))
    columns = (
        "flow, trained on one core",
        "parameters",
        "checks passed",
        "warnings",
        "alarms",
        "time of the diagnosis",
    )
    return f"{alarms()}\n\n{table(columns, rows)}"
