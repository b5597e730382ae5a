#!/usr/bin/env python3
"""W6: many small files. 12,000 and 50,000 files of 50 rows, and 2,000 of 5,000, each deduped into a table of seven other days
within 256 MiB; L0 and DuckDB beside it, and the independent count of the other workloads. Started by scripts/bench w6.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from process import Failed
from run import PARTITIONS, Bench, checked_size, say, text

WORKLOADS = ["w6-12000", "w6-50000", "w6-2000"]


def main() -> int:
    args = arguments()
    results = []
    try:
        for workload in args.only or WORKLOADS:
            bench = Bench(argparse.Namespace(**{**vars(args), "workload": workload}))
            bench.prepare()
            for number in range(args.runs):
                say(f"{workload}, round {number + 1} of {args.runs}")
                bench.round()
            results.append(bench.result())
    except Failed as failure:
        say(str(failure))
        return 1
    print(json.dumps(results, indent=1) if args.json else "\n\n".join(map(text, results)))
    for result in results:
        for problem in result["problems"]:
            say(f"WRONG: {result['workload']}: {problem}")
    return 0 if all(result["right"] for result in results) else 1


def arguments() -> argparse.Namespace:
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Many small files: etl beside L0 and DuckDB.")
    parser.add_argument("workload", choices=["w6"])
    parser.add_argument("--only", choices=WORKLOADS, action="append", help="only this many files (default: all three)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the files (default 1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--memory-limit", default="256MiB", type=checked_size, help="for etl (default 256MiB)")
    parser.add_argument("--threads", type=int, help="for etl (default: every core)")
    parser.add_argument("--partition", choices=list(PARTITIONS), default="day")
    parser.add_argument("--no-duckdb", dest="duckdb", action="store_false", help="leave DuckDB out")
    parser.add_argument("--json", action="store_true", help="the results as JSON")
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


if __name__ == "__main__":
    sys.exit(main())
