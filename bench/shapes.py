#!/usr/bin/env python3
"""Shapes of input × jobs × memory limits: the peak of each, and whether it is within its limit.

A limit holds when the peak is at most the limit, a tenth of it, and 60 MiB for the program itself. Each shape's jobs run one
after the other on one lake that is made anew for each limit: dedupe, the same again, query, check, a merge that deletes a
tenth of the keys, dedupe of the same rows in other files, compact, init. Ends 1 when a job failed; a peak over its limit is
printed as OVER. Started by scripts/bench shapes.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from goals import allowed_bytes
from process import Failed, ask, measure
from run import checked_size, say, size

HERE = Path(__file__).parent
SHAPES = ["tiny", "small", "group", "groups", "wide", "values", "rows", "partitions"]
TABLE = "curated.shape"
DAY = "2025-06-08"
JOBS = {
    "dedupe": ["dedupe", TABLE, "--date", DAY],
    "again": ["dedupe", TABLE, "--date", DAY],
    "query": ["query", f"SELECT * FROM {TABLE} ORDER BY at DESC LIMIT 10", "--full-scan"],
    "check": ["check", TABLE],
    "merge": [
        "merge",
        f"MERGE INTO {TABLE} t USING (SELECT id FROM {TABLE} WHERE id LIKE '%7') s ON t.id = s.id WHEN MATCHED THEN DELETE",
    ],
    "replay": ["dedupe", TABLE, "--replay", "replay/"],
    "compact": ["compact", TABLE, "--include-active", "--rewrite-all"],
    "init": ["init", "--from", "init.raw/"],
}
MIB = 1 << 20


def main() -> int:
    args = arguments()
    try:
        if not args.json:
            print(f"{'shape':12}{'job':10}{'limit':>10}{'peak':>12}{'wall':>10}", flush=True)
        results = [result for shape in args.shape for result in measured(args, shape)]
    except Failed as failure:
        say(str(failure))
        return 1
    if args.json:
        print(json.dumps(results, indent=1))
    return 0 if all(result["failed"] is None for result in results) else 1


def measured(args: argparse.Namespace, shape: str) -> list[dict]:
    data = cache() / f"shape-{shape}-{args.scale:g}"
    if not (data / "done").exists():
        say(f"data of {shape}")
        shutil.rmtree(data, ignore_errors=True)
        rows = ask([sys.executable, HERE / "shape_data.py", shape, data, "--scale", args.scale]).strip()
        (data / "done").write_text(rows)
    results = []
    for limit in args.memory_limit:
        lake = data / f"lake-{limit}"
        shutil.rmtree(lake, ignore_errors=True)
        lake.mkdir()
        shutil.copy(data / "shape.odcs.yaml", lake)
        (lake / "etl.toml").write_text(f"""\
version = 1
[lake]
catalog   = "sqlite"
uri       = "catalog.db"
warehouse = "warehouse"
contracts = "."
[table."{TABLE}"]
contract   = "shape"
source     = {json.dumps(str(data / "raw/{yyyy}/{MM}/{dd}/{HH}") + "/")}
quarantine = "errors/"
""")
        for job in args.job:
            say(f"{shape}, {limit}, {job}")
            results.append({"shape": shape, "limit": limit, "job": job} | run(args, data, lake, limit, job))
            if not args.json:
                # Line by line: a run over all shapes takes an hour.
                print(line(results[-1]), flush=True)
        shutil.rmtree(lake)
    return results


def run(args: argparse.Namespace, data: Path, lake: Path, limit: str, job: str) -> dict:
    words = [word.replace("replay/", f"{again(data)}/").replace("init.raw/", f"{data}/raw/2025/") for word in JOBS[job]]
    config = ["--config", lake / "etl.toml"] if job != "init" else ["--config", lake / "init.toml"]
    threads = ["--threads", args.threads] if args.threads else []
    command = [args.etl, *config, "--memory-limit", limit, "--report", lake / "report.json", *threads, *words]
    try:
        used = measure(command, lake / "etl.log")
    except Failed as failure:
        said = str(failure).splitlines()[-1]
        return {"peak_bytes": None, "wall_s": None, "holds": False, "failed": said}
    holds = used.peak_rss_bytes <= allowed_bytes(size(limit))
    return {"peak_bytes": used.peak_rss_bytes, "wall_s": used.wall_s, "holds": holds, "failed": None}


def again(data: Path) -> Path:
    """The raw files under other names, so that they are read again."""
    folder = data / "again"
    if not folder.exists():
        folder.mkdir()
        for file in (data / "raw/2025/06/08/12").iterdir():
            os.link(file, folder / f"again-{file.name}")
    return folder


def line(row: dict) -> str:
    named = f"{row['shape']:12}{row['job']:10}{row['limit']:>10}"
    if row["failed"]:
        return f"{named}  FAILED {row['failed']}"
    peak = f"{row['peak_bytes'] / MIB:.0f} MiB"
    return f"{named}{peak:>12}{row['wall_s']:8.1f} s" + ("" if row["holds"] else "  OVER")


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ETL_CACHE") or Path(base) / "etl") / "bench"


def arguments() -> argparse.Namespace:
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Peaks of shapes of input, jobs and memory limits.")
    parser.add_argument("workload", choices=["shapes"])
    parser.add_argument("--shape", choices=SHAPES, action="append", help="only these (default: all)")
    parser.add_argument("--job", choices=list(JOBS), action="append", help="only these, in this order (default: all)")
    parser.add_argument("--memory-limit", type=checked_size, action="append", help="only these (default: 256MiB, 1GiB, 4GiB)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of a shape's rows or files (default 1)")
    parser.add_argument("--threads", type=int, help="for etl (default: every core)")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    parser.add_argument("--etl", type=Path, default=target / "etl", help="the binary")
    args = parser.parse_args()
    args.shape = args.shape or SHAPES
    args.job = args.job or list(JOBS)
    args.memory_limit = args.memory_limit or ["256MiB", "1GiB", "4GiB"]
    if not args.etl.exists():
        parser.error(f"{args.etl} is missing: run without --no-build")
    return args


if __name__ == "__main__":
    sys.exit(main())
