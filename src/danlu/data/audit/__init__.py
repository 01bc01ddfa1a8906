"""The audit: problems that would make the figures misleading or hurt the model, found before anything is trained.

Each file is a family of checks; each check looks at an `AuditContext` and returns findings. Nothing is changed here.
"""

from collections.abc import Iterable

from danlu.core.seeds import Seed
from danlu.data.audit.conversations import equal_answers, unread_columns
from danlu.data.audit.drift import adversarial_validation, drifting_columns, far_values
from danlu.data.audit.duplicates import contradicting_labels, near_copies, repeated_rows
from danlu.data.audit.finding import MOST_ROWS, SEVERITIES, Check, Finding, audit_context
from danlu.data.audit.labels import class_sizes, label_errors, label_spellings
from danlu.data.audit.leakage import dates_at_random, group_leakage, target_leakage
from danlu.data.audit.quality import (
    broken_images,
    column_shapes,
    constant_columns,
    doubtful_encoding,
    gray_range,
    inconsistent_spelling,
    unread_files,
)
from danlu.data.audit.shares import drawn_splits, uneven_shares
from danlu.data.dataset import Dataset
from danlu.data.splits import Splits
from danlu.recipe.sections.data import Data

__all__ = ["CHECKS", "MOST_ROWS", "Finding", "audit", "in_order"]

CHECKS: dict[str, Check] = {
    "unread-files": unread_files,
    "doubtful-encoding": doubtful_encoding,
    "unread-columns": unread_columns,
    "equal-answers": equal_answers,
    "broken-images": broken_images,
    "gray-range": gray_range,
    "repeated-rows": repeated_rows,
    "contradictions": contradicting_labels,
    "near-copies": near_copies,
    "telling-columns": target_leakage,
    "torn-groups": group_leakage,
    "dates-at-random": dates_at_random,
    "drawn-splits": drawn_splits,
    "uneven-shares": uneven_shares,
    "drifting-columns": drifting_columns,
    "far-values": far_values,
    "told-apart": adversarial_validation,
    "class-sizes": class_sizes,
    "label-spellings": label_spellings,
    "doubtful-labels": label_errors,
    "idle-columns": constant_columns,
    "spellings": inconsistent_spelling,
    "shapes": column_shapes,
}


def audit(dataset: Dataset, splits: Splits, section: Data, seed: Seed) -> tuple[Finding, ...]:
    """Run all CHECKS.

    Args:
        dataset: the rows and their meaning.
        splits: as training will use them.
        section: the resolved `data` section.
        seed: the recipe's; decides the sample where there are more than MOST_ROWS rows.

    Returns:
        the findings, the most severe first.
    """
    looked_at = audit_context(dataset, splits, section, seed.derive("audit"))
    found = [finding for check in CHECKS.values() for finding in check(looked_at)]
    return in_order(found)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with the most severe first."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
