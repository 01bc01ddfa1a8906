"""Functions of a test module run by several processes that speak through gloo; every one must end with exit code 0."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.disk import do_not_wait_for_the_disk

REPOSITORY = Path(__file__).parents[2]
LIMIT_S = 600


def together(count: int, function: str, folder: Path, **arguments: Any) -> list[Any]:
    """What each process's call of a function gave, by rank.

    Args:
        count: processes.
        function: `module:function`, importable from the repository, as `tests.core.test_x:worker`.
        folder: of the test alone.
        arguments: plain values, given to the function; so is what it returns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shared = {**os.environ, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.processes", function, str(folder), json.dumps(arguments)]
    running = [
        subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        said = [process.communicate(timeout=LIMIT_S)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    codes = [process.returncode for process in running]
    assert codes == [0] * count, f"exit codes {codes}\n" + "\n".join(
        f"--- rank {rank}\n{text[-4000:]}" for rank, text in enumerate(said) if codes[rank]
    )
    return [json.loads((folder / f"answer-{rank}.json").read_text()) for rank in range(count)]


def main(function: str, folder: str, arguments: str) -> None:
    """One of the processes."""
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    do_not_wait_for_the_disk()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    module, name = function.split(":")
    answer = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    (Path(folder) / f"answer-{rank}.json").write_text(json.dumps(answer))
    sys.stdout.flush()
    # Whoever is needed by others has answered them by now; and while Python ends, threads of gloo's abort now and then.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
