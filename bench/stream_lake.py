"""Lakes that a stream of five-minute batches went into: one run for each with or without maintenance, or one run for all.

Time goes as the stream does: the program that writes is a build that takes its clock from ETL_NOW. Standard library only, as
everything the driver imports.
"""

import json
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

from lake import TABLE, Lake, digest
from process import Failed, Used, measure

MINUTES = 5


class StreamLake:
    """One lake, with what each run on it used."""

    def __init__(self, folder: Path, data: Path, clock: Path, options: list[str], contract: str) -> None:
        self.folder, self.data, self.clock, self.options, self.contract = folder, data, clock, options, contract
        self.lake = Lake(folder, data, clock, options)
        self.log = folder.with_name(folder.name + ".json")
        self.commits: list[float] = []
        self.commits_cpu: list[float] = []
        self.maintenance: list[float] = []

    def fill(self, steps: list[dict], upkeep: list[list[str]], every: int, at_once: bool = False) -> None:
        """Takes the stream in; after so many batches the commands of `upkeep` run. A lake that the same program filled the same way
        is used as it is."""
        identity = {"etl": digest(self.clock), "contract": self.contract, "upkeep": upkeep, "every": every, "at_once": at_once}
        known = json.loads(self.log.read_text()) if self.log.exists() else {}
        if self.folder.exists() and known.get("identity") == identity:
            self.commits, self.commits_cpu, self.maintenance = known["commits"], known["commits_cpu"], known["maintenance"]
            return
        self.log.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "telemetry.odcs.yaml").write_text(self.contract)
        source = json.dumps(str(self.folder / "raw/{yyyy}/{MM}/{dd}/{HH}") + "/")
        (self.folder / "etl.toml").write_text(f"""\
version = 1
[lake]
catalog   = "sqlite"
uri       = "catalog.db"
warehouse = "warehouse"
contracts = "."
[table."{TABLE}"]
contract   = "telemetry"
source     = {source}
quarantine = "errors/"
""")
        for number, step in enumerate(steps):
            arrival = datetime.strptime(step["arrival"], "%Y-%m-%dT%H:%M:%SZ")
            target = self.folder / arrival.strftime("raw/%Y/%m/%d/%H") / Path(step["file"]).name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.data / step["file"], target)
            now = arrival + timedelta(minutes=MINUTES)
            if at_once:
                continue
            used = self.run(now, "dedupe", TABLE, "--pending")
            self.commits.append(used.wall_s)
            self.commits_cpu.append(used.cpu_s)
            if (number + 1) % every == 0 and upkeep:
                # Half-way to the next batch.
                self.maintenance.append(sum(self.run(now + timedelta(seconds=30 * at), *words).wall_s for at, words in enumerate(upkeep, 1)))
        if at_once:
            used = self.run(now, "dedupe", TABLE, "--pending")
            self.commits, self.commits_cpu = [used.wall_s], [used.cpu_s]
        made = {"identity": identity, "commits": self.commits, "commits_cpu": self.commits_cpu, "maintenance": self.maintenance}
        self.log.write_text(json.dumps(made) + "\n")

    def run(self, now: datetime, *words: str) -> Used:
        """Runs the program at a time."""
        command = [self.clock, "--config", self.folder / "etl.toml", *self.options, *words]
        moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        return measure(command, self.folder.with_suffix(".log"), sync=False, environment={"ETL_NOW": moment})

    def query(self, etl: Path, statement: str) -> tuple[Used, list]:
        """What a query used, and its rows."""
        log = self.folder.with_suffix(".rows")
        command = [etl, "--config", self.folder / "etl.toml", *self.options, "query", "--full-scan", "--output", "json", statement]
        used = measure(command, log, sync=False)
        if not (text := log.read_text().strip()):
            raise Failed(f"{statement} gave nothing")
        return used, [json.loads(line) for line in text.splitlines() if line.startswith("{")]
