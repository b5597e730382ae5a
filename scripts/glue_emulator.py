#!/usr/bin/env python3
"""A Glue Data Catalog (and S3) on 127.0.0.1, for tests.

It is moto's server with what the commit protocol depends on added:

* UpdateTable with a `VersionId` is a compare-and-swap: it succeeds only for the current version, otherwise it answers
  ConcurrentModificationException. Without a `VersionId` it is unconditional, as in AWS.
* Glue requests run one at a time, so a race has exactly one winner (CreateTable included).
* S3 requests that carry If-Match or If-None-Match run one at a time as well; moto itself checks and writes apart.
* Faults on demand, over HTTP on the same port:

      POST   /etl-faults   one fault, or a list of them, as JSON (see `Fault`)
      GET    /etl-faults   {"faults": [those still to come], "calls": [{action, database, table, count}]}
      DELETE /etl-faults   forget all faults and counts; body {"database": "x"}: only those of this database

Run it: glue_emulator.py [--port N] [--port-file FILE]. The first line on stdout is the port; --port 0 picks a free one.
Credentials and regions are not checked, but each region is a lake of its own.
"""

import argparse
import io
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass, fields

# moto must not go looking for real credentials or metadata servers.
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")

from moto.core.exceptions import JsonRESTError  # noqa: E402
from moto.core.responses import EmptyResult  # noqa: E402
from moto.glue.responses import GlueResponse  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server  # noqa: E402

ERROR_STATUS_DEFAULT = 500
ERROR_CODE_DEFAULT = "InternalServiceException"
REQUEST_HELD_SECONDS_MAX = 600


@dataclass
class Fault:
    """What goes wrong, for which requests, how often."""

    action: str = "*"  # Glue action: "UpdateTable", "GetTable", … or "*"
    database: str = ""  # only requests that name this database; empty: any
    table: str = ""  # only requests that name this table; empty: any
    skip: int = 0  # let this many matching requests pass first
    times: int = 1  # then hit this many
    when: str = "before"  # "before": the request has no effect; "after": it is applied, and its answer replaced
    hang_seconds: float = 0.0  # wait this long before answering (after applying, for "after")
    drop: bool = False  # close the connection instead of answering
    status: int = 0  # HTTP status; 0: 400 where `code` is given, else 500. 200: the true answer ("after", late)
    code: str = ""  # error code, such as AccessDeniedException, ThrottlingException, OperationTimeoutException

    @staticmethod
    def parse(given: dict) -> "Fault":
        unknown = set(given) - {field.name for field in fields(Fault)}
        if unknown:
            raise ValueError(f"unknown fields in fault: {sorted(unknown)}")
        fault = Fault(**given)
        if fault.when not in ("before", "after"):
            raise ValueError(f"when is 'before' or 'after', not {fault.when!r}")
        if fault.status == 200 and fault.when == "before":
            raise ValueError("status 200 needs when = 'after'")
        if not 0 <= fault.hang_seconds <= REQUEST_HELD_SECONDS_MAX:
            raise ValueError(f"hang_seconds is at most {REQUEST_HELD_SECONDS_MAX}")
        return fault

    def matches(self, action: str, database: str, table: str) -> bool:
        return (
            self.action in ("*", action)
            and self.database in ("", database)
            and self.table in ("", table)
        )

    def error(self) -> tuple[int, str]:
        status = self.status or (400 if self.code else ERROR_STATUS_DEFAULT)
        return status, self.code or ERROR_CODE_DEFAULT


