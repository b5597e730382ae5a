#!/usr/bin/env python3
"""DuckDB doing the same work, as its own users would write it: the competitor beside which etl is measured.

    duck.py dedupe OUT DATA_DIR          the measured batch without invalid rows and duplicates, in one Parquet file
    duck.py base OUT DATA_DIR            the history as a table of one Parquet file (not measured)
    duck.py merge OUT DATA_DIR BASE      the table with the batch merged into it, as a new Parquet file
    duck.py rewrite OUT DIR LIST [COLUMN…]    the files of a JSON list as one Parquet file, sorted by the columns

Validation, winner order and columns are truth.py's.
"""

import json
import sys
from pathlib import Path

from truth import KEY, connect, quoted, scan, winners


def main() -> None:
    work, out, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if work == "rewrite":
        files, order = json.loads(Path(sys.argv[4]).read_text()), ", ".join(sys.argv[5:])
        write(f"SELECT * FROM {scan(files)}" + (f" ORDER BY {order}" if order else ""), out)
        return
    data = json.loads((folder / "data.json").read_text())
    kind = "history" if work == "base" else "batch"
    raw = scan([folder / path for step in data["steps"] if step["kind"] == kind for path in step["files"]])

    if work == "merge":
        base = scan([Path(sys.argv[4])])
        # True while every update is newer than the table's row, which truth.py has counted.
        query = f"""
            WITH winner AS MATERIALIZED ({winners(raw)})
            SELECT * FROM {base} t ANTI JOIN winner USING ({", ".join(KEY)})
            UNION ALL SELECT * FROM winner"""
    else:
        query = winners(raw)
    write(query, out)


def write(query: str, out: Path) -> None:
    connection = connect(out.parent)
    connection.execute(f"COPY ({query}) TO {quoted(out)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")


if __name__ == "__main__":
    main()
