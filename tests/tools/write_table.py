#!/usr/bin/env python3
"""Writes a telemetry table with PyIceberg: a table of another engine for us to merge into.

    write_table.py --catalog sqlite:////path/catalog.db --warehouse file:///path/warehouse curated.telemetry
    write_table.py --glue http://127.0.0.1:5000 --warehouse s3://bucket/warehouse --s3-endpoint … curated.telemetry

It makes the table, partitioned by day(event_time) (--partition none: not), with the properties given (--property NAME=VALUE),
and commits, always with the same content:

    append       2 x ROWS rows: ROWS on 2025-06-01, ROWS on 2025-06-02
    overwrite    the rows of 2025-06-02 of tenant-1 replaced by as many, 1 degree warmer and ingested an hour later
    append       ROWS rows on 2025-06-03, and one late one on 2025-06-01

--tag names the first snapshot, --branch the second.
Keys are (device_id, event_id): row i of day d is ("dev-<i % 10>", "d<d>-e<i>"), i counting from 0, at d, i minutes after
midnight; the late one is ("dev-late", "late"). Every seventh row has no temperature. Prints one line of JSON:
{"table", "metadata_location", "snapshots": [{"snapshot_id", "operation"}]}; PyIceberg makes of the overwrite one snapshot
or two.
"""

import argparse
import datetime
import json

import pyarrow as pa
from pyiceberg.exceptions import NamespaceAlreadyExistsError
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThan
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import DoubleType, NestedField, StringType, TimestamptzType

from read_table import add_lake_arguments, open_catalog

SCHEMA = Schema(
    NestedField(1, "device_id", StringType(), required=True),
    NestedField(2, "event_id", StringType(), required=True),
    NestedField(3, "event_time", TimestamptzType(), required=True),
    NestedField(4, "tenant_id", StringType(), required=True),
    NestedField(5, "temperature", DoubleType(), required=False),
    NestedField(6, "ingest_time", TimestamptzType(), required=False),
)
BY_DAY = PartitionSpec(PartitionField(3, 1000, DayTransform(), "event_time_day"))
TENANTS = 3
ROWS_DEFAULT = 100
ROWS_MAX = 24 * 60  # one per minute, so that a day's rows stay on that day


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a telemetry table with PyIceberg.")
    add_lake_arguments(parser)
    parser.add_argument("table", help="namespace.name")
    parser.add_argument("--rows", type=int, default=ROWS_DEFAULT, help="rows a day")
    parser.add_argument("--tag", help="name the first snapshot")
    parser.add_argument("--branch", help="a branch from the overwrite's snapshot")
    parser.add_argument("--partition", choices=("day", "none"), default="day")
    parser.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="of the table; may be repeated")
    options = vars(parser.parse_args())
    options["properties"] = dict(text.split("=", 1) for text in options.pop("property"))
    print(json.dumps(write(options)))


def write(options: dict) -> dict:
    count = options.get("rows") or ROWS_DEFAULT
    if count > ROWS_MAX:
        raise ValueError(f"at most {ROWS_MAX} rows a day")
    catalog = open_catalog(options, create=True)
    name = options["table"]
    try:
        catalog.create_namespace(name.rsplit(".", 1)[0])
    except NamespaceAlreadyExistsError:
        pass
    by_day = options.get("partition", "day") == "day"
    spec = BY_DAY if by_day else UNPARTITIONED_PARTITION_SPEC
    properties = {"format-version": "2"} | (options.get("properties") or {})
    table = catalog.create_table(name, SCHEMA, partition_spec=spec, properties=properties)

    second = rows_of_day(2, count)
    table.append(to_arrow(rows_of_day(1, count) + second))
    if options.get("tag"):
        table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, options["tag"]).commit()
    tenant_1 = [warmer(row) for row in second if row["tenant_id"] == "tenant-1"]
    of_the_second = And(
        GreaterThanOrEqual("event_time", midnight(2).isoformat()), LessThan("event_time", midnight(3).isoformat())
    )
    table.overwrite(to_arrow(tenant_1), overwrite_filter=And(of_the_second, EqualTo("tenant_id", "tenant-1")))
    if options.get("branch"):
        table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, options["branch"]).commit()
    table.append(to_arrow(rows_of_day(3, count) + [late_row()]))

    return {
        "table": name,
        "metadata_location": table.metadata_location,
        "snapshots": [
            {"snapshot_id": s.snapshot_id, "operation": s.summary.operation.value} for s in table.metadata.snapshots
        ],
    }


def rows_of_day(day: int, count: int) -> list[dict]:
    return [
        {
            "device_id": f"dev-{i % 10}",
            "event_id": f"d{day}-e{i}",
            "event_time": midnight(day) + datetime.timedelta(minutes=i),
            "tenant_id": f"tenant-{i % TENANTS}",
            "temperature": None if i % 7 == 6 else 20.0 + i * 0.25,
            "ingest_time": midnight(day) + datetime.timedelta(minutes=i, seconds=30),
        }
        for i in range(count)
    ]


def warmer(row: dict) -> dict:
    temperature = row["temperature"]
    return row | {
        "temperature": None if temperature is None else temperature + 1,
        "ingest_time": row["ingest_time"] + datetime.timedelta(hours=1),
    }


def late_row() -> dict:
    return {
        "device_id": "dev-late",
        "event_id": "late",
        "event_time": midnight(1) + datetime.timedelta(hours=12),
        "tenant_id": "tenant-0",
        "temperature": -5.5,
        "ingest_time": midnight(3),
    }


def midnight(day: int) -> datetime.datetime:
    return datetime.datetime(2025, 6, day, tzinfo=datetime.timezone.utc)


def to_arrow(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA.as_arrow())


if __name__ == "__main__":
    main()
