#!/usr/bin/env python3
"""Plans of a table with a long history: what the maintenance jobs need to decide over 20,000 snapshots and 500,000 files.

The table is made once (history.py) and only looked at: `--dry-run` of each job, and `etl inspect`. Every plan must be the one
that follows from how the table was made; another one ends it with 1. Started by scripts/bench plans.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from goals import GIB, Goal
from lake import CONTRACT, TABLE, Lake, digest
from process import Failed, Used, measure
from run import python, say, told

WALL_S_MAX, PEAK_GIB_MAX = 30.0, 1.0
CHECKED_FILES_MAX = 20_000  # `etl check` looks at every snapshot, and at every object
MEASURES = 8  # beside the twelve columns of the contract
# What is run, and whether its result is a report or what it prints.
COMMANDS = {
    "compact": ["compact", TABLE, "--dry-run"],
    "expire": ["expire", TABLE, "--dry-run"],
    "orphans": ["orphans", TABLE, "--dry-run"],
    "maintain": ["maintain", TABLE, "--dry-run"],
    "inspect": ["inspect", TABLE],
    "inspect --storage": ["inspect", TABLE, "--storage"],
}


def main() -> int:
    args = arguments()
    try:
        bench = Plans(args)
        for number in range(args.runs):
            for name in COMMANDS:
                say(f"round {number + 1} of {args.runs}, {name}")
                bench.run(name)
    except Failed as failure:
        say(str(failure))
        return 1
    return told(bench.result(), args.json, text)


class Plans:
    """The table, and what has been measured so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.problems = args, []
        self.samples: dict[str, list[Used]] = defaultdict(list)
        cache = Path(os.environ.get("ETL_CACHE") or Path.home() / ".cache" / "etl")
        self.work = cache / "bench" / f"plans-{args.snapshots}-{args.files}"
        self.work.mkdir(parents=True, exist_ok=True)
        self.lock = (self.work / "lock").open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another benchmark uses {self.work}") from None
        say("first commit")
        raw = Path(python("generate.py", "w7", "--scale", "0.001").strip())
        self.lake = Lake(self.work / "lake", raw, args.etl, [])
        self.known = self.made(next(step for step in json.loads((raw / "data.json").read_text())["steps"] if step["kind"] == "batch"))
        Path(self.known["orphans"]["young"].removeprefix("file://")).touch()

    def made(self, step: dict) -> dict:
        """What is known of the table, which is made unless it is there."""
        args, known = self.args, self.work / "known.json"
        contract = CONTRACT.read_text()
        more = "".join(f"      - {{name: measure_{index}, logicalType: number, physicalType: double}}\n" for index in range(MEASURES))
        contract = contract.replace("    quality:\n", more + "    quality:\n")
        # Without a key `etl check` opens no data file: they are sparse.
        contract = re.sub(r"( *primaryKey(Position)?: (true|\d),?| +primaryKey(Position)?: (true|\d)\n)", "", contract)
        contract = re.sub(r".*etl\.(dedupe\.orderBy|partition\.fixedPerKey).*\n", "", contract)
        contract += "  - {property: etl.targetFileBytes, value: 128MiB}\n"
        # Another build of the program finds the same table.
        by = [hashlib.sha256(contract.encode()).hexdigest(), *(digest(Path(__file__).with_name(name)) for name in ("history.py", "avro.py"))]
        if known.exists() and (found := json.loads(known.read_text()))["by"] == by:
            return found
        known.unlink(missing_ok=True)
        shutil.rmtree(self.lake.folder, ignore_errors=True)
        self.lake.configure(contract)
        self.lake.dedupe(step)
        say(f"history: {args.snapshots:,} snapshots, {args.files:,} files")
        size = ["--snapshots", args.snapshots, "--files", args.files]
        found = json.loads(python("history.py", self.lake.folder, self.lake.metadata(), *size)) | {"by": by}
        if args.files <= CHECKED_FILES_MAX:
            measure([args.etl, "--config", self.lake.folder / "etl.toml", "check", TABLE], self.work / "etl.log")
        known.write_text(json.dumps(found) + "\n")
        return found

    def run(self, name: str) -> None:
        report, log = self.work / "report.json", self.work / "etl.log"
        report.unlink(missing_ok=True)
        is_inspect = COMMANDS[name][0] == "inspect"
        where = ["--output", "json"] if is_inspect else ["--report", report]
        self.samples[name].append(measure([self.args.etl, "--config", self.lake.folder / "etl.toml", *where, *COMMANDS[name]], log))
        known = json.dumps(self.known)
        (self.work / "wanted.json").write_text(known)
        found = json.loads(python("plan_counts.py", COMMANDS[name][0], log if is_inspect else report, self.work / "wanted.json"))
        self.problems += [f"{name}: {problem}" for problem in found if f"{name}: {problem}" not in self.problems]

    def result(self) -> dict:
        args = self.args
        goals = []
        for name, runs in self.samples.items():
            goals.append(Goal(f"{name}, wall", "s", median(used.wall_s for used in runs), {"must": WALL_S_MAX}))
            goals.append(Goal(f"{name}, peak RSS", "GiB", max(used.peak_rss_bytes for used in runs) / GIB, {"must": PEAK_GIB_MAX}))
        known = {word: count for word, count in self.known.items() if isinstance(count, int)}
        return {
            "workload": "plans",
            "runs": args.runs,
            "table": known,
            "right": not self.problems,
            "problems": self.problems,
            "measured": [
                {
                    "name": name,
                    "wall_s_min": min(used.wall_s for used in runs),
                    "wall_s_median": median(used.wall_s for used in runs),
                    "cpu_s_median": median(used.cpu_s for used in runs),
                    "peak_rss_bytes_max": max(used.peak_rss_bytes for used in runs),
                }
                for name, runs in self.samples.items()
            ],
            "goals": [goal.as_json() for goal in goals],
            "goal_lines": [goal.line() for goal in goals],
        }


def text(result: dict) -> str:
    table = ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in result["table"].items())
    head = f"{'':22}{'wall min':>10}{'median':>10}{'CPU':>10}{'peak RSS':>11}"
    rows = [
        f"{row['name']:22}{row['wall_s_min']:8.2f} s{row['wall_s_median']:8.2f} s{row['cpu_s_median']:8.2f} s{row['peak_rss_bytes_max'] / GIB:7.2f} GiB"
        for row in result["measured"]
    ]
    verdict = "results: " + ("the plans that follow from the table" if result["right"] else "WRONG")
    return "\n".join([f"plans · {result['runs']} rounds", table, "", head, *rows, "", *result["goal_lines"], "", verdict])


def arguments() -> argparse.Namespace:
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
    parser = argparse.ArgumentParser(prog="scripts/bench plans", description="Measures the plans of maintenance, and checks them.")
    parser.add_argument("workload", choices=["plans"])
    parser.add_argument("--snapshots", type=int, default=20_000, help="(default 20,000)")
    parser.add_argument("--files", type=int, default=500_000, help="live data files (default 500,000)")
    parser.add_argument("--runs", type=int, default=1, help="rounds (default 1)")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    parser.add_argument("--etl", type=Path, default=target / "etl", help="the binary")
    args = parser.parse_args()
    if args.runs < 1 or args.snapshots < 2 or args.files < 3 * args.snapshots:
        parser.error("--runs must be more than 0, --snapshots more than 1, and --files three times as many")
    if not args.etl.exists():
        parser.error(f"{args.etl} is missing: run without --no-build")
    return args


if __name__ == "__main__":
    sys.exit(main())
