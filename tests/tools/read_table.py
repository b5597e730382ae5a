#!/usr/bin/env python3
"""Reads an Iceberg table with PyIceberg and prints its rows, so that tests can compare them with their own.

    read_table.py --catalog sqlite:///path/catalog.db curated.telemetry
    read_table.py --glue http://127.0.0.1:5000 --s3-endpoint http://127.0.0.1:9000 \
                  --access-key K --secret-key S curated.telemetry --all-snapshots
    read_table.py --metadata s3://bucket/…/00001-….metadata.json        (no catalog; s3 options as above)
    read_table.py --serve

One line of JSON per snapshot: {"snapshot_id": …, "rows": [{column: value, …}, …]}; the current one unless --snapshot or
--all-snapshots (oldest first) says otherwise. A table without snapshots gives {"snapshot_id": null, "rows": []}. Rows are
sorted by their JSON text, columns are in the schema's order, and values have one form each:

    timestamp, timestamptz     "2025-06-01T00:00:00.000000", the same with "Z"
    date, time                 "2025-06-01", "12:30:00.000000"
    decimal, uuid              string
    binary, fixed              hex string
    NaN and infinities         "NaN", "Infinity", "-Infinity"
    struct, list, map          object, array, array of [key, value]
    null                       null

--serve answers one request per line of stdin with one line on stdout, so that Python starts once for many tables. A request
is the options as JSON: {"catalog": …, "table": …, "all_snapshots": true}. The answer is {"snapshots": [as above]} or
{"error": "…"}. With "op": "write" the request is one of write_table.py's, with "change" one of change_table.py's, with "make" one
of make_table.py's. With "equal": [column, value] only such rows are read. With "parquet" the answer has the rows of the Parquet
file at "path" as PyArrow reads them, with "parquet-duckdb" as DuckDB does.
"""

import argparse
import datetime
import json
import math
import pathlib
import sqlite3
import sys
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue, EqualTo
from pyiceberg.table import StaticTable, Table


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the rows of an Iceberg table as PyIceberg reads them.")
    add_lake_arguments(parser)
    parser.add_argument("table", nargs="?", help="namespace.name; not with --metadata")
    parser.add_argument("--metadata", help="read from this metadata.json, without a catalog")
    parser.add_argument("--snapshot", type=int, help="this snapshot")
    parser.add_argument("--all-snapshots", action="store_true", help="every snapshot in the metadata, oldest first")
    parser.add_argument("--serve", action="store_true", help="answer requests on stdin until it ends")
    args = parser.parse_args()
    if args.serve:
        serve()
    else:
        for snapshot in read(vars(args)):
            print(json.dumps(snapshot, ensure_ascii=False))


def add_lake_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--catalog", help="sqlite:///relative/catalog.db or sqlite:////absolute/catalog.db")
    parser.add_argument("--catalog-name", help="its name inside the SQLite file; by default the only one there")
    parser.add_argument("--warehouse", help="where new tables go; reading does not need it")
    parser.add_argument("--glue", help="endpoint of a Glue catalog")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--s3-endpoint")
    parser.add_argument("--access-key", default="test")
    parser.add_argument("--secret-key", default="test")


def serve() -> None:
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            request = json.loads(line)
            op = request.pop("op", "read")
            if op == "write":
                from write_table import write

                answer = write(request)
            elif op == "change":
                from change_table import change

                answer = change(request)
            elif op == "make":
                from make_table import make

                answer = make(request)
            elif op == "parquet":
                table = pq.read_table(request["path"], page_checksum_verification=True)
                answer = {"snapshots": json_rows(raw_as_curated(table))}
            elif op == "parquet-duckdb":
                import duckdb

                table = duckdb.sql("SELECT * FROM read_parquet(?)", params=[request["path"]]).arrow().read_all()
                answer = {"snapshots": json_rows(raw_as_curated(table))}
            else:
                answer = {"snapshots": list(read(request))}
        except Exception as error:  # whatever went wrong is the answer; the next request is not concerned
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, ensure_ascii=False), flush=True)


