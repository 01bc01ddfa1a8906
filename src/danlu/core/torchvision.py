"""Make torchvision importable beside a torch build that its compiled operators do not match.

torchvision from PyPI is a CUDA build. Beside a CPU build of torch its import ends in "operator torchvision::nms does
not exist", and timm's and transformers' with it. With the schemas of the two operators named at import time registered,
everything written in Python works; the compiled operators (nms, decode_jpeg) stay absent, and danlu uses none of them.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any


@cache
def patch_torchvision() -> Any:
    """Register torchvision's missing operator schemas once, before its first import.

    Does nothing where they exist.

    Returns:
        the library object, which must be kept alive; the cache does.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or _compiled_operators_load(Path(found.origin).parent):
        return None
    import torch

    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _compiled_operators_load(package: Path) -> bool:
    """Return whether torchvision's compiled operators load into this torch."""
    import torch

    compiled = next(iter([*package.glob("_C*.so"), *package.glob("_C*.pyd")]), None)
    if compiled is None:
        return False
    try:
        torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True
