#!/usr/bin/env python3
"""A Glue Data Catalog (and S3) on 127.0.0.1, for tests.

It is moto's server with what the commit protocol depends on added:

* UpdateTable with a `VersionId` is a compare-and-swap: it succeeds only for the current version, otherwise it answers
  ConcurrentModificationException. Without a `VersionId` it is unconditional, as in AWS.
* Glue requests run one at a time, so a race has exactly one winner (CreateTable included).
* S3 requests that carry If-Match or If-None-Match run one at a time as well; moto itself checks and writes apart.
* Storage classes of S3 as strict as AWS has them: conditions of copies, parts of archived objects, lifecycle rules that are
  kept as they were written and refused where AWS refuses them, restores that take until somebody says that they are done:

      POST   /etl-storage  {"bucket": …, "prefix": …, "finish_restores": true}
      POST   /etl-storage  {"bucket": …, "prefix": …, "follow_lifecycle": "2025-06-05T00:00:00Z"}: as S3 would at that time

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
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, unquote

# moto must not go looking for real credentials or metadata servers.
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")

import xmltodict  # noqa: E402
from moto.core import DEFAULT_ACCOUNT_ID  # noqa: E402
from moto.core.exceptions import JsonRESTError  # noqa: E402
from moto.core.responses import EmptyResult  # noqa: E402
from moto.glue.responses import GlueResponse  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.moto_api import state_manager  # noqa: E402
from moto.s3.models import s3_backends  # noqa: E402
from moto.s3.responses import S3Response  # noqa: E402
from moto.s3.utils import ARCHIVE_STORAGE_CLASSES  # noqa: E402
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
        self.storage = Storage(self.moto)

    def __call__(self, environ, start_response):
        if environ.get("PATH_INFO", "").rstrip("/") == "/etl-faults":
            return self.control(environ, start_response)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target.startswith("AWSGlue."):
            return self.glue(environ, start_response, target.removeprefix("AWSGlue."))
        if environ.get("PATH_INFO", "").rstrip("/") == "/etl-storage":
            with self.s3_lock:
                return self.storage.control(environ, start_response)
        if self.storage.minds(environ):
            read_body(environ)  # before the lock: a stalled client holds up nobody else
            with self.s3_lock:
                return self.storage(environ, start_response)
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


class Storage:
    """S3 where moto is laxer than AWS. Called under a lock: what it checks stays so until moto has done it."""

    def __init__(self, moto) -> None:
        self.moto = moto
        self.lifecycles: dict[str, bytes] = {}
        # No restore ends by itself.
        state_manager.set_transition("s3::keyrestore", {"progression": "manual", "times": 1 << 60})

    @staticmethod
    def minds(environ) -> bool:
        query = environ.get("QUERY_STRING", "")
        return bool(
            environ.get("HTTP_IF_MATCH")
            or environ.get("HTTP_IF_NONE_MATCH")
            or environ.get("HTTP_X_AMZ_COPY_SOURCE")
            or (environ["REQUEST_METHOD"] == "POST" and "restore" in query)
            or query.split("&")[0].rstrip("=") in ("lifecycle", "versioning")
        )

    def __call__(self, environ, start_response):
        bucket, _, key = environ.get("PATH_INFO", "").lstrip("/").partition("/")
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if not key and "lifecycle" in query:
            return self.lifecycle(environ, start_response, bucket)
        if not key and "versioning" in query and environ["REQUEST_METHOD"] == "GET":
            # moto names the answer after the request, which the SDKs of AWS do not read.
            status, headers, body = apply_and_keep(self.moto, environ)
            body = body.replace(b"GetBucketVersioningResponse", b"VersioningConfiguration")
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
            start_response(status, [*headers, ("Content-Length", str(len(body)))])
            return [body]
        there = find(bucket, key)
        if environ["REQUEST_METHOD"] == "POST" and "restore" in query:
            if there is not None and is_restoring(there):
                message = "Object restore is already in progress"
                return xml_error(start_response, 409, "RestoreAlreadyInProgress", message)
            answer = self.moto(environ, start_response)
            if there is not None and there.storage_class in ARCHIVE_STORAGE_CLASSES and there._expiry:
                there.status = there.status if there.status == "RESTORED" else "IN_PROGRESS"
            return answer
        refused = self.refused(environ, there, query)
        return xml_error(start_response, *refused) if refused else self.moto(environ, start_response)

    @staticmethod
    def refused(environ, there, query) -> tuple[int, str, str] | None:
        """Why AWS would not do it, where moto would."""
        failed = (412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        is_copy, is_end = "HTTP_X_AMZ_COPY_SOURCE" in environ, environ["REQUEST_METHOD"] == "POST" and "uploadId" in query
        if (is_copy or is_end) and (wanted := environ.get("HTTP_IF_MATCH")):
            if there is None:
                return 404, "NoSuchKey", "The specified key does not exist."
            if there.etag != wanted:
                return failed
        if not is_copy:
            return None
        bucket, _, key = unquote(environ["HTTP_X_AMZ_COPY_SOURCE"]).lstrip("/").partition("/")
        source = find(bucket, key)
        if source is None:
            return None
        if (wanted := environ.get("HTTP_X_AMZ_COPY_SOURCE_IF_MATCH")) and source.etag != wanted:
            return failed
        if source.storage_class in ARCHIVE_STORAGE_CLASSES and source.status != "RESTORED":
            return 403, "ObjectNotInActiveTierError", "The source object of the COPY operation is not in the active tier"
        return None

    def lifecycle(self, environ, start_response, bucket: str):
        method = environ["REQUEST_METHOD"]
        if method == "PUT":
            body = read_body(environ)
            if refused := bad_rules(body):
                return xml_error(start_response, 400, *refused)
            self.lifecycles[bucket] = body
        elif method == "DELETE":
            self.lifecycles.pop(bucket, None)
        elif bucket not in self.lifecycles:
            message = "The lifecycle configuration does not exist"
            return xml_error(start_response, 404, "NoSuchLifecycleConfiguration", message)
        body = self.lifecycles.get(bucket, b"") if method == "GET" else b""
        minimum = ("x-amz-transition-default-minimum-object-size", "all_storage_classes_128K")
        start_response("200 OK", [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), minimum])
        return [body]

    def control(self, environ, start_response):
        given = json.loads(read_body(environ))
        bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[given["bucket"]]
        keys = [key for name, key in bucket.keys.items() if name.startswith(given.get("prefix", ""))]
        changed = 0
        for key in keys:
            if given.get("finish_restores") and is_restoring(key):
                key.status = "RESTORED"
                changed += 1
            if now := given.get("follow_lifecycle"):
                wanted = self.due(given["bucket"], key, datetime.fromisoformat(now))
                if wanted and wanted != key.storage_class:
                    key.set_storage_class(wanted)
                    changed += 1
        return json_answer(start_response, 200, {"changed": changed})

    def due(self, bucket: str, key, now: datetime) -> str | None:
        """The class that the bucket's rules give an object."""
        tags = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].tagger.get_tag_dict_for_resource(key.arn)
        age = now - key.last_modified.replace(tzinfo=timezone.utc)
        found = None
        for rule in rules_of(self.lifecycles.get(bucket, b"")):
            what = rule.get("Filter") or {}
            what = what.get("And") or what
            wanted = [(tag["Key"], tag["Value"]) for tag in many(what.get("Tag"))]
            if (
                rule["Status"] == "Enabled"
                and key.name.startswith(what.get("Prefix") or "")
                and all(tags.get(name) == value for name, value in wanted)
                and key.size > int(what.get("ObjectSizeGreaterThan") or 0)
            ):
                for transition in many(rule.get("Transition")):
                    if timedelta(days=int(transition["Days"])) <= age:
                        found = transition["StorageClass"]
        return found


