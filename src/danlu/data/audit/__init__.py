"""The audit: problems that would make the figures misleading or hurt the model, found before anything is trained.

Each file is a family of checks; each check looks at an `AuditContext` and returns findings. Nothing is changed here.
"""

from danlu.core.seeds import Seed
from danlu.data.audit.drift import drifting_columns, told_apart
from danlu.data.audit.duplicates import contradictions, near_copies, repeated_rows
from danlu.data.audit.finding import MOST_ROWS, SEVERITIES, Check, Finding, view
from danlu.data.audit.images import broken_images
from danlu.data.audit.labels import class_sizes, doubtful_labels
from danlu.data.audit.leakage import dates_at_random, telling_columns, torn_groups
from danlu.data.audit.quality import idle_columns, shapes, spellings
from danlu.data.dataset import Dataset
from danlu.data.splits import Splits
from danlu.recipe.sections import Data

__all__ = ["CHECKS", "MOST_ROWS", "Finding", "audit"]

CHECKS: dict[str, Check] = {
    "broken-images": broken_images,
    "repeated-rows": repeated_rows,
    "contradictions": contradictions,
    "near-copies": near_copies,
    "telling-columns": telling_columns,
    "torn-groups": torn_groups,
    "dates-at-random": dates_at_random,
    "drifting-columns": drifting_columns,
    "told-apart": told_apart,
    "class-sizes": class_sizes,
    "doubtful-labels": doubtful_labels,
    "idle-columns": idle_columns,
    "spellings": spellings,
    "shapes": shapes,
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
    looked_at = view(dataset, splits, section, seed.derive("audit"))
    found = [finding for check in CHECKS.values() for finding in check(looked_at)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
