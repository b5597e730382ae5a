#!/usr/bin/env python3
"""Slow stand-ins for the programs that are measured, so that smoke.py tries the benchmark without them.

    standin.py etl --config F [--report F] --memory-limit SIZE dedupe TABLE (--start T --end T | --pending)
    standin.py etl --config F --memory-limit SIZE query --full-scan --output json SQL
    standin.py etl --config F [--report F | --output json] compact|expire|orphans|maintain|inspect|check TABLE …
    standin.py l0 OUT_DIR @LIST

`etl` is DuckDB, and PyIceberg writing the whole table again; maintenance is only planned, with --dry-run, from what PyIceberg
reads. With STANDIN_FAULT=lose it loses a row, or an orphan, and does not say so.
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


def upkeep(arguments: list[str]) -> None:
    """What maintenance would do, worked out snapshot by snapshot."""
    options = dict(zip(arguments[:4:2], arguments[1:4:2]))
    job, name = arguments[4:6] if len(arguments) > 5 else arguments[2:4]
    table = open_table(Path(options["--config"]).parent, name)
    if job == "check":
        return
    metadata, io = table.metadata, table.io
    lists = {of.snapshot_id: of.manifests(io) for of in metadata.snapshots}
    live = {file.manifest_path: [entry.data_file for entry in file.fetch_manifest_entry(io)] for of in lists.values() for file in of}

    def objects(ids) -> dict[str, set[str]]:
        manifests = {file.manifest_path for id in ids for file in lists[id]}
        files = {(file.file_path, file.content.value) for manifest in manifests for file in live[manifest]}
        found = {"data_file": {path for path, content in files if content == 0}, "delete_file": {path for path, content in files if content}}
        return found | {"manifest": manifests, "manifest_list": {of.manifest_list for of in metadata.snapshots if of.snapshot_id in ids}}

    def beyond(ids, others) -> list[dict]:
        kept = objects(others)
        rest = {kind: len(of - kept[kind]) for kind, of in objects(ids).items()}
        return [{"kind": kind, "files": files} for kind, files in rest.items() if files]

    parents = {of.snapshot_id: of.parent_snapshot_id for of in metadata.snapshots}
    keep, retained = set(), int(metadata.properties["history.expire.min-snapshots-to-keep"])
    for ref in metadata.refs.values():
        id = ref.snapshot_id
        for _ in range(retained if ref.snapshot_ref_type.value == "branch" else 1):
            if id is not None:
                keep.add(id)
                id = parents[id]
    gone, head = parents.keys() - keep, objects({metadata.current_snapshot_id})
    snapshots = [{"action": "keep" if id in keep else "expire"} for id in parents]
    referred = set().union(*objects(parents.keys()).values(), {table.metadata_location}, {of.metadata_file for of in metadata.metadata_log})
    listed = [path for path in Path(metadata.location.removeprefix("file://")).rglob("*") if path.is_file()]
    others = [path for path in listed if str(path) not in {of.removeprefix("file://") for of in referred}]
    old = sorted(f"file://{path}" for path in others if path.stat().st_mtime < datetime.now().timestamp() - 7 * 86_400)
    if os.environ.get("STANDIN_FAULT") == "lose":
        old = old[1:]
    group = {"partition": {"path": ""}, "files": [{"path": path} for path in head["data_file"]]}
    plans = {
        "compact": {"groups": [group], "kept": [], "dangling_delete_files": 0},
        "expire": {"snapshots": snapshots, "deletes": beyond(gone, keep)},
        "orphans": {"orphans": [{"location": path} for path in old], "kept": [{"files": len(listed) - len(old)}]},
    }
    if job == "inspect":
        history = {"snapshots": len(parents), "by_kind": beyond(parents.keys(), {metadata.current_snapshot_id})}
        counts = {"data": {"files": len(head["data_file"])}, "deletes": {"position": {"files": len(head["delete_file"])}}}
        acts = [{"job": name, "would": "act"} for name in ("compact", "expire")]
        print(json.dumps(counts | {"manifests": {"files": len(head["manifest"])}, "history": history, "jobs": acts}))
        return
    steps = [{"job": name, "report": {"plan": plan}} for name, plan in plans.items()]
    report = {"steps": steps} if job == "maintain" else {"plan": plans[job]}
    Path(options["--report"]).write_text(json.dumps(report) + "\n")


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
    if {"--dry-run", "inspect", "check"} & set(sys.argv):
        upkeep(sys.argv[2:])
    elif {"compact", "maintain"} & set(sys.argv):
        pass
    else:
        words = [word for word in sys.argv[2:] if word not in ("dedupe", "curated.telemetry")]
        {"etl": etl, "l0": l0}[sys.argv[1]](words)
