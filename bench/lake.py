"""The lake that etl is measured on: made once by etl itself from the history, then put back before each run.

Standard library only, as everything the driver imports.
"""

import hashlib
import json
import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from process import Failed, Used, measure

TABLE = "curated.telemetry"
CONTRACT = Path(__file__).parent / "telemetry.odcs.yaml"


@dataclass
class Lake:
    """A lake in `folder`, and its state after the history in `folder`.base. Its own paths are absolute, so it is
    always used at the same place."""

    folder: Path
    data: Path
    etl: Path
    options: list[str]

    @property
    def base(self) -> Path:
        return self.folder.with_name(self.folder.name + ".base")

    def prepare(self, partition: str, history: list[dict], truth: list[dict] | None, settings: dict[str, str] | None = None) -> None:
        """Makes the base, unless it is there and made by the same program under the same contract; `settings` are more
        of the contract's. Without a truth only the rows that were read are counted."""
        text = CONTRACT.read_text()
        text += "".join(f"  - {{property: {name}, value: {value}}}\n" for name, value in (settings or {}).items())
        if partition == "day":
            text = "".join(line for line in text.splitlines(keepends=True) if not line.endswith("# bucket\n"))
        made_by = self.folder.with_name(self.folder.name + ".json")
        identity = {"etl": digest(self.etl), "contract": hashlib.sha256(text.encode()).hexdigest()}
        if self.base.exists() and made_by.exists() and json.loads(made_by.read_text()) == identity:
            return
        made_by.unlink(missing_ok=True)
        for folder in (self.folder, self.base):
            shutil.rmtree(folder, ignore_errors=True)
        self.configure(text)
        for step, expected in zip(history, truth or [None] * len(history)):
            _, report = self.dedupe(step)
            read = report["rows"]["read"]
            miscounted = [f"report says {read} rows were read, not {step['rows']}"] if read != step["rows"] else []
            if problems := differences(expected, report) if expected else miscounted:
                raise Failed(f"history of {step['start']}: {'; '.join(problems)}")
        self.folder.rename(self.base)
        made_by.write_text(json.dumps(identity) + "\n")

    def configure(self, contract: str) -> None:
        """An empty lake of one table by this contract."""
        self.folder.mkdir(parents=True)
        (self.folder / "telemetry.odcs.yaml").write_text(contract)
        (self.folder / "etl.toml").write_text(f"""\
version = 1
[lake]
catalog   = "sqlite"
uri       = "catalog.db"
warehouse = "warehouse"
contracts = "."
[table."{TABLE}"]
contract   = "telemetry"
source     = {json.dumps(str(self.data / "raw/{yyyy}/{MM}/{dd}/{HH}") + "/")}
quarantine = "errors/"
""")

    def restore(self) -> None:
        """Puts the base back. Data files are linked: nobody may write into them (`untouched`)."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.base, self.folder, copy_function=link_or_copy)

    def state(self) -> dict[str, tuple[int, int]]:
        """Size and time of every data file of the base."""
        found = {str(path): path.stat() for path in self.base.rglob("*.parquet")}
        return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}

    def dedupe(self, step: dict) -> tuple[Used, dict]:
        """Takes in one step; what that used, and etl's report."""
        return self.run("dedupe", TABLE, "--start", step["start"], "--end", step["end"])

    def run(self, *words: str) -> tuple[Used, dict]:
        """Runs etl; what that used, and its report."""
        work = self.folder.parent
        report = work / "report.json"
        report.unlink(missing_ok=True)
        command = [self.etl, "--config", self.folder / "etl.toml", "--report", report, *self.options]
        used = measure([*command, *words], work / "etl.log")
        return used, json.loads(report.read_text().splitlines()[-1])

    def metadata(self) -> str:
        """Where the table's metadata lies now."""
        namespace, name = TABLE.split(".")
        with sqlite3.connect(f"file:{self.folder / 'catalog.db'}?mode=ro", uri=True) as catalog:
            query = "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?"
            return catalog.execute(query, (namespace, name)).fetchone()[0]


def differences(expected: dict, report: dict) -> list[str]:
    """Where etl's report departs from the truth about a step."""
    rejects = {reject["rule"]: reject["count"] for reject in report["rejects"]}
    pairs = [("rows", expected["rows"], report["rows"]), ("rejects", expected["rejects"], rejects)]
    return [
        f"report says {name}.{word} is {found.get(word, 0)}, not {wanted.get(word, 0)}"
        for name, wanted, found in pairs
        for word in sorted(wanted.keys() | found.keys())
        if wanted.get(word, 0) != found.get(word, 0)
    ]


def link_or_copy(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
