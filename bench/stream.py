#!/usr/bin/env python3
"""Makes the raw files of a stream, one for each five minutes, by seed.

    stream.py [--commits N] [--rows N] [--seed N] [--into DIR]

Prints the folder, ${ETL_CACHE}/bench/w9-<commits>-<rows>-<seed> unless told otherwise: batches/NNNNN.parquet and data.json with
the arrival of each. Of the rows 2.5 % are delivered twice in a file, 2.5 % once more in the next one, and 0.1 % are updates of rows
of the file before; 1 % are late by up to an hour, 0.1 % by up to a day. A folder that is there already is used as it is.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import telemetry
from generate import cache, microseconds
from telemetry import Rows

STREAM = 1  # raise it when the same seed gives other rows
START = datetime(2025, 6, 1, tzinfo=timezone.utc)
EVERY = timedelta(minutes=5)
AGAIN_SHARE, NEXT_SHARE, UPDATE_SHARE = 0.025, 0.025, 0.001


def generate(commits: int, rows: int, seed: int, folder: Path) -> Path:
    if (folder / "data.json").exists() and json.loads((folder / "data.json").read_text())["stream"] == STREAM:
        return folder
    made = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(made, ignore_errors=True)
    (made / "batches").mkdir(parents=True)
    steps = [{"file": f"batches/{number:05}.parquet", "arrival": moment(number)} for number in range(commits)]
    tasks = [(number, rows, seed, made / step["file"]) for number, step in enumerate(steps)]
    if commits * rows < 500_000:
        for task in tasks:
            write(*task)
    else:
        # Spawned, not forked: arrow has threads.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), context, pa.set_cpu_count, (1,)) as workers:
            for done in [workers.submit(write, *task) for task in tasks]:
                done.result()
    data = {"stream": STREAM, "commits": commits, "rows": rows, "seed": seed, "steps": steps}
    (made / "data.json").write_text(json.dumps(data) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
    return folder


def moment(number: int) -> str:
    """When a batch begins to arrive."""
    return (START + number * EVERY).strftime("%Y-%m-%dT%H:%M:%SZ")


def write(number: int, rows: int, seed: int, path: Path) -> None:
    pq.write_table(telemetry.table(seed, batch(number, rows, seed), damaged=False), path, compression="snappy", store_schema=False)
    # Files count by when they were written, and these arrive one after the other.
    arrived = (START + (number + 1) * EVERY).timestamp()
    os.utime(path, (arrived, arrived))


def batch(number: int, rows: int, seed: int) -> Rows:
    random = np.random.default_rng([seed, number, rows])
    again, later, updates = (round(rows * share) for share in (AGAIN_SHARE, NEXT_SHARE, UPDATE_SHARE))
    if not number:
        later = updates = 0
    new = np.arange(rows - again - later - updates)
    own = np.concatenate([new, random.choice(new, again, replace=False)])
    before = random.choice(rows - again - 2 * (later + updates), later + updates, replace=False) if number else np.arange(0)
    first, second = originals(number, own, rows, seed), originals(number - 1, before, rows, seed)
    made = Rows(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in Rows.__dataclass_fields__))
    if updates:
        end = microseconds(START + (number + 1) * EVERY)
        made.version[-updates:] = made.key[-updates:] + np.uint64(1 << 40)
        made.ingest_time[-updates:] = end - 1 - np.arange(updates)
    return made.take(np.argsort(made.ingest_time, kind="stable"))


def originals(number: int, place: np.ndarray, rows: int, seed: int) -> Rows:
    """Rows as they first arrive, by their place in their batch."""
    key = place.astype(np.uint64) + np.uint64(max(number, 0) * rows)
    arrival = microseconds(START + number * EVERY) + place.astype(np.int64) * (EVERY // timedelta(microseconds=1) // rows)
    return Rows(key, key.copy(), key, arrival - telemetry.late_by(seed, key), arrival)


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the raw files of a stream by seed.")
    parser.add_argument("--commits", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, help="the folder")
    args = parser.parse_args()
    folder = args.into or cache() / f"w9-{args.commits}-{args.rows}-{args.seed}"
    print(generate(args.commits, args.rows, args.seed, folder))


if __name__ == "__main__":
    main()
