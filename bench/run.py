#!/usr/bin/env python3
"""Measures etl beside L0 and DuckDB in one run, and checks what it wrote.

Each round puts the lake back as it was, then runs, one after the other: L0 (decode and encode the batch's bytes, nothing
in between), etl, and DuckDB doing the same. A ratio is taken within its round; the table shows the median of the
rounds. Every result is checked against truth.json; a wrong one ends the benchmark with 1.

This program stays small, see process.py: what needs numpy, arrow or DuckDB runs in processes of its own.
"""

import argparse
import fcntl
import json
import os
import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from goals import GIB, judge, ratio
from lake import Lake, differences
from process import Failed, Used, ask, measure

HERE = Path(__file__).parent
PARTITIONS = {"day": "day", "day+bucket": "day + bucket(16)"}


def main() -> int:
    args = arguments()
    try:
        bench = Bench(args)
        bench.prepare()
        for number in range(args.runs):
            say(f"round {number + 1} of {args.runs}")
            bench.round()
    except Failed as failure:
        say(str(failure))
        return 1
    return told(bench.result(), args.json, text)


def told(result: dict, as_json: bool, text) -> int:
    """Prints a result, and says what the shell is told."""
    print(json.dumps(result, indent=1) if as_json else text(result))
    for problem in result["problems"]:
        say(f"WRONG: {problem}")
    return 0 if result["right"] else 1