class Emulator:
    """WSGI application: moto's, behind the locks and the faults."""

    def __init__(self) -> None:
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.glue_lock = threading.Lock()
        self.s3_lock = threading.Lock()
        self.state_lock = threading.Lock()  # guards the two below
        self.faults: list[Fault] = []
        self.calls: Counter[tuple[str, str, str]] = Counter()

    def __call__(self, environ, start_response):
        if environ.get("PATH_INFO", "").rstrip("/") == "/etl-faults":
            return self.control(environ, start_response)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target.startswith("AWSGlue."):
            return self.glue(environ, start_response, target.removeprefix("AWSGlue."))
        if environ.get("HTTP_IF_MATCH") or environ.get("HTTP_IF_NONE_MATCH"):
            read_body(environ)  # before the lock: a stalled client holds up nobody else
            with self.s3_lock:
                return self.moto(environ, start_response)
        return self.moto(environ, start_response)

    def glue(self, environ, start_response, action: str):
        database, table = names(action, read_body(environ))
        fault = self.take_fault(action, database, table)
        if fault is None:
            with self.glue_lock:
                return self.moto(environ, start_response)

        answer = None
        if fault.when == "after":
            with self.glue_lock:
                answer = apply_and_keep(self.moto, environ)
        time.sleep(fault.hang_seconds)  # outside the lock: others go on meanwhile
        if fault.drop:
            drop_connection(environ)
            return json_answer(start_response, 500, {})  # reaches nobody
        status, code = fault.error()
        # An answer that is an error already stays: nothing was applied, so there is no success to hide.
        if answer and (status == 200 or not answer[0].startswith("200")):
            start_response(answer[0], answer[1])
            return [answer[2]]
        return json_answer(start_response, status, {"__type": code, "Message": "fault asked for by the test"})

    def take_fault(self, action: str, database: str, table: str) -> Fault | None:
        with self.state_lock:
            self.calls[(action, database, table)] += 1
            for fault in self.faults:
                if not fault.matches(action, database, table):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def control(self, environ, start_response):
        try:
            body = read_body(environ)
            given = json.loads(body) if body else {}
            method = environ["REQUEST_METHOD"]
            if method == "POST":
                added = [Fault.parse(fault) for fault in (given if isinstance(given, list) else [given])]
                with self.state_lock:
                    self.faults.extend(added)
            elif method == "DELETE":
                only = given.get("database")
                with self.state_lock:
                    self.faults = [f for f in self.faults if only and f.database != only]
                    self.calls = Counter({k: n for k, n in self.calls.items() if only and k[1] != only})
            elif method != "GET":
                return json_answer(start_response, 405, {"error": "GET, POST or DELETE"})
        except (ValueError, TypeError, AttributeError) as error:
            return json_answer(start_response, 400, {"error": str(error)})
        with self.state_lock:
            state = {
                "faults": [asdict(fault) for fault in self.faults],
                "calls": [
                    {"action": action, "database": database, "table": table, "count": count}
                    for (action, database, table), count in sorted(self.calls.items())
                ],
            }
        return json_answer(start_response, 200, state)


def update_table(self: GlueResponse):
    """UpdateTable with `VersionId` enforced. Glue requests are serialized, so check and update are one step."""
    request = self.parameters
    database, table_input = request.get("DatabaseName"), request.get("TableInput")
    table = self.glue_backend.get_table(database, table_input.get("Name"))
    current = table.as_dict()["VersionId"]
    expected = request.get("VersionId")
    if expected is not None and expected != current:
        raise JsonRESTError(
            "ConcurrentModificationException",
            f"Update table failed due to concurrent modifications: version is {current}, not {expected}.",
        )
    table.update(table_input)
    if request.get("SkipArchive"):
        table.versions.pop(current, None)  # the version replaced just now is not kept
    return EmptyResult()


def names(action: str, body: bytes) -> tuple[str, str]:
    """Database and table a Glue request is about; empty where it names none."""
    try:
        request = json.loads(body)
        table = request.get("TableInput", {}).get("Name") or request.get("TableName")
        if table is None and action in ("GetTable", "DeleteTable"):
            table = request.get("Name")
        database = request.get("DatabaseName") or request.get("DatabaseInput", {}).get("Name")
        if database is None and action in ("GetDatabase", "DeleteDatabase", "UpdateDatabase"):
            database = request.get("Name")
        return database or "", table or ""
    except (ValueError, AttributeError):
        return "", ""


def read_body(environ) -> bytes:
    """The whole body, put back so that moto can read it again. A chunked one is left alone."""
    length = environ.get("CONTENT_LENGTH")
    if not length:
        return b""
    body = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def apply_and_keep(app, environ) -> tuple[str, list, bytes]:
    """Runs the request and keeps the answer: (status line, headers, body)."""
    kept = {}

    def start_response(status, headers, exc_info=None):
        kept["status"], kept["headers"] = status, headers

    body = b"".join(app(environ, start_response))
    return kept["status"], kept["headers"], body


