#!/usr/bin/env python3
"""Makes tests/fixtures/odd-parquet: small Parquet files of kinds that writers leave and no library writes at will.

    python tests/tools/make_odd_parquet.py tests/fixtures/odd-parquet

Every file is written byte by byte from the format's own words. Beside `NAME.parquet` lies `NAME.json`: the rows that must
come of it (those that PyArrow reads, where it reads them right), which columns are left out, how many rows are invalid and
by which rules, or why the file cannot be read.
"""

import json
import pathlib
import struct
import sys

import pyarrow as pa

import pyarrow_rows

BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE, BYTES, FIXED = range(8)
REQUIRED, OPTIONAL, REPEATED = range(3)
CONVERTED = {name: code for code, name in enumerate(
    "utf8 map map_key_value list enum decimal date time_millis time_micros timestamp_millis timestamp_micros "
    "uint8 uint16 uint32 uint64 int8 int16 int32 int64 json bson interval".split())}
UNCOMPRESSED, LZ4 = 0, 5
PLAIN, RLE, RLE_DICTIONARY = 0, 3, 8


# Thrift's compact protocol: a struct is a list of (field id, kind, value), and None is left out.

KINDS = {"true": 1, "false": 2, "i32": 5, "i64": 6, "binary": 8, "list": 9, "struct": 12}


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def zigzag(number):
    return varint((number << 1 ^ number >> 63) & (1 << 64) - 1)


def encoded(kind, value):
    if kind in ("i32", "i64"):
        return zigzag(value)
    if kind == "binary":
        value = value.encode() if isinstance(value, str) else value
        return varint(len(value)) + value
    if kind == "struct":
        return thrift(value)
    element = kind.removeprefix("list of ")
    head = bytes([len(value) << 4 | KINDS[element]]) if len(value) < 15 else bytes([0xF0 | KINDS[element]]) + varint(len(value))
    return head + b"".join(encoded(element, one) for one in value)


def thrift(fields):
    out, last = bytearray(), 0
    for field, kind, value in fields:
        if value is None:
            continue
        code = KINDS[("true" if value else "false") if kind == "bool" else "list" if kind.startswith("list") else kind]
        out += bytes([field - last << 4 | code]) if field - last < 16 else bytes([code]) + zigzag(field)
        out += b"" if kind == "bool" else encoded(kind, value)
        last = field
    return bytes(out) + b"\0"


# Schemas.

class Column:
    """A leaf, or a group where it has children."""

    def __init__(self, name, repetition, kind=None, children=None, converted=None, logical=None, length=None,
                 scale=None, precision=None):
        self.name, self.repetition, self.kind, self.children = name, repetition, kind, children
        self.converted, self.logical, self.length = converted, logical, length
        self.scale, self.precision = scale, precision

    def element(self):
        return [(1, "i32", self.kind), (2, "i32", self.length), (3, "i32", self.repetition), (4, "binary", self.name),
                (5, "i32", None if self.children is None else len(self.children)),
                (6, "i32", None if self.converted is None else CONVERTED[self.converted]),
                (7, "i32", self.scale), (8, "i32", self.precision), (10, "struct", self.logical)]

    def elements(self):
        yield self.element()
        for child in self.children or []:
            yield from child.elements()

    def leaves(self, path=(), repeated=0, defined=0):
        path += (self.name,)
        repeated, defined = repeated + (self.repetition == REPEATED), defined + (self.repetition != REQUIRED)
        if self.children is None:
            yield path, self, repeated, defined
        for child in self.children or []:
            yield from child.leaves(path, repeated, defined)


def optional(name, kind, **words):
    return Column(name, OPTIONAL, kind, **words)


def required(name, kind, **words):
    return Column(name, REQUIRED, kind, **words)


def group(name, repetition, *children, **words):
    return Column(name, repetition, children=list(children), **words)


def logical(number, *inner):
    return [(number, "struct", list(inner))]


