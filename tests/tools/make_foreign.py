#!/usr/bin/env python3
"""Writes tests/fixtures/parquet: the same telemetry rows as other writers put them into Parquet, and broken files.

    make_foreign.py [--out tests/fixtures/parquet] [--parquet-mr]

The files are checked in; run this again to add a variant. With the pinned versions (scripts/requirements.lock) a run gives
the same bytes as the last. --parquet-mr writes the files of parquet-mr too, which takes Maven and a JDK of 17 or later;
without it those already there are left alone. Every file is read back with two readers before this ends.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import tempfile
from collections.abc import Callable

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from read_table import json_rows

HERE = pathlib.Path(__file__).resolve().parent
UTC = datetime.timezone.utc
FILE_BYTES_MAX = 20_000

# Whole milliseconds and multiples of a quarter degree, so that no variant (ms, float) loses anything. A day boundary, a
# leap day, times before 1970, strings beyond ASCII, empty and repeated ones, nulls where the contract allows them.
ROWS = [
    ("dev-001", "e-0001", "2025-06-04T00:00:00.000", "acme", 21.5, "2025-06-04T00:00:01.250"),
    ("dev-001", "e-0002", "2025-06-04T00:00:05.125", "acme", 21.75, "2025-06-04T00:00:06.500"),
    ("dev-001", "e-0003", "2025-06-04T12:30:00.999", "acme", None, "2025-06-04T12:30:01.000"),
    ("dev-002", "e-0001", "2025-06-04T23:59:59.999", "acme", -40.25, "2025-06-05T00:00:00.001"),
    ("dev-002", "e-0004", "2025-06-05T00:00:00.000", "globex", 0.0, None),
    ("dev-002", "e-0005", "2024-02-29T08:15:30.500", "globex", -60.0, "2025-06-04T00:00:00.000"),
    ("dev-003", "e-0006", "2025-06-03T18:45:12.345", "globex", 150.0, "2025-06-04T06:00:00.000"),
    ("Gerät-Ω", "e-0007", "2025-06-04T01:02:03.004", "acmé", 19.25, "2025-06-04T01:02:04.005"),
    ("センサー-1", "e-🌡", "2025-06-04T02:00:00.000", "日本", 37.5, "2025-06-04T02:00:00.010"),
    ("dev 4/%7E?", "e,\"0008\"", "2025-06-04T03:00:00.000", "initech", 22.0, "2025-06-04T03:00:00.020"),
    ("dev-005", "", "2025-06-04T04:00:00.000", "initech", None, None),
    ("dev-006", "e-0009", "1969-12-31T23:59:59.999", "initech", 3.5, "2025-06-04T05:00:00.000"),
]
NAMES = ("device_id", "event_id", "event_time", "tenant_id", "temperature", "ingest_time")
TIMES = ("event_time", "ingest_time")
STRINGS = ("device_id", "event_id", "tenant_id")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write tests/fixtures/parquet.")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "fixtures" / "parquet")
    parser.add_argument("--parquet-mr", action="store_true", help="its files too: needs mvn and java")
    args = parser.parse_args()
    out = args.out
    (out / "bad").mkdir(parents=True, exist_ok=True)

    (out / "rows.ndjson").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in expected_rows()))
    write_pyarrow(out)
    write_duckdb(out)
    write_polars(out)
    if args.parquet_mr:
        write_parquet_mr(out)
    write_bad(out / "bad")
    for path in sorted(out.glob("*.parquet")):
        check(path)


def expected_rows() -> list[dict]:
    return json_rows(arrow_table())


def arrow_table() -> pa.Table:
    """The rows as the contract has them: strings, UTC microseconds, double."""
    columns = dict(zip(NAMES, zip(*ROWS)))
    for name in TIMES:
        columns[name] = [t and datetime.datetime.fromisoformat(t).replace(tzinfo=UTC) for t in columns[name]]
    types = {name: pa.string() for name in STRINGS} | {name: pa.timestamp("us", "UTC") for name in TIMES}
    types["temperature"] = pa.float64()
    return pa.table({name: pa.array(columns[name], types[name]) for name in NAMES})


def with_types(table: pa.Table, names: tuple[str, ...], type_: pa.DataType) -> pa.Table:
    for name in names:
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, table[name].cast(type_))
    return table


# --- pyarrow ---------------------------------------------------------------------------------------------------------


def write_pyarrow(out: pathlib.Path) -> None:
    rows = arrow_table()

    def write(variant: str, table: pa.Table = rows, **options) -> None:
        options = {"compression": "snappy", "version": "2.6"} | options
        pq.write_table(table, out / f"pyarrow-{variant}.parquet", **options)

    write("snappy")  # pyarrow's defaults: dictionary, v1 pages
    for codec in ("none", "gzip", "brotli", "lz4", "zstd"):
        write(codec, compression=codec)
    write("plain-v1", use_dictionary=False, version="1.0", store_schema=False)
    write("v2-pages", data_page_version="2.0", compression="zstd")
    write(
        "v2-delta",
        data_page_version="2.0",
        use_dictionary=False,
        column_encoding={name: "DELTA_BYTE_ARRAY" for name in STRINGS}
        | {name: "DELTA_BINARY_PACKED" for name in TIMES}
        | {"temperature": "BYTE_STREAM_SPLIT"},
    )
    write("row-groups", row_group_size=5, write_page_index=True, write_page_checksum=True)

    write("int96", use_deprecated_int96_timestamps=True, store_schema=False)
    for unit in ("ms", "us", "ns"):
        if unit != "us":  # that is pyarrow-snappy
            write(f"{unit}-zoned", with_types(rows, TIMES, pa.timestamp(unit, "UTC")))
        write(f"{unit}-naive", with_types(rows, TIMES, pa.timestamp(unit)))
    write("us-berlin", with_types(rows, TIMES, pa.timestamp("us", "Europe/Berlin")))  # the same instants

    write("large-string", with_types(rows, STRINGS, pa.large_string()))
    write("string-view", with_types(rows, STRINGS, pa.string_view()))
    write("dictionary-type", dictionary_strings(rows))
    write("binary-strings", with_types(rows, STRINGS, pa.binary()), store_schema=False)  # no STRING annotation
    write("float32", with_types(rows, ("temperature",), pa.float32()))
    write("required", required_columns(rows))
    write("reordered", rows.select(tuple(reversed(NAMES))))


def dictionary_strings(rows: pa.Table) -> pa.Table:
    for name in STRINGS:
        rows = rows.set_column(rows.schema.get_field_index(name), name, pc.dictionary_encode(rows[name]))
    return rows


def required_columns(rows: pa.Table) -> pa.Table:
    nullable = ("temperature", "ingest_time")
    fields = [field.with_nullable(field.name in nullable) for field in rows.schema]
    return rows.cast(pa.schema(fields))


# --- DuckDB, Polars --------------------------------------------------------------------------------------------------


def write_duckdb(out: pathlib.Path) -> None:
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("rows", arrow_table())

    def write(variant: str, query: str, options: str) -> None:
        path = str(out / f"duckdb-{variant}.parquet").replace("'", "''")
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, {options})")

    naive = ", ".join(f"{name}::TIMESTAMP AS {name}" for name in TIMES)
    write("snappy", "FROM rows", "COMPRESSION snappy")
    write("zstd-v2", "FROM rows", "COMPRESSION zstd, PARQUET_VERSION v2")
    write("naive", f"SELECT * REPLACE ({naive}) FROM rows", "COMPRESSION snappy")


def write_polars(out: pathlib.Path) -> None:
    rows = pl.from_arrow(arrow_table())
    rows.write_parquet(out / "polars-zstd.parquet")  # its defaults
    rows.write_parquet(out / "polars-snappy.parquet", compression="snappy", statistics=False)
    nanoseconds = rows.with_columns(pl.col(TIMES).dt.cast_time_unit("ns"))
    nanoseconds.write_parquet(out / "polars-ns.parquet")
    categories = rows.with_columns(pl.col("tenant_id").cast(pl.Categorical))
    categories.write_parquet(out / "polars-categorical.parquet")


# --- parquet-mr ------------------------------------------------------------------------------------------------------


def write_parquet_mr(out: pathlib.Path) -> None:
    source = HERE / "parquet_mr"
    with tempfile.TemporaryDirectory() as scratch:
        class_path = pathlib.Path(scratch, "classpath")
        build = ["mvn", "-q", "-B", "-f", source / "pom.xml", "dependency:build-classpath", f"-Dmdep.outputFile={class_path}"]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        rows = pathlib.Path(scratch, "rows.tsv")
        rows.write_text("".join("\t".join(tsv_fields(row)) + "\n" for row in ROWS))
        for variant, time, codec, version in (
            ("int96", "int96", "SNAPPY", "v1"),  # as Spark writes by default
            ("millis-gzip", "millis", "GZIP", "v1"),
            ("micros-v2", "micros", "ZSTD", "v2"),
        ):
            path = out / f"parquet-mr-{variant}.parquet"
            path.unlink(missing_ok=True)
            java = ["java", "-cp", class_path.read_text(), source / "WriteTelemetry.java"]
            subprocess.run([*java, rows, path, time, codec, version], check=True)


def tsv_fields(row: tuple) -> list[str]:
    device_id, event_id, event_time, tenant_id, temperature, ingest_time = row
    number = "" if temperature is None else repr(temperature)
    return [device_id, event_id, milliseconds(event_time), tenant_id, number, milliseconds(ingest_time)]


def milliseconds(time: str | None) -> str:
    if time is None:
        return ""
    since = datetime.datetime.fromisoformat(time).replace(tzinfo=UTC) - datetime.datetime(1970, 1, 1, tzinfo=UTC)
    return str(since // datetime.timedelta(milliseconds=1))


# --- broken files ----------------------------------------------------------------------------------------------------


def write_bad(bad: pathlib.Path) -> None:
    good = (bad.parent / "pyarrow-snappy.parquet").read_bytes()
    (bad / "zero.parquet").write_bytes(b"")
    (bad / "truncated.parquet").write_bytes(good[: len(good) * 2 // 3])
    (bad / "not-parquet.parquet").write_text("device_id,event_id,event_time\ndev-001,e-0001,2025-06-04T00:00:00Z\n" * 20)
    (bad / "bit-flipped.parquet").write_bytes(flipped_page(bad.parent / "pyarrow-snappy.parquet"))
    pq.write_table(arrow_table().slice(0, 0), bad / "empty.parquet")  # valid: all columns, no row

    for name in ("zero", "truncated", "not-parquet", "bit-flipped"):
        try:
            pq.ParquetFile(bad / f"{name}.parquet").read()
        except (pa.ArrowException, OSError):
            continue
        raise AssertionError(f"bad/{name}.parquet can be read")


def flipped_page(path: pathlib.Path) -> bytes:
    """The file with bits of one page flipped: the footer is whole, decompressing event_id is not."""
    column = pq.read_metadata(path).row_group(0).column(NAMES.index("event_id"))
    content = bytearray(path.read_bytes())
    middle = column.data_page_offset - (column.data_page_offset - column.dictionary_page_offset) // 2
    for offset in range(middle, middle + 8):
        content[offset] ^= 0xFF
    return bytes(content)


# --- check -----------------------------------------------------------------------------------------------------------


def check(path: pathlib.Path) -> None:
    """pyarrow and DuckDB read the expected rows, and the file is small."""
    expected = expected_rows()
    readers: dict[str, Callable[[], pa.Table]] = {
        "pyarrow": lambda: pq.read_table(path),
        "DuckDB": lambda: duckdb.sql("FROM read_parquet(?)", params=[str(path)]).to_arrow_table(),
    }
    for reader, read in readers.items():
        got = json_rows(to_contract_types(read()))
        assert got == expected, f"{path.name}, read by {reader}: {got}"
    size = path.stat().st_size
    assert size < FILE_BYTES_MAX, f"{path.name} has {size} bytes"
    print(f"{path.name}: {size} bytes")


def to_contract_types(table: pa.Table) -> pa.Table:
    columns = []
    for field in arrow_table().schema:
        column = table[field.name]
        if pa.types.is_timestamp(column.type) and column.type.tz is None:
            column = pc.assume_timezone(column, "UTC")
        if pa.types.is_string_view(column.type) or pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=arrow_table().schema)


if __name__ == "__main__":
    main()
