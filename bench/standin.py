#!/usr/bin/env python3
"""Slow stand-ins for the programs that are measured, so that smoke.py tries the benchmark without them.

    standin.py etl --config F [--report F] --memory-limit SIZE dedupe TABLE (--start T --end T | --pending)
    standin.py etl --config F --memory-limit SIZE query --full-scan --output json SQL
    standin.py etl --config F --memory-limit SIZE compact|maintain …
    standin.py l0 OUT_DIR @LIST

`etl` is DuckDB, and PyIceberg writing the whole table again; it maintains nothing. With STANDIN_FAULT=lose it loses a row and does not say so.
"""

import json
import os
import sys
import tomllib
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import check
import telemetry
import truth


def etl(arguments: list[str]) -> None:
    if "compact" in arguments or "maintain" in arguments:
        return
    if "query" in arguments:
        return query(Path(arguments[arguments.index("--config") + 1]), arguments[-1])
    if arguments[-1] == "--pending":
        arguments = [*arguments[:-1], "--start", "2025-06-01T00:00", "--end", "2025-06-02T00:00"]
    options = dict(zip(arguments[::2], arguments[1::2]))
    config_file = Path(options["--config"])
    config = tomllib.loads(config_file.read_text())
    (name, table_config), lake = next(iter(config["table"].items())), config_file.parent
    files = arrived(table_config["source"], options["--start"], options["--end"])
    table = open_table(lake, name)
    connection = truth.connect(lake)

    live = check.live_files(table.metadata_location)
    columns = ", ".join(truth.COLUMNS)
    empty = f"SELECT {columns} FROM {truth.scan(files)} LIMIT 0"
    connection.execute(f"CREATE TEMP TABLE lake AS {check.live_rows(live) if live['data'] else empty}")
    connection.execute(f"CREATE TEMP TABLE winner AS {truth.winners(truth.scan(files))}")
    read, _, broken = truth.judged(connection, truth.scan(files))
    invalid_rows = f"SELECT * FROM {truth.scan(files)} WHERE {truth.INVALID}"
    invalid = connection.execute(invalid_rows).to_arrow_table()
    kept = truth.one(connection, "SELECT count(*) FROM winner")
    key = ", ".join(truth.KEY)
    updated = truth.one(connection, f"SELECT count(*) FROM winner SEMI JOIN lake USING ({key})")

    result = connection.execute(f"SELECT * FROM lake ANTI JOIN winner USING ({key}) UNION ALL SELECT * FROM winner")
    rows = result.to_arrow_table()
    table.overwrite(rows.slice(1 if os.environ.get("STANDIN_FAULT") == "lose" else 0).cast(telemetry.SCHEMA))
    if invalid.num_rows:
        errors = lake / table_config["quarantine"]
        errors.mkdir(exist_ok=True)
        pq.write_table(invalid, errors / f"{options['--start'].replace(':', '')}.parquet")

    counts = {"read": read, "invalid": invalid.num_rows, "duplicate": read - invalid.num_rows - kept, "stale": 0}
    counts |= {"unchanged": 0, "inserted": kept - updated, "updated": updated}
    rejects = [{"rule": rule, "count": count} for rule, count in broken.items()]
    if "--report" in options:
        Path(options["--report"]).write_text(json.dumps({"rows": counts, "rejects": rejects}) + "\n")


def query(config_file: Path, statement: str) -> None:
    name = next(iter(tomllib.loads(config_file.read_text())["table"]))
    connection = truth.connect(config_file.parent)
    live = check.live_files(open_table(config_file.parent, name).metadata_location)
    connection.execute(f"CREATE TEMP VIEW lake AS {check.live_rows(live)}")
    for row in connection.execute(statement.replace(name, "lake")).to_arrow_table().to_pylist():
        print(json.dumps(row, default=str))


def arrived(template: str, start: str, end: str) -> list[Path]:
    hour, last = (datetime.fromisoformat(moment) for moment in (start, end))
    files = []
    while hour < last:
        parts = {"yyyy": f"{hour:%Y}", "MM": f"{hour:%m}", "dd": f"{hour:%d}", "HH": f"{hour:%H}"}
        files += sorted(Path(template.format(**parts)).glob("*.parquet"))
        hour += timedelta(hours=1)
    return files


def open_table(lake: Path, name: str):
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("etl", uri=f"sqlite:///{lake / 'catalog.db'}", warehouse=f"file://{lake / 'warehouse'}")
    catalog.create_namespace_if_not_exists(name.split(".")[0])
    return catalog.create_table_if_not_exists(name, telemetry.SCHEMA)


def l0(arguments: list[str]) -> None:
    out, listed = Path(arguments[0]), Path(arguments[1].removeprefix("@"))
    out.mkdir()
    rows = pa.concat_tables(pq.read_table(path, partitioning=None) for path in listed.read_text().splitlines())
    pq.write_table(rows, out / "0.parquet", compression="zstd", compression_level=1)
    print(json.dumps({"rows": rows.num_rows}))


if __name__ == "__main__":
    words = [word for word in sys.argv[2:] if word not in ("dedupe", "curated.telemetry")]
    {"etl": etl, "l0": l0}[sys.argv[1]](words)
