#!/usr/bin/env bash
# polars 2.1.0: a UTF-8 byte order mark is passed over in CSV, and makes JSON lines unreadable.
# Expected: the two readers of one library treat the mark alike. Found: read_csv gives the column `a`; read_ndjson raises.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --root-user-action ignore --target "$folder" polars==2.1.0
PYTHONPATH="$folder" python3 - <<'PYTHON'
import polars as pl

MARK = b"\xef\xbb\xbf"
table = pl.read_csv(MARK + b"a\n1\n")
print(pl.__version__, table.columns, table.rows())
assert table.rows() == [(1,)] and table.columns == ["a"]
try:
    rows = pl.read_ndjson(MARK + b'{"a": 1}\n')
except pl.exceptions.ComputeError as error:
    print("read_ndjson:", str(error).splitlines()[0])
else:
    raise AssertionError(f"read now: {rows}")
PYTHON