def tags_of_any_class(original):
    """GetObjectTagging as AWS has it: the tags of an archived object can be read."""

    def get_object_tagging(self):
        self._get_key = lambda: type(self)._get_key(self, validate_storage_class=False)
        try:
            return original(self)
        finally:
            del self._get_key

    return get_object_tagging


def find(bucket: str, key: str):
    """moto's object; None where there is none."""
    buckets = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets
    return buckets[bucket].keys.get(key) if bucket in buckets else None


def is_restoring(key) -> bool:
    return key._expiry is not None and key.status == "IN_PROGRESS"


def many(value) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]


def rules_of(body: bytes) -> list[dict]:
    return many(xmltodict.parse(body)["LifecycleConfiguration"].get("Rule")) if body else []


def bad_rules(body: bytes) -> tuple[str, str] | None:
    """Code and message where AWS refuses the rules."""
    rules = rules_of(body)
    ids = [rule.get("ID") for rule in rules]
    if len(set(ids)) != len(ids):
        return "InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule"
    for rule in rules:
        for transition in many(rule.get("Transition")):
            if transition["StorageClass"] in ("STANDARD_IA", "ONEZONE_IA") and int(transition.get("Days", 30)) < 30:
                return "InvalidArgument", "'Days' in Transition action must be greater than or equal to 30"
    return None


