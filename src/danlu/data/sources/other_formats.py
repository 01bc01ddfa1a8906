"""Formats that are not read, each with the line that brings its data in. None of them is ever unpickled."""

_R = 'write it from R, as `arrow::write_parquet(x, "data.parquet")` or `write.csv(x, "data.csv", row.names = FALSE)`'
_PICKLE = (
    "reading it can run code, so danlu does not; in Python, where you trust it, `pd.read_pickle(PATH)` and then "
    '`.to_parquet("data.parquet")`'
)
_HDF = 'write it from Python, as `pd.read_hdf(PATH).to_parquet("data.parquet")`, or its arrays with h5py and `np.savez`'
_ARCHIVE = "unpack it, and give the folder"
_SEPARATED = (
    "rename it to .csv if its values are separated by commas, semicolons, bars or single spaces, to .tsv if by tabs"
)
_DOCUMENT = "save its text as .txt, or its tables as .csv"
_WEIGHTS = "it holds the weights of a model, not data"

INSTEAD: dict[str, str] = {
    ".rds": _R,
    ".rdata": _R,
    ".rda": _R,
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".joblib": _PICKLE,
    ".h5": _HDF,
    ".hdf5": _HDF,
    ".hdf": _HDF,
    ".nc": 'write it from Python, as `xarray.open_dataset(PATH).to_dataframe().to_csv("data.csv")`',
    ".mat": 'write it from MATLAB, as `writetable(T, "data.csv")`, or from Python by scipy.io.loadmat and np.savez',
    ".orc": 'write it from Python, as `pd.read_orc(PATH).to_parquet("data.parquet")`',
    ".xml": 'write it from Python, as `pd.read_xml(PATH).to_parquet("data.parquet")`',
    ".html": 'write it from Python, as `pd.read_html(PATH)[0].to_parquet("data.parquet")`',
    ".yaml": "write it as .json",
    ".yml": "write it as .json",
    ".numbers": "export it from Numbers as .csv or .xlsx",
    ".gsheet": "download it from Google as .csv or .xlsx",
    ".mdb": "export its table from Access as .csv or .xlsx",
    ".accdb": "export its table from Access as .csv or .xlsx",
    ".dbf": "save it from LibreOffice or Excel as .csv",
    ".shp": 'write it from Python, as `geopandas.read_file(PATH).to_parquet("data.parquet")`',
    ".geojson": 'write it from Python, as `geopandas.read_file(PATH).to_parquet("data.parquet")`',
    ".fwf": 'columns of fixed width: in Python, `pd.read_fwf(PATH).to_csv("data.csv", index=False)`',
    ".sql": "load it into a database, as `sqlite3 data.sqlite < PATH`, and give data.sqlite::TABLE",
    ".tfrecord": "write its records from TensorFlow as .jsonl or .parquet",
    ".jmp": "export it from JMP as .csv",
    ".mtw": "export it from Minitab as .csv",
    ".pdf": _DOCUMENT,
    ".docx": _DOCUMENT,
    ".doc": _DOCUMENT,
    ".md": "rename it to .txt if its text is the data",
    ".log": "rename it to .txt if its text is the data",
    ".dat": _SEPARATED,
    ".data": _SEPARATED,
    ".tar": _ARCHIVE,
    ".tgz": _ARCHIVE,
    ".rar": _ARCHIVE,
    ".7z": _ARCHIVE,
    ".pt": _WEIGHTS,
    ".pth": _WEIGHTS,
    ".safetensors": _WEIGHTS,
    ".onnx": _WEIGHTS,
    ".gguf": _WEIGHTS,
}


def instead_of(path: str, suffix: str) -> str | None:
    """Return how to bring in the data of a format that is not read.

    None where it is not known.
    """
    said = INSTEAD.get(suffix.lower())
    return None if said is None else said.replace("PATH", repr(path) if "(PATH)" in said else path)
