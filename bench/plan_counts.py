#!/usr/bin/env python3
"""Whether plans are those that follow from how the table was made.

    plan_counts.py compact|expire|orphans|maintain|inspect FILE KNOWN

FILE has the report, or the health of `inspect`; KNOWN what history.py said of the table. Prints a JSON list of what is wrong.
A process of its own: the plan of half a million files is large, and `measure` wants a small parent.
"""

import json
import sys
from collections import Counter
from pathlib import Path


def main() -> None:
    job, file, known = sys.argv[1], Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
    found = json.loads(file.read_text().splitlines()[-1])
    wrong: list[str] = []
    if job == "inspect":
        wrong = compared(health(found), wanted_health(known))
    elif job == "maintain":
        reports = {step["job"]: step["report"]["plan"] for step in found["steps"] if "plan" in (step["report"] or {})}
        for name, counts in PLANS.items():
            plan = reports.get(name)
            wrong += [f"{name}: {problem}" for problem in (compared(counts(plan), WANTED[name](known)) if plan else ["it has no plan"])]
    else:
        wrong = compared(PLANS[job](found["plan"]), WANTED[job](known))
    print(json.dumps(wrong))


def compared(found: dict, wanted: dict) -> list[str]:
    return [f"{name} is {found.get(name)}, not {wanted[name]}" for name in wanted if found.get(name) != wanted[name]]


def compact(plan: dict) -> dict:
    written = {of["path"] for group in plan["groups"] for of in group["files"]}
    return {
        "files": len(written) + sum(kept["files"] for kept in plan["kept"]),
        "partitions": len({of["partition"]["path"] for of in plan["groups"] + plan["kept"]}),
        "dangling deletes": plan["dangling_delete_files"],
    }


def expire(plan: dict) -> dict:
    actions = Counter(of["action"] for of in plan["snapshots"])
    return {"expired": actions["expire"], "kept": actions["keep"], "freed": {of["kind"]: of["files"] for of in plan["deletes"]}}


def orphans(plan: dict) -> dict:
    locations = [of["location"].removeprefix("file://") for of in plan.get("orphans", [])]
    return {"orphans": sorted(locations), "kept": sum(of["files"] for of in plan.get("kept", []))}


def health(found: dict) -> dict:
    jobs = {of["job"]: of["would"] for of in found["jobs"]}
    return {
        "files": found["data"]["files"],
        "delete files": found["deletes"]["position"]["files"],
        "manifests": found["manifests"]["files"],
        "snapshots": found["history"]["snapshots"],
        "history": {of["kind"]: of["files"] for of in found["history"]["by_kind"]},
        "compact and expire": (jobs["compact"], jobs["expire"]),
    }


def wanted_health(known: dict) -> dict:
    history = {"data_file": known["files_of_history"], "manifest": known["manifests_of_history"], "manifest_list": known["snapshots"] - 1}
    return {
        "files": known["data_files"],
        "delete files": known["delete_files"],
        "manifests": known["manifests"],
        "snapshots": known["snapshots"],
        "history": {kind: files for kind, files in history.items() if files},
        "compact and expire": ("act", "act"),
    }


PLANS = {"compact": compact, "expire": expire, "orphans": orphans}
WANTED = {
    "compact": lambda known: {"files": known["data_files"], "partitions": known["partitions"], "dangling deletes": 0},
    "expire": lambda known: {
        "expired": known["expired"],
        "kept": known["snapshots"] - known["expired"],
        "freed": {kind.replace(" ", "_"): files for kind, files in known["freed"].items() if files},
    },
    "orphans": lambda known: {"orphans": sorted(of.removeprefix("file://") for of in known["orphans"]["old"]), "kept": known["referred"] + 1},
}


if __name__ == "__main__":
    main()
