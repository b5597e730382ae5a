"""Avro files, as much of them as manifests and manifest lists need. Standard library only.

Written a record at a time by a library, half a million files with the metrics of twenty columns take minutes. Here a record
is bytes that are put together once: the lists of twenty thousand snapshots name mostly the same manifests.
"""

import json
import zlib
from pathlib import Path

MAGIC = b"Obj\x01"
BLOCK_BYTES = 16_000  # as the Rust library ends a block


def number(value: int) -> bytes:
    """An int or a long."""
    value = (value << 1) ^ (value >> 63)
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def data(value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return number(len(value)) + value


def encode(schema, value) -> bytes:
    """A value by its schema. A union is null or one other type."""
    if isinstance(schema, list):
        index = schema.index("null") if value is None else next(n for n, branch in enumerate(schema) if branch != "null")
        return number(index) + (b"" if value is None else encode(schema[index], value))
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        return b"".join(encode(field["type"], value.get(field["name"])) for field in schema["fields"])
    if kind == "array":
        items = b"".join(encode(schema["items"], item) for item in value)
        return number(len(value)) + items + b"\0" if value else b"\0"
    if kind in ("string", "bytes"):
        return data(value)
    if kind in ("int", "long"):
        return number(value)
    if kind == "boolean":
        return b"\x01" if value else b"\0"
    raise ValueError(f"{kind} is none of the types of a manifest")


class Form:
    """What the files of one kind have in common: schema, metadata, codec; taken from one that there is."""

    def __init__(self, file: Path) -> None:
        content = file.read_bytes()
        assert content.startswith(MAGIC), f"{file} is no Avro file"
        self.metadata, at = {}, len(MAGIC)
        while True:
            count, at = read_number(content, at)
            if count == 0:
                break
            if count < 0:
                count, (_, at) = -count, read_number(content, at)
            for _ in range(count):
                name, at = read_data(content, at)
                self.metadata[name.decode()], at = read_data(content, at)
        self.sync = content[at : at + 16]
        self.schema = json.loads(self.metadata["avro.schema"])
        self.codec = self.metadata.get("avro.codec", b"null").decode()
        assert self.codec in ("null", "deflate"), f"{file} is packed by {self.codec}"

    def write(self, file: Path, metadata: dict[str, str], records: list[bytes]) -> int:
        """Writes a file of these records; its size."""
        entries = self.metadata | {name: value.encode() for name, value in metadata.items()}
        parts = [MAGIC, number(len(entries)), *(data(name) + data(value) for name, value in entries.items()), b"\0", self.sync]
        block, size = [], 0
        for record in records:
            block.append(record)
            size += len(record)
            if size >= BLOCK_BYTES:
                parts += self.block(block)
                block, size = [], 0
        if block:
            parts += self.block(block)
        content = b"".join(parts)
        file.write_bytes(content)
        return len(content)

    def block(self, records: list[bytes]) -> list[bytes]:
        packed = b"".join(records)
        if self.codec == "deflate":
            deflate = zlib.compressobj(wbits=-15)
            packed = deflate.compress(packed) + deflate.flush()
        return [number(len(records)), number(len(packed)), packed, self.sync]


def read_number(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def read_data(content: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_number(content, at)
    return content[at : at + size], at + size
