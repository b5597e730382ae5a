"""Telemetry rows as pure functions of numbers: nothing here draws at random or keeps state.

A row is (key, version, row, ingest_time). What a device is follows from its number, what an event is from its key,
measurements from the version, damage from the row. So a key of the table's history can be written again, as an update
or a duplicate, without remembering anything about it, and every file can be made by itself.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DEVICES = 300_000
TENANTS = 1_000
TENANT_ZIPF_EXPONENT = 1.1
SITES = 2_000
FIRMWARES = 12
EVENT_TYPES = ["reading", "heartbeat", "alert", "status"]
EVENT_TYPE_SHARES = [0.90, 0.06, 0.03, 0.01]

INVALID_SHARE = 0.005
NULL_HUMIDITY_SHARE = 0.01
LATE_HOUR_SHARE = 0.01  # event_time up to an hour before arrival
LATE_DAY_SHARE = 0.001  # up to 24 hours
LAG_USUAL_US_MAX = 5_000_000
HOUR_US = 3_600_000_000

# Each use of the hash has a salt of its own, so that what one decides says nothing about another.
SALT_DEVICE, SALT_EVENT, SALT_TYPE, SALT_MEASURES, SALT_INVALID = range(1, 6)
SALT_LATE, SALT_LAG, SALT_UPDATE, SALT_AGE, SALT_PICK = range(6, 11)

DAMAGES = [
    "tenant_id null",
    "device_id null",
    "event_id null",
    "event_time null",
    "temperature above",
    "temperature NaN",
    "humidity below",
    "pressure below",
    "battery above",
    "temperature and battery above",
]

SCHEMA = pa.schema(
    [
        ("tenant_id", pa.string()),
        ("device_id", pa.string()),
        ("event_id", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("ingest_time", pa.timestamp("us", tz="UTC")),
        ("event_type", pa.string()),
        ("location", pa.string()),
        ("temperature", pa.float64()),
        ("humidity", pa.float64()),
        ("pressure", pa.float64()),
        ("battery", pa.float64()),
        ("firmware", pa.string()),
    ]
)


@dataclass(frozen=True)
class Rows:
    """Columns of numbers, one entry a row."""

    key: np.ndarray  # uint64
    version: np.ndarray  # uint64
    row: np.ndarray  # uint64, unique in its batch
    event_time: np.ndarray  # int64, microseconds since 1970
    ingest_time: np.ndarray  # int64

    def take(self, order: np.ndarray) -> "Rows":
        return Rows(*(getattr(self, name)[order] for name in self.__dataclass_fields__))


def table(seed: int, rows: Rows, damaged: bool) -> pa.Table:
    """The rows as a raw file holds them; `damaged` breaks half a percent of them."""
    fleet = devices(seed)
    device = (mix(rows.key, seed, SALT_DEVICE) % np.uint64(DEVICES)).astype(np.int32)
    event_type = np.searchsorted(np.cumsum(EVENT_TYPE_SHARES), unit(mix(rows.key, seed, SALT_TYPE)), side="right")
    bits = mix(rows.version, seed, SALT_MEASURES)

    def part(shift: int, width: int) -> np.ndarray:
        return ((bits >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)

    # A sum of three is bell-shaped enough. Whole numbers divided by 10 or 100 are what sensors send.
    temperature = (part(0, 11) + part(11, 11) + part(22, 11) - 1_000) / 100.0
    humidity = (part(33, 10) % 751 + 200) / 10.0
    pressure = (part(43, 10) + 9_500) / 10.0
    battery = (part(53, 11) % 101).astype(np.float64)
    no_humidity = unit(mix(bits, seed, SALT_MEASURES)) < NULL_HUMIDITY_SHARE

    damage = np.full(len(rows.key), -1)
    if damaged:
        roll = mix(rows.row, seed, SALT_INVALID)
        hit = unit(roll) < INVALID_SHARE
        damage[hit] = (roll[hit] % np.uint64(len(DAMAGES))).astype(np.int64)
    is_ = {name: damage == number for number, name in enumerate(DAMAGES)}
    hot = is_["temperature above"] | is_["temperature and battery above"]
    temperature[hot] = 999.0
    temperature[is_["temperature NaN"]] = np.nan
    humidity[is_["humidity below"]] = -5.0
    no_humidity &= ~is_["humidity below"]
    pressure[is_["pressure below"]] = 0.0
    battery[is_["battery above"] | is_["temperature and battery above"]] = 130.0

    def timestamps(values: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
        return pa.array(values, pa.int64(), mask=mask).cast(pa.timestamp("us", tz="UTC"))

    return pa.table(
        [
            without(fleet.tenant.take(pa.array(device)), is_["tenant_id null"]),
            without(fleet.name.take(pa.array(device)), is_["device_id null"]),
            without(hexadecimal(mix(rows.key, seed, SALT_EVENT)), is_["event_id null"]),
            timestamps(rows.event_time, is_["event_time null"]),
            timestamps(rows.ingest_time),
            pa.array(EVENT_TYPES).take(pa.array(np.minimum(event_type, len(EVENT_TYPES) - 1))),
            fleet.location.take(pa.array(device)),
            pa.array(temperature),
            pa.array(humidity, mask=no_humidity),
            pa.array(pressure),
            pa.array(battery),
            fleet.firmware.take(pa.array(device)),
        ],
        schema=SCHEMA,
    )


@dataclass(frozen=True)
class Fleet:
    """What is true of each device, by its number."""

    name: pa.Array
    tenant: pa.Array
    location: pa.Array
    firmware: pa.Array


@lru_cache(maxsize=1)
def devices(seed: int) -> Fleet:
    random = np.random.default_rng([seed, DEVICES])
    shares = 1.0 / np.arange(1, TENANTS + 1) ** TENANT_ZIPF_EXPONENT
    tenant = random.choice(TENANTS, DEVICES, p=shares / shares.sum())
    site = random.integers(0, SITES, DEVICES)
    firmware = random.integers(0, FIRMWARES, DEVICES)
    return Fleet(
        name=pa.array([f"dev-{number:06}" for number in range(DEVICES)]),
        tenant=pa.array([f"tenant-{number:04}" for number in range(TENANTS)]).take(pa.array(tenant)),
        location=pa.array([f"site-{number:04}" for number in range(SITES)]).take(pa.array(site)),
        firmware=pa.array([f"{2 + n // 6}.{n % 6}.{n * 7 % 10}" for n in range(FIRMWARES)]).take(pa.array(firmware)),
    )


def late_by(seed: int, key: np.ndarray) -> np.ndarray:
    """Microseconds from an event to its first arrival."""
    kind = unit(mix(key, seed, SALT_LATE))
    limit = np.full(len(key), LAG_USUAL_US_MAX, dtype=np.float64)
    limit[kind < LATE_DAY_SHARE + LATE_HOUR_SHARE] = HOUR_US
    limit[kind < LATE_DAY_SHARE] = 24 * HOUR_US
    return (unit(mix(key, seed, SALT_LAG)) * limit).astype(np.int64)


def mix(numbers: np.ndarray, seed: int, salt: int) -> np.ndarray:
    """SplitMix64's finalizer, after a step that depends on seed and salt: one-to-one, so different keys get different
    event ids. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014."""
    step = (seed * 1_000_003 + salt) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    z = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(step)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def unit(hashes: np.ndarray) -> np.ndarray:
    """Hashes as numbers in [0, 1)."""
    return (hashes >> np.uint64(11)) * 2.0**-53


HEX_OF_BYTE = np.array([int.from_bytes(f"{byte:02x}".encode(), "little") for byte in range(256)], dtype="<u2")


def hexadecimal(numbers: np.ndarray) -> pa.Array:
    """Sixteen hexadecimal digits each."""
    digits = HEX_OF_BYTE[numbers.astype(">u8").view(np.uint8)]
    offsets = np.arange(0, 16 * (len(numbers) + 1), 16, dtype=np.int32)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(digits))


def without(values: pa.Array, missing: np.ndarray) -> pa.Array:
    return pc.if_else(pa.array(missing), pa.scalar(None, values.type), values) if missing.any() else values