def drop_connection(environ) -> None:
    try:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the client went first


def json_answer(start_response, status: int, value) -> list[bytes]:
    body = json.dumps(value).encode()
    headers = [
        ("Content-Type", "application/x-amz-json-1.1"),
        ("Content-Length", str(len(body))),
        ("x-amzn-RequestId", str(uuid.uuid4())),
    ]
    start_response(f"{status} Fault" if status >= 400 else f"{status} OK", headers)
    return [body]


class QuietHandler(MotoRequestHandler):
    """No line per request: they bury the tracebacks one looks for."""

    protocol_version = "HTTP/1.1"  # keep-alive, as AWS has it

    def log_request(self, *_args, **_kwargs) -> None:
        pass


def make_emulator(port: int):
    GlueResponse.update_table = update_table
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    return make_server("127.0.0.1", port, Emulator(), threaded=True, request_handler=QuietHandler)


def main() -> None:
    parser = argparse.ArgumentParser(description="A Glue Data Catalog (and S3) on 127.0.0.1, for tests.")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one (default)")
    parser.add_argument("--port-file", help="also write the port to this file, once it listens")
    parser.add_argument("--self-test", action="store_true", help="check the emulator against boto3 and end")
    args = parser.parse_args()
    if args.self_test:
        return self_test()

    server = make_emulator(args.port)
    print(server.server_port, flush=True)
    if args.port_file:
        with open(args.port_file + ".tmp", "w") as file:
            file.write(f"{server.server_port}\n")
        os.replace(args.port_file + ".tmp", args.port_file)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


# --- self test -------------------------------------------------------------------------------------------------------


