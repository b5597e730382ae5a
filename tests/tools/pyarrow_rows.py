"""Rows of a Parquet file as PyArrow reads them, in the words of `etl query --rows json`."""

import datetime
import decimal
import json
import math
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

EPOCH = datetime.datetime(1970, 1, 1)


def rows(path):
    """The file's rows as dictionaries."""
    # Nanoseconds would wrap around beyond the years 1677 and 2262.
    table = pq.ParquetFile(path, coerce_int96_timestamp_unit="us").read()
    columns = {name: shown(table.column(index)) for index, name in enumerate(table.column_names)}
    return [dict(zip(columns, row)) for row in zip(*columns.values())] if columns else [{}] * table.num_rows


def shown(column):
    kind = column.type
    return [value(element, kind) for element in column]


def value(scalar, kind):
    """One value; instants and times by their numbers, since Python's own types have other ranges."""
    if not scalar.is_valid:
        return None
    if pa.types.is_dictionary(kind):
        return value(scalar.value, kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return value(scalar.value, kind.storage_type)
    if pa.types.is_timestamp(kind):
        return instant(to_micros(scalar.value, kind.unit), kind.tz is not None)
    if pa.types.is_time(kind):
        return time_of_day(to_micros(scalar.cast(pa.int64() if kind.bit_width == 64 else pa.int32()).as_py(), kind.unit))
    if pa.types.is_uint64(kind):
        return str(scalar.as_py())
    if pa.types.is_floating(kind):
        return number(scalar.as_py(), single=not pa.types.is_float64(kind))
    if pa.types.is_decimal(kind):
        return format(scalar.as_py().quantize(decimal.Decimal(1).scaleb(-kind.scale), context=decimal.Context(prec=80)), "f")
    if pa.types.is_date(kind):
        return scalar.as_py().isoformat()
    if pa.types.is_map(kind):
        keys = [text_key(value(entry[0], kind.key_type)) for entry in entries(scalar)]
        values = [value(entry[1], kind.item_type) for entry in entries(scalar)]
        return dict(zip(keys, values))
    if pa.types.is_struct(kind):
        return {field.name: value(scalar[index], field.type) for index, field in enumerate(kind)}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [value(element, kind.value_type) for element in scalar.values]
    plain = scalar.as_py()
    if isinstance(plain, uuid.UUID):
        plain = plain.bytes
    return plain.hex() if isinstance(plain, bytes) else plain


def entries(scalar):
    pairs = scalar.values
    return list(zip(pairs.field(0), pairs.field(1)))


def text_key(key):
    return key if isinstance(key, str) else json.dumps(key)


def to_micros(ticks, unit):
    return {"s": ticks * 1_000_000, "ms": ticks * 1_000, "us": ticks, "ns": ticks // 1_000}[unit]


def instant(micros, zoned):
    try:
        at = EPOCH + datetime.timedelta(microseconds=micros)
    except OverflowError:
        return f"{micros} µs"
    return f"{at:%Y-%m-%d}".rjust(10, "0") + "T" + clock(at) + ("Z" if zoned else "")


def time_of_day(micros):
    if not 0 <= micros < 86_400_000_000:
        return f"{micros} µs"
    return clock(EPOCH + datetime.timedelta(microseconds=micros))


def clock(at):
    digits = f"{at.microsecond:06}"
    fraction = "" if at.microsecond == 0 else "." + (digits[:3] if digits.endswith("000") else digits)
    return f"{at:%H:%M:%S}{fraction}"


def number(value, single):
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value + 0.0


def same(ours, theirs):
    """Whether two values are one: floats by value, the digits of singles being shorter in JSON."""
    if isinstance(ours, float) or isinstance(theirs, float):
        both = isinstance(ours, (int, float)) and isinstance(theirs, (int, float))
        return both and (ours == theirs or pa.scalar(ours, pa.float32()).as_py() == theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


def order(row):
    """A key to sort rows by, alike for values that are the same."""
    def rough(value):
        if isinstance(value, float):
            return f"{value:.5e}"
        if isinstance(value, dict):
            return {key: rough(value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return [rough(element) for element in value]
        return f"{value:.5e}" if isinstance(value, int) and not isinstance(value, bool) else value

    return json.dumps(rough(row), sort_keys=True)
