#!/usr/bin/env python3
"""Tables that Spark wrote, maintained by etl and read by Spark again: row for row, at every snapshot that is left.

    maintained.py --etl target/debug/etl --jars FOLDER [--keep]

One lake of a folder and SQLite, whose catalog Iceberg's JdbcCatalog opens as it is. Each table of TABLES is partitioned in one
way, takes inserts, updates and deletes on read (position deletes), a new column and another partition spec; curated.telemetry
is the demo's own. Then each job of JOBS runs over all of them, and after each Spark's answer must be the one it gave before:
for every snapshot that is still there, and for the current one, whatever the job made of it. `etl check` must be content.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

from pyspark.sql import SparkSession

CATALOG = "etl"
ROWS = 400

# How a table is partitioned at first, and afterwards.
TABLES = {
    "unpartitioned": ("", "days(event_time)"),
    "by_identity": ("tenant", "bucket(4, id)"),
    "by_year": ("years(event_time)", "months(event_time)"),
    "by_month": ("months(event_time)", "days(event_time)"),
    "by_day": ("days(event_time)", "tenant"),
    "by_hour": ("hours(event_time)", "days(event_time)"),
    "by_bucket": ("bucket(8, id)", "bucket(4, id)"),
    "by_truncate": ("truncate(2, name)", "truncate(1, name)"),
    "by_two": ("days(event_time), bucket(2, id)", "days(event_time)"),
}

# What etl does, and whether it may change which snapshots there are.
JOBS = [
    ("compact", ["compact", "--include-active"]),
    ("compact, sorted", ["compact", "--include-active", "--rewrite-all", "--sort", "{sort}"]),
    ("compact, z-ordered", ["compact", "--include-active", "--rewrite-all", "--z-order", "{z_order}"]),
    ("expire", ["expire", "--retain-last", "4", "--older-than", "0s", "--yes"]),
    ("orphans", ["orphans", "--yes", "--max-fraction", "1"]),
    ("compact, again", ["compact", "--include-active", "--rewrite-all"]),
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Spark reads what etl maintained.")
    parser.add_argument("--etl", type=pathlib.Path, required=True)
    parser.add_argument("--jars", type=pathlib.Path, required=True)
    parser.add_argument("--keep", action="store_true", help="leave the lake, and say where it is")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="etl-spark-"))
    try:
        maintain(args.etl.resolve(), args.jars, folder)
    finally:
        if args.keep:
            print(f"the lake is {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def maintain(etl: pathlib.Path, jars: pathlib.Path, folder: pathlib.Path) -> None:
    run([etl, "demo"], folder)
    lake = folder / "etl-demo"
    spark = session(jars, lake)
    tables = {"telemetry": None, **TABLES}
    for seed, (name, (before, after)) in enumerate(TABLES.items()):
        write(spark, name, before, after, random.Random(seed))
        declare(lake, name)
    known = {name: snapshots(spark, name) for name in tables}
    print(f"{len(tables)} tables, {sum(map(len, known.values()))} snapshots before any job")

    compared = 0
    for job, words in JOBS:
        changed = 0
        for name in tables:
            of_telemetry = name == "telemetry"
            columns = {"sort": "device_id, event_time DESC" if of_telemetry else "name, event_time DESC",
                       "z_order": "device_id,event_time" if of_telemetry else "id,event_time"}
            words_here = [word.format(**columns) for word in words]
            current = list(known[name])[-1]
            if job == "orphans":
                stray = lake / ".etl" / "warehouse" / "curated" / name / "data" / "left-by-a-killed-run.parquet"
                stray.write_bytes(b"no version of the table refers to it")
            report = json.loads(run([etl, *words_here, f"curated.{name}", "--output", "json"], lake, later=job == "orphans"))
            changed += report["status"] in ("committed", "deleted")
            left = snapshots(spark, name)
            for snapshot, rows in left.items():
                # A snapshot that the job has made holds the rows of the one before it.
                expected = known[name].get(snapshot, known[name][current])
                if rows != expected:
                    differ(job, name, snapshot, expected, rows)
                compared += 1
            if job == "orphans" and stray.exists():
                raise SystemExit(f"{job} of {name}: {stray} is still there")
            lost = set(known[name]) - set(left)
            if lost and job != "expire":
                raise SystemExit(f"{job} of {name}: snapshots {lost} are gone")
            if current not in left and job != "expire":
                raise SystemExit(f"{job} of {name}: what was current is gone")
            if read_by_etl(etl, lake, name) != len(left[list(left)[-1]]):
                raise SystemExit(f"{job} of {name}: etl and Spark count other rows")
            run([etl, "check", f"curated.{name}"], lake)
            known[name] = left
        print(f"{job}: {changed} of {len(tables)} tables changed, {sum(map(len, known.values()))} snapshots left")
        if not changed:
            raise SystemExit(f"{job} changed nothing: there was nothing to see")
    print(f"Spark: {compared} snapshots of {len(tables)} tables read as before, after {len(JOBS)} jobs")


def session(jars: pathlib.Path, lake: pathlib.Path) -> SparkSession:
    """Spark on the lake's own catalog."""
    options = {
        "spark.jars": ",".join(str(jar) for jar in sorted(jars.glob("*.jar"))),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        f"spark.sql.catalog.{CATALOG}": "org.apache.iceberg.spark.SparkCatalog",
        f"spark.sql.catalog.{CATALOG}.catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        f"spark.sql.catalog.{CATALOG}.uri": f"jdbc:sqlite:{lake}/.etl/catalog.db",
        f"spark.sql.catalog.{CATALOG}.warehouse": f"{lake}/.etl/warehouse",
        f"spark.sql.catalog.{CATALOG}.jdbc.schema-version": "V1",
        # Every answer is read anew: other processes write to these tables.
        f"spark.sql.catalog.{CATALOG}.cache-enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.driver.memory": "2g",
    }
    builder = SparkSession.builder.master("local[2]").appName("etl")
    for key, value in options.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def write(spark: SparkSession, name: str, before: str, after: str, chance: random.Random) -> None:
    """Fills a table in six commits: inserts, a MERGE and a DELETE on read, another column, another partition spec."""
    table = f"{CATALOG}.curated.{name}"
    spark.sql(
        f"CREATE TABLE {table} (id BIGINT, name STRING, tenant STRING, event_time TIMESTAMP, amount DOUBLE) USING iceberg "
        + (f"PARTITIONED BY ({before}) " if before else "")
        + "TBLPROPERTIES ('format-version'='2', 'write.delete.mode'='merge-on-read', "
        "'write.update.mode'='merge-on-read', 'write.merge.mode'='merge-on-read')"
    )
    insert(spark, table, chance, range(0, ROWS), "")
    insert(spark, table, chance, range(ROWS, 2 * ROWS), "")
    spark.sql(
        f"MERGE INTO {table} t USING (SELECT explode(sequence(0, {2 * ROWS}, 7)) AS id) s ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET amount = t.amount + 1000"
    )
    spark.sql(f"DELETE FROM {table} WHERE id % 11 = 3")
    spark.sql(f"ALTER TABLE {table} ADD COLUMN note STRING")
    for field in filter(None, (part.strip() for part in split(before))):
        spark.sql(f"ALTER TABLE {table} DROP PARTITION FIELD {field}")
    spark.sql(f"ALTER TABLE {table} ADD PARTITION FIELD {after}")
    insert(spark, table, chance, range(2 * ROWS, 3 * ROWS), ", 'noted'")
    spark.sql(f"DELETE FROM {table} WHERE id % 13 = 5")


