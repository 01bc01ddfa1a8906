"""What a check of an installation, a run or the cache found: one finding, and what to do about it."""

from danlu.core.component import Frozen


class Advice(Frozen):
    """Hold one result: whether it is fine now, what was checked, how to fix it, and whether that was just done."""

    well: bool
    subject: str
    message: str
    cure: str = ""
    mended: bool = False
