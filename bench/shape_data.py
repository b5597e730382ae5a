#!/usr/bin/env python3
"""Makes the raw files of a shape: what stands between a program and its memory limit is rarely the number of bytes.

    shape_data.py SHAPE FOLDER [--scale S]

FOLDER gets raw/2025/06/08/12/*.parquet and shape.odcs.yaml. Every row has a key of its own, and the same shape at the same
scale has the same bytes. Prints how many rows there are.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# What a shape is: files, rows of each, rows of a row group, and columns beside id and at.
SHAPES = {
    "tiny": (12_000, 50, 50, "readings"),
    "small": (2_000, 5_000, 5_000, "readings"),
    "group": (1, 8_000_000, 8_000_000, "text"),
    "groups": (1, 200_000, 50, "readings"),
    "wide": (1, 20_000, 20_000, "wide"),
    "values": (1, 12, 12, "values"),
    "rows": (160, 375_000, 375_000, "readings"),
    "partitions": (24, 50_000, 50_000, "partitions"),
}
WIDE_COLUMNS = 1_500
VALUE_BYTES = 40 << 20
DAY_US = 86_400_000_000


def columns(kind: str, rows: np.ndarray) -> dict[str, pa.Array]:
    random = np.random.default_rng(int(rows[0]))
    if kind == "wide":
        return {f"c{n:04}": pa.array(random.random(len(rows))) for n in range(WIDE_COLUMNS)}
    if kind == "values":
        return {"body": pa.array([random.bytes(VALUE_BYTES // 2).hex() for _ in rows], pa.large_string())}
    if kind == "text":
        return {"body": pa.array([f"{word:016x}" * 2 for word in random.integers(0, 1 << 62, len(rows))])}
    return {
        "kind": pa.array(random.choice(["on", "off", "report"], len(rows))),
        **{name: pa.array(random.random(len(rows))) for name in ("temperature", "humidity", "pressure", "battery")},
    }


def make(shape: str, folder: Path, scale: float) -> int:
    files, file_rows, group_rows, kind = SHAPES[shape]
    files, file_rows = (files, max(1, round(file_rows * scale))) if files == 1 else (max(1, round(files * scale)), file_rows)
    raw = folder / "raw/2025/06/08/12"
    raw.mkdir(parents=True)
    names = []
    for number in range(files):
        rows = np.arange(number * file_rows, (number + 1) * file_rows)
        # 2025-06-08, or a year of days.
        spread = 365 * DAY_US if kind == "partitions" else DAY_US
        at = 1_749_340_800_000_000 - (spread - DAY_US) + (rows * 7_919_000_003) % spread
        table = {"id": pa.array([f"{row:012}" for row in rows]), "at": pa.array(at, pa.timestamp("us", tz="UTC"))}
        table = pa.table(table | columns(kind, rows))
        names = table.schema
        # A value of many megabytes has a page of its own.
        batch = {"write_batch_size": 1} if kind == "values" else {}
        path = raw / f"part-{number:06}.parquet"
        pq.write_table(table, path, row_group_size=group_rows, compression="snappy", store_schema=False, **batch)
    (folder / "shape.odcs.yaml").write_text(contract(names, kind))
    return files * file_rows


def contract(schema: pa.Schema, kind: str) -> str:
    words = [
        "apiVersion: v3.1.0", "kind: DataContract", f"id: bench.shape.{kind}", "version: 1.0.0", "status: active", "schema:",
        "  - name: shape", "    physicalName: curated.shape", "    properties:",
        "      - {name: id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}",
        "      - name: at", "        logicalType: timestamp", "        physicalType: timestamptz", "        required: true",
    ]
    if kind == "partitions":
        words += ["        partitioned: true", "        partitionKeyPosition: 1"]
        words += ["        customProperties: [{property: etl.partitionTransform, value: day}]"]
    for field in schema:
        if field.name not in ("id", "at"):
            number = pa.types.is_floating(field.type)
            words.append(f"      - {{name: {field.name}, " + ("logicalType: number, physicalType: double}" if number else "logicalType: string}"))
    words += ["customProperties:", "  - {property: etl.dedupe.orderBy, value: at DESC}"]
    return "\n".join(words) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the raw files of a shape.")
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    print(make(args.shape, args.folder, args.scale))


if __name__ == "__main__":
    main()
