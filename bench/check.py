#!/usr/bin/env python3
"""Whether a table that etl wrote holds what truth.json says, and what its last commits removed.

    check.py DATA_DIR METADATA [--before METADATA] [--quarantine DIR]
    check.py DATA_DIR --parquet FILE [--holds winners|table]

PyIceberg lists the live files, DuckDB reads them and applies position deletes. Prints one JSON document:
{problems: […], files, delete_files, removed: [paths], removed_needed: those of them that held a key of the batch}.
With --parquet it checks what duck.py wrote instead: {problems}.
"""

import argparse
import json
import re
from pathlib import Path

from truth import COLUMNS, KEY, connect, fingerprint, one, read, scan, winners

CONTENT_DATA, CONTENT_POSITION_DELETES = 0, 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Checks a table against truth.json.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("metadata", nargs="?", help="the table's metadata.json")
    parser.add_argument("--before", help="the table's metadata.json before the measured step")
    parser.add_argument("--quarantine", type=Path, help="where the invalid rows went")
    parser.add_argument("--parquet", type=Path, help="check this one file, not a table")
    parser.add_argument("--holds", choices=["winners", "table"], default="table", help="what --parquet holds")
    args = parser.parse_args()
    if args.parquet:
        answer = {"problems": check_parquet(args.folder, args.parquet, args.holds)}
    else:
        answer = check_table(args)
    print(json.dumps(answer))


def check_table(args) -> dict:
    truth = read(args.folder)
    connection = connect(args.folder)
    files = live_files(args.metadata)
    connection.execute(f"CREATE TEMP VIEW lake AS {live_rows(files)}")
    problems = differences(truth["table"], fingerprint(connection, "lake"))
    again = one(connection, f"SELECT count(*) FROM (SELECT 1 FROM lake GROUP BY {', '.join(KEY)} HAVING count(*) > 1)")
    if again:
        problems.append(f"{again} keys are in the table more than once")
    if args.quarantine:
        problems += check_quarantine(connection, args.quarantine, truth)
    answer = {"problems": problems, "files": len(files["data"]), "delete_files": len(files["deletes"])}
    if args.before:
        gone = sorted(set(live_files(args.before)["data"]) - set(files["data"]))
        answer |= {"removed": gone, "removed_needed": needed(connection, args.folder, gone)}
    return answer


def live_files(metadata: str) -> dict[str, list[str]]:
    from pyiceberg.table import StaticTable  # slow to import, and not needed for --parquet

    table = StaticTable.from_metadata(metadata)
    found = {"data": [], "deletes": []}
    snapshot = table.current_snapshot()
    for manifest in snapshot.manifests(table.io) if snapshot else []:
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            content = int(entry.data_file.content)
            if content not in (CONTENT_DATA, CONTENT_POSITION_DELETES):
                raise SystemExit(f"{entry.data_file.file_path}: equality deletes are not etl's")
            found["data" if content == CONTENT_DATA else "deletes"].append(local(entry.data_file.file_path))
    return found


def local(location: str) -> str:
    return re.sub("^file:(//)?", "", location)


def live_rows(files: dict[str, list[str]]) -> str:
    columns = ", ".join(COLUMNS)
    data = scan(files["data"])[:-1]
    if not files["deletes"]:
        return f"SELECT {columns} FROM {data})"
    return f"""
        SELECT {columns} FROM {data}, filename = true, file_row_number = true) t
        ANTI JOIN (SELECT regexp_replace(file_path, '^file:(//)?', '') AS path, pos FROM {scan(files["deletes"])}) d
        ON t.filename = d.path AND t.file_row_number = d.pos"""


def check_quarantine(connection, folder: Path, truth: dict) -> list[str]:
    expected = sum(step["rows"]["invalid"] for step in truth["steps"])
    files = sorted(folder.rglob("*.parquet")) if folder.exists() else []
    rows = one(connection, f"SELECT count(*) FROM {scan(files)}") if files else 0
    return [] if rows == expected else [f"quarantine holds {rows} rows, not {expected}"]


def needed(connection, folder: Path, files: list[str]) -> list[str]:
    """Those files that held a key of the measured batch."""
    if not files:
        return []
    data = json.loads((folder / "data.json").read_text())
    batch = scan([folder / path for step in data["steps"] if step["kind"] == "batch" for path in step["files"]])
    removed = scan(files)[:-1] + ", filename = true)"
    key = ", ".join(KEY)
    query = f"SELECT DISTINCT filename FROM {removed} SEMI JOIN ({winners(batch)}) USING ({key}) ORDER BY filename"
    return [filename for (filename,) in connection.execute(query).fetchall()]


def check_parquet(folder: Path, file: Path, holds: str) -> list[str]:
    truth = read(folder)
    if holds == "winners":
        (expected,) = [step["winners"] for step in truth["steps"] if step["kind"] == "batch"]
    else:
        expected = truth["table"]
    return differences(expected, fingerprint(connect(folder), scan([file])))


def differences(expected: dict, found: dict) -> list[str]:
    if expected == found:
        return []
    if expected["rows"] != found["rows"]:
        return [f"{found['rows']} rows, not {expected['rows']}"]
    wrong = [column for column in COLUMNS if expected["columns"][column] != found["columns"][column]]
    return [f"other values in {', '.join(wrong)}" if wrong else "values of different rows are mixed up"]


if __name__ == "__main__":
    main()
