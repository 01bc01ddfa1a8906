#!/usr/bin/env bash
# polars 2.1.0: `%Y` takes a year of two digits as one of the first century, and a year with a sign.
# Expected: a value that is not four digits is refused, as by Python's strptime. Found: 15/01/95 is the year 95, without
# an error or a null, even where `exact` is asked for; so a column of two-digit years sorts before every other date.
# Seen: [datetime.date(95, 1, 15), datetime.date(2024, 1, 15)]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --root-user-action ignore --target "$folder" polars==2.1.0
PYTHONPATH="$folder" python3 - <<'PYTHON'
from datetime import date, datetime

import polars as pl

words = pl.Series(["15/01/95", "15/01/+2024"])
found = words.str.to_date("%d/%m/%Y", strict=True, exact=True).to_list()
print(pl.__version__, found)
assert found == [date(95, 1, 15), date(2024, 1, 15)], found
for word in words:
    try:
        datetime.strptime(word, "%d/%m/%Y")
    except ValueError as error:
        print("strptime:", error)
    else:
        raise AssertionError(f"strptime took {word}")
PYTHON
