"""What a check of an installation, a run or the cache found: one finding, and what to do about it."""

from danlu.core.component import Frozen


class Advice(Frozen):
    """Hold one finding: whether it is well, the cure, and whether it was mended."""

    well: bool
    subject: str
    message: str
    cure: str = ""
    mended: bool = False
