"""Programs in an environment without danlu: this one's packages by their path alone, so that no `.pth` brings it in."""

import importlib.util
import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from tests.support.warm import PATIENCE_S

BEGIN = """
import sys
sys.path += sys.argv[1:]
import importlib.util
assert importlib.util.find_spec("danlu") is None, "danlu can be imported"
import json
import numpy as np
given = json.load(open("given.json", encoding="utf-8"))
"""
# A torchvision of another torch cannot be imported, and transformers imports it wherever it is.
TORCH = """
import glob
import torch
torch.set_num_threads(1)
try:
    torch.ops.load_library(glob.glob(sys.argv[1] + "/torchvision/_C*.so")[0])
except (OSError, IndexError):
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
END = """
json.dump(np.asarray(answers, dtype=float).tolist(), open("answers.json", "w"))
"""


def answers_without_danlu(program: str, given: Any, folder: Path, *packages: str) -> Any:
    """What a program answers: it finds `given`, leaves `answers`, and reads files of its folder.

    `packages` are those that may be installed elsewhere than the others.
    """
    (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")
    found = [importlib.util.find_spec(name) for name in packages]
    places = [str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin is not None]
    command = [sys.executable, "-I", "-S", "-c", BEGIN + program + END, sysconfig.get_path("purelib"), *places]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "answers.json").read_text(encoding="utf-8"))
