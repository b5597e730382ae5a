#!/usr/bin/env python3
"""W5: Files of 5 MiB (1,038 at scale 1, with 236M rows) become files of 256 MB: packed, with 1 % of the rows deleted by
position, and sorted.

Each round puts the lake back as it was and runs, one after the other: L0 (decode and encode the table's bytes), `etl compact`,
and DuckDB writing the same files anew. The rows must be the same before and after; a wrong result ends it with 1.
`--scale 2` makes 2,000 files. Started by scripts/bench w5.
"""

import argparse
import json
import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from goals import GIB, Goal, ratio
from lake import TABLE, Lake
from process import Failed, Used, measure
from run import python, say, size, summary, table, told

HERE = Path(__file__).parent
FILE_BYTES, TARGET_BYTES = "5MiB", "256MiB"
DELETES = f"""
    MERGE INTO {TABLE} AS t
    USING (SELECT device_id, event_id FROM {TABLE} WHERE substr(event_id, 1, 3) < '029') AS s
    ON t.device_id = s.device_id AND t.event_id = s.event_id
    WHEN MATCHED THEN DELETE"""
# What is asked of etl, the share of L0 that it may take, and the order that DuckDB is asked for.
VARIANTS = {
    "packed": ([], {"must": 0.5, "aim": 0.2}, []),
    "with deletes": (["--delete-file-threshold", "1"], {"must": 1.7, "aim": 1.2}, []),
    "sorted": (["--rewrite-all", "--sort", "device_id, event_time"], {"must": 2.8, "aim": 1.8}, ["device_id", "event_time"]),
}


def main() -> int:
    args = arguments()
    try:
        bench = Compaction(args)
        for number in range(args.runs):
            for variant in bench.samples:
                say(f"round {number + 1} of {args.runs}, {variant}")
                bench.round(variant)
    except Failed as failure:
        say(str(failure))
        return 1
    return told(bench.result(), args.json, text)


