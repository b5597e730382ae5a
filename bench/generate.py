#!/usr/bin/env python3
"""Makes the raw files of a workload by seed.

    generate.py w1|w2|w4|w5|w6-12000|w6-50000|w6-2000|w7 [--scale S] [--seed N] [--into DIR]

Prints the folder, ${ETL_CACHE}/bench/<workload>-<scale>-<seed> unless told otherwise: raw/YYYY/MM/DD/HH/*.parquet and
data.json, which lists the steps a lake takes: history (one a day, clean), then what is measured. A folder that is
there already is used as it is.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import telemetry
from telemetry import HOUR_US, Rows, mix, unit

GENERATOR = 1  # raise it when the same seed gives other rows
ROWS_PER_FILE = 375_000
ROWS_FOR_WORKERS = 500_000  # below, starting processes takes longer than the work
DUPLICATE_SHARE = 0.05
REDELIVERED_AFTER_US = (1_000_000, 120_000_000)
# Rows of each file of W6 by how many files there are: what delivery streams leave when their buffers are small.
SMALL_FILES = {"w6-12000": (12_000, 50), "w6-50000": (50_000, 50), "w6-2000": (2_000, 5_000)}
HISTORY_START = datetime(2025, 6, 1, tzinfo=timezone.utc)
HISTORY_FILES_PER_DAY = 4


@dataclass(frozen=True)
class Batch:
    """Rows that arrive together."""

    rows: int
    files: int
    arrival: datetime
    seconds: int  # how long they arrive
    update_share: float = 0.0
    number: int = 0  # among the batches of the workload

    @property
    def duplicates(self) -> int:
        return round(self.rows * DUPLICATE_SHARE)

    @property
    def originals(self) -> int:
        return self.rows - self.duplicates

    @property
    def spacing_us(self) -> int:
        return self.seconds * 1_000_000 // self.originals


@dataclass(frozen=True)
class Workload:
    history_rows: int
    history_end: datetime
    batches: list[Batch]

    @property
    def history_us(self) -> int:
        return (self.history_end - HISTORY_START) // timedelta(microseconds=1)


def workload(name: str, scale: float) -> Workload:
    def scaled(rows: int) -> int:
        return max(200, round(rows * scale))

    def files(rows: int) -> int:
        return max(2, round(rows / ROWS_PER_FILE))  # by the unscaled rows: a small run has as many files

    week_end = HISTORY_START + timedelta(days=7)
    if name == "w1":
        batch = Batch(scaled(15_000_000), files(15_000_000), week_end + timedelta(hours=12), seconds=300)
        return Workload(scaled(2_100_000), week_end, [batch])
    if name in ("w2", "w4"):
        # The batch follows the table at once and lands in its last day, as it does all day long.
        arrival = week_end - timedelta(hours=1)
        share = 0.05 if name == "w2" else 0.0
        batch = Batch(scaled(3_000_000), files(3_000_000), arrival, seconds=60, update_share=share)
        return Workload(scaled(15_000_000), arrival - timedelta(seconds=10), [batch])
    if name == "w5":
        # An hour each, so that all of them land in one day: 250M rows make about 1,000 files of 5 MiB.
        rows = scaled(250_000_000)
        hours = min(24, -(-rows // 15_000_000))
        batches = [
            Batch(rows // hours, files(min(rows, 15_000_000)), week_end + timedelta(hours=hour), seconds=300, number=hour)
            for hour in range(hours)
        ]
        return Workload(scaled(2_100_000), week_end, batches)
    if name in SMALL_FILES:
        count, file_rows = SMALL_FILES[name]
        count = max(2, round(count * scale))
        batch = Batch(count * file_rows, count, week_end + timedelta(hours=12), seconds=300)
        return Workload(7_000, week_end, [batch])
    if name == "w7":
        batches = [
            Batch(scaled(50_000), 2, week_end + timedelta(hours=hour), seconds=300, number=hour) for hour in range(12)
        ]
        return Workload(scaled(2_100_000), week_end, batches)
    raise ValueError(f"there is no workload {name!r}")


def generate(name: str, scale: float, seed: int, folder: Path) -> Path:
    if (folder / "data.json").exists() and json.loads((folder / "data.json").read_text())["generator"] == GENERATOR:
        return folder
    made = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    plan = workload(name, scale)

    tasks, steps = [], []
    for step, day in enumerate(days(plan)):
        paths = [arrival_path(day["start"], f"history-{part}.parquet") for part in range(len(day["parts"]))]
        steps.append(step_of("history", day["start"], day["end"], paths, int(day["rows"])))
        tasks += [("history", part, made / path) for part, path in zip(day["parts"], paths)]
    for batch in plan.batches:
        hour = batch.arrival.replace(minute=0)
        paths = [arrival_path(hour, f"batch-{number:03}.parquet") for number in range(batch.files)]
        steps.append(step_of("batch", hour, hour + timedelta(hours=1), paths, batch.rows))
        duplicates = Duplicates.draw(seed, batch)
        tasks += [("batch", (batch, number, duplicates.of_file(number)), made / path) for number, path in enumerate(paths)]

    if sum(step["rows"] for step in steps) < ROWS_FOR_WORKERS:
        prepare(name, scale, seed)
        for task in tasks:
            write(*task)
    else:
        # Spawned, not forked: arrow has threads.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), context, prepare, (name, scale, seed)) as workers:
            for done in [workers.submit(write, *task) for task in tasks]:
                done.result()

    data = {"generator": GENERATOR, "workload": name, "scale": scale, "seed": seed, "steps": steps}
    (made / "data.json").write_text(json.dumps(data, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
    return folder


def step_of(kind: str, start: datetime, end: datetime, paths: list[str], rows: int) -> dict:
    moment = "%Y-%m-%dT%H:%M:%SZ"
    return {"kind": kind, "start": start.strftime(moment), "end": end.strftime(moment), "files": paths, "rows": rows}


def arrival_path(hour: datetime, name: str) -> str:
    return hour.strftime(f"raw/%Y/%m/%d/%H/{name}")


def days(plan: Workload) -> list[dict]:
    """The history by day; its events are spread evenly over time, so key numbers rise with time."""
    found, first = [], 0
    for number in range(7):
        start = HISTORY_START + timedelta(days=number)
        end = min(start + timedelta(days=1), plan.history_end)
        end_key = plan.history_rows * ((end - HISTORY_START) // timedelta(microseconds=1)) // plan.history_us
        edges = np.linspace(first, end_key, HISTORY_FILES_PER_DAY + 1).astype(np.int64)
        # An interval ends on the hour: what follows it in the raw zone belongs to another.
        whole = end if end.minute == 0 else end.replace(minute=0, second=0) + timedelta(hours=1)
        found.append({"start": start, "end": whole, "parts": list(zip(edges, edges[1:])), "rows": end_key - first})
        first = end_key
    return found


@dataclass(frozen=True)
class Duplicates:
    """Second and third deliveries: half of them in the file of the first, half in another."""

    source: np.ndarray  # the row that is delivered again
    file: np.ndarray
    delay_us: np.ndarray
    same: np.ndarray  # also the measurements are the same
    row: np.ndarray

    @staticmethod
    def draw(seed: int, batch: Batch) -> "Duplicates":
        random = np.random.default_rng([seed, batch.number, batch.rows])
        count = batch.duplicates
        source = np.sort(random.integers(0, batch.originals, count))
        file = source * batch.files // batch.originals
        elsewhere = random.random(count) < 0.5
        file[elsewhere] = (file[elsewhere] + random.integers(1, batch.files, count)[elsewhere]) % batch.files
        # Originals arrive at multiples of the spacing and redeliveries never do, nor two of one row at the same time:
        # the latest arrival is always one row.
        rank = np.arange(count) - np.searchsorted(source, source)
        assert rank.max(initial=0) + 1 < batch.spacing_us, "rows arrive too densely"
        low, high = (limit // batch.spacing_us for limit in REDELIVERED_AFTER_US)
        delay = random.integers(max(1, low), max(2, high), count) * batch.spacing_us + 1 + rank
        return Duplicates(source, file, delay, random.random(count) < 0.5, batch.originals + np.arange(count))

    def of_file(self, number: int) -> "Duplicates":
        here = self.file == number
        return Duplicates(*(getattr(self, name)[here] for name in self.__dataclass_fields__))


def prepare(name: str, scale: float, seed: int) -> None:
    """What a worker process knows."""
    global plan, seeded
    plan, seeded = workload(name, scale), seed
    pa.set_cpu_count(1)


def write(kind: str, what, path: Path) -> None:
    rows = history(*what) if kind == "history" else batch_rows(*what)
    made = telemetry.table(seeded, rows, damaged=kind == "batch")
    path.parent.mkdir(parents=True, exist_ok=True)
    # As a delivery stream writes: Snappy, and no Arrow schema beside Parquet's.
    pq.write_table(made, path, compression="snappy", store_schema=False)


def history(first: int, end: int) -> Rows:
    key = np.arange(first, end, dtype=np.uint64)
    event_time = history_time(key)
    lag = 1 + (unit(mix(key, seeded, telemetry.SALT_LAG)) * telemetry.LAG_USUAL_US_MAX).astype(np.int64)
    return Rows(key, key, key, event_time, event_time + lag)


def history_time(key: np.ndarray) -> np.ndarray:
    step = plan.history_us / plan.history_rows
    return microseconds(HISTORY_START) + (key * step).astype(np.int64)


def batch_rows(batch: Batch, number: int, duplicates: Duplicates) -> Rows:
    """The rows of one file, in order of arrival."""
    # The file of row r is r * files // originals: the inverse of that.
    edges = [-(-n * batch.originals // batch.files) for n in (number, number + 1)]
    first = np.arange(*edges)
    source = np.concatenate([first, duplicates.source])
    row = np.concatenate([first, duplicates.row]).astype(np.uint64)
    key, arrival, event_time = originals(batch, source)
    ingest_time = arrival + np.concatenate([np.zeros(len(first), np.int64), duplicates.delay_us])

    # Versions beyond every key: an update, and every other redelivery, has measurements of its own.
    own = np.concatenate([np.zeros(len(first), bool), ~duplicates.same])
    beyond = np.uint64(plan.history_rows + sum(b.rows for b in plan.batches) + sum(b.rows for b in plan.batches[: batch.number]))
    version = np.where(own, row, source.astype(np.uint64)) + beyond
    return Rows(key, version, row + beyond, event_time, ingest_time).take(np.argsort(ingest_time, kind="stable"))


def originals(batch: Batch, source: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Key, first arrival and event time of rows by their number."""
    key = source.astype(np.uint64) + np.uint64(plan.history_rows + sum(b.rows for b in plan.batches[: batch.number]))
    arrival = microseconds(batch.arrival) + source * batch.spacing_us
    event_time = arrival - telemetry.late_by(seeded, key)
    update = unit(mix(key, seeded, telemetry.SALT_UPDATE)) < batch.update_share
    key[update] = updated_keys(key[update])
    event_time[update] = history_time(key[update])
    return key, arrival, event_time


def updated_keys(numbers: np.ndarray) -> np.ndarray:
    """Keys of the history: 80 % of its last hour, 15 % of the last day before that, 5 % older."""
    hour = max(1, plan.history_rows * HOUR_US // plan.history_us)
    day = min(24 * hour, plan.history_rows - 1)
    kind = unit(mix(numbers, seeded, telemetry.SALT_AGE))
    place = unit(mix(numbers, seeded, telemetry.SALT_PICK))
    ages = [(0, hour), (hour, day), (day, plan.history_rows)]
    which = np.digitize(kind, [0.80, 0.95])
    low, high = (np.array([age[side] for age in ages])[which] for side in (0, 1))
    age = low + (place * (high - low)).astype(np.int64)
    return (plan.history_rows - 1 - age).astype(np.uint64)


def microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ETL_CACHE") or Path(base) / "etl") / "bench"


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the raw files of a workload by seed.")
    parser.add_argument("workload", choices=["w1", "w2", "w4", "w5", *SMALL_FILES, "w7"])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, help="the folder")
    args = parser.parse_args()
    folder = args.into or cache() / f"{args.workload}-{args.scale:g}-{args.seed}"
    print(generate(args.workload, args.scale, args.seed, folder))


if __name__ == "__main__":
    main()
