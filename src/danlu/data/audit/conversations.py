"""What conversations and preferences hold that the model never reads, or learns nothing from."""

from danlu.data.audit.finding import AuditContext, Finding, make_finding
from danlu.data.messages import reason
from danlu.data.sources.chat_forms import CHOSEN, REJECTED
from danlu.tasks.preference import Preference

READ_OR_USED = frozenset(
    {reason("in-messages"), reason("splits")}
)  # of columns that are no features and yet have a use


def unread_columns(view: AuditContext) -> list[Finding]:
    """Find columns beside conversations that are not used."""
    if not view.dataset.kind.shows_a_row:
        return []
    names = [column.name for column in view.columns if not column.used and column.reason not in READ_OR_USED]
    return [make_finding("unread-columns", "note", columns=names)] if names else []


def equal_answers(view: AuditContext) -> list[Finding]:
    """Find preferences whose two answers are the same."""
    if not isinstance(view.dataset.task, Preference):
        return []
    equal = int((view.train[CHOSEN] == view.train[REJECTED]).sum())
    return [make_finding("equal-answers", "warning", rows=equal, of=view.train.height)] if equal else []
