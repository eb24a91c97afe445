"""Tables of laws, and of the faults that they find."""

from tools.from_results import read_result, table


def laws() -> str:
    """Return what each law of ``python -m nf_mnist.diagnose`` measures and expects, and what to do if it is broken."""
    from nf_mnist.diagnostics import CHECKS  # torch, which no other table needs

    columns = ("law", "what passes", "what it measures, and why so much", "likely cause", "try")
    rows = []
    for law in CHECKS.values():
        why = " ".join((law.measure.__doc__ or "").split())
        rows.append((law.name, law.expected, why, law.cause, law.cure))
    return table(columns, rows)


def planted_faults() -> str:
    """Return which law is the first to break when a fault is planted, and whether it is the right one."""
    rows = []
    for found in read_result("planted_faults")["faults"].values():
        first = found["first"]
        said = f"{first['law']} ({first['status']})" if first else "nothing"
        rows.append((found["truth"], said, "yes" if found["named"] else "no"))
    return f"{named_faults()}\n\n{table(('what is wrong', 'the first law that is broken', 'named rightly'), rows)}"


def named_faults() -> str:
    """Return in a sentence how many faults are named, and how many healthy flows raise an alarm."""
    planted = read_result("planted_faults")
    faults, healthy = planted["faults"].values(), planted["healthy"].values()
    n_named, n_alarms = sum(found["named"] for found in faults), sum(found["alarm"] for found in healthy)
    return (
        f"{n_named} of {len(faults)} faults are named rightly; {n_alarms} of {len(healthy)} healthy flows fail a law."
    )


def alarms() -> str:
    """Return in a sentence how many trained flows raise an alarm."""
    found = read_result("diagnosed_flows")["rows"].values()
    return f"{sum(bool(row['fail']) for row in found)} of {len(found)} trained flows fail a law."


def diagnosis() -> str:
    """Return the two sentences: faults that are named, and alarms on flows without any."""
    return f"{named_faults()} {alarms()}"


def diagnosed_flows() -> str:
    """Return what the diagnosis says of flows that were trained by their recipes, and of released ones."""
    found = read_result("diagnosed_flows")["rows"]
    rows = []
    for name, row in found.items():
        fails, warns = (", ".join(f"{law} ({figure})" for law, figure in row[key].items()) for key in ("fail", "warn"))
        rows.append(
            (f"`{name}`", f"{row['parameters']:,}", str(row["passed"]), warns, fails, f"{row['seconds']:.0f} s")
        )
    columns = ("flow, trained on one core", "parameters", "laws that hold", "warnings", "alarms", "diagnosis")
    return f"{alarms()}\n\n{table(columns, rows)}"
