#!/usr/bin/env python3
"""W9: 2,000 five-minute commits into one table, maintained every hour, beside the same table unmaintained, and the same rows
written at once.

Time goes as the stream does (ETL_NOW), so that lateness, ages of snapshots and active partitions are what they are in such a
table's life. Then each round reads all three, one after the other, with the program that is shipped. Every answer must be the
same, and the rows those that DuckDB finds in the raw files. Started by scripts/bench w9.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from goals import Goal, ratio
from lake import CONTRACT
from process import Failed, Used
from run import checked_size, python, say, told
from stream_lake import StreamLake

# What each lake gets every hour. A day that still receives data is left for later unless asked for.
UPKEEP = {
    "at once": None,
    "maintained": [["compact", "--include-active"], ["maintain", "--yes"]],
    "unmaintained": [],
}
MEASURES = "count(*) AS n, sum(CAST(round(temperature * 100) AS BIGINT)) AS t, min(event_id) AS low, max(event_id) AS high"
QUERIES = {
    "all rows": f"SELECT event_type, {MEASURES} FROM {{table}} GROUP BY event_type ORDER BY event_type",
    "all columns": "SELECT count(*) AS n, " + ", ".join(f"max({column}) AS {column}" for column in
        ["tenant_id", "device_id", "event_id", "event_time", "ingest_time", "event_type", "location", "temperature", "humidity", "pressure", "battery", "firmware"]) + " FROM {table}",
    "one day": f"SELECT {MEASURES} FROM {{table}} WHERE event_time >= '{{day}}' AND event_time < '{{day_end}}'",
    "the last day": f"SELECT {MEASURES} FROM {{table}} WHERE event_time >= '{{last}}'",
    "one device": f"SELECT {MEASURES} FROM {{table}} WHERE device_id = 'dev-{{device:06}}'",
}
LAST = 100  # commits at either end that are compared
READ_RATIO_MAX, GROWTH_MAX = 1.1, 1.15


def main() -> int:
    args = arguments()
    try:
        bench = Commits(args)
        bench.fill()
        for number in range(args.runs):
            say(f"round {number + 1} of {args.runs}")
            bench.round()
        bench.check()
    except Failed as failure:
        say(str(failure))
        return 1
    return told(bench.result(), args.json, text)


class Commits:
    """The lakes, and what has been measured so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.problems = args, []
        self.samples: dict[str, dict[str, list[Used]]] = {query: defaultdict(list) for query in args.query or QUERIES}
        say("data")
        stream = ["stream.py", "--commits", args.commits, "--rows", args.rows, "--seed", args.seed]
        self.folder = Path(python(*stream).strip())
        self.steps = json.loads((self.folder / "data.json").read_text())["steps"]
        contract = CONTRACT.read_text()
        if args.partition == "day":
            contract = "".join(line for line in contract.splitlines(keepends=True) if not line.endswith("# bucket\n"))
        options = ["--memory-limit", args.memory_limit] + (["--threads", str(args.threads)] if args.threads else [])
        work = self.folder / args.partition
        work.mkdir(exist_ok=True)
        self.lakes = {name: StreamLake(work / name.replace(" ", "-"), self.folder, args.etl_clock, options, contract) for name in UPKEEP}

    def fill(self) -> None:
        for name, lake in self.lakes.items():
            say(f"lake {name}")
            upkeep = UPKEEP[name]
            lake.fill(self.steps, upkeep or [], self.args.every, at_once=upkeep is None)

    def round(self) -> None:
        days = sorted({step["arrival"][:10] for step in self.steps})
        last = len(days) - 1
        values = {"table": "curated.telemetry", "day": days[last // 2], "day_end": days[min(last // 2 + 1, last)], "last": days[-1], "device": 4_711}
        for query in self.samples:
            answers = {}
            for name, lake in self.lakes.items():
                used, answers[name] = lake.query(self.args.etl, QUERIES[query].format(**values))
                self.samples[query][name].append(used)
            wrong = [name for name, answer in answers.items() if answer != answers["at once"]]
            self.problems += [f"{query}: {name} answers {answers[name]}, not {answers['at once']}" for name in wrong]

    def check(self) -> None:
        say("rows")
        wanted = json.loads(python("same_rows.py", "raw", self.folder))
        self.shapes = {}
        for name, lake in self.lakes.items():
            metadata = lake.lake.metadata()
            self.shapes[name] = json.loads(python("same_rows.py", "shape", metadata))
            if (found := json.loads(python("same_rows.py", "rows", metadata))) != wanted:
                self.problems.append(f"{name}: its {found['rows']} rows are not the {wanted['rows']} of the raw files")

    def result(self) -> dict:
        args, goals = self.args, []
        of = {query: (samples["maintained"], samples["at once"]) for query, samples in self.samples.items()}
        for query, (maintained, once) in of.items():
            goals.append(Goal(f"W9, {query}, maintained", "× at once", ratio(maintained, once), {"must": READ_RATIO_MAX}))
        both = [[Used(sum(used.wall_s for used in run), 0.0, 0) for run in zip(*(pair[side] for pair in of.values()))] for side in (0, 1)]
        goals.append(Goal("W9, all queries together, maintained", "× at once", ratio(*both), {"must": READ_RATIO_MAX}))
        commits = self.lakes["maintained"].commits
        if len(commits) >= 2 * LAST:
            goals.append(Goal("W9, time of a commit, maintained", "× the first hundred's", growth(commits), {"must": GROWTH_MAX}))
        return {
            "workload": "w9",
            "commits": args.commits,
            "rows": args.rows,
            "seed": args.seed,
            "partition": args.partition,
            "memory_limit": args.memory_limit,
            "runs": args.runs,
            "right": not self.problems,
            "problems": self.problems,
            "every": args.every,
            "upkeep": [" ".join(["etl", *words]) for words in UPKEEP["maintained"]],
            "lakes": {name: self.of_lake(name) for name in self.lakes},
            "reads": {query: {name: reads(runs, samples["at once"]) for name, runs in samples.items()} for query, samples in self.samples.items()},
            "goals": [goal.as_json() for goal in goals],
            "goal_lines": [goal.line() for goal in goals],
        }

    def of_lake(self, name: str) -> dict:
        lake, made = self.lakes[name], dict(self.shapes[name])
        commits, cpu = lake.commits, lake.commits_cpu
        made |= {"commits": len(commits), "commit_s_first": median(commits[:LAST]), "commit_s_last": median(commits[-LAST:])}
        made |= {"commit_cpu_s_first": median(cpu[:LAST]), "commit_cpu_s_last": median(cpu[-LAST:]), "commits_s": sum(commits)}
        return made | {"maintenance_s": sum(lake.maintenance), "maintenance_s_max": max(lake.maintenance, default=0.0)}


def growth(commits: list[float]) -> float:
    return median(commits[-LAST:]) / median(commits[:LAST])


def reads(runs: list[Used], once: list[Used]) -> dict:
    return {
        "wall_s_median": median(used.wall_s for used in runs),
        "cpu_s_median": median(used.cpu_s for used in runs),
        "wall_ratio_median": ratio(runs, once),
        "cpu_ratio_median": ratio(runs, once, "cpu_s"),
        "wall_s": [used.wall_s for used in runs],
    }


def text(result: dict) -> str:
    lines = [
        f"W9 · {result['commits']:,} commits of {result['rows']:,} rows, five minutes apart · by {result['partition']} · seed {result['seed']}"
        f" · memory limit {result['memory_limit']} · {result['runs']} rounds",
        f"maintained: after every {result['every']} commits {', then '.join(result['upkeep'])}",
        "",
        f"{'':14}{'files':>8}{'deletes':>9}{'manifests':>11}{'snapshots':>11}{'metadata':>12}{'commit, first':>15}{'last hundred':>14}{'CPU':>16}{'maintenance':>13}",
    ]
    for name, of in result["lakes"].items():
        lines.append(
            f"{name:14}{of['data']:8,}{of['deletes']:9,}{of['manifests']:11,}{of['snapshots']:11,}{of['metadata_bytes'] / 1024:8,.0f} KiB"
            f"{of['commit_s_first']:13.3f} s{of['commit_s_last']:12.3f} s{of['commit_cpu_s_first']:7.3f}→{of['commit_cpu_s_last']:.3f} s{of['maintenance_s']:11.1f} s"
        )
    lines += ["", f"{'':30}{'wall':>10}{'CPU':>10}{'× wall':>10}{'× CPU':>10}"]
    for query, lakes in result["reads"].items():
        for name, of in lakes.items():
            lines.append(
                f"{query + ', ' + name:30}{of['wall_s_median']:8.3f} s{of['cpu_s_median']:8.3f} s{of['wall_ratio_median']:10.2f}{of['cpu_ratio_median']:10.2f}"
            )
    return "\n".join([*lines, "", *result["goal_lines"], "", "results: " + ("the rows of the raw files" if result["right"] else "WRONG")])


def arguments() -> argparse.Namespace:
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
    parser = argparse.ArgumentParser(prog="scripts/bench w9", description="Measures reads of a table of many commits, and checks it.")
    parser.add_argument("workload", choices=["w9"])
    parser.add_argument("--commits", type=int, default=2_000, help="five-minute commits (default 2,000: about seven days)")
    parser.add_argument("--rows", type=int, default=5_000, help="rows of each (default 5,000)")
    parser.add_argument("--every", type=int, default=12, help="commits from one maintenance to the next (default 12, an hour)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=7, help="rounds of reads (default 7)")
    parser.add_argument("--query", choices=list(QUERIES), action="append", help="what is read (default all of these)")
    parser.add_argument("--memory-limit", default="4GiB", type=checked_size, help="for etl (default 4GiB)")
    parser.add_argument("--threads", type=int, help="for etl (default: every core)")
    parser.add_argument("--partition", choices=["day", "day+bucket"], default="day")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--no-build", action="store_true", help="measure what was built before")
    parser.add_argument("--etl", type=Path, default=target / "etl", help="the binary that reads")
    parser.add_argument("--etl-clock", type=Path, default=target / "etl-clock", help="the binary that writes, whose clock is ETL_NOW")
    args = parser.parse_args()
    if args.runs < 1 or min(args.commits, args.every) < 1 or args.rows < 100:
        parser.error("--runs, --commits and --every must be more than 0, --rows 100 at least")
    for binary in (args.etl, args.etl_clock):
        if not binary.exists():
            parser.error(f"{binary} is missing: run without --no-build")
    return args


if __name__ == "__main__":
    sys.exit(main())
