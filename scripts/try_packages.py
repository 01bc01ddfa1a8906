"""Build wheel and sdist into dist/, and try each in an empty environment: install, `danlu doctor`, a built-in recipe.

In: the checkout. Out: dist/*.whl and dist/*.tar.gz; exit code 1 with the failing command's output if one fails.
"""

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"


def run(command: list[str | Path], folder: Path) -> str:
    """Run a command; end with its output if it fails."""
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def try_package(package: Path, folder: Path) -> None:
    """Install a package in an empty environment below `folder` and use it there."""
    venv.create(folder / "env", with_pip=True)
    binaries = folder / "env" / "bin"
    pip: list[str | Path] = [binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--constraint", ROOT / "constraints.txt", package], folder)
    print(run([binaries / "danlu", "--version"], folder).strip(), "from", package.name)
    run([binaries / "danlu", "doctor"], folder)
    run([binaries / "danlu", "run", "wine", "--name", "tried"], folder)
    if not (folder / "runs" / "tried" / "report.html").is_file():
        sys.exit(f"{package.name}: `danlu run wine` wrote no report")


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    run([sys.executable, "-m", "build", "--outdir", DIST, ROOT], ROOT)
    packages = sorted(DIST.iterdir())
    for package in packages:
        with tempfile.TemporaryDirectory() as name:
            try_package(package, Path(name))
    print("tried:", ", ".join(package.name for package in packages))


if __name__ == "__main__":
    main()