def split(fields: str) -> list[str]:
    """`days(t), bucket(2, id)` at the commas between fields."""
    parts, depth = [""], 0
    for letter in fields:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def insert(spark: SparkSession, table: str, chance: random.Random, ids: range, more: str) -> None:
    def row(number: int) -> str:
        time = f"TIMESTAMP '2025-{chance.randint(5, 6):02}-{chance.randint(1, 3):02} {chance.randint(0, 2):02}:30:00'"
        name = "NULL" if number % 17 == 0 else f"'{chance.choice(['ab', 'abc', 'b', 'ö', ''])}{number % 5}'"
        return f"({number}, {name}, 't{number % 3}', {time}, {chance.random() * 100}{more})"

    spark.sql(f"INSERT INTO {table} VALUES {', '.join(map(row, ids))}")


def declare(lake: pathlib.Path, name: str) -> None:
    """A section of etl.toml and a contract, without which etl touches no table."""
    with open(lake / "etl.toml", "a", encoding="utf-8") as config:
        config.write(f'\n[table."curated.{name}"]\ncontract = "{name}"\nsource = "raw/none/{{yyyy}}/{{MM}}/{{dd}}/"\n')
    (lake / "schemas" / f"{name}.odcs.yaml").write_text(
        f"""apiVersion: v3.1.0
kind: DataContract
id: spark.{name}
version: 1.0.0
status: active
schema:
  - name: {name}
    physicalName: curated.{name}
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}}
      - {{name: name, logicalType: string}}
      - {{name: tenant, logicalType: string}}
      - {{name: event_time, logicalType: timestamp}}
      - {{name: amount, logicalType: number}}
      - {{name: note, logicalType: string}}
""",
        encoding="utf-8",
    )


def snapshots(spark: SparkSession, name: str) -> dict[int, list[str]]:
    """The rows of every snapshot in the table's metadata, oldest first; the current one last."""
    table = f"{CATALOG}.curated.{name}"
    ids = [row[0] for row in spark.sql(f"SELECT snapshot_id FROM {table}.snapshots ORDER BY committed_at").collect()]
    history = spark.sql(f"SELECT snapshot_id FROM {table}.history ORDER BY made_current_at DESC LIMIT 1").collect()
    ids.sort(key=lambda id: id == history[0][0])
    return {id: rows(spark, f"{table} VERSION AS OF {id}") for id in ids}


def rows(spark: SparkSession, source: str) -> list[str]:
    return sorted(map(str, spark.sql(f"SELECT * FROM {source}").collect()))


def read_by_etl(etl: pathlib.Path, lake: pathlib.Path, name: str) -> int:
    answer = run([etl, "query", f"SELECT count(*) AS n FROM curated.{name}", "--full-scan", "--output", "json"], lake)
    return json.loads(answer.splitlines()[0])["n"]


def run(words: list, folder: pathlib.Path, later: bool = False) -> str:
    """Runs etl; `later` tells it that it is years on, so that what lies about is old enough to be an orphan."""
    environment = dict(os.environ)
    if later:
        environment["ETL_NOW"] = "2099-01-01T00:00:00Z"
    ran = subprocess.run([str(word) for word in words], cwd=folder, env=environment, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} ended {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def differ(job: str, name: str, snapshot: int, expected: list[str], got: list[str]) -> None:
    missing, more = sorted(set(expected) - set(got))[:3], sorted(set(got) - set(expected))[:3]
    print(f"{job} of {name}: Spark reads {len(got)} rows at {snapshot}, {len(expected)} before", file=sys.stderr)
    raise SystemExit(f"  not there any more: {missing}\n  not there before: {more}")


if __name__ == "__main__":
    main()