class Bench:
    """One workload at one scale: its data, its lake, and what has been measured so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.samples: dict[str, list[Used]] = defaultdict(list)
        self.problems: list[str] = []
        self.notes: dict[str, int] = {}

    def prepare(self) -> None:
        args = self.args
        say("data")
        made = ["generate.py", args.workload, "--scale", args.scale, "--seed", args.seed]
        self.folder = Path(python(*made).strip())
        self.lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another benchmark uses {self.folder}") from None
        say("truth")
        python("truth.py", self.folder)
        steps = json.loads((self.folder / "data.json").read_text())["steps"]
        truth = json.loads((self.folder / "truth.json").read_text())["steps"]
        self.history = [step for step in steps if step["kind"] == "history"]
        self.batches = [(step, known) for step, known in zip(steps, truth) if step["kind"] == "batch"]

        self.work = self.folder / args.partition
        self.work.mkdir(exist_ok=True)
        options = ["--memory-limit", args.memory_limit] + (["--threads", args.threads] if args.threads else [])
        self.lake = Lake(self.work / "lake", self.folder, args.etl, options)
        say("lake")
        self.lake.prepare(args.partition, self.history, truth)
        self.duckdb_base = self.folder / "duckdb-base.parquet"
        if args.workload in ("w2", "w4") and args.duckdb and not self.duckdb_base.exists():
            say("DuckDB's table")
            python("duck.py", "base", self.duckdb_base.with_suffix(".partial"), self.folder)
            self.duckdb_base.with_suffix(".partial").rename(self.duckdb_base)

    def round(self) -> None:
        self.lake.restore()
        before, state = self.lake.metadata(), self.lake.state()
        for step, known in self.batches:
            inputs = [self.folder / path for path in step["files"]]
            for path in inputs:
                warm(path)
            self.l0("L0", inputs, known["rows"]["read"])
            used, report = self.lake.dedupe(step)
            self.samples["etl"].append(used)
            self.problems += differences(known, report)
        answer = self.check("lake", self.lake.metadata(), "--before", before, "--quarantine", self.lake.folder / "errors")
        self.notes = {
            "files of the table": answer["files"],
            "delete files": answer["delete_files"],
            "files rewritten": len(answer["removed"]),
            "of those that held an updated key": len(answer["removed_needed"]),
        }
        if answer["removed_needed"]:
            self.l0("L0 of the rewritten", answer["removed_needed"])
        if self.lake.state() != state:
            self.problems.append("files of an older snapshot were changed in place")
        if self.args.duckdb and self.args.workload != "w7":
            self.duckdb()

    def l0(self, name: str, inputs: list, rows: int | None = None) -> None:
        listed, out, log = self.work / "l0.inputs", self.work / "l0", self.work / "l0.log"
        listed.write_text("".join(f"{path}\n" for path in inputs))
        shutil.rmtree(out, ignore_errors=True)
        used = measure([self.args.l0, out, f"@{listed}"], log)
        shutil.rmtree(out)
        written = json.loads(log.read_text())["rows"]
        if rows not in (None, written):
            self.problems.append(f"{name} wrote {written} rows, not {rows}")
        self.samples[name].append(used)

    def duckdb(self) -> None:
        out = self.work / "duckdb.parquet"
        out.unlink(missing_ok=True)
        # Into a table of other days, so that nothing is merged.
        dedupes = self.args.workload == "w1" or self.args.workload.startswith("w6")
        work = ["dedupe", out, self.folder] if dedupes else ["merge", out, self.folder, self.duckdb_base]
        self.samples["DuckDB"].append(measure([sys.executable, HERE / "duck.py", *work], self.work / "duckdb.log"))
        self.check("DuckDB", "--parquet", out, "--holds", "winners" if dedupes else "table")
        out.unlink()

    def check(self, name: str, *what) -> dict:
        answer = json.loads(python("check.py", self.folder, *what))
        self.problems += [f"{name}: {problem}" for problem in answer["problems"]]
        return answer

    def result(self) -> dict:
        args = self.args
        rows = sum(known["rows"]["read"] for _, known in self.batches)
        return {
            "workload": args.workload,
            "scale": args.scale,
            "seed": args.seed,
            "partition": args.partition,
            "memory_limit": args.memory_limit,
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "runs": args.runs,
            "rows_read": rows,
            "rows": {word: sum(known["rows"][word] for _, known in self.batches) for word in self.batches[0][1]["rows"]},
            "right": not self.problems,
            "problems": self.problems,
            "notes": self.notes,
            "measured": [summary(name, runs, self.samples["L0"]) for name, runs in self.samples.items()],
            "goals": [goal.as_json() for goal in self.goals()],
            "goal_lines": [goal.line() for goal in self.goals()],
        }

    def goals(self):
        return judge(self.args.workload, self.args.partition, size(self.args.memory_limit), self.samples)


def summary(name: str, runs: list[Used], l0: list[Used]) -> dict:
    return {
        "name": name,
        "wall_s_min": min(used.wall_s for used in runs),
        "wall_s_median": median(used.wall_s for used in runs),
        "cpu_s_median": median(used.cpu_s for used in runs),
        "peak_rss_bytes_max": max(used.peak_rss_bytes for used in runs),
        "wall_ratio_median": ratio(runs, l0),
        "cpu_ratio_median": ratio(runs, l0, "cpu_s"),
        "wall_s": [used.wall_s for used in runs],
        "cpu_s": [used.cpu_s for used in runs],
    }


def text(result: dict) -> str:
    rows = ", ".join(f"{count:,} {word}" for word, count in result["rows"].items() if count)
    lines = [
        f"{result['workload'].upper()} · {PARTITIONS[result['partition']]} · scale {result['scale']:g} · seed {result['seed']}"
        f" · memory limit {result['memory_limit']} · {result['runs']} rounds · {result['cores']} cores",
        f"rows: {rows}",
        ", ".join(f"{what}: {count:,}" for what, count in result["notes"].items()),
        "",
        *table(result["measured"]),
    ]
    lines += ["", *result["goal_lines"], "", "results: " + ("as counted independently" if result["right"] else "WRONG")]
    return "\n".join(lines)


def table(measured: list[dict]) -> list[str]:
    """What each program used, a line each."""
    head = f"{'':22}{'wall min':>10}{'median':>10}{'CPU':>10}{'peak RSS':>11}{'× L0 wall':>11}{'× L0 CPU':>10}"
    return [head] + [
        f"{row['name']:22}{row['wall_s_min']:8.2f} s{row['wall_s_median']:8.2f} s{row['cpu_s_median']:8.2f} s"
        f"{row['peak_rss_bytes_max'] / GIB:7.2f} GiB{row['wall_ratio_median']:11.2f}{row['cpu_ratio_median']:10.2f}"
        for row in measured
    ]


def arguments() -> argparse.Namespace:
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures etl beside L0 and DuckDB, and checks what it wrote.")
    parser.add_argument("workload", choices=["w1", "w2", "w4", "w7"], help="dedupe, merge, inserts only, twelve small runs")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the workload's rows (default 1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--memory-limit", default="4GiB", type=checked_size, help="for etl (default 4GiB)")
    parser.add_argument("--threads", type=int, help="for etl (default: every core)")
    parser.add_argument("--partition", choices=list(PARTITIONS), default="day+bucket")
    parser.add_argument("--no-duckdb", dest="duckdb", action="store_false", help="leave DuckDB out")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    parser.add_argument("--etl", type=Path, default=target / "etl", help="the binary")
    parser.add_argument("--l0", type=Path, default=target / "examples" / "l0", help="L0's binary")
    args = parser.parse_args()
    if args.runs < 1 or args.scale <= 0:
        parser.error("--runs and --scale must be more than 0")
    for binary in (args.etl, args.l0):
        if not binary.exists():
            parser.error(f"{binary} is missing: run without --no-build")
    return args


def checked_size(given: str) -> str:
    size(given)
    return given


def size(given: str) -> int:
    found = re.fullmatch(r"(\d+)\s*(k|m|g|t)i?b", given, re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"{given!r} is not a size like 4GiB")
    base = 1024 if "i" in given.lower() else 1000
    return int(found[1]) * base ** ("kmgt".index(found[2].lower()) + 1)


def warm(path: Path) -> None:
    """Reads the file once, so that nobody pays for the disk."""
    with path.open("rb") as content:
        while content.read(1 << 20):
            pass


def python(script: str, *arguments) -> str:
    return ask([sys.executable, HERE / script, *arguments])


def say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
