#!/usr/bin/env python3
"""Tests of the benchmark itself: generator, truth, checks and driver, on small data and without the binaries."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import check
import generate
import stream
import truth

HERE = Path(__file__).parent
SCALE = 0.001
BOUNDS = {"temperature": (-60, 150), "humidity": (0, 100), "pressure": (300, 1200), "battery": (0, 100)}


class Data(unittest.TestCase):
    """What the generator makes is as described, and truth.py counts it right."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.root = Path(cls.temporary.name)

    def make(self, workload: str, scale: float = SCALE, seed: int = 1) -> tuple[Path, dict]:
        folder = generate.generate(workload, scale, seed, self.root / f"{workload}-{scale:g}-{seed}")
        return folder, json.loads((folder / "data.json").read_text())

    def test_a_seed_decides_every_byte(self) -> None:
        first, _ = self.make("w2")
        again = generate.generate("w2", SCALE, 1, self.root / "again")
        other, _ = self.make("w2", seed=2)
        self.assertEqual(content(first), content(again))
        self.assertNotEqual(content(first), content(other))

    def test_a_folder_that_is_there_is_used(self) -> None:
        folder, _ = self.make("w1")
        before = (folder / "data.json").stat().st_mtime_ns
        self.make("w1")
        self.assertEqual((folder / "data.json").stat().st_mtime_ns, before)

    def test_w1_is_as_described(self) -> None:
        folder, data = self.make("w1", scale=0.01)
        (batch,) = [step for step in data["steps"] if step["kind"] == "batch"]
        rows = [dict(row, file=path) for path in batch["files"] for row in pq.read_table(folder / path, partitioning=None).to_pylist()]
        self.assertEqual((len(rows), len(batch["files"])), (150_000, 40))
        self.assertEqual(len(rows[0]), 12 + 1)

        keys = Counter((row["device_id"], row["event_id"]) for row in rows if row["device_id"] and row["event_id"])
        self.assertAlmostEqual(1 - len(keys) / keys.total(), 0.05, delta=0.002)
        files, pairs = {}, Counter()
        for row in rows:
            first = files.setdefault((row["device_id"], row["event_id"]), row["file"])
            pairs[first == row["file"]] += 1
        elsewhere = pairs[False] / (len(rows) - len(files))
        self.assertAlmostEqual(elsewhere, 0.5, delta=0.05)

        self.assertAlmostEqual(sum(map(invalid, rows)) / len(rows), 0.005, delta=0.001)
        late = [(row["ingest_time"] - row["event_time"]).total_seconds() for row in rows if row["event_time"]]
        self.assertLessEqual(max(late), 24 * 3600 + 120)
        self.assertAlmostEqual(sum(seconds > 130 for seconds in late) / len(late), 0.011, delta=0.002)
        tenants = Counter(row["tenant_id"] for row in rows if row["tenant_id"])
        self.assertGreater(tenants.most_common(1)[0][1], 20 * (len(rows) / 1_000))

    def test_w2_updates_what_is_recent(self) -> None:
        folder, data = self.make("w2", scale=0.01)
        (batch,) = [step for step in data["steps"] if step["kind"] == "batch"]
        history = {}
        for step in data["steps"]:
            if step["kind"] == "history":
                for path in step["files"]:
                    made = pq.read_table(folder / path, columns=["event_id", "event_time"], partitioning=None)
                    history |= zip(made["event_id"].to_pylist(), made["event_time"].cast(pa.int64()).to_pylist())
        self.assertEqual(len(history), 150_000)
        newest, ages = max(history.values()), []
        for path in batch["files"]:
            for event in pq.read_table(folder / path, partitioning=None)["event_id"].to_pylist():
                if event in history:
                    ages.append((newest - history[event]) / 3_600e6)
        self.assertAlmostEqual(len(ages) / batch["rows"], 0.05, delta=0.005)
        self.assertAlmostEqual(sum(age <= 1.01 for age in ages) / len(ages), 0.80, delta=0.03)
        self.assertAlmostEqual(sum(age > 24.3 for age in ages) / len(ages), 0.05, delta=0.02)

    def test_a_stream_is_as_described(self) -> None:
        folder = stream.generate(4, 1_000, 1, self.root / "stream")
        again = stream.generate(4, 1_000, 1, self.root / "stream-again")
        self.assertEqual(content(folder), content(again))
        files = [pq.read_table(path, partitioning=None).to_pylist() for path in sorted(folder.rglob("*.parquet"))]
        self.assertEqual([len(rows) for rows in files], [1_000] * 4)
        seen: dict[str, dict] = {}
        for number, rows in enumerate(files):
            keys = Counter(row["event_id"] for row in rows)
            twice = sum(count - 1 for count in keys.values())
            older = {row["event_id"]: row for row in rows if row["event_id"] in seen}
            self.assertEqual(twice, 25)
            self.assertEqual(len(older), 26 if number else 0)
            self.assertEqual(sum(row != seen[event] for event, row in older.items()), 1 if number else 0)
            seen |= {row["event_id"]: row for row in rows}
        late = [(row["ingest_time"] - row["event_time"]).total_seconds() for rows in files for row in rows]
        self.assertLessEqual(max(late), 24 * 3600)
        self.assertGreater(sum(seconds > 60 for seconds in late), 10)

    def test_truth_is_what_a_loop_counts(self) -> None:
        for workload in ("w1", "w2", "w4", "w6-12000", "w7"):
            folder, data = self.make(workload)
            known = truth.read(folder)
            lake: dict[tuple, dict] = {}
            for step, counted in zip(data["steps"], known["steps"], strict=True):
                rows = [row for path in step["files"] for row in pq.read_table(folder / path, partitioning=None).to_pylist()]
                valid = sorted((row for row in rows if not invalid(row)), key=lambda row: row["ingest_time"])
                winners = {(row["device_id"], row["event_id"]): row for row in valid}
                expected = Counter(read=len(rows), invalid=len(rows) - len(valid), duplicate=len(valid) - len(winners))
                for key, row in winners.items():
                    if key in lake:
                        self.assertGreater(row["ingest_time"], lake[key]["ingest_time"])
                    expected["updated" if key in lake else "inserted"] += 1
                lake |= winners
                self.assertEqual({word: count for word, count in counted["rows"].items() if count}, dict(+expected), workload)
            self.assertEqual(known["table"]["rows"], len(lake))
            if workload == "w2":
                self.assertGreater(expected["updated"], 50)

    def test_contract_has_the_rules_of_truth(self) -> None:
        contract = (HERE / "telemetry.odcs.yaml").read_text()
        columns = re.findall(r"- (?:\{name: |name: )(\w+)", contract.split("quality:")[0].split("properties:")[1])
        self.assertEqual(columns, truth.COLUMNS)
        found = re.findall(r"name: (\w+), .*minimum: (-?\d+), maximum: (\d+)", contract)
        self.assertEqual({name: (int(low), int(high)) for name, low, high in found}, BOUNDS)


