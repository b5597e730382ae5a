#!/usr/bin/env python3
"""What compaction must leave as it was.

    same_rows.py files METADATA          the live data files, as JSON: {"data": […], "deletes": […]}
    same_rows.py rows METADATA           the rows that are alive, in any order, as JSON: their number and fingerprints

PyIceberg lists the live files, DuckDB reads them and applies position deletes.
"""

import json
import sys
from pathlib import Path

from check import live_files, live_rows
from truth import connect, fingerprint


def main() -> None:
    what, metadata = sys.argv[1:]
    files = live_files(metadata)
    if what == "rows":
        connection = connect(Path(metadata).parent)
        connection.execute(f"CREATE TEMP VIEW lake AS {live_rows(files)}")
        print(json.dumps(fingerprint(connection, "lake")))
    else:
        print(json.dumps(files))


if __name__ == "__main__":
    main()
