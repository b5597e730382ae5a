#!/usr/bin/env python3
"""What maintenance must leave as it was, and what it changes.

    same_rows.py files METADATA          the live data files, as JSON: {"data": […], "deletes": […]}
    same_rows.py rows METADATA           the rows that are alive, in any order, as JSON: their number and fingerprints
    same_rows.py raw FOLDER              the same of the valid rows of raw files, of each key the one that arrived last
    same_rows.py shape METADATA          how many files, manifests and snapshots there are, as JSON

PyIceberg lists the live files, DuckDB reads them and applies position deletes.
"""

import json
import sys
from pathlib import Path

from check import live_files, live_rows, local
from truth import connect, fingerprint, scan, winners


def main() -> None:
    what, place = sys.argv[1:]
    if what == "rows":
        connection = connect(Path(place).parent)
        connection.execute(f"CREATE TEMP VIEW lake AS {live_rows(live_files(place))}")
        print(json.dumps(fingerprint(connection, "lake")))
    elif what == "raw":
        raw = sorted(Path(place).glob("batches/*.parquet"))
        print(json.dumps(fingerprint(connect(Path(place)), f"({winners(scan(raw))})")))
    elif what == "shape":
        print(json.dumps(shape(place)))
    else:
        print(json.dumps(live_files(place)))


def shape(metadata: str) -> dict[str, int]:
    from pyiceberg.table import StaticTable  # slow to import

    table, files = StaticTable.from_metadata(metadata), live_files(metadata)
    snapshot = table.current_snapshot()
    return {
        "data": len(files["data"]),
        "deletes": len(files["deletes"]),
        "manifests": len(snapshot.manifests(table.io)) if snapshot else 0,
        "snapshots": len(table.metadata.snapshots),
        "metadata_bytes": Path(local(metadata)).stat().st_size,
    }


if __name__ == "__main__":
    main()