def read(options: dict):
    """Yields {"snapshot_id", "rows"} for each snapshot asked for."""
    table = open_table(options)
    if options.get("all_snapshots"):
        ids = [s.snapshot_id for s in sorted(table.metadata.snapshots, key=lambda s: (s.sequence_number or 0, s.timestamp_ms))]
    elif options.get("snapshot") is not None:
        ids = [options["snapshot"]]
    else:
        ids = [table.metadata.current_snapshot_id]
    wanted = EqualTo(*options["equal"]) if options.get("equal") else AlwaysTrue()
    for snapshot_id in ids or [None]:
        scan = table.scan(row_filter=wanted, snapshot_id=snapshot_id)
        rows = [] if snapshot_id is None else json_rows(scan.to_arrow())
        yield {"snapshot_id": snapshot_id, "rows": rows}


def raw_as_curated(table: pa.Table) -> pa.Table:
    """The table with its values as the telemetry contract has them: times in microseconds and UTC, binary as text."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if pa.types.is_timestamp(field.type):
            times = column.cast(pa.timestamp("us", field.type.tz), safe=False)
            table = table.set_column(place, field.name, times.cast(pa.timestamp("us", "UTC")))
        elif pa.types.is_binary(field.type):
            texts = [value if value is None else value.decode(errors="replace") for value in column.to_pylist()]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return table


def open_table(options: dict) -> Table:
    if options.get("metadata"):
        return StaticTable.from_metadata(options["metadata"], file_properties(options))
    if not options.get("table"):
        raise ValueError("name a table, or a --metadata location")
    catalog = open_catalog(options)
    try:
        # As two parts: a name may have more dots than the one between them.
        return catalog.load_table(tuple(options["table"].split(".", 1)))
    finally:
        catalog.close()  # the table keeps what it needs to be read


def open_catalog(options: dict, create: bool = False) -> Catalog:
    properties = file_properties(options)
    if options.get("warehouse"):
        properties["warehouse"] = options["warehouse"]
    if options.get("glue"):
        from pyiceberg.catalog.glue import GlueCatalog

        properties |= {
            "glue.endpoint": options["glue"],
            "glue.region": options.get("region") or "us-east-1",
            "glue.access-key-id": options.get("access_key") or "test",
            "glue.secret-access-key": options.get("secret_key") or "test",
        }
        return GlueCatalog("glue", **properties)
    if options.get("catalog"):
        from pyiceberg.catalog.sql import SqlCatalog

        properties["uri"] = options["catalog"]
        # A reader must not turn an absent file into an empty catalog.
        properties["init_catalog_tables"] = str(create).lower()
        name = options.get("catalog_name") or only_catalog_name(options["catalog"], create)
        return SqlCatalog(name, **properties)
    raise ValueError("name a --catalog or a --glue endpoint")


def file_properties(options: dict) -> dict[str, str]:
    properties = {"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"}
    if options.get("s3_endpoint"):
        properties |= {
            "s3.endpoint": options["s3_endpoint"],
            "s3.access-key-id": options.get("access_key") or "test",
            "s3.secret-access-key": options.get("secret_key") or "test",
            "s3.region": options.get("region") or "us-east-1",
        }
    return properties


def only_catalog_name(uri: str, create: bool) -> str:
    """Tables in a SQL catalog belong to a catalog name, which the file knows and the caller need not."""
    path = uri.removeprefix("sqlite:///")
    try:
        connection = sqlite3.connect(f"{pathlib.Path(path).resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        if create:
            return "default"
        raise FileNotFoundError(f"no SQLite catalog at {path}") from None
    try:
        found = connection.execute(
            "SELECT catalog_name FROM iceberg_tables UNION SELECT catalog_name FROM iceberg_namespace_properties"
        ).fetchall()
    except sqlite3.OperationalError:
        found = []
    finally:
        connection.close()
    if len(found) > 1:
        raise ValueError(f"{path} holds several catalogs, name one: {[name for (name,) in found]}")
    return found[0][0] if found else "default"


# --- Arrow to JSON ---------------------------------------------------------------------------------------------------


def json_rows(table: pa.Table) -> list[dict]:
    """The rows in the forms above, sorted by their JSON text."""
    names = table.column_names
    columns = [column_values(column) for column in table.columns]
    rows = [dict(zip(names, values)) for values in zip(*columns)]
    return sorted(rows, key=lambda row: json.dumps(row, ensure_ascii=False))


def column_values(column: pa.ChunkedArray) -> list:
    convert = converter(column.type)
    try:
        return list(map(convert, column.to_pylist()))
    except (OverflowError, ValueError):
        # A value that Python has no form for: the others are still what they are.
        return [value_or_text(convert, value) for value in column]


def value_or_text(convert: Callable, value: pa.Scalar) -> object:
    try:
        return convert(value.as_py())
    except (OverflowError, ValueError) as error:
        if pa.types.is_timestamp(value.type) and value.type.unit == "us":
            return far_time(value.value) + ("Z" if value.type.tz else "")
        return f"no value: {error}"


def far_time(microseconds: int) -> str:
    """A time in a year that Python's datetime does not have; the calendar repeats itself every 400 years."""
    cycles, rest = divmod(microseconds, 146_097 * 86_400_000_000)
    near = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=rest)
    year = near.year + 400 * cycles
    sign = "-" if year < 0 else "+"
    return f"{sign}{abs(year):04}" + near.isoformat(timespec="microseconds")[4:]