def xml_error(start_response, status: int, code: str, message: str) -> list[bytes]:
    body = f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    start_response(f"{status} Refused", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


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
    S3Response.get_object_tagging = tags_of_any_class(S3Response.get_object_tagging)
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
    archived = ("InvalidObjectState", 403)
    check("an archived object", error_of(s3.get_object, Bucket="bucket", Key="cold"), archived)

    def copy(key: str, etag: str, **more) -> tuple[str, int]:
        source = {"Bucket": "bucket", "Key": key}
        return error_of(s3.copy_object, Bucket="bucket", Key=key, CopySource=source, StorageClass="STANDARD_IA",
                        **{"CopySourceIfMatch": etag, "IfMatch": etag, **more})

    etag = s3.head_object(Bucket="bucket", Key="k")["ETag"]
    check("a copy of another version", copy("k", '"0"'), ("PreconditionFailed", 412))
    check("a copy over another version", copy("k", etag, IfMatch='"0"'), ("PreconditionFailed", 412))
    check("a copy in place", copy("k", etag), ("", 200))
    after = s3.head_object(Bucket="bucket", Key="k")
    check("its class and ETag", (after["StorageClass"], after["ETag"]), ("STANDARD_IA", etag))
    check("tags of an archived object", s3.get_object_tagging(Bucket="bucket", Key="cold")["TagSet"], [])
    cold = s3.head_object(Bucket="bucket", Key="cold")["ETag"]
    check("a copy of an archived object", copy("cold", cold), ("ObjectNotInActiveTierError", 403))

    def storage(**what) -> int:
        data = json.dumps({"bucket": "bucket", **what}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/etl-storage", data, method="POST")) as answer:
            return json.load(answer)["changed"]

    def restore() -> tuple[str, int]:
        wanted = {"Days": 1, "GlacierJobParameters": {"Tier": "Bulk"}}
        return error_of(s3.restore_object, Bucket="bucket", Key="cold", RestoreRequest=wanted)

    check("a restore", restore()[0], "")
    check("is under way", s3.head_object(Bucket="bucket", Key="cold")["Restore"], 'ongoing-request="true"')
    check("and cannot be read yet", error_of(s3.get_object, Bucket="bucket", Key="cold"), archived)
    check("a second restore", restore(), ("RestoreAlreadyInProgress", 409))
    check("it ends", storage(finish_restores=True), 1)
    check("and can be read", s3.get_object(Bucket="bucket", Key="cold")["Body"].read(), b"x")

    def rules(days: int) -> dict:
        move = [{"Days": days, "StorageClass": "STANDARD_IA"}]
        filtered = {"And": {"Prefix": "r/", "Tags": [{"Key": "a", "Value": "b"}], "ObjectSizeGreaterThan": 1}}
        return {"Rules": [{"ID": "x", "Status": "Enabled", "Filter": filtered, "Transitions": move}]}

    put = s3.put_bucket_lifecycle_configuration
    early = error_of(put, Bucket="bucket", LifecycleConfiguration=rules(7))
    check("a rule that is too early", early, ("InvalidArgument", 400))
    put(Bucket="bucket", LifecycleConfiguration=rules(30))
    kept = s3.get_bucket_lifecycle_configuration(Bucket="bucket")["Rules"]
    check("rules stay as they were written", kept, rules(30)["Rules"])
    for key, tag in (("r/yes", "a=b"), ("r/no", "a=c"), ("s/no", "a=b")):
        s3.put_object(Bucket="bucket", Key=key, Body=b"xyz", Tagging=tag)
    check("too young for a rule", storage(follow_lifecycle=datetime.now(timezone.utc).isoformat()), 0)
    check("a rule is followed", storage(follow_lifecycle="2100-01-01T00:00:00+00:00"), 1)
    check("by what it names", s3.head_object(Bucket="bucket", Key="r/yes")["StorageClass"], "STANDARD_IA")
    print("self test passed", file=sys.stderr)


if __name__ == "__main__":
    main()