class Compaction:
    """A table of small files, and what has been measured so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.problems, self.files = args, [], {}
        self.samples: dict[str, dict[str, list[Used]]] = {variant: defaultdict(list) for variant in args.variant or VARIANTS}
        say("data")
        folder = Path(python("generate.py", "w5", "--scale", args.scale, "--seed", args.seed).strip())
        batches = [step for step in json.loads((folder / "data.json").read_text())["steps"] if step["kind"] == "batch"]
        self.work = folder / "w5"
        self.work.mkdir(exist_ok=True)
        options = ["--memory-limit", args.memory_limit] + (["--threads", args.threads] if args.threads else [])
        self.lake = Lake(self.work / "lake", folder, args.etl, options)
        say("lake")
        settings = {"etl.targetFileBytes": FILE_BYTES, "etl.mergeMode": "merge-on-read"}
        # How the table came to be is not what is measured: W1 holds that against a count.
        self.lake.prepare("day", batches, None, settings)

    def round(self, variant: str) -> None:
        words, _, order = VARIANTS[variant]
        samples = self.samples[variant]
        self.lake.restore()
        if variant == "with deletes":
            # That is not what is measured, and its source must fit into memory.
            Lake(self.lake.folder, self.lake.data, self.args.etl, []).run("merge", DELETES)
        before = self.lake.metadata()
        files, rows = self.ask("files", before), self.ask("rows", before)
        samples["L0"].append(self.l0(files["data"]))
        limit = ["--include-active", "--target-file-size-bytes", TARGET_BYTES]
        used, report = self.lake.run("compact", TABLE, *limit, *words)
        samples["etl"].append(used)
        after = self.lake.metadata()
        left = self.ask("files", after)
        if self.ask("rows", after) != rows:
            self.problems.append(f"{variant}: the rows are others than before")
        if left["deletes"]:
            self.problems.append(f"{variant}: {len(left['deletes'])} delete files are left")
        self.files[variant] = (len(files["data"]), len(left["data"]), report["compaction"]["rows_copied"])
        if self.args.duckdb:
            out, listed = self.work / "duckdb.parquet", self.work / "inputs.json"
            out.unlink(missing_ok=True)
            listed.write_text(json.dumps(files["data"]))
            duck = [sys.executable, HERE / "duck.py", "rewrite", out, self.work, listed, *order]
            samples["DuckDB"].append(measure(duck, self.work / "duckdb.log"))
            out.unlink()

    def l0(self, files: list[str]) -> Used:
        listed, out = self.work / "l0.inputs", self.work / "l0"
        listed.write_text("".join(f"{path}\n" for path in files))
        shutil.rmtree(out, ignore_errors=True)
        used = measure([self.args.l0, out, f"@{listed}"], self.work / "l0.log")
        shutil.rmtree(out)
        return used

    def ask(self, what: str, metadata: str) -> dict:
        return json.loads(python("same_rows.py", what, metadata))

    def result(self) -> dict:
        args = self.args
        goals = []
        for variant, samples in self.samples.items():
            _, limits, _ = VARIANTS[variant]
            goals.append(Goal(f"W5, {variant}", "× L0", ratio(samples["etl"], samples["L0"]), limits))
        peak = max(used.peak_rss_bytes for of in self.samples.values() for used in of["etl"])
        goals.append(Goal("peak RSS", "GiB", peak / GIB, {"must": 1.0, "within the memory limit": size(args.memory_limit) / GIB}))
        return {
            "workload": "w5",
            "scale": args.scale,
            "seed": args.seed,
            "memory_limit": args.memory_limit,
            "runs": args.runs,
            "right": not self.problems,
            "problems": self.problems,
            "files": {variant: {"before": before, "after": after, "rows_copied": copied}
                      for variant, (before, after, copied) in self.files.items()},
            "measured": [summary(f"{name}, {variant}", runs, samples["L0"])
                         for variant, samples in self.samples.items() for name, runs in samples.items()],
            "goals": [goal.as_json() for goal in goals],
            "goal_lines": [goal.line() for goal in goals],
        }


def text(result: dict) -> str:
    files = [f"{variant}: {of['before']:,} files → {of['after']:,}, {of['rows_copied']:,} rows copied" for variant, of in result["files"].items()]
    return "\n".join([
        f"W5 · scale {result['scale']:g} · seed {result['seed']} · memory limit {result['memory_limit']} · {result['runs']} rounds",
        *files,
        "",
        *table(result["measured"]),
        "",
        *result["goal_lines"],
        "",
        "results: " + ("the same rows as before" if result["right"] else "WRONG"),
    ])


def arguments() -> argparse.Namespace:
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
    parser = argparse.ArgumentParser(prog="scripts/bench w5", description="Measures compaction beside L0 and DuckDB, and checks it.")
    parser.add_argument("workload", choices=["w5"])
    parser.add_argument("--scale", type=float, default=1.0, help="size of the data (default 1: 1,038 files, 40 GB of disk)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variant", choices=list(VARIANTS), action="append", help="what is measured (default all of these)")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--memory-limit", default="1GiB", help="for etl (default 1GiB)")
    parser.add_argument("--threads", type=int, help="for etl (default: every core)")
    parser.add_argument("--no-duckdb", dest="duckdb", action="store_false", help="leave DuckDB out")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    parser.add_argument("--etl", type=Path, default=target / "etl", help="the binary")
    parser.add_argument("--l0", type=Path, default=target / "examples" / "l0", help="L0's binary")
    args = parser.parse_args()
    size(args.memory_limit)
    if args.runs < 1 or args.scale <= 0:
        parser.error("--runs and --scale must be more than 0")
    for binary in (args.etl, args.l0):
        if not binary.exists():
            parser.error(f"{binary} is missing: run without --no-build")
    return args


if __name__ == "__main__":
    sys.exit(main())