class Checks(unittest.TestCase):
    """check.py applies position deletes."""

    def test_position_deletes(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            made = generate.generate("w1", SCALE, 1, Path(folder) / "w1")
            data = sorted(str(path) for path in made.rglob("history-*.parquet"))
            deletes = str(Path(folder) / "deletes.parquet")
            pq.write_table(pa.table({"file_path": [f"file://{data[1]}", data[2]], "pos": [0, 3]}), deletes)
            connection = truth.connect(Path(folder))
            live = check.live_rows({"data": data, "deletes": [deletes]})
            events = {event for (event,) in connection.execute(f"SELECT event_id FROM ({live})").fetchall()}
            expected = [pq.read_table(path, partitioning=None)["event_id"].to_pylist() for path in data]
            self.assertEqual({*sum(expected, [])} - events, {expected[1][0], expected[2][3]})


class Driver(unittest.TestCase):
    """The whole benchmark on stand-ins: it ends 0 when all is right, and says what is wrong otherwise."""

    def bench(self, cache: Path, *arguments: str, driver: str = "run.py", **environment: str) -> subprocess.CompletedProcess:
        for name in ("etl", "l0"):
            script = cache / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(HERE / "standin.py"))} {name} "$@"\n')
            script.chmod(0o755)
        command = [sys.executable, HERE / driver, *arguments, "--etl", cache / "etl"]
        if driver in ("run.py", "small_files.py"):
            command += ["--runs", "1", "--scale", str(SCALE), "--l0", cache / "l0"]
        elif driver == "commits.py":
            command += ["--runs", "1", "--every", "2", "--rows", "200", "--query", "all rows", "--json", "--etl-clock", cache / "etl"]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | {"ETL_CACHE": str(cache)} | environment,
        )

    def test_right_and_wrong(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder)
            right = self.bench(cache, "w2", "--json")
            self.assertEqual(right.returncode, 0, right.stderr)
            result = json.loads(right.stdout)
            self.assertTrue(result["right"])
            self.assertEqual([row["name"] for row in result["measured"]], ["L0", "etl", "L0 of the rewritten", "DuckDB"])

            wrong = self.bench(cache, "w2", STANDIN_FAULT="lose")
            self.assertEqual(wrong.returncode, 1)
            self.assertIn("WRONG: lake: ", wrong.stderr)
            self.assertIn("rows, not", wrong.stderr)

    def test_w9(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder)
            right = self.bench(cache, "w9", "--commits", "3", driver="commits.py")
            self.assertEqual(right.returncode, 0, right.stderr)
            result = json.loads(right.stdout)
            self.assertEqual([goal["name"] for goal in result["goals"]][-1], "W9, all queries together, maintained")
            self.assertEqual(result["lakes"]["unmaintained"]["commits"], 3)
            self.assertEqual(len(result["reads"]["all rows"]), 3)
            self.assertGreater(result["lakes"]["unmaintained"]["snapshots"], result["lakes"]["at once"]["snapshots"])

            wrong = self.bench(cache, "w9", "--commits", "1", driver="commits.py", STANDIN_FAULT="lose")
            self.assertEqual(wrong.returncode, 1)
            self.assertIn("are not the", wrong.stderr)

    def test_w1_by_day(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            done = self.bench(Path(folder), "w1", "--partition", "day")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("W1, share of DuckDB's time", done.stdout)

    def test_w6(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            only = ["--only", "w6-12000", "--only", "w6-2000"]
            right = self.bench(Path(folder), "w6", *only, "--json", driver="small_files.py")
            self.assertEqual(right.returncode, 0, right.stderr)
            results = json.loads(right.stdout)
            self.assertEqual([result["rows_read"] for result in results], [12 * 50, 2 * 5_000])
            goals = [[goal["name"] for goal in result["goals"]] for result in results]
            self.assertEqual(goals[0], ["W6-12000, share of DuckDB's time", "peak RSS"])

            wrong = self.bench(Path(folder), "w6", *only[:2], driver="small_files.py", STANDIN_FAULT="lose")
            self.assertEqual(wrong.returncode, 1)
            self.assertIn("WRONG: w6-12000: ", wrong.stderr)

    def test_shapes(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            size = ["--shape", "tiny", "--scale", "0.001", "--memory-limit", "1GiB", "--job", "dedupe", "--json"]
            done = self.bench(Path(folder), "shapes", *size, driver="shapes.py")
            self.assertEqual(done.returncode, 0, done.stderr)
            (row,) = json.loads(done.stdout)
            self.assertEqual((row["shape"], row["job"], row["limit"]), ("tiny", "dedupe", "1GiB"))

    def test_plans_of_a_long_history(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            size = ["--snapshots", "120", "--files", "480"]
            right = self.bench(Path(folder), "plans", *size, driver="plans.py")
            self.assertEqual(right.returncode, 0, right.stderr)
            self.assertIn("120 snapshots, ", right.stdout)
            self.assertIn("maintain, wall", right.stdout)

            wrong = self.bench(Path(folder), "plans", *size, driver="plans.py", STANDIN_FAULT="lose")
            self.assertEqual(wrong.returncode, 1)
            self.assertIn("WRONG: orphans: orphans is ", wrong.stderr)


def invalid(row: dict) -> bool:
    if any(row[name] is None for name in ("tenant_id", "device_id", "event_id", "event_time")):
        return True
    return any(row[name] is not None and not low <= row[name] <= high for name, (low, high) in BOUNDS.items())


def content(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.parquet"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    unittest.main(verbosity=2)
