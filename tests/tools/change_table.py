#!/usr/bin/env python3
"""Changes a telemetry table with PyIceberg, as another writer does beside us. Used through `read_table.py --serve`.

A request is {"op": "change", "catalog": …, "table": …} and any of these, done in this order, a commit each:

    "append": [row, …]                        rows of write_table.py's table; times as in "2025-06-01T00:00:00.000Z"
    "add_file": [row, …]                      a Parquet file without field ids, taken over as it is; the table gets a name
                                              mapping by it when it has none
    "delete": "event_id == 'd2-e1'"           files that hold such rows are written again, as PyIceberg does it
    "equality_delete": {"rows": [{column: value, …}, …]}
                                              one equality delete file over the columns of the first row, for the
                                              partition of all rows. PyIceberg has no such writer, and cannot read the
                                              table afterwards
    "tag": "name"                             a tag on the current snapshot

The answer is {"snapshots": [{"snapshot_id", "operation"}]}, all there are.
"""

import datetime
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
from pyiceberg.typedef import Record

from read_table import open_catalog


def change(options: dict) -> dict:
    catalog = open_catalog(options)
    table = catalog.load_table(options["table"])
    if rows := options.get("append"):
        table.append(to_arrow(table, rows))
    if rows := options.get("add_file"):
        path = f"{table.location()}/added/{uuid.uuid4()}.parquet"
        with table.io.new_output(path).create() as out:
            pq.write_table(without_metadata(to_arrow(table, rows)), out, store_schema=False)
        table.add_files([path])
    if condition := options.get("delete"):
        table.delete(condition)
    if deletes := options.get("equality_delete"):
        delete_equal(table, deletes["rows"])
    if name := options.get("tag"):
        table.manage_snapshots().create_tag(table.metadata.current_snapshot_id, name).commit()
    table.refresh()
    snapshots = table.metadata.snapshots
    return {"snapshots": [{"snapshot_id": s.snapshot_id, "operation": s.summary.operation.value} for s in snapshots]}


def to_arrow(table: Table, rows: list[dict]) -> pa.Table:
    schema = table.schema().as_arrow()
    times = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    rows = [row | {name: datetime.datetime.fromisoformat(row[name]) for name in times if row.get(name)} for row in rows]
    return pa.Table.from_pylist(rows, schema=schema)


def without_metadata(rows: pa.Table) -> pa.Table:
    """Without the field ids that PyIceberg's schemas carry."""
    return rows.cast(pa.schema([pa.field(field.name, field.type, field.nullable) for field in rows.schema]))


def delete_equal(table: Table, rows: list[dict]) -> None:
    """Commits one equality delete file. Its rows belong to one partition; in an unpartitioned table to all there is."""
    if table.spec().fields:
        raise ValueError("equality deletes are written for unpartitioned tables only")
    fields = [table.schema().find_field(name) for name in rows[0]]
    columns = pa.schema([
        pa.field(field.name, table.schema().as_arrow().field(field.name).type, metadata={"PARQUET:field_id": str(field.field_id)})
        for field in fields
    ])
    path = f"{table.location()}/data/equality-deletes-{uuid.uuid4()}.parquet"
    with table.io.new_output(path).create() as out:
        pq.write_table(pa.Table.from_pylist(rows, schema=columns), out)

    head = table.current_snapshot()
    snapshot_id = uuid.uuid4().int >> 65
    sequence_number = table.metadata.next_sequence_number()
    entry = ManifestEntry.from_args(
        status=ManifestEntryStatus.ADDED,
        snapshot_id=snapshot_id,
        sequence_number=None,
        file_sequence_number=None,
        data_file=DataFile.from_args(
            content=DataFileContent.EQUALITY_DELETES,
            file_path=path,
            file_format=FileFormat.PARQUET,
            partition=Record(),
            record_count=len(rows),
            file_size_in_bytes=len(table.io.new_input(path)),
            equality_ids=[field.field_id for field in fields],
        ),
    )
    output = table.io.new_output(f"{table.location()}/metadata/{uuid.uuid4()}-m0.avro")
    with DeletesWriter(table.spec(), table.schema(), output, snapshot_id, "deflate") as writer:
        writer.add_entry(entry)
    manifests = [writer.to_manifest_file(), *head.manifests(table.io)]
    list_path = f"{table.location()}/metadata/snap-{snapshot_id}-0-{uuid.uuid4()}.avro"
    with write_manifest_list(
        2, table.io.new_output(list_path), snapshot_id, head.snapshot_id, sequence_number, "deflate"
    ) as writer:
        writer.add_manifests(manifests)

    totals = {name: value for name, value in head.summary.additional_properties.items() if name.startswith("total-")}
    for name, more in (("total-delete-files", 1), ("total-equality-deletes", len(rows))):
        totals[name] = str(int(totals.get(name, 0)) + more)
    totals["total-files-size"] = str(int(totals["total-files-size"]) + entry.data_file.file_size_in_bytes)
    snapshot = Snapshot(
        snapshot_id=snapshot_id,
        parent_snapshot_id=head.snapshot_id,
        sequence_number=sequence_number,
        timestamp_ms=max(table.metadata.last_updated_ms, head.timestamp_ms) + 1,
        manifest_list=list_path,
        summary=Summary(Operation.DELETE, **totals),
        schema_id=table.schema().schema_id,
    )
    table._do_commit(
        (
            AddSnapshotUpdate(snapshot=snapshot),
            SetSnapshotRefUpdate(ref_name="main", type="branch", snapshot_id=snapshot_id),
        ),
        (),
    )


class DeletesWriter(ManifestWriterV2):
    """PyIceberg writes manifests of data files only."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return super()._meta | {"content": "deletes"}
