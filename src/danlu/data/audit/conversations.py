"""Columns of conversations and preferences that the model never reads."""

from danlu.data.audit.finding import AuditContext, Finding, make_finding
from danlu.data.messages import reason

READ_OR_USED = frozenset(
    {reason("in-messages"), reason("splits")}
)  # of columns that are no features and yet have a use


def unread_columns(view: AuditContext) -> list[Finding]:
    """Find columns beside conversations that are not used."""
    if not view.dataset.kind.shows_a_row:
        return []
    names = [column.name for column in view.columns if not column.used and column.reason not in READ_OR_USED]
    return [make_finding("unread-columns", "note", columns=names)] if names else []
