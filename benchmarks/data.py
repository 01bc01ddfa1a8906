"""Benchmarks of everything between files and batches, as ratios to the peers, each table measured in one run.

python benchmarks/data.py            all sections
python benchmarks/data.py augment    some of them
"""

import sys
from collections.abc import Callable

from augment import augment
from batches import compare_batches
from image_folder import image_folder
from tables import compare_tables

SECTIONS: dict[str, Callable[[], None]] = {
    "tables": compare_tables,
    "augment": augment,
    "batches": compare_batches,
    "image-folder": image_folder,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or SECTIONS:
        SECTIONS[name]()
