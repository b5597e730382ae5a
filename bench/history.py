#!/usr/bin/env python3
"""Makes a table with a long history out of one with a single commit: metadata only, as etl itself would have left it.

    history.py LAKE METADATA --snapshots N --files N

LAKE has the catalog that points at METADATA, whose table was committed to once: schema, partitions, properties, and the form of
manifests and lists are taken from there. Every five minutes a commit adds a manifest of its files; a tenth of them a position
delete file too, and a fiftieth writes two files of the one before again. Small manifests are merged by the rules of
lib/lake/src/commit/merge.rs. Data files are sparse: names and sizes, no bytes. A few files that nothing refers to lie among them.
Prints what each job must find.
"""

import argparse
import json
import os
import random
import sqlite3
import struct
import uuid
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import avro

START = datetime(2025, 1, 1, tzinfo=timezone.utc)
EVERY = timedelta(minutes=5)
BUCKETS = 16
DELETES_EVERY, REWRITES_EVERY, REWRITTEN = 10, 50, 2
FILE_BYTES, DELETE_BYTES = 5 << 20, 8 << 10
MERGED_MIN, MERGED_MAX, MANIFEST_BYTES = 100, 1_000, 8 << 20
TAGS, LOG = 20, 100
VARIANTS = 64
FILE_PATH = 2_147_483_546  # the field of a position delete file that names data files
ADDED, EXISTING, DELETED = 1, 0, 2
DATA, DELETES = 0, 1
LEDGER, RUN_ID = "etl.ledger", "etl.run-id"


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a table's history.")
    parser.add_argument("lake", type=Path)
    parser.add_argument("metadata")
    parser.add_argument("--snapshots", type=int, required=True)
    parser.add_argument("--files", type=int, required=True)
    args = parser.parse_args()
    made = History(args.metadata, args.snapshots, args.files)
    for number in range(args.snapshots):
        made.commit(number)
    location, document = made.document()
    made.replace_first_commit()
    path(location).write_text(json.dumps(document))
    with sqlite3.connect(args.lake / "catalog.db") as catalog:
        catalog.execute("UPDATE iceberg_tables SET metadata_location = ?", (location,))
    print(json.dumps(made.expected() | {"orphans": made.orphans()}))


@dataclass(frozen=True)
class File:
    """A data or delete file, with its record in a manifest."""

    path: str
    partition: tuple[int, int]
    rows: int
    bytes: int
    record: bytes


@dataclass
class Manifest:
    """One that the newest snapshot has, or had."""

    path: str
    content: int
    sequence: int
    bytes: int
    record: bytes
    entries: list[tuple[File, int]] | None  # live ones, each with the number of its commit; None once nothing can change them
    born: int
    died: int | None = None


@dataclass
class Removal:
    """A file that only the snapshots before `died` need."""

    born: int
    died: int
    bytes: int


