#!/usr/bin/env python3
"""Holds what etl reads of Parquet files against PyArrow. See scripts/parquet-testing.

    python tests/tools/compare_parquet.py ETL FOLDER [WORD…]
"""

import collections
import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pyarrow_rows

SECONDS_MAX = 600
TABLE = "curated.it"


def main():
    etl, folder, words = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    files = sorted(path for path in folder.rglob("*.parquet*") if path.is_file() and path.suffix in (".parquet", ".encrypted"))
    files = [path for path in files if not words or any(word in str(path) for word in words)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(lambda path: one(etl, path), files))
    counts = collections.Counter()
    for path, (verdict, words) in zip(files, verdicts):
        counts[verdict] += 1
        if verdict != "same":
            print(f"{verdict:9} {path.relative_to(folder)}: {words}")
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    sys.exit(1 if counts["WRONG"] else 0)


def one(etl, path):
    """`same`, `named` with the reason, or `WRONG` with what is."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        raw = folder / "raw/2025/06/04"
        raw.mkdir(parents=True)
        name = path.name if path.suffix == ".parquet" else f"{path.name}.parquet"
        shutil.copy(path, raw / name)
        try:
            return judge(lambda *arguments: run(etl, folder, *arguments), path, name, folder)
        except subprocess.TimeoutExpired as error:
            return "WRONG", f"{error.cmd[1:]} did not end in {SECONDS_MAX} s"


def judge(run, path, name, folder):
    for step in (("init", "--from", "raw/", "--table", TABLE), ("contract", "check"),
                 ("dedupe", "--date", "2025-06-04", "--report", "report.json")):
        done = run(*step)
        if done.returncode:
            return named(step[0], done.stderr, name)
    report = json.loads((folder / "report.json").read_text())
    report = report[0] if isinstance(report, list) else report
    for reject in report["rejects"]:
        if reject["rule"] == "file.unreadable":
            return named("dedupe", reject["sample"], name)
    done = run("query", "--full-scan", "--limit", "0", "--output", "json", f"SELECT * FROM {TABLE}")
    if done.returncode:
        return "WRONG", f"query ended {done.returncode}: {brief(done.stderr)}"
    ours = list(parsed(done.stdout))
    try:
        theirs = pyarrow_rows.rows(path)
    except Exception as error:
        return "beyond", f"{len(ours)} rows, where PyArrow says: {brief(str(error))}"
    columns = set(ours[0]) if ours else None
    contract = (folder / "schemas/it.odcs.yaml").read_text()
    if columns is not None and theirs:
        missing = [column for column in theirs[0] if column not in columns and f"column {column} is left out" not in contract]
        if missing:
            return "WRONG", f"columns {missing} are neither there nor said to be left out"
        theirs = [{column: row[column] for column in row if column in columns} for row in theirs]
    return compared(ours, theirs, report)


def compared(ours, theirs, report):
    invalid = report["rows"]["invalid"]
    if len(ours) + invalid != len(theirs):
        return "WRONG", f"{len(ours)} rows and {invalid} invalid ones, where PyArrow reads {len(theirs)}"
    ours, theirs = (sorted(rows, key=pyarrow_rows.order) for rows in (ours, theirs))
    if not invalid:
        for our, their in zip(ours, theirs):
            if not pyarrow_rows.same(our, their):
                return "WRONG", f"{brief(json.dumps(our))} where PyArrow reads {brief(json.dumps(their))}"
        return "same", ""
    for our in ours:
        if not any(pyarrow_rows.same(our, their) for their in theirs):
            return "WRONG", f"{brief(json.dumps(our))} is no row that PyArrow reads"
    rules = ", ".join(f"{reject['rule']} {reject['count']}" for reject in report["rejects"])
    return "named", f"{invalid} rows in quarantine: {rules}"


def named(step, words, name):
    said = " ".join(words.split())
    return ("named" if name in said else "WRONG"), f"{step}: {brief(said)}"


def run(etl, folder, *arguments):
    return subprocess.run([etl, *arguments], cwd=folder, capture_output=True, text=True, timeout=SECONDS_MAX)


def parsed(text):
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        while at < len(text) and text[at].isspace():
            at += 1
        yield from value if isinstance(value, list) else [value]


def brief(text):
    return text if len(text) < 400 else text[:400] + " …"


if __name__ == "__main__":
    main()
