"""Splits whose sizes are not what the recipe asks for, because groups, instants or classes cannot be divided."""

from danlu.data.audit.finding import AuditContext, Finding, make_finding

FAR = 1 / 3  # of the asked share; nearer is what whole groups cannot help
FEWEST_ROWS = 2  # that more than rounding is off by


def drawn_splits(view: AuditContext) -> list[Finding]:
    """Say which splits are made of rows given to train, where others are given."""
    column = view.dataset.split_column
    if column is None:
        return []
    given = set(view.dataset.frame[column].unique().to_list())
    return [
        make_finding(
            "drawn-splits", "note", mend=f"data.split.{name}: 0" * (name == "test"), split=name, rows=len(part)
        )
        for name, part in view.splits.items()
        if name not in given and len(part)
    ]


def uneven_shares(view: AuditContext) -> list[Finding]:
    """Find splits far larger or smaller than asked, if the recipe asks for shares."""
    if view.splitter is None or view.splitter.name == "column" or view.dataset.split_column is not None:
        return []
    section = view.section.split
    asked = {
        "train": 1 - section.validation - section.test,
        "validation": section.validation,
        "test": section.test,
    }
    total = sum(len(part) for _, part in view.splits.items())
    shares = [
        {"split": name, "asked": asked[name], "share": len(part) / total}
        for name, part in view.splits.items()
        if abs(len(part) - asked[name] * total) > max(FAR * asked[name] * total, FEWEST_ROWS)
    ]
    if not shares:
        return []
    return [make_finding("uneven-shares", "warning", shares=shares, by=view.splitter.name)]
