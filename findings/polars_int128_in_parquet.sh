#!/usr/bin/env bash
# polars 2.1.0 writes Int128 to Parquet as 16 bytes of fixed length that no other reader takes for a number.
# Expected: an error at writing, or a decimal that others read. Found: polars reads its own file back; DuckDB 2.0.1 gives
# a BLOB, and pyarrow 26.0.1 refuses the whole file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --root-user-action ignore --target "$folder" polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1
PYTHONPATH="$folder" FOLDER="$folder" python3 - <<'PYTHON'
import os

import duckdb
import polars as pl
import pyarrow
import pyarrow.parquet

path = os.environ["FOLDER"] + "/wide.parquet"
wide = pl.DataFrame({"id": pl.Series([2**70, 5], dtype=pl.Int128)})
wide.write_parquet(path)
print("polars", pl.__version__, pl.read_parquet(path)["id"].to_list())
assert pl.read_parquet(path).equals(wide)
type_ = duckdb.sql(f"SELECT typeof(id) FROM '{path}' LIMIT 1").fetchall()[0][0]
print("duckdb", duckdb.__version__, type_)
assert type_ == "BLOB", type_
try:
    found = pyarrow.parquet.read_table(path).schema.field("id").type
except Exception as error:
    print("pyarrow", pyarrow.__version__, type(error).__name__, str(error).splitlines()[0])
else:
    print("pyarrow", pyarrow.__version__, found)
    raise AssertionError("pyarrow reads it now")
PYTHON
