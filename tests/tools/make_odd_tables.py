#!/usr/bin/env python3
"""Writes tests/fixtures/odd-tables: small Iceberg tables whose metadata is as only some writers leave it, or damaged in ways that
have been met, each with its rows as PyIceberg reads them.

    make_odd_tables.py [--out tests/fixtures/odd-tables]

The files are checked in; run this again to add a table. Metadata, lists and manifests are written field by field, so that
anything can be left out or be wrong.
"""

import argparse
import json
import pathlib
import shutil
import struct
import uuid
import warnings
import zlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import StaticTable
from pyiceberg.table.metadata import TableMetadataUtil

from read_table import json_rows

HERE = pathlib.Path(__file__).resolve().parent
BUCKET = "s3://lake/"
NOW = 1_749_000_000_000
COLUMNS = [(1, "id", "long"), (2, "text", "string"), (3, "part", "string"), (4, "value", "double")]
ARROW = {"long": pa.int64(), "string": pa.string(), "double": pa.float64()}
ROWS = [
    [(1, "gä", "a", 0.5), (2, "日本", "a", None)],
    [(3, None, "b", -1.25), (4, "", "b", 1e300)],
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write tests/fixtures/odd-tables.")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "fixtures" / "odd-tables")
    out = parser.parse_args().out
    shutil.rmtree(out / "objects", ignore_errors=True)
    expected = {}
    for make in TABLES:
        table = make(out / "objects")
        table.finish()
        expected[table.name] = {"metadata": table.metadata_location, **table.read()}
    (out / "tables.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")
    (out / "fields.json").write_text(json.dumps(fields(), ensure_ascii=False, indent=1) + "\n")


class LocalIO(PyArrowFileIO):
    """The bucket in a folder."""

    root = pathlib.Path()

    def new_input(self, location: str):
        return super().new_input(str(self.root / location.removeprefix(BUCKET)))


class Table:
    """A table that is being made: its documents as dictionaries, to be changed before `finish` writes them."""

    def __init__(self, root: pathlib.Path, name: str, version: int = 2, partitioned: bool = True) -> None:
        self.root, self.name, self.version = root, name, version
        self.location = f"{BUCKET}odd/{name}"
        LocalIO.root = root
        spec = [{"name": "part", "transform": "identity", "source-id": 3, "field-id": 1000}] if partitioned else []
        self.partition = [("part", 1000, "string")] if partitioned else []
        schema = {
            "type": "struct",
            "schema-id": 0,
            "fields": [{"id": i, "name": n, "required": i == 1, "type": t} for i, n, t in COLUMNS],
        }
        self.metadata: dict = {
            "format-version": version,
            "table-uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, self.location)),
            "location": self.location,
            "last-sequence-number": 0,
            "last-updated-ms": NOW,
            "last-column-id": 4,
            "current-schema-id": 0,
            "schemas": [schema],
            "default-spec-id": 0,
            "partition-specs": [{"spec-id": 0, "fields": spec}],
            "last-partition-id": 1000,
            "default-sort-order-id": 0,
            "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": {},
            "current-snapshot-id": -1,
            "snapshots": [],
            "snapshot-log": [],
            "metadata-log": [],
            "refs": {},
        }
        if version == 1:
            del self.metadata["last-sequence-number"]
            self.metadata |= {"schema": schema, "partition-spec": spec}
        self.metadata_location = f"{self.location}/metadata/v1.metadata.json"
        self.manifests: list[dict] = []

    def path(self, location: str) -> pathlib.Path:
        path = self.root / location.removeprefix(BUCKET)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def data(self, number: int, table: pa.Table | None = None, **more) -> dict:
        """A data file with what a manifest says of it."""
        rows = ROWS[number]
        if table is None:
            fields = [
                pa.field(n, ARROW[t], nullable=i != 1, metadata={"PARQUET:field_id": str(i)}) for i, n, t in COLUMNS
            ]
            table = pa.Table.from_arrays(
                [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(fields)], schema=pa.schema(fields)
            )
        location = f"{self.location}/data/{number}.parquet"
        pq.write_table(table, self.path(location), compression="NONE", store_schema=False)
        return {
            "content": 0,
            "file_path": location,
            "file_format": "PARQUET",
            "partition": {"part": rows[0][2]} if self.partition else {},
            "record_count": len(rows),
            "file_size_in_bytes": self.path(location).stat().st_size,
            "value_counts": [{"key": i, "value": len(rows)} for i, *_ in COLUMNS],
            "lower_bounds": [{"key": 1, "value": struct.pack("<q", rows[0][0])}],
            "upper_bounds": [{"key": 1, "value": struct.pack("<q", rows[-1][0])}],
        } | more

    def entry(self, data_file: dict, status: int = 1, **more) -> dict:
        snapshot = self.next_snapshot_id
        return {"status": status, "snapshot_id": snapshot, "data_file": data_file} | more

    @property
    def next_snapshot_id(self) -> int:
        return 1001 + len(self.metadata["snapshots"])

    @property
    def next_sequence_number(self) -> int:
        return 0 if self.version == 1 else 1 + len(self.metadata["snapshots"])

    def manifest(
        self, entries: list[dict], header: dict | None = None, schema: Callable[[dict], None] | None = None,
        codec: str = "null", version: int | None = None, **listed
    ) -> dict:
        """Writes a manifest; what its list says of it."""
        version = version or self.version
        avro = entry_schema(self.partition, version)
        if schema:
            schema(avro)
        spec = self.metadata["partition-specs"][0]["fields"]
        meta = {
            "schema": json.dumps(self.metadata["schemas"][0]),
            "schema-id": "0",
            "partition-spec": json.dumps(spec),
            "partition-spec-id": "0",
            "format-version": str(version),
            "content": "data",
        } | (header or {})
        location = f"{self.location}/metadata/m{self.next_snapshot_id}-{len(self.manifests)}.avro"
        write_avro(self.path(location), avro, entries, {k: v for k, v in meta.items() if v is not None}, codec)
        live = [e for e in entries if e["status"] != 2]

        def count(status: int) -> int:
            return sum(e["status"] == status for e in entries)

        def rows(status: int) -> int:
            return sum(e["data_file"]["record_count"] for e in entries if e["status"] == status)

        values = [e["data_file"]["partition"].get("part") for e in live if self.partition]
        summary = [
            {"contains_null": False, "contains_nan": None, "lower_bound": min(values).encode(), "upper_bound": max(values).encode()}
        ] if values else []
        return {
            "manifest_path": location,
            "manifest_length": self.path(location).stat().st_size,
            "partition_spec_id": 0,
            "content": 0,
            "sequence_number": self.next_sequence_number,
            "min_sequence_number": self.next_sequence_number,
            "added_snapshot_id": self.next_snapshot_id,
            "added_files_count": count(1),
            "existing_files_count": count(0),
            "deleted_files_count": count(2),
            "added_rows_count": rows(1),
            "existing_rows_count": rows(0),
            "deleted_rows_count": rows(2),
            "partitions": summary if values else None,
        } | listed

    def snapshot(
        self, manifests: list[dict], schema: Callable[[dict], None] | None = None, list_version: int | None = None,
        operation: str = "append",
    ) -> dict:
        """Adds a snapshot with these manifests and those that were there."""
        self.manifests = manifests + self.manifests
        version = list_version or self.version
        avro = list_schema(version)
        if schema:
            schema(avro)
        snapshot_id, sequence_number = self.next_snapshot_id, self.next_sequence_number
        location = f"{self.location}/metadata/snap-{snapshot_id}.avro"
        old = {"added_files_count": "added_data_files_count", "existing_files_count": "existing_data_files_count",
               "deleted_files_count": "deleted_data_files_count"}
        records = [m | {old[k]: m[k] for k in old} for m in self.manifests]
        write_avro(self.path(location), avro, records, {"format-version": str(version)}, "null")
        parent = self.metadata["current-snapshot-id"]
        made = {
            "snapshot-id": snapshot_id,
            "timestamp-ms": NOW + 1000 * snapshot_id,
            "summary": {"operation": operation},
            "manifest-list": location,
            "schema-id": 0,
        }
        if self.version > 1:
            made["sequence-number"] = sequence_number
            self.metadata["last-sequence-number"] = sequence_number
        if parent != -1:
            made["parent-snapshot-id"] = parent
        self.metadata["snapshots"].append(made)
        self.metadata["last-updated-ms"] = made["timestamp-ms"]
        self.metadata["current-snapshot-id"] = snapshot_id
        self.metadata["snapshot-log"].append({"snapshot-id": snapshot_id, "timestamp-ms": made["timestamp-ms"]})
        self.metadata["refs"]["main"] = {"snapshot-id": snapshot_id, "type": "branch"}
        return made

    def finish(self) -> None:
        self.path(self.metadata_location).write_text(json.dumps(self.metadata, indent=1) + "\n")

    def read(self) -> dict:
        """The rows of the current snapshot, by PyIceberg where it can."""
        true = [dict(zip([n for _, n, _ in COLUMNS], row)) for rows in ROWS for row in rows]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                document = json.loads(self.path(self.metadata_location).read_text())
                metadata = TableMetadataUtil.parse_obj(document)
                io = LocalIO()
                table = StaticTable(("odd", self.name), metadata, self.metadata_location, io, None)
                rows = json_rows(table.scan().to_arrow())
            return {"pyiceberg": "read", "rows": sorted(rows, key=json.dumps)}
        except Exception as error:  # whatever it is, it is what PyIceberg says
            words = f"{type(error).__name__}: {error}".replace(str(self.root), "").splitlines()
            return {"pyiceberg": " ".join(words)[:200], "rows": sorted(true, key=json.dumps)}


# Tables


def two(table: Table, listed: dict | None = None, header: dict | None = None, bounds: Callable[[dict], dict] = dict, **more) -> Table:
    """Two snapshots of one manifest each."""
    for number in range(2):
        entry = table.entry(bounds(table.data(number)))
        manifest = {key: more[key] for key in ("schema", "codec", "version") if key in more}
        lists = {key: more[key] for key in ("list_version",) if key in more} | (
            {"schema": more["list_schema"]} if "list_schema" in more else {}
        )
        table.snapshot([table.manifest([entry], header, **manifest, **(listed or {}))], **lists)
    return table


def bounds_of(lower: dict, upper: dict) -> Callable[[dict], dict]:
    def pairs(values: dict) -> list[dict]:
        return [{"key": key, "value": value} for key, value in values.items()]

    return lambda data_file: data_file | {"lower_bounds": pairs(lower), "upper_bounds": pairs(upper)}


def bounds_cut(root: pathlib.Path) -> Table:
    """Bounds of text that end inside a character, as DuckDB has written them."""
    return two(Table(root, "bounds_cut"), bounds=bounds_of({2: b"\xe6\x97"}, {2: b"\xe6\x98", 3: b"\xc3"}))


def bounds_short(root: pathlib.Path) -> Table:
    """Bounds of too few bytes, of none, and of columns that are not there."""
    short = {1: b"\x01\x02\x03", 2: b"", 4: b"", 99: b"x"}
    return two(Table(root, "bounds_short"), bounds=bounds_of(short, short))


def min_sequence_number_too_high(root: pathlib.Path) -> Table:
    return two(Table(root, "min_sequence_number_too_high"), {"min_sequence_number": 99})


def counts_of_nothing(root: pathlib.Path) -> Table:
    """The list says that there is no file in its manifests."""
    none = {f"{status}_{what}_count": 0 for status in ("added", "existing", "deleted") for what in ("files", "rows")}
    return two(Table(root, "counts_of_nothing"), none)


def counts_null(root: pathlib.Path) -> Table:
    """A list of format version 1 without counts, in a table that was raised to 2 since."""
    none = {f"{status}_{what}_count": None for status in ("added", "existing", "deleted") for what in ("files", "rows")}
    return two(Table(root, "counts_null"), none | {"sequence_number": 0, "min_sequence_number": 0}, list_version=1, version=1)


def v1_counts_null(root: pathlib.Path) -> Table:
    none = {f"{status}_{what}_count": None for status in ("added", "existing", "deleted") for what in ("files", "rows")}
    return two(Table(root, "v1_counts_null", version=1), none)


def v1_inline(root: pathlib.Path) -> Table:
    """A snapshot of format version 1 names its manifests itself."""
    table = two(Table(root, "v1_inline", version=1))
    for index, snapshot in enumerate(table.metadata["snapshots"]):
        table.path(snapshot.pop("manifest-list")).unlink()
        snapshot["manifests"] = [manifest["manifest_path"] for manifest in table.manifests[-1 - index :]]
    return table


def v1_bare(root: pathlib.Path) -> Table:
    """What format version 1 asks for, and no more."""
    table = two(Table(root, "v1_bare", version=1))
    wanted = ("format-version", "location", "last-updated-ms", "last-column-id", "schema", "partition-spec", "properties",
              "current-snapshot-id", "snapshots")
    table.metadata = {key: table.metadata[key] for key in wanted}
    del table.metadata["schema"]["schema-id"]
    for snapshot in table.metadata["snapshots"]:
        for key in ("summary", "schema-id", "parent-snapshot-id"):
            snapshot.pop(key, None)
    return table


def header_bare(root: pathlib.Path) -> Table:
    """Manifests without a schema in their header, as BigQuery writes them."""
    return two(Table(root, "header_bare"), header={"schema": None, "schema-id": None})


def header_empty(root: pathlib.Path) -> Table:
    """Manifests that say nothing but their format in their header."""
    header = {key: None for key in ("schema", "schema-id", "partition-spec", "partition-spec-id", "content")}
    return two(Table(root, "header_empty"), header=header)


def metadata_bare(root: pathlib.Path) -> Table:
    """A metadata.json without what can be found out otherwise."""
    table = two(Table(root, "metadata_bare"))
    for key in ("sort-orders", "default-sort-order-id", "refs", "metadata-log", "snapshot-log", "properties", "last-partition-id"):
        del table.metadata[key]
    first, second = table.metadata["snapshots"]
    del first["summary"], second["summary"]["operation"]
    return table


def metadata_nulls(root: pathlib.Path) -> Table:
    """The same with NULL in every place, and with numbers for text."""
    table = two(Table(root, "metadata_nulls"))
    for key in ("sort-orders", "default-sort-order-id", "refs", "metadata-log", "snapshot-log"):
        table.metadata[key] = None
    table.metadata |= {"statistics": None, "partition-statistics": None}
    table.metadata["properties"] = {"write.metadata.previous-versions-max": 10, "write.parquet.enabled": True}
    table.metadata["snapshots"][0]["summary"]["added-records"] = 2
    return table


def codec_of(codec: str) -> Callable[[pathlib.Path], Table]:
    return lambda root: two(Table(root, f"codec_{codec}"), codec=codec, bounds=bounds_of({2: b"\xe6\x97"}, {}))


def fields_few(root: pathlib.Path) -> Table:
    """Manifests and lists with the fields that the specification requires alone."""
    required = ("content", "file_path", "file_format", "partition", "record_count", "file_size_in_bytes")

    def entries(avro: dict) -> None:
        data_file = avro["fields"][-1]["type"]
        data_file["fields"] = [field for field in data_file["fields"] if field["name"] in required]
        avro["fields"] = [f for f in avro["fields"] if f["name"] not in ("sequence_number", "file_sequence_number")]

    def lists(avro: dict) -> None:
        avro["fields"] = [f for f in avro["fields"] if f["name"] not in ("partitions", "key_metadata")]

    return two(Table(root, "fields_few"), schema=entries, list_schema=lists)


def fields_shuffled(root: pathlib.Path) -> Table:
    """Fields in another order, NULL as the second of a union, and fields that nobody knows."""

    def shuffle(avro: dict) -> None:
        avro["fields"].reverse()
        for field in avro["fields"]:
            if isinstance(field["type"], list):
                field["type"].reverse()
            if field["name"] == "data_file":
                shuffle(field["type"])
        avro["fields"].insert(1, {"name": f"unknown_{len(avro['fields'])}", "type": ["null", "string"], "field-id": 9000 + len(avro["fields"])})

    return two(Table(root, "fields_shuffled"), schema=shuffle, list_schema=shuffle)


def name_mapping(root: pathlib.Path) -> Table:
    """Files without field ids, whose groups of maps and lists have two kinds of names."""
    table = Table(root, "name_mapping", partitioned=False)
    schema = table.metadata["schemas"][0]
    schema["fields"] = schema["fields"][:1] + [
        {"id": 5, "name": "tags", "required": False, "type":
            {"type": "map", "key-id": 6, "key": "string", "value-id": 7, "value": "long", "value-required": False}},
        {"id": 8, "name": "list", "required": False, "type":
            {"type": "list", "element-id": 9, "element": "long", "element-required": False}},
        {"id": 10, "name": "point", "required": False, "type":
            {"type": "struct", "fields": [{"id": 11, "name": "x", "required": False, "type": "long"}]}},
    ]
    table.metadata["last-column-id"] = 11
    table.metadata["properties"]["schema.name-mapping.default"] = json.dumps([
        {"field-id": 1, "names": ["id"]},
        {"field-id": 5, "names": ["tags"], "fields": [{"field-id": 6, "names": ["key"]}, {"field-id": 7, "names": ["value"]}]},
        {"field-id": 8, "names": ["list"], "fields": [{"field-id": 9, "names": ["element"]}]},
        {"field-id": 10, "names": ["point"], "fields": [{"field-id": 11, "names": ["x"]}]},
    ])
    for number in range(2):
        columns = {"id": [row[0] for row in ROWS[number]], "tags": [[("k", 1)], None], "list": [[1, 2], []], "point": [{"x": 1}, None]}
        types = [("id", pa.int64()), ("tags", pa.map_(pa.string(), pa.int64())), ("list", pa.list_(pa.int64())),
                 ("point", pa.struct([("x", pa.int64())]))]
        content = pa.table(columns, pa.schema(types))
        data_file = table.data(number, content, value_counts=None, lower_bounds=None, upper_bounds=None)
        if number == 1:
            # Other names for the same groups, of the same length: no offset moves.
            path = table.path(data_file["file_path"])
            path.write_bytes(path.read_bytes().replace(b"key_value", b"key_vague").replace(b"element", b"elemant"))
        table.snapshot([table.manifest([table.entry(data_file)])])
    return table


TABLES = [
    bounds_cut, bounds_short, min_sequence_number_too_high, counts_of_nothing, counts_null, v1_counts_null, v1_inline, v1_bare,
    header_bare, header_empty, metadata_bare, metadata_nulls, codec_of("snappy"), codec_of("zstandard"), codec_of("deflate"), fields_few,
    fields_shuffled, name_mapping,
]


# Each field of a metadata.json, left out and NULL


def whole(version: int) -> dict:
    """A metadata.json with every field that this format version has."""
    made = Table(pathlib.Path(), "whole", version)
    fields = [*made.metadata["schemas"][0]["fields"],
              {"id": 5, "name": "tags", "required": False, "type":
                  {"type": "map", "key-id": 6, "key": "string", "value-id": 7, "value": "long", "value-required": False}},
              {"id": 8, "name": "list", "required": False, "type":
                  {"type": "list", "element-id": 9, "element": "long", "element-required": False}}]
    made.metadata["schemas"][0] |= {"fields": fields, "identifier-field-ids": [1]}
    snapshots = [
        {"snapshot-id": 1001 + n, "timestamp-ms": NOW + n, "summary": {"operation": "append", "added-records": "2"},
         "manifest-list": f"{made.location}/metadata/snap-{n}.avro", "schema-id": 0}
        | ({"parent-snapshot-id": 1001} if n else {}) | ({"sequence-number": n + 1} if version > 1 else {})
        for n in range(2)
    ]
    statistics = {"snapshot-id": 1002, "statistics-path": f"{made.location}/metadata/s.puffin", "file-size-in-bytes": 9}
    blob = {"type": "apache-datasketches-theta-v1", "snapshot-id": 1002, "sequence-number": 2, "fields": [1]}
    order = {"order-id": 1, "fields": [{"transform": "identity", "source-id": 1, "direction": "asc", "null-order": "nulls-first"}]}
    made.metadata |= {
        "last-column-id": 9, "last-updated-ms": NOW + 1, "current-snapshot-id": 1002, "snapshots": snapshots,
        "sort-orders": [{"order-id": 0, "fields": []}, order], "default-sort-order-id": 1, "properties": {"a": "b"},
        "snapshot-log": [{"snapshot-id": 1001 + n, "timestamp-ms": NOW + n} for n in range(2)],
        "metadata-log": [{"metadata-file": f"{made.location}/metadata/v0.metadata.json", "timestamp-ms": NOW}],
        "refs": {"main": {"snapshot-id": 1002, "type": "branch"}, "first": {"snapshot-id": 1001, "type": "tag"}},
        "statistics": [statistics | {"file-footer-size-in-bytes": 5, "blob-metadata": [blob]}],
        "partition-statistics": [statistics],
    }
    if version > 1:
        made.metadata["last-sequence-number"] = 2
    return made.metadata


def fields() -> dict:
    """What PyIceberg makes of a metadata.json without each of its fields: "read", or nothing."""
    made = {}
    for version in (1, 2):
        document = whole(version)
        outcomes = {}
        for path in paths(document):
            for value, name in ((..., "missing"), (None, "null")):
                changed = json.loads(json.dumps(document))
                *above, last = path
                parent = changed
                for step in above:
                    parent = parent[step]
                if value is ...:
                    del parent[last]
                else:
                    parent[last] = None
                outcomes.setdefault("/".join(map(str, path)), {})[name] = accepts(changed)
        made[f"v{version}"] = {"document": document, "pyiceberg": outcomes}
    return made


def accepts(document: dict) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TableMetadataUtil.parse_obj(document)
        return True
    except Exception:  # whatever it is, it does not read it
        return False


def paths(value, above: tuple = ()):
    """The path of every field, of the items of a list those of the last alone."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield (*above, key)
            yield from paths(below, (*above, key))
    elif isinstance(value, list) and value:
        yield from paths(value[-1], (*above, len(value) - 1))


# Avro


def optional(of) -> list:
    return ["null", of]


def pairs(key_id: int, value_id: int, value: str) -> dict:
    record = {"type": "record", "name": f"k{key_id}_v{value_id}", "fields": [
        {"name": "key", "type": "int", "field-id": key_id}, {"name": "value", "type": value, "field-id": value_id}]}
    return {"type": "array", "logicalType": "map", "items": record}


def entry_schema(partition: list, version: int) -> dict:
    values = [{"name": n, "type": optional(t), "default": None, "field-id": i} for n, i, t in partition]
    data_file = [
        ("content", 134, "int"), ("file_path", 100, "string"), ("file_format", 101, "string"),
        ("partition", 102, {"type": "record", "name": "r102", "fields": values}), ("record_count", 103, "long"),
        ("file_size_in_bytes", 104, "long"), ("block_size_in_bytes", 105, "long"),
        ("value_counts", 109, optional(pairs(119, 120, "long"))), ("lower_bounds", 125, optional(pairs(126, 127, "bytes"))),
        ("upper_bounds", 128, optional(pairs(129, 130, "bytes"))),
    ]
    left_out = ("content",) if version == 1 else ("block_size_in_bytes",)
    entry = [("status", 0, "int"), ("snapshot_id", 1, "long" if version == 1 else optional("long"))]
    if version > 1:
        entry += [("sequence_number", 3, optional("long")), ("file_sequence_number", 4, optional("long"))]
    record = {"type": "record", "name": "r2", "fields": made(f for f in data_file if f[0] not in left_out)}
    return {"type": "record", "name": "manifest_entry", "fields": made([*entry, ("data_file", 2, record)])}


def list_schema(version: int) -> dict:
    summary = {"type": "record", "name": "r508", "fields": made([
        ("contains_null", 509, "boolean"), ("contains_nan", 518, optional("boolean")),
        ("lower_bound", 510, optional("bytes")), ("upper_bound", 511, optional("bytes"))])}
    head = [("manifest_path", 500, "string"), ("manifest_length", 501, "long"), ("partition_spec_id", 502, "int")]
    if version > 1:
        head += [("content", 517, "int"), ("sequence_number", 515, "long"), ("min_sequence_number", 516, "long")]
    # Nobody writes NULL into a list of version 2.
    of = optional if version == 1 else (lambda kind: kind)
    files = "data_files" if version == 1 else "files"
    tail = [("added_snapshot_id", 503, "long")]
    tail += [(f"{status}_{files}_count", 504 + n, of("int")) for n, status in enumerate(("added", "existing", "deleted"))]
    tail += [(f"{status}_rows_count", 512 + n, of("long")) for n, status in enumerate(("added", "existing", "deleted"))]
    tail += [("partitions", 507, optional({"type": "array", "element-id": 508, "items": summary})), ("key_metadata", 519, optional("bytes"))]
    return {"type": "record", "name": "manifest_file", "fields": made([*head, *tail])}


def made(fields) -> list[dict]:
    return [{"name": n, "type": t, "field-id": i} | ({"default": None} if isinstance(t, list) else {}) for n, i, t in fields]


def write_avro(path: pathlib.Path, schema: dict, records: list[dict], meta: dict, codec: str) -> None:
    sync = b"etl odd tables.."
    header = {"avro.schema": json.dumps(schema), "avro.codec": codec} | meta
    out = b"Obj\x01" + number(len(header))
    for key, value in header.items():
        out += sized(key.encode()) + sized(value.encode())
    block = packed(b"".join(encoded(schema, record) for record in records), codec)
    path.write_bytes(out + number(0) + sync + number(len(records)) + sized(block) + sync)


def packed(block: bytes, codec: str) -> bytes:
    if codec == "deflate":
        return zlib.compress(block, 9, wbits=-15)
    if codec == "snappy":
        return pa.compress(block, "snappy", asbytes=True) + struct.pack(">I", zlib.crc32(block))
    return pa.compress(block, "zstd", asbytes=True) if codec == "zstandard" else block


def encoded(kind, value) -> bytes:
    if isinstance(kind, list):
        branch = next(i for i, of in enumerate(kind) if (of == "null") == (value is None))
        return number(branch) + encoded(kind[branch], value)
    name = kind["type"] if isinstance(kind, dict) else kind
    if name == "record":
        return b"".join(encoded(field["type"], value.get(field["name"], 0 if field["type"] == "long" else None)) for field in kind["fields"])
    if name == "array":
        items = b"".join(encoded(kind["items"], item) for item in value)
        return (number(len(value)) + items if value else b"") + number(0)
    if name in ("int", "long"):
        return number(value)
    if name == "null":
        return b""
    if name == "boolean":
        return bytes([value])
    return sized(value.encode() if name == "string" else value)


def sized(value: bytes) -> bytes:
    return number(len(value)) + value


def number(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


if __name__ == "__main__":
    main()