def self_test() -> None:
    import urllib.error
    import urllib.request

    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    server = make_emulator(0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    boto = boto3.session.Session("test", "test", region_name="us-east-1")
    once = Config(retries={"total_max_attempts": 1}, read_timeout=5, connect_timeout=5)
    glue = boto.client("glue", endpoint_url=endpoint, config=once)
    s3 = boto.client("s3", endpoint_url=endpoint, config=once)

    def faults(method: str, body=None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{endpoint}/etl-faults", data, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def table(name: str = "t") -> dict:
        return glue.get_table(DatabaseName="d", Name=name)["Table"]

    def update(marker: str, client=glue, **more) -> None:
        table_input = {"Name": "t", "Parameters": {"marker": marker}}
        client.update_table(DatabaseName="d", TableInput=table_input, **more)

    def error_of(call, *args, **kwargs) -> tuple[str, int]:
        try:
            call(*args, **kwargs)
        except ClientError as error:
            return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        except (ConnectionError, HTTPClientError) as error:
            return type(error).__name__, 0
        return "", 200

    def check(what: str, got, expected) -> None:
        assert got == expected, f"{what}: got {got!r}, expected {expected!r}"
        print(f"ok  {what}", file=sys.stderr)

    def race(call, threads: int = 8) -> list:
        """What each of the threads' calls ended with, all let go at once."""
        barrier, results = threading.Barrier(threads), []
        # Made one after the other: clients may be used, but not made, by several threads.
        clients = [boto.client("glue", endpoint_url=endpoint, config=once) for _ in range(threads)]

        def one(index: int) -> None:
            barrier.wait()
            results.append(error_of(call, clients[index], index)[0])

        workers = [threading.Thread(target=one, args=(index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sorted(results)

    glue.create_database(DatabaseInput={"Name": "d"})
    seven_exist = [""] + ["AlreadyExistsException"] * 7
    create = lambda client, i: client.create_table(DatabaseName="d", TableInput={"Name": "t"})  # noqa: E731
    check("one of 8 creates wins", race(create), seven_exist)
    check("GetTable returns VersionId", "VersionId" in table(), True)

    first = table()["VersionId"]
    update("a", VersionId=first)
    check("an update is applied", table()["Parameters"]["marker"], "a")
    check("the version moves", table()["VersionId"] != first, True)
    check("a stale version is refused", error_of(update, "b", VersionId=first), ("ConcurrentModificationException", 400))
    check("and changes nothing", table()["Parameters"]["marker"], "a")
    update("c")
    check("no version: unconditional", table()["Parameters"]["marker"], "c")

    before = table()["VersionId"]
    update("skip", VersionId=before, SkipArchive=True)
    kept = [v["VersionId"] for v in glue.get_table_versions(DatabaseName="d", TableName="t")["TableVersions"]]
    check("SkipArchive keeps no old version", before in kept, False)
    check("a missing table is named", error_of(table, "nope"), ("EntityNotFoundException", 400))

    for round_ in range(20):
        version = table()["VersionId"]
        ended = race(lambda client, i: update(f"{round_}/{i}", client, VersionId=version))
        assert ended == [""] + ["ConcurrentModificationException"] * 7, ended
    check("8 threads, 20 rounds: one winner each", True, True)

    version = table()["VersionId"]
    faults("POST", {"action": "UpdateTable", "when": "before"})
    check("before: 500", error_of(update, "never", VersionId=version), (ERROR_CODE_DEFAULT, 500))
    check("before: not applied", table()["VersionId"], version)
    faults("POST", {"action": "UpdateTable", "when": "after", "database": "d", "table": "t"})
    check("after: 500", error_of(update, "hidden", VersionId=version), (ERROR_CODE_DEFAULT, 500))
    check("after: applied", table()["Parameters"]["marker"], "hidden")
    check("a fault is used up", faults("GET")["faults"], [])

    faults("POST", {"action": "UpdateTable", "when": "after"})
    stale = error_of(update, "stale", VersionId=version)
    check("after, with a stale version: the refusal stays", stale[0], "ConcurrentModificationException")

    for code in ("AccessDeniedException", "ThrottlingException", "OperationTimeoutException"):
        faults("POST", {"action": "*", "code": code})
        check(code, error_of(table), (code, 400))
    faults("POST", {"action": "GetTable", "skip": 1, "times": 2, "status": 503})
    check("skip and times", [error_of(table)[1] for _ in range(4)], [200, 503, 503, 200])
    faults("POST", {"action": "GetTable", "database": "other"})
    check("a fault of another database", error_of(table)[1], 200)
    faults("DELETE", {"database": "other"})
    check("faults of one database forgotten", faults("GET")["faults"], [])

    version = table()["VersionId"]
    faults("POST", {"action": "UpdateTable", "when": "after", "drop": True})
    check("drop: the connection ends", error_of(update, "dropped", VersionId=version)[1], 0)
    check("drop, after: applied", table()["Parameters"]["marker"], "dropped")

    version = table()["VersionId"]
    impatient = boto.client("glue", endpoint_url=endpoint, config=once.merge(Config(read_timeout=1)))
    faults("POST", {"action": "UpdateTable", "when": "after", "hang_seconds": 3, "status": 200})
    started = time.monotonic()
    hung = error_of(update, "hung", impatient, VersionId=version)
    check("hang: the client's timeout", (hung, time.monotonic() - started < 2.5), (("ReadTimeoutError", 0), True))
    check("hang, after: applied, and others are served meanwhile", table()["Parameters"]["marker"], "hung")

    counted = [c["count"] for c in faults("GET")["calls"] if c["action"] == "CreateTable"]
    check("calls are counted", counted, [8])
    try:
        faults("POST", {"actoin": "GetTable"})
        raise AssertionError("a misspelt fault was taken")
    except urllib.error.HTTPError as error:
        check("a misspelt fault is refused", error.code, 400)

    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=b"1", IfNoneMatch="*")
    again = error_of(s3.put_object, Bucket="bucket", Key="k", Body=b"2", IfNoneMatch="*")
    check("S3 If-None-Match", again, ("PreconditionFailed", 412))
    s3.put_object(Bucket="bucket", Key="cold", Body=b"x", StorageClass="GLACIER")
    check("S3 storage class", s3.head_object(Bucket="bucket", Key="cold")["StorageClass"], "GLACIER")
    print("self test passed", file=sys.stderr)


if __name__ == "__main__":
    main()
