#!/usr/bin/env python3
"""What a workload's steps must do, counted by DuckDB over the raw files with plain SQL.

    truth.py DATA_DIR

Writes DATA_DIR/truth.json: for each step the balance of its rows and how many rows broke each rule; for the table
after the last step, a fingerprint. It knows nothing of how the files were made, nor of the contract but the rules
written here.
"""

import argparse
import json
from pathlib import Path

import duckdb

TRUTH = 1  # raise it when this file counts otherwise
KEY = ["device_id", "event_id"]
COLUMNS = [
    *["tenant_id", "device_id", "event_id", "event_time", "ingest_time", "event_type", "location"],
    *["temperature", "humidity", "pressure", "battery", "firmware"],
]
# A NaN breaks both bounds. Count these with FILTER, not WHERE: a WHERE is held against the statistics of Parquet files,
# which know nothing of NaN, and DuckDB 2.0 then leaves NaN out or in. INVALID as a whole survives that, and `count`
# makes sure.
RULES = {
    "tenant_id.required": "tenant_id IS NULL",
    "device_id.required": "device_id IS NULL",
    "event_id.required": "event_id IS NULL",
    "event_time.required": "event_time IS NULL",
} | {
    f"{column}.{side}": f"({column} {beyond} {limit} OR isnan({column}))"
    for column, low, high in [
        ("temperature", -60, 150),
        ("humidity", 0, 100),
        ("pressure", 300, 1200),
        ("battery", 0, 100),
    ]
    for side, beyond, limit in [("minimum", "<", low), ("maximum", ">", high)]
}
INVALID = " OR ".join(f"coalesce({rule}, false)" for rule in RULES.values())


def connect(folder: Path, **settings) -> duckdb.DuckDBPyConnection:
    temp = str(folder / "duckdb.tmp")
    return duckdb.connect(config={"preserve_insertion_order": False, "temp_directory": temp, **settings})


def scan(paths: list[Path]) -> str:
    return f"read_parquet([{', '.join(quoted(path) for path in paths)}])"


def quoted(path: Path | str) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def winners(rows: str) -> str:
    """The valid rows of `rows`, of each key the one that arrived last."""
    return f"""
        SELECT {", ".join(COLUMNS)} FROM {rows} WHERE NOT ({INVALID})
        QUALIFY row_number() OVER (PARTITION BY {", ".join(KEY)} ORDER BY ingest_time DESC) = 1"""


def fingerprint(connection: duckdb.DuckDBPyConnection, rows: str) -> dict:
    """What two sets of rows have in common exactly when they are the same, in any order."""
    sums = ", ".join(f"coalesce(sum(hash({column})::HUGEINT), 0)::VARCHAR" for column in COLUMNS)
    found = connection.execute(
        f"SELECT count(*), coalesce(sum(hash({', '.join(COLUMNS)})::HUGEINT), 0)::VARCHAR, {sums} FROM {rows}"
    ).fetchone()
    return {"rows": found[0], "hash": found[1], "columns": dict(zip(COLUMNS, found[2:]))}