STRING, ENUM, JSON, BSON, UUID, FLOAT16, UNKNOWN = map(logical, (1, 4, 12, 13, 14, 15, 11))


def unit(number):
    return logical(number)


def timestamp(zoned, number):
    return logical(8, (1, "bool", zoned), (2, "struct", unit(number)))


def time(number):
    return logical(7, (1, "bool", True), (2, "struct", unit(number)))


MILLIS, MICROS, NANOS = 1, 2, 3


# Pages.

def plain(leaf, values):
    if leaf.kind == BOOLEAN:
        bits = bytearray((len(values) + 7) // 8)
        for at, value in enumerate(values):
            bits[at // 8] |= value << at % 8
        return bytes(bits)
    if leaf.kind in (FIXED, INT96):
        return b"".join(values)
    if leaf.kind == BYTES:
        return b"".join(struct.pack("<I", len(value)) + value for value in map(as_bytes, values))
    form = {INT32: "<i", INT64: "<q", FLOAT: "<f", DOUBLE: "<d"}[leaf.kind]
    return b"".join(struct.pack(form, value) for value in values)


def as_bytes(value):
    return value.encode() if isinstance(value, str) else value


def run_lengths(levels, top):
    """Numbers up to `top` in the RLE hybrid, as runs of one alone."""
    width = (max(top, 1).bit_length() + 7) // 8
    return b"".join(varint(1 << 1) + level.to_bytes(width, "little") for level in levels)


def page(leaf, levels, repeated, defined, version, dictionary):
    """The uncompressed body of a data page, the levels' own length, and its encoding."""
    repetition = run_lengths([r for r, _, _ in levels], repeated) if repeated else b""
    definition = run_lengths([d for _, d, _ in levels], defined) if defined else b""
    values = [value for _, d, value in levels if d == defined]
    if dictionary is None:
        body, encoding = plain(leaf, values), PLAIN
    else:
        top = max(len(dictionary) - 1, 1)
        body, encoding = bytes([top.bit_length()]) + run_lengths([dictionary.index(v) for v in values], top), RLE_DICTIONARY
    if version == 1:
        sized = lambda part, there: struct.pack("<I", len(part)) + part if there else b""
        return sized(repetition, repeated) + sized(definition, defined) + body, 0, encoding, repetition, definition
    return body, len(repetition) + len(definition), encoding, repetition, definition


def write(path, schema, groups, *, codec=UNCOMPRESSED, compress=None, statistics=None, orders=True, version=1,
          dictionary=False, rows=None, group_rows=None, values=None):
    """Row groups are dictionaries from a leaf's path to its levels, as (repetition, definition, value).

    `statistics` has (max, min, nulls, max_value, min_value) by path; `rows`, `group_rows` and `values` are numbers that the
    footer says instead of those that are.
    """
    out, written, total = bytearray(b"PAR1"), [], 0
    leaves = [leaf for column in schema for leaf in column.leaves()]
    for number, columns in enumerate(groups):
        chunks, size, count = [], 0, 0
        for path_of, leaf, repeated, defined in leaves:
            name = ".".join(path_of)
            levels = columns[name]
            count = sum(1 for r, _, _ in levels if r == 0)
            start, uncompressed, dictionary_at, distinct = len(out), 0, None, None
            if dictionary:
                distinct = list(dict.fromkeys(value for _, d, value in levels if d == defined))
                body = plain(leaf, distinct)
                head = thrift([(1, "i32", 2), (2, "i32", len(body)), (3, "i32", len(body)),
                               (7, "struct", [(1, "i32", len(distinct)), (2, "i32", PLAIN)])])
                dictionary_at = start
                out += head + body
                uncompressed += len(head) + len(body)
            data_at = len(out)
            body, levels_size, encoding, repetition, definition = page(leaf, levels, repeated, defined, version, distinct)
            packed = compress(body) if compress else body
            if version == 1:
                head = thrift([(1, "i32", 0), (2, "i32", len(body)), (3, "i32", len(packed)),
                               (5, "struct", [(1, "i32", len(levels)), (2, "i32", encoding), (3, "i32", RLE), (4, "i32", RLE)])])
            else:
                packed = repetition + definition + packed
                head = thrift([(1, "i32", 3), (2, "i32", levels_size + len(body)), (3, "i32", len(packed)),
                               (8, "struct", [(1, "i32", len(levels)), (2, "i32", sum(d != defined for _, d, _ in levels)),
                                              (3, "i32", count), (4, "i32", encoding), (5, "i32", len(definition)),
                                              (6, "i32", len(repetition)), (7, "bool", compress is not None)])])
            out += head + packed
            uncompressed += len(head) + levels_size + len(body)
            size += uncompressed
            stated = (statistics or {}).get(name)
            kinds = ("binary", "binary", "i64", None, "binary", "binary")
            stated = stated and [(at + 1, kinds[at], value) for at, value in zip((0, 1, 2, 4, 5), stated)]
            said = (values or {}).get(name, len(levels))
            meta = [(1, "i32", leaf.kind), (2, "list of i32", [encoding, RLE]), (3, "list of binary", list(path_of)),
                    (4, "i32", codec), (5, "i64", said), (6, "i64", uncompressed), (7, "i64", len(out) - start),
                    (9, "i64", data_at), (11, "i64", dictionary_at), (12, "struct", stated)]
            chunks.append([(2, "i64", start), (3, "struct", meta)])
        said = count if group_rows is None else group_rows[number]
        written.append([(1, "list of struct", chunks), (2, "i64", size), (3, "i64", said)])
        total += said
    elements = [[(4, "binary", "schema"), (5, "i32", len(schema))]] + [e for column in schema for e in column.elements()]
    footer = thrift([(1, "i32", 1), (2, "list of struct", elements), (3, "i64", total if rows is None else rows),
                     (4, "list of struct", written), (6, "binary", "by-hand version 1.0"),
                     (7, "list of struct", [[(1, "struct", [])] for _ in leaves] if orders else None)])
    out += footer + struct.pack("<I", len(footer)) + b"PAR1"
    path.write_bytes(out)


def flat(values):
    """Levels of an optional column."""
    return [(0, 0, None) if value is None else (0, 1, value) for value in values]


def all_there(values):
    """Levels of a required column."""
    return [(0, 0, value) for value in values]


# The files.

def int96(day, nanos):
    return struct.pack("<qI", nanos, day)


def hadoop_lz4(block):
    """Hadoop's framing: the size of all, then blocks of at most `block` bytes, each with its compressed size."""
    codec = pa.Codec("lz4_raw")

    def compress(body):
        blocks = [body[at:at + block] for at in range(0, len(body), block)]
        packed = [bytes(codec.compress(one)) for one in blocks]
        return struct.pack(">I", len(body)) + b"".join(struct.pack(">I", len(one)) + one for one in packed)

    return compress


def numbers_and_text(name, folder, texts, kind=STRING, converted="utf8", **words):
    """A file with an `id` and a text column, of which some is not UTF-8."""
    columns = {"id": all_there(range(len(texts))), "name": flat(texts)}
    schema = [required("id", INT64), optional("name", BYTES, logical=kind, converted=converted)]
    write(folder / f"{name}.parquet", schema, [columns], **words)
    good = lambda text: text is None or isinstance(text, str) or is_utf8(text)
    rows = [{"id": at, "name": as_text(text)} for at, text in enumerate(texts) if good(text)]
    return {"rows": rows, "rejects": {"name.type": len(texts) - len(rows)}}


def is_utf8(value):
    try:
        value.decode()
        return True
    except UnicodeDecodeError:
        return False


def as_text(value):
    return value.decode() if isinstance(value, bytes) else value


def make(folder):
    """Writes the files, and gives what must come of each; None for the rows that PyArrow reads."""
    made = {}
    file = lambda name: folder / f"{name}.parquet"
    bad = ["a", b"\xff\xfe", None, "größe", b"ends in \xc3", "z"]
    made["text-not-utf8"] = numbers_and_text("text-not-utf8", folder, bad)
    made["text-not-utf8-v2"] = numbers_and_text("text-not-utf8-v2", folder, bad, version=2)
    made["text-not-utf8-dictionary"] = numbers_and_text("text-not-utf8-dictionary", folder, bad * 3, dictionary=True)
    made["json-not-utf8"] = numbers_and_text("json-not-utf8", folder, ["{}", b"{\"a\": \"\xff\"}", None, "[1]"], JSON, "json")
    made["text-without-logical-type"] = numbers_and_text("text-without-logical-type", folder, ["a", b"\x80", "c"], None)

    texts = group("texts", OPTIONAL, group("list", REPEATED, optional("element", BYTES, logical=STRING)), converted="list")
    write(file("list-not-utf8"), [required("id", INT64), texts], [{
        "id": all_there([0, 1, 2]),
        "texts.list.element": [(0, 3, "a"), (1, 3, b"\xff"), (0, 3, "b"), (1, 2, None), (0, 0, None)],
    }])
    made["list-not-utf8"] = {"rows": [{"id": 1, "texts": ["b", None]}, {"id": 2, "texts": None}], "rejects": {"texts.type": 1}}
    tags = group("tags", OPTIONAL, group("key_value", REPEATED, required("key", BYTES, logical=STRING), optional("value", INT32)),
                 converted="map")
    write(file("map-key-not-utf8"), [required("id", INT64), tags], [{
        "id": all_there([0, 1]),
        "tags.key_value.key": [(0, 2, "a"), (1, 2, b"\xff"), (0, 2, "b")],
        "tags.key_value.value": [(0, 3, 1), (1, 3, 2), (0, 3, 3)],
    }])
    made["map-key-not-utf8"] = {"rows": [{"id": 1, "tags": {"b": 3}}], "rejects": {"tags.type": 1}}
    place = group("place", OPTIONAL, optional("name", BYTES, logical=STRING), optional("floor", INT32))
    write(file("struct-not-utf8"), [required("id", INT64), place], [{
        "id": all_there([0, 1]), "place.name": [(0, 2, b"\xff"), (0, 2, "b")], "place.floor": [(0, 2, 1), (0, 2, 2)],
    }])
    made["struct-not-utf8"] = {"rows": [{"id": 1, "place": {"name": "b", "floor": 2}}], "rejects": {"place.type": 1}}

    six = {"id": all_there(range(6))}
    number = [required("id", INT64)]
    warned = lambda claimed: f"has {claimed} rows by its footer, and its row groups have 6"
    write(file("footer-says-no-rows"), number, [six], rows=0)
    made["footer-says-no-rows"] = {"rows": [{"id": at} for at in range(6)], "warning": warned(0)}
    write(file("footer-says-more-rows"), number, [six], rows=9)
    made["footer-says-more-rows"] = {"rows": [{"id": at} for at in range(6)], "warning": warned(9)}
    write(file("footer-says-minus-one"), number, [six], rows=-1)
    made["footer-says-minus-one"] = {"rows": [{"id": at} for at in range(6)], "warning": warned(-1)}
    write(file("group-says-no-rows"), number, [six], group_rows=[0])
    made["group-says-no-rows"] = {"unreadable": "row group 0 has 0 rows by its footer"}
    write(file("group-says-fewer-rows"), number, [six], group_rows=[5])
    made["group-says-fewer-rows"] = {"unreadable": "row group 0 has 5 rows by its footer"}
    write(file("group-says-more-rows"), number, [six], group_rows=[9])
    made["group-says-more-rows"] = {"unreadable": "there should be 9 rows by its footer"}
    write(file("group-says-fewer-values"), number, [six], group_rows=[5], values={"id": 5})
    made["group-says-fewer-values"] = {"unreadable": "there should be 5 rows by its footer"}
    write(file("group-says-minus-one"), number, [six], group_rows=[-1])
    made["group-says-minus-one"] = {"unreadable": "row group 0 has -1 rows"}
    write(file("column-is-short"), [required("id", INT64), required("v", INT64)],
          [{"id": all_there(range(6)), "v": all_there(range(2))}], group_rows=[6])
    made["column-is-short"] = {"unreadable": ""}

    long = lambda value: struct.pack("<q", value)
    for name, words in {
        "bounds-without-order": {"statistics": {"id": (None, None, 0, long(3), long(2))}, "orders": False},
        "bounds-deprecated": {"statistics": {"id": (long(5), long(0), 0, None, None)}},
        "bounds-lie-about-null": {"statistics": {"id": (None, None, 0, long(5), long(0))}},
        "null-count-is-missing": {"statistics": {"id": (None, None, None, long(5), long(0))}},
    }.items():
        values = [0, None, 2, 3, 4, 5] if "null" in name else list(range(6))
        write(file(name), [optional("id", INT64)], [{"id": flat(values)}], **words)
        made[name] = {"rows": [{"id": value} for value in values]}
    write(file("bounds-deprecated-text"), [optional("t", BYTES, logical=STRING)], [{"t": flat(["z", "é"])}],
          statistics={"t": ("z", "é", 0, None, None)})
    made["bounds-deprecated-text"] = {"rows": [{"t": "z"}, {"t": "é"}]}
    # What the footer says of NULL decides what init asks for, and then the row is looked at.
    made["bounds-lie-about-null"] = {"rows": [{"id": value} for value in (0, 2, 3, 4, 5)], "rejects": {"id.required": 1}}

    write(file("struct-fields-by-case"), [required("id", INT64), group("s", OPTIONAL, optional("Aa", INT32), optional("aA", INT32))],
          [{"id": all_there([0]), "s.Aa": [(0, 2, 1)], "s.aA": [(0, 2, 2)]}])
    made["struct-fields-by-case"] = {"rows": [{"id": 0}], "left_out": ["s"]}

    big = [f"{at:06} {'x' * 60}" for at in range(9_000)]
    write(file("lz4-hadoop-one-block"), [required("t", BYTES, logical=STRING)], [{"t": all_there(big[:9])}], codec=LZ4,
          compress=hadoop_lz4(1 << 18))
    made["lz4-hadoop-one-block"] = {"rows": [{"t": text} for text in big[:9]]}
    write(file("lz4-hadoop-many-blocks"), [required("t", BYTES, logical=STRING)], [{"t": all_there(big)}], codec=LZ4,
          compress=hadoop_lz4(1 << 18))
    made["lz4-hadoop-many-blocks"] = {"unreadable": "codec LZ4"}

    days = [2_440_588, 2_440_587, 2_460_831, 1_721_426, 5_373_484]
    write(file("int96"), [optional("at", INT96)], [{"at": flat([int96(day, 3_723_004_005_006) for day in days])}])
    stamps = ["1970-01-01", "1969-12-31", "2025-06-04", "0001-01-01", "9999-12-31"]
    made["int96"] = {"rows": [{"at": f"{day}T01:02:03.004005"} for day in stamps]}
    write(file("unsigned"), [
        optional("u8", INT32, converted="uint8"), optional("u16", INT32, converted="uint16"),
        optional("u32", INT32, converted="uint32"), optional("u64", INT64, converted="uint64"),
    ], [{"u8": flat([255, 0]), "u16": flat([65_535, None]), "u32": flat([-1, 1]), "u64": flat([-1, 1])}])
    made["unsigned"] = None
    write(file("decimals"), [
        optional("d32", INT32, converted="decimal", precision=9, scale=2),
        optional("d64", INT64, converted="decimal", precision=18, scale=4),
        optional("dfix", FIXED, length=16, converted="decimal", precision=38, scale=10),
        optional("dbytes", BYTES, converted="decimal", precision=20, scale=3),
    ], [{"d32": flat([-12_345, 999_999_999]), "d64": flat([1, None]),
         "dfix": flat([(-1).to_bytes(16, "big", signed=True), (10**37).to_bytes(16, "big")]),
         "dbytes": flat([b"\x01\x00", b"\xff"])}])
    made["decimals"] = None
    write(file("times"), [
        optional("ms", INT32, converted="time_millis"), optional("us", INT64, converted="time_micros"),
        optional("ns", INT64, logical=time(NANOS)),
    ], [{"ms": flat([0, 86_399_999, None]), "us": flat([1, 86_399_999_999, None]), "ns": flat([1_000, 86_399_999_999_000, None])}])
    made["times"] = None
    write(file("times-outside-the-day"), [required("id", INT64), optional("ms", INT32, converted="time_millis"),
                                           optional("us", INT64, logical=time(MICROS))],
          [{"id": all_there(range(4)), "ms": flat([86_400_000, -1, 1, 2]), "us": flat([1, 2, 86_400_000_000, 3])}])
    made["times-outside-the-day"] = {"rows": [{"id": 3, "ms": "00:00:00.002", "us": "00:00:00.000003"}],
                                     "rejects": {"ms.type": 2, "us.type": 1}}
    write(file("instants"), [
        optional("ms", INT64, converted="timestamp_millis"), optional("us", INT64, logical=timestamp(False, MICROS)),
        optional("ns", INT64, logical=timestamp(True, NANOS)),
    ], [{"ms": flat([0, -1]), "us": flat([1, -1]), "ns": flat([1_748_995_200_000_001_000, -1_000])}])
    made["instants"] = None
    write(file("instants-out-of-range"), [required("id", INT64), optional("at", INT64, logical=timestamp(True, MILLIS))],
          [{"id": all_there(range(3)), "at": flat([253_402_300_800_000, 0, -(1 << 63)])}])
    made["instants-out-of-range"] = {"rows": [{"id": 1, "at": "1970-01-01T00:00:00Z"}], "rejects": {"at.type": 2}}
    half = lambda value: struct.pack("<e", value)
    write(file("float16"), [optional("h", FIXED, length=2, logical=FLOAT16)],
          [{"h": flat([half(1.5), half(-0.0), half(float("nan")), half(float("inf")), half(6e-8), None])}])
    made["float16"] = {"rows": [{"h": value} for value in (1.5, 0.0, "NaN", "Infinity", 5.9604645e-8, None)]}
    write(file("bytes"), [
        optional("enum", BYTES, logical=ENUM, converted="enum"), optional("bson", BYTES, logical=BSON, converted="bson"),
        optional("uuid", FIXED, length=16, logical=UUID), optional("plain", BYTES), optional("fixed", FIXED, length=3),
    ], [{"enum": flat(["ON", None]), "bson": flat([b"\x05\0\0\0\0", None]), "uuid": flat([bytes(range(16)), None]),
         "plain": flat([b"\xff", b""]), "fixed": flat([b"abc", None])}])
    made["bytes"] = {"rows": [
        {"enum": "4f4e", "bson": "0500000000", "uuid": bytes(range(16)).hex(), "plain": "ff", "fixed": "616263"},
        {"enum": None, "bson": None, "uuid": None, "plain": "", "fixed": None},
    ]}
    write(file("interval"), [required("id", INT64), optional("span", FIXED, length=12, converted="interval")],
          [{"id": all_there([0]), "span": flat([bytes(12)])}])
    made["interval"] = {"rows": [{"id": 0}], "left_out": ["span"]}
    write(file("unknown"), [required("id", INT64), optional("nothing", INT32, logical=UNKNOWN)],
          [{"id": all_there([0]), "nothing": flat([None])}])
    made["unknown"] = {"rows": [{"id": 0}], "left_out": ["nothing"]}

    write(file("list-repeated-leaf"), [required("id", INT64), Column("v", REPEATED, INT32)],
          [{"id": all_there([0, 1, 2]), "v": [(0, 1, 1), (1, 1, 2), (0, 0, None), (0, 1, 3)]}])
    made["list-repeated-leaf"] = {"rows": [{"id": 0, "v": [1, 2]}, {"id": 1, "v": []}, {"id": 2, "v": [3]}]}
    write(file("list-two-levels"), [group("v", OPTIONAL, Column("array", REPEATED, INT32), converted="list")],
          [{"v.array": [(0, 2, 1), (1, 2, 2), (0, 1, None), (0, 0, None)]}])
    made["list-two-levels"] = {"rows": [{"v": [1, 2]}, {"v": []}, {"v": None}]}
    pair = group("v_tuple", REPEATED, required("a", INT32), optional("b", INT32))
    write(file("list-of-tuples"), [group("v", OPTIONAL, pair, converted="list")],
          [{"v.v_tuple.a": [(0, 2, 1), (1, 2, 2)], "v.v_tuple.b": [(0, 3, 5), (1, 2, None)]}])
    made["list-of-tuples"] = {"rows": [{"v": [{"a": 1, "b": 5}, {"a": 2, "b": None}]}]}
    old = group("m", OPTIONAL, group("map", REPEATED, required("key", BYTES, converted="utf8"), optional("value", INT32),
                                     converted="map_key_value"), converted="map_key_value")
    write(file("map-of-hive"), [old], [{"m.map.key": [(0, 2, "a"), (1, 2, "b"), (0, 0, None)],
                                         "m.map.value": [(0, 3, 1), (1, 2, None), (0, 0, None)]}])
    made["map-of-hive"] = {"rows": [{"m": {"a": 1, "b": None}}, {"m": None}]}

    write(file("no-row-groups"), [optional("id", INT64)], [])
    made["no-row-groups"] = {"rows": []}
    write(file("group-without-rows"), [optional("id", INT64)], [{"id": flat([1])}, {"id": []}, {"id": flat([2])}])
    made["group-without-rows"] = {"rows": [{"id": 1}, {"id": 2}]}
    write(file("names"), [optional(name, INT32) for name in ("two words", "a-b", "1st", "größe", "select", 'qu"ote')],
          [{name: flat([at]) for at, name in enumerate(("two words", "a-b", "1st", "größe", "select", 'qu"ote'))}])
    made["names"] = {"rows": [dict(zip(("two words", "a-b", "1st", "größe", "select", 'qu"ote'), range(6)))]}
    write(file("names-by-case"), [optional("v", INT32), optional("V", INT32), optional("w", INT32)],
          [{"v": flat([1]), "V": flat([2]), "w": flat([3])}])
    made["names-by-case"] = {"left_out": ["V"], "refused": "columns v and V differ by case only"}
    return made


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, expected in make(folder).items():
        path = folder / f"{name}.parquet"
        if expected is None:
            expected = {"rows": pyarrow_rows.rows(path)}
        elif not {"rejects", "left_out", "unreadable", "refused", "warning"} & expected.keys() and name not in ("int96", "bytes"):
            theirs = pyarrow_rows.rows(path)
            if not pyarrow_rows.same(sorted(expected["rows"], key=pyarrow_rows.order), sorted(theirs, key=pyarrow_rows.order)):
                print(f"{name}: PyArrow reads {theirs}", file=sys.stderr)
        lines = {key: value for key, value in expected.items() if key != "rows"}
        text = json.dumps(lines, ensure_ascii=False)
        if "rows" in expected and len(expected["rows"]) < 100:
            rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in expected["rows"])
            text = text[:-1] + (", " if lines else "") + f'"rows": [\n{rows}\n]}}'
        (folder / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