def converter(type_: pa.DataType) -> Callable:
    """A function from pyarrow's Python value of that type to its JSON form."""
    convert = non_null_converter(type_)
    return lambda value: None if value is None else convert(value)


def non_null_converter(type_: pa.DataType) -> Callable:
    kind = pa.types
    if kind.is_dictionary(type_):
        return converter(type_.value_type)
    if kind.is_struct(type_):
        fields = [(field.name, converter(field.type)) for field in type_]
        return lambda value: {name: convert(value[name]) for name, convert in fields}
    if kind.is_map(type_):
        key, item = converter(type_.key_type), converter(type_.item_type)
        return lambda value: [[key(k), item(v)] for k, v in value]
    if kind.is_list(type_) or kind.is_large_list(type_) or kind.is_fixed_size_list(type_):
        element = converter(type_.value_type)
        return lambda value: [element(v) for v in value]
    if kind.is_timestamp(type_):
        return zoned_timestamp if type_.tz else naive_timestamp
    if kind.is_time(type_):
        return lambda value: value.isoformat(timespec="microseconds")
    if kind.is_date(type_):
        return lambda value: value.isoformat()
    if kind.is_floating(type_):
        return floating
    if kind.is_decimal(type_):
        return lambda value: format(value, "f")  # never an exponent
    if isinstance(type_, pa.UuidType):
        return str
    if kind.is_binary(type_) or kind.is_large_binary(type_) or kind.is_fixed_size_binary(type_):
        return bytes.hex
    if kind.is_boolean(type_) or kind.is_integer(type_) or kind.is_string(type_) or kind.is_large_string(type_):
        return lambda value: value
    if kind.is_string_view(type_):
        return lambda value: value
    raise TypeError(f"no JSON form for {type_}")


def zoned_timestamp(value: datetime.datetime) -> str:
    return naive_timestamp(value.astimezone(datetime.timezone.utc).replace(tzinfo=None)) + "Z"


def naive_timestamp(value: datetime.datetime) -> str:
    return value.isoformat(timespec="microseconds")


def floating(value: float):
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


if __name__ == "__main__":
    main()
