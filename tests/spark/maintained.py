#!/usr/bin/env python3
"""Tables that Spark wrote, maintained by etl and read by Spark again: row for row, at every snapshot that is left.

    maintained.py --etl target/debug/etl --jars FOLDER [--keep]

One lake of a folder and SQLite, whose catalog Iceberg's JdbcCatalog opens as it is. Each table of TABLES is partitioned in one
way, takes inserts, updates and deletes on read (position deletes), a new column and another partition spec; curated.telemetry
is the demo's own. Then each job of JOBS runs over all of them, and after each Spark's answer must be the one it gave before:
for every snapshot that is still there, and for the current one, whatever the job made of it. `etl check` must be content.

Then Spark goes on writing to all of them: to Spark and to etl the rows must be what was there and what it wrote. In the end
`etl maintain` finds something for each of its jobs, and is held to the same.
"""

import argparse
import datetime
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

from pyspark.sql import Row, SparkSession

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

# What etl does.
JOBS = [
    ("compact", ["compact", "--include-active"]),
    ("compact, sorted", ["compact", "--include-active", "--rewrite-all", "--sort", "{sort}"]),
    ("compact, z-ordered", ["compact", "--include-active", "--rewrite-all", "--z-order", "{z_order}"]),
    ("expire", ["expire", "--retain-last", "4", "--older-than", "0s", "--yes"]),
    ("orphans", ["orphans", "--yes", "--max-fraction", "1"]),
    ("compact, again", ["compact", "--include-active", "--rewrite-all"]),
]

# All of it in one command, after Spark has written more; and the jobs that must have changed something by it.
MAINTAIN = ("maintain", ["maintain", "--yes"])
MAINTAINED = {"compact", "expire", "orphans"}

# Jobs that may let snapshots go.
EXPIRING = {"expire", "maintain"}

# Jobs that find a file of a killed run, as many days on. maintain commits then, and comes last: Spark writes nothing after
# a commit of the future.
DAYS_LATER = {"orphans": 10_000, "maintain": 8}


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

    compared = sum(hold(job, words, etl, lake, spark, known) for job, words in JOBS)
    for name in tables:
        known[name] = write_more(spark, name, known[name])
        agree("Spark's writing", etl, lake, name, known[name])
    print(f"Spark went on writing: {len(tables)} tables, {sum(map(len, known.values()))} snapshots")
    compared += hold(*MAINTAIN, etl, lake, spark, known)
    print(f"Spark: {compared} snapshots of {len(tables)} tables read as before, after {len(JOBS) + 1} jobs")


def hold(job: str, words: list[str], etl: pathlib.Path, lake: pathlib.Path, spark: SparkSession, known: dict) -> int:
    """Runs a job over all tables and holds what Spark reads against what is known; so many snapshots were compared."""
    changed, compared, steps = 0, 0, set()
    for name in known:
        of_telemetry = name == "telemetry"
        columns = {"sort": "device_id, event_time DESC" if of_telemetry else "name, event_time DESC",
                   "z_order": "device_id,event_time" if of_telemetry else "id,event_time"}
        words_here = [word.format(**columns) for word in words]
        current = list(known[name])[-1]
        stray = lake / ".etl" / "warehouse" / "curated" / name / "data" / "left-by-a-killed-run.parquet"
        if job in DAYS_LATER:
            stray.write_bytes(b"no version of the table refers to it")
        report = json.loads(run([etl, *words_here, f"curated.{name}", "--output", "json"], lake, DAYS_LATER.get(job, 0)))
        changed += has_changed(report)
        steps |= {step["job"] for step in report.get("steps", []) if has_changed(step.get("report", {}))}
        left = snapshots(spark, name)
        for snapshot, rows in left.items():
            # A snapshot that the job has made holds the rows of the one before it.
            expected = known[name].get(snapshot, known[name][current])
            if rows != expected:
                differ(job, name, snapshot, expected, rows)
            compared += 1
        if stray.exists():
            raise SystemExit(f"{job} of {name}: {stray} is still there")
        lost = set(known[name]) - set(left)
        if lost and job not in EXPIRING:
            raise SystemExit(f"{job} of {name}: snapshots {lost} are gone")
        agree(job, etl, lake, name, left)
        known[name] = left
    print(f"{job}: {changed} of {len(known)} tables changed, {sum(map(len, known.values()))} snapshots left")
    if not changed:
        raise SystemExit(f"{job} changed nothing: there was nothing to see")
    if job == "maintain" and steps != MAINTAINED:
        raise SystemExit(f"{job} had something to do for {sorted(steps)} alone")
    return compared


