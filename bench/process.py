"""Runs a program and says what it used. Standard library only: see `measure`."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Used:
    """What one process used, from before its start to after its end."""

    wall_s: float
    cpu_s: float  # user and system
    peak_rss_bytes: int


class Failed(Exception):
    """A program that had to succeed did not."""


def measure(command: list, log: Path, sync: bool = True, environment: dict[str, str] | None = None) -> Used:
    """Runs the command to its end; stdout goes to `log`, stderr beside it. Of our own variables it gets those of `environment`.

    Linux counts a parent's memory into a child's peak until the child has started its own program, so the caller has
    to be small: everything that needs numpy, arrow or DuckDB runs in processes of its own.
    """
    command = [str(word) for word in command]
    errors = log.with_suffix(".stderr")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")} | (environment or {})
    if sync:
        os.sync()  # what was written before is not paid by this one
    with log.open("wb") as out, errors.open("wb") as err:
        start = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall_s = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = errors.read_text(errors="replace").strip()[-4_000:]
        raise Failed(f"{' '.join(command)} ended {process.returncode}:\n{said}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Used(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def ask(command: list) -> str:
    """Runs the command unmeasured; its stdout."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))} ended {done.returncode}")
    return done.stdout