def count(connection: duckdb.DuckDBPyConnection, folder: Path, data: dict) -> dict:
    """The table is kept beside the raw files as a table of DuckDB's own."""
    steps = []
    connection.execute(f"CREATE TEMP TABLE lake AS SELECT {', '.join(COLUMNS)} FROM {scan(paths(folder, data)[:1])} LIMIT 0")
    for step in data["steps"]:
        raw = scan([folder / path for path in step["files"]])
        read, invalid, rejects = judged(connection, raw)

        if one(connection, f"SELECT count(*) FROM {raw} WHERE NOT ({INVALID})") != read - invalid:
            raise SystemExit(f"{folder}: DuckDB prunes by statistics where it may not")

        ties = f"""
            SELECT count(*) FROM (SELECT 1 FROM {raw} WHERE NOT ({INVALID})
                                  GROUP BY {", ".join(KEY)}, ingest_time HAVING count(*) > 1)"""
        if one(connection, ties):
            raise SystemExit(f"{folder}: two rows of a key arrived at the same time; take another seed")

        connection.execute(f"CREATE OR REPLACE TEMP TABLE winner AS {winners(raw)}")
        same = " AND ".join(f"w.{column} IS NOT DISTINCT FROM t.{column}" for column in COLUMNS)
        key = " AND ".join(f"w.{column} = t.{column}" for column in KEY)
        kept, inserted, unchanged, updated, stale = connection.execute(f"""
            SELECT count(*),
                   count(*) FILTER (t.device_id IS NULL),
                   count(*) FILTER (t.device_id IS NOT NULL AND {same}),
                   count(*) FILTER (w.ingest_time > t.ingest_time),
                   count(*) FILTER (w.ingest_time < t.ingest_time)
            FROM winner w LEFT JOIN lake t ON {key}""").fetchone()
        rows = {
            "read": read,
            "invalid": invalid,
            "duplicate": read - invalid - kept,
            "stale": stale,
            "unchanged": unchanged,
            "inserted": inserted,
            "updated": updated,
        }
        if read != sum(count for outcome, count in rows.items() if outcome != "read"):
            raise SystemExit(f"{folder}: the rows of {step['start']} do not add up: {rows}")
        made = {"start": step["start"], "kind": step["kind"], "rows": rows, "rejects": rejects}
        if step["kind"] == "batch":
            made["winners"] = fingerprint(connection, "winner")
        steps.append(made)

        connection.execute(f"DELETE FROM lake t USING winner w WHERE {key} AND w.ingest_time > t.ingest_time")
        connection.execute(f"INSERT INTO lake SELECT w.* FROM winner w ANTI JOIN lake t ON {key}")

    # Once more, in one statement that has no steps: of all valid rows, the last of each key.
    connection.execute("DROP TABLE winner")
    table = fingerprint(connection, "lake")
    connection.execute("DROP TABLE lake")
    if table != fingerprint(connection, f"({winners(scan(paths(folder, data)))})"):
        raise SystemExit(f"{folder}: the table made step by step differs from the one made at once")
    return {"truth": TRUTH, "duckdb": duckdb.__version__, "generator": data["generator"], "steps": steps, "table": table}


def judged(connection: duckdb.DuckDBPyConnection, raw: str) -> tuple[int, int, dict[str, int]]:
    """How many rows there are, how many of them are invalid, and how many broke each rule."""
    rules = ", ".join(f"count(*) FILTER ({rule})" for rule in RULES.values())
    query = f"SELECT count(*), count(*) FILTER ({INVALID}), {rules} FROM {raw}"
    read, invalid, *broken = connection.execute(query).fetchone()
    return read, invalid, {rule: rows for rule, rows in zip(RULES, broken) if rows}


def paths(folder: Path, data: dict) -> list[Path]:
    return [folder / path for step in data["steps"] for path in step["files"]]


def one(connection: duckdb.DuckDBPyConnection, query: str):
    return connection.execute(query).fetchone()[0]


def read(folder: Path) -> dict:
    """The truth about the folder, counted when it is not there. DuckDB's hashes are its version's own."""
    data = json.loads((folder / "data.json").read_text())
    file = folder / "truth.json"
    if file.exists():
        known = json.loads(file.read_text())
        if [known["truth"], known["duckdb"], known["generator"]] == [TRUTH, duckdb.__version__, data["generator"]]:
            return known
    known = count(connect(folder), folder, data)
    file.write_text(json.dumps(known, indent=1) + "\n")
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description="Counts what a workload's steps must do.")
    parser.add_argument("folder", type=Path)
    known = read(parser.parse_args().folder)
    for step in known["steps"]:
        print(step["start"], step["kind"], json.dumps(step["rows"]))
    print("table", known["table"]["rows"], known["table"]["hash"])


if __name__ == "__main__":
    main()