def has_changed(report: dict) -> bool:
    return report.get("status") in ("committed", "deleted")


def agree(job: str, etl: pathlib.Path, lake: pathlib.Path, name: str, known: dict[int, list[str]]) -> None:
    """etl counts the rows that Spark reads in the current snapshot, and finds no damage."""
    if read_by_etl(etl, lake, name) != len(known[list(known)[-1]]):
        raise SystemExit(f"{job} of {name}: etl and Spark count other rows")
    run([etl, "check", f"curated.{name}"], lake)


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


def write_more(spark: SparkSession, name: str, known: dict[int, list[str]]) -> dict[int, list[str]]:
    """Spark inserts and merges rows into what etl left: the snapshots after that, whose last has the rows that it must have."""
    table = f"{CATALOG}.curated.{name}"
    keys, number, new_key = ("id",), "amount", lambda row, n: {"id": row["id"] + n * 100_000}
    if name == "telemetry":
        keys, number = ("device_id", "event_id"), "temperature"
        new_key = lambda row, n: {"event_id": f"{row['event_id']}-spark-{n}"}
    key_of = lambda row: tuple(row[column] for column in keys)
    expected = {key_of(row): row for row in map(Row.asDict, spark.table(table).collect())}
    some = [expected[key] for key in sorted(expected)][::9]

    inserted = [{**row, **new_key(row, 1)} for row in some]
    view(spark, table, "inserted", inserted)
    spark.sql(f"INSERT INTO {table} SELECT * FROM inserted")
    # Rows that etl had written again, rows of the commit before, and new ones.
    merged = [{**row, number: 21.5} for row in some[::2] + inserted[::2]] + [{**row, **new_key(row, 2)} for row in some]
    view(spark, table, "merged", merged)
    condition = " AND ".join(f"t.{column} = s.{column}" for column in keys)
    spark.sql(
        f"MERGE INTO {table} t USING merged s ON {condition} "
        f"WHEN MATCHED THEN UPDATE SET {number} = s.{number} WHEN NOT MATCHED THEN INSERT *"
    )
    # maintain goes by what the table says.
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('history.expire.min-snapshots-to-keep'='3')")
    expected.update((key_of(row), row) for row in inserted + merged)

    left = snapshots(spark, name)
    for snapshot, rows in known.items():
        if left.get(snapshot) != rows:
            differ("Spark's writing", name, snapshot, rows, left.get(snapshot, []))
    current, rows = list(left)[-1], sorted(str(Row(**row)) for row in expected.values())
    if left[current] != rows:
        differ("Spark's writing", name, current, rows, left[current])
    return left


def view(spark: SparkSession, table: str, name: str, rows: list[dict]) -> None:
    schema = spark.table(table).schema
    spark.createDataFrame([Row(*(row[field.name] for field in schema)) for row in rows], schema).createOrReplaceTempView(name)


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


def run(words: list, folder: pathlib.Path, days_later: int = 0) -> str:
    """Runs etl; it may be told that it is so many days on, so that what lies about is old enough to go."""
    environment = dict(os.environ)
    if days_later:
        then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days_later)
        environment["ETL_NOW"] = then.strftime("%Y-%m-%dT%H:%M:%SZ")
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
