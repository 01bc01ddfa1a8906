"""Benchmarks of everything between files and batches, as ratios to the peers, each table measured in one run.

python benchmarks/data.py            all sections
python benchmarks/data.py augment    some of them
"""

import sys
from collections.abc import Callable

from augment import augment

SECTIONS: dict[str, Callable[[], None]] = {"augment": augment}

if __name__ == "__main__":
    for name in sys.argv[1:] or SECTIONS:
        SECTIONS[name]()