@dataclass
class History:
    metadata: str
    snapshots: int
    files: int
    ids: list[int] = field(init=False)
    live: list[Manifest] = field(default_factory=list)
    gone: list[Manifest] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    versions: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.base = json.loads(path(self.metadata).read_text())
        self.location = self.base["location"].rstrip("/")
        (first,) = self.base["snapshots"]
        self.first = first
        self.list_form = avro.Form(path(first["manifest-list"]))
        self.data = data_folder(self.location)
        manifests = sorted(path(f"{self.location}/metadata").glob("*.avro"))
        (manifest,) = [file for file in manifests if file != path(first["manifest-list"])]
        self.form = avro.Form(manifest)
        self.first_files = [*manifests, *path(self.location).rglob("*.parquet"), *path(f"{self.location}/metadata").glob("*.json")]
        fields = {item["name"]: item["type"] for item in self.form.schema["fields"]}
        self.file_fields = fields["data_file"]["fields"]
        spec = next(spec for spec in self.base["partition-specs"] if spec["spec-id"] == self.base["default-spec-id"])
        self.spec_fields = spec["fields"]
        self.random = random.Random(1)
        self.ids = [self.random.getrandbits(62) | 1 << 61 for _ in range(self.snapshots)]
        self.runs = [str(uuid.UUID(int=self.random.getrandbits(128), version=4)) for _ in range(self.snapshots)]
        schema = next(schema for schema in self.base["schemas"] if schema["schema-id"] == self.base["current-schema-id"])
        self.metrics = [self.file_metrics(schema["fields"]) for _ in range(VARIANTS)]
        self.totals: Counter = Counter()
        self.partitions: Counter = Counter()
        self.folders: set[str] = set()
        self.before: list[File] = []
        self.first_path: dict[tuple[int, int], str] = {}

    # One commit.

    def commit(self, number: int) -> None:
        added = [self.data_file(number, index) for index in range(share(self.files, self.snapshots, number))]
        rewritten: list[File] = []
        if number and (number + 1) % REWRITES_EVERY == 0:
            rewritten = self.before[-REWRITTEN:]
            added += [self.data_file(number, len(added) + index, of.partition) for index, of in enumerate(rewritten)]
        deletes = [self.delete_file(number, added[0])] if added and (number + 1) % DELETES_EVERY == 0 else []
        drafts = [(content, [(file, number, ADDED) for file in files]) for content, files in ((DATA, added), (DELETES, deletes)) if files]
        kept = self.live
        if rewritten:
            gone = {file.path for file in rewritten}
            newest = [of for of in kept if of.content == DATA and of.sequence == number]
            (holds,) = [of for of in newest if any(file.path in gone for file, _ in of.entries)]
            drafts.append((DATA, [(file, by, DELETED if file.path in gone else EXISTING) for file, by in holds.entries]))
            kept = self.drop([holds], kept, number)
            self.removals += [Removal(number - 1, number, file.bytes) for file in rewritten]
        for bin in bins(kept):
            drafts.append((bin[0].content, [(file, by, EXISTING) for of in bin for file, by in of.entries]))
            kept = self.drop(bin, kept, number)
        new = [self.manifest(number, index, *draft) for index, draft in enumerate(drafts)]
        self.live = new + kept
        self.versions.append(self.snapshot(number, added, deletes, rewritten))
        self.before = added

    def drop(self, which: list[Manifest], of: list[Manifest], number: int) -> list[Manifest]:
        for manifest in which:
            manifest.died, manifest.entries = number, None
        self.gone += which
        return [manifest for manifest in of if manifest.died is None]

    def data_file(self, number: int, index: int, partition: tuple[int, int] | None = None) -> File:
        day = (moment(number).date() - date(1970, 1, 1)).days
        # Every commit brings late events of the day before too.
        partition = partition or (day - (index >= BUCKETS), index % BUCKETS)
        size = FILE_BYTES + self.random.randrange(1 << 16)
        return self.file(f"{index:05}-{self.runs[number]}.parquet", DATA, partition, 50_000, size, self.metrics[size % VARIANTS])

    def delete_file(self, number: int, beside: File) -> File:
        lower, upper = self.first_path[beside.partition], beside.path
        lower, upper = min(lower, upper), max(lower, upper)
        bounds = {"lower_bounds": [{"key": FILE_PATH, "value": lower}], "upper_bounds": [{"key": FILE_PATH, "value": upper}]}
        fields = {item["name"]: avro.encode(item["type"], bounds.get(item["name"])) for item in self.file_fields if item["name"] in bounds}
        metrics = self.metrics[0] | fields
        return self.file(f"00000-{self.runs[number]}-deletes.parquet", 1, beside.partition, 20, DELETE_BYTES, metrics)

    def file(self, name: str, content: int, partition: tuple[int, int], rows: int, size: int, metrics: dict[str, bytes]) -> File:
        folder = "".join(f"/{self.partition_folder(of, partition)}" for of in self.spec_fields)
        at = f"{self.data}{folder}/{name}"
        if folder not in self.folders:
            path(f"{self.data}{folder}").mkdir(parents=True, exist_ok=True)
            self.folders.add(folder)
        sparse(path(at), size)
        if content == DATA:
            self.first_path.setdefault(partition, at)
            self.partitions[partition] += 1
        known = {
            "content": avro.number(content),
            "file_path": avro.data(at),
            "file_format": avro.data("PARQUET"),
            "partition": self.partition_record(partition),
            "record_count": avro.number(rows),
            "file_size_in_bytes": avro.number(size),
        }
        fields = metrics | known
        record = b"".join(fields[item["name"]] for item in self.file_fields)
        return File(at, partition, rows, size, record)

    def partition_folder(self, of: dict, partition: tuple[int, int]) -> str:
        value = date(1970, 1, 1) + timedelta(days=partition[0]) if of["transform"] == "day" else partition[1]
        return f"{of['name']}={value}"

    def partition_record(self, partition: tuple[int, int]) -> bytes:
        schema = next(item["type"] for item in self.file_fields if item["name"] == "partition")
        values = {of["name"]: partition[0] if of["transform"] == "day" else partition[1] for of in self.spec_fields}
        return avro.encode(schema, values)

    def file_metrics(self, columns: list[dict]) -> dict[str, bytes]:
        """The fields of a data file that its columns have to do with, and those that are empty."""
        draw = self.random.randrange
        rows = 50_000
        lower = {column["id"]: bound(column["type"], draw(1 << 20)) for column in columns}
        upper = {column["id"]: bound(column["type"], (1 << 20) + draw(1 << 20)) for column in columns}
        maps = {
            "column_sizes": {column["id"]: 20_000 + draw(400_000) for column in columns},
            "value_counts": {column["id"]: rows for column in columns},
            "null_value_counts": {column["id"]: draw(500) for column in columns},
            "nan_value_counts": {column["id"]: 0 for column in columns if column["type"] == "double"},
            "lower_bounds": lower,
            "upper_bounds": upper,
        }
        values = {name: [{"key": key, "value": value} for key, value in of.items()] for name, of in maps.items()}
        values["split_offsets"] = [4]
        required = {"content", "file_path", "file_format", "partition", "record_count", "file_size_in_bytes"}
        others = [item for item in self.file_fields if item["name"] not in required]
        return {item["name"]: avro.encode(item["type"], values.get(item["name"])) for item in others}

    def manifest(self, number: int, index: int, content: int, entries: list[tuple[File, int, int]]) -> Manifest:
        at = f"{self.location}/metadata/{self.runs[number]}-0-m{index}.avro"
        kind = {"content": "deletes" if content == DELETES else "data"}
        size = self.form.write(path(at), kind, [self.entry(number, *entry) for entry in entries])
        counts = {status: [entry for entry in entries if entry[2] == status] for status in (ADDED, EXISTING, DELETED)}
        live = [(file, by) for file, by, status in entries if status != DELETED]
        fields = {"manifest_path": at, "manifest_length": size, "partition_spec_id": self.base["default-spec-id"], "content": content}
        fields |= {"sequence_number": number + 1, "min_sequence_number": min(by for _, by in live) + 1}
        fields |= {"added_snapshot_id": self.ids[number], "partitions": self.summaries([file for file, *_ in entries])}
        for word, status in (("added", ADDED), ("existing", EXISTING), ("deleted", DELETED)):
            fields |= {f"{word}_files_count": len(counts[status]), f"{word}_rows_count": sum(file.rows for file, *_ in counts[status])}
        # Earlier names of the same fields, which some libraries write.
        fields |= {f"{word}_data_files_count": fields[f"{word}_files_count"] for word in ("added", "existing", "deleted")}
        return Manifest(at, content, number + 1, size, avro.encode(self.list_form.schema, fields), live, number)

    def entry(self, number: int, file: File, by: int, status: int) -> bytes:
        snapshot = self.ids[number if status == DELETED else by]
        # What is new takes its numbers from the manifest.
        numbers = b"\0\0" if status == ADDED else (b"\x02" + avro.number(by + 1)) * 2
        return avro.number(status) + b"\x02" + avro.number(snapshot) + numbers + file.record

    def summaries(self, files: list[File]) -> list[dict]:
        def summary(of: dict) -> dict:
            values = [file.partition[0 if of["transform"] == "day" else 1] for file in files]
            lower, upper = (struct.pack("<i", value) for value in (min(values), max(values)))
            return {"contains_null": False, "contains_nan": False, "lower_bound": lower, "upper_bound": upper}

        return [summary(of) for of in self.spec_fields]

    def snapshot(self, number: int, added: list[File], deletes: list[File], rewritten: list[File]) -> dict:
        at = f"{self.location}/metadata/snap-{self.ids[number]}-0-{self.runs[number]}.avro"
        parent = self.ids[number - 1] if number else None
        numbers = {"snapshot-id": self.ids[number], "sequence-number": number + 1}
        numbers["parent-snapshot-id"] = "null" if parent is None else parent
        self.list_form.write(path(at), {name: str(of) for name, of in numbers.items()}, [of.record for of in self.live])
        counts = {"data-files": len(added), "delete-files": len(deletes), "position-deletes": sum(file.rows for file in deletes)}
        counts |= {"records": sum(file.rows for file in added), "files-size": sum(file.bytes for file in added + deletes)}
        gone = {"data-files": len(rewritten), "records": sum(file.rows for file in rewritten), "files-size": sum(file.bytes for file in rewritten)}
        self.totals.update(counts)
        self.totals.subtract(gone)
        said = {name: value for name, value in self.first["summary"].items() if name.startswith("etl.")}
        if RUN_ID in said:
            said[RUN_ID] = self.runs[number]
        said |= {f"added-{name}": str(count) for name, count in counts.items() if count}
        words = {"data-files": "deleted-data-files", "records": "deleted-records", "files-size": "removed-files-size"}
        said |= {words[name]: str(count) for name, count in gone.items() if count}
        said["changed-partition-count"] = str(len({file.partition for file in added + deletes + rewritten}))
        said |= {f"total-{name}": str(self.totals[name]) for name in counts} | {"total-equality-deletes": "0"}
        made = {"snapshot-id": self.ids[number], "sequence-number": number + 1, "timestamp-ms": milliseconds(number), "manifest-list": at}
        made |= {"parent-snapshot-id": parent} if number else {}
        operation = "overwrite" if rewritten or deletes else "append"
        return made | {"summary": {"operation": operation} | said, "schema-id": self.base["current-schema-id"]}

    # The table around them.

    @property
    def retained(self) -> int:
        """Snapshots of each branch that its property keeps; all of them are old."""
        return max(1, self.snapshots // 10)

    def refs(self) -> dict[str, int]:
        """Commits that branches and tags point at."""
        tags = {f"release-{index}": index * self.snapshots // TAGS for index in range(TAGS)}
        return {"main": self.snapshots - 1, "audit": self.snapshots // 2} | tags

    def kept(self) -> list[int]:
        """Numbers of the commits that `etl expire` must keep, ascending."""
        refs = self.refs()
        branches = (refs.pop("main"), refs.pop("audit"))
        of_branches = {number for head in branches for number in range(max(0, head - self.retained + 1), head + 1)}
        return sorted(of_branches | set(refs.values()))

    def document(self) -> tuple[str, dict]:
        last = self.snapshots - 1
        refs = {name: {"snapshot-id": self.ids[number], "type": "branch" if name in ("main", "audit") else "tag"} for name, number in self.refs().items()}
        log = [{"metadata-file": metadata_name(self.location, number, self.runs[number]), "timestamp-ms": milliseconds(number)} for number in range(max(0, last - LOG), last)]
        for entry in log:
            sparse(path(entry["metadata-file"]), 1_000 * self.snapshots)
        properties = self.base["properties"] | {"history.expire.min-snapshots-to-keep": str(self.retained)}
        if LEDGER in properties:
            properties[LEDGER] = json.dumps(self.ledger(json.loads(properties[LEDGER])))
        return metadata_name(self.location, last, self.runs[last]), self.base | {
            "last-sequence-number": self.snapshots,
            "last-updated-ms": milliseconds(last),
            "properties": properties,
            "current-snapshot-id": self.ids[last],
            "snapshots": self.versions,
            "snapshot-log": [{"snapshot-id": of, "timestamp-ms": milliseconds(number)} for number, of in enumerate(self.ids)],
            "metadata-log": log,
            "refs": refs,
        }

    def ledger(self, first: dict) -> dict:
        """The newest runs and raw partitions, in the shape of the first ones."""
        (run,), mark = first["runs"], next(iter(first["partitions"].values()))
        numbers = range(self.snapshots - 1, max(-1, self.snapshots - 1 - 100), -1)
        runs = [run | {"run_id": self.runs[number], "snapshot_id": self.ids[number]} for number in numbers]
        hour = moment(self.snapshots - 1).replace(minute=0)
        hours = [(hour - timedelta(hours=back)).strftime("%Y-%m-%dT%H:%M:%SZ") for back in range(min(768, self.snapshots // 12 + 1))]
        return first | {"runs": runs, "partitions": {at: [mark[0], self.ids[-1]] for at in sorted(hours)}, "forgotten_before": min(hours)}

    def replace_first_commit(self) -> None:
        for file in self.first_files:
            file.unlink()

    def orphans(self) -> dict:
        """Leaves what failed and killed runs leave; what of it must be found. `young` must not."""
        run = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        folder = next(iter(sorted(self.folders)))
        data = [f"{self.data}{folder}/{index:05}-{run}.parquet" for index in range(5)]
        metadata = [f"{self.location}/metadata/{name}" for name in (f"{run}-0-m0.avro", f"{run}-0-m1.avro", f"snap-1-0-{run}.avro")]
        superseded = [metadata_name(self.location, number, self.runs[number]) for number in range(min(3, max(0, self.snapshots - 1 - LOG)))]
        old = [*data, *metadata, *superseded]
        young = f"{self.data}{folder}/00005-{run}.parquet"
        for at in [*old, young]:
            sparse(path(at), FILE_BYTES)
        for at in old:
            os.utime(path(at), (START.timestamp(), START.timestamp()))
        return {"old": old, "young": young}

    def expected(self) -> dict:
        kept = self.kept()

        def is_needed(born: int, died: int) -> bool:
            at = bisect_left(kept, born)
            return at < len(kept) and kept[at] < died

        gone = self.gone
        return {
            "snapshots": self.snapshots,
            "expired": self.snapshots - len(kept),
            "freed": {
                "data file": sum(not is_needed(of.born, of.died) for of in self.removals),
                "manifest": sum(not is_needed(of.born, of.died) for of in gone),
                "manifest list": self.snapshots - len(kept),
            },
            "data_files": self.totals["data-files"],
            "delete_files": self.totals["delete-files"],
            "manifests": len(self.live),
            "manifests_of_history": len(gone),
            "files_of_history": len(self.removals),
            "partitions": len(self.partitions) if self.spec_fields else 1,
            "referred": self.totals["data-files"] + self.totals["delete-files"] + len(self.removals) + len(self.live) + len(gone)
            + self.snapshots + min(LOG, self.snapshots - 1) + 1,
        }


def bins(manifests: list[Manifest]) -> list[list[Manifest]]:
    """Which manifests a commit merges, as lib/lake/src/commit/merge.rs has it."""
    merged: list[list[Manifest]] = []
    count = 0
    for content in (DATA, DELETES):
        group = sorted((of for of in manifests if of.content == content), key=lambda of: (of.sequence, of.path))
        filled: list[list[Manifest]] = []
        size = 0
        for of in group:
            if filled and size + of.bytes <= MANIFEST_BYTES and len(filled[-1]) < MERGED_MAX:
                size += of.bytes
                filled[-1].append(of)
            else:
                size = of.bytes
                filled.append([of])
        for index, bin in enumerate(filled):
            if index < len(filled) - 1 and len(bin) == 1:
                bin[0].entries = None  # full: what comes is newer
            waits = index == len(filled) - 1 and len(bin) + 1 < MERGED_MIN
            if len(bin) < 2 or waits or count + len(bin) > MERGED_MAX:
                continue
            count += len(bin)
            merged.append(bin)
    return merged


def share(total: int, parts: int, number: int) -> int:
    """Equal shares of a total, the remainder spread."""
    return total * (number + 1) // parts - total * number // parts


def bound(kind: str, value: int) -> bytes:
    if kind == "double":
        return struct.pack("<d", value / 7)
    if kind.startswith("timestamp"):
        return struct.pack("<q", int(START.timestamp() * 1e6) + value)
    return f"value-{value:09}".encode()


def moment(number: int) -> datetime:
    return START + EVERY * number


def milliseconds(number: int) -> int:
    return int(moment(number).timestamp() * 1_000)


def metadata_name(location: str, number: int, run: str) -> str:
    return f"{location}/metadata/{number:05}-{run}.metadata.json"


def data_folder(location: str) -> str:
    return f"{location}/data"


def sparse(at: Path, size: int) -> None:
    with at.open("wb") as file:
        file.truncate(size)


def path(location: str) -> Path:
    return Path(location.removeprefix("file://"))


if __name__ == "__main__":
    main()
