"""Makes a table of any shape with PyIceberg. Used through `read_table.py --serve`.

A request is {"op": "make", "catalog": …, "warehouse": …, "table": "namespace.name", and

    "columns": [[name, type], …]              types as in a metadata.json: "string", "decimal(9,2)", "fixed[3]"
    "partition": [[column, transform, field name], …]
    "properties": {name: value}
    "appends": [[row, …], …]}                 a commit each; values as read_table.py prints them

With "by_hand": true each row is a file of its own, whose partition (identity) is written here: PyIceberg does not group rows by
uuid.
"""

import datetime
import decimal
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import NamespaceAlreadyExistsError
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import parse_transform
from pyiceberg.typedef import Record

from read_table import open_catalog


def make(options: dict) -> dict:
    catalog = open_catalog(options, create=True)
    columns = dict(options["columns"])
    ids = {name: number for number, name in enumerate(columns, 1)}
    fields = [{"id": ids[name], "name": name, "type": kind, "required": False} for name, kind in columns.items()]
    schema = Schema.model_validate({"type": "struct", "schema-id": 0, "fields": fields})
    partition = PartitionSpec(*(
        PartitionField(source_id=ids[source], field_id=1000 + at, transform=parse_transform(transform), name=name)
        for at, (source, transform, name) in enumerate(options["partition"])
    ))
    identifier = tuple(options["table"].split(".", 1))
    try:
        catalog.create_namespace(identifier[0])
    except NamespaceAlreadyExistsError:
        pass
    properties = {"format-version": "2"} | (options.get("properties") or {})
    table = catalog.create_table(identifier, schema, partition_spec=partition, properties=properties)
    for rows in options["appends"]:
        columns_of_rows = {
            name: pa.array([value(kind, row.get(name)) for row in rows], schema.as_arrow().field(name).type)
            for name, kind in columns.items()
        }
        arrow = pa.table(columns_of_rows, schema=schema.as_arrow())
        if options.get("by_hand"):
            append_by_hand(table, arrow, [source for source, _, _ in options["partition"]])
        else:
            table.append(arrow)
    return {"snapshots": []}


def append_by_hand(table: Table, rows: pa.Table, sources: list[str]) -> None:
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        for at in range(rows.num_rows):
            row = rows.slice(at, 1)
            path = f"{table.location()}/data/{uuid.uuid4()}.parquet"
            with table.io.new_output(path).create() as out:
                pq.write_table(row, out)
            file = DataFile.from_args(
                content=DataFileContent.DATA,
                file_path=path,
                file_format=FileFormat.PARQUET,
                partition=Record(*(row.column(source)[0].as_py() for source in sources)),
                record_count=1,
                file_size_in_bytes=len(table.io.new_input(path)),
            )
            file.spec_id = table.spec().spec_id
            append.append_data_file(file)


def value(kind: str, text):
    """A value as PyArrow takes it, from its form in JSON."""
    if text is None:
        return None
    if kind == "uuid":
        return uuid.UUID(text).bytes
    if kind == "binary" or kind.startswith("fixed"):
        return bytes.fromhex(text)
    if kind.startswith("decimal"):
        return decimal.Decimal(text)
    if kind == "date":
        return datetime.date.fromisoformat(text)
    if kind == "time":
        return datetime.time.fromisoformat(text)
    if kind.startswith("timestamp"):
        return datetime.datetime.fromisoformat(text)
    if kind in ("float", "double"):
        return float(text)
    return text
