"""A busy daemon to which everything happens, scraped by a real Prometheus.

`python -m tests.deploy.live` runs it and prints a table: each query of dashboards and alerts, and what it answers.
"""

from __future__ import annotations

import gzip
import http.server
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.aws.servers import CREDENTIALS, REGION, Aws, running
from tests.deploy import queries
from tests.deploy.queries import Query
from tests.deploy.tools import program
from tests.ports import free_port
from tests.proofs.hostile import record
from tests.proofs.site import descendants

ROUNDS = 14
ROUND_SECS = 1.0
WAIT_SECS = 60.0

CONFIG = """
sources:
  trail:
    type: aws_sqs
    queue_url: {queue}
    dead_letter_queue_url: {dead_letters}
    endpoint_url: {endpoint}
    region: {region}
    lease_secs: 2
    max_attempts: 2
    routes: [{{log_types: [AWS.CloudTrail]}}]
  inbox: {{type: directory, path: {folder}/inbox, settle_secs: 0, routes: [{{log_types: [AWS.CloudTrail]}}]}}
detections: {{paths: [{folder}/rules]}}
alerts: {{max_per_hour: 20}}
destinations:
  record: {{type: file, path: {folder}/alerts.jsonl, per_minute: 100000}}
  refusing: {{type: webhook, url: "{provider}/refuse", per_minute: 100000}}
  overloaded: {{type: webhook, url: "{provider}/overloaded", per_minute: 100000}}
lake: {{url: {folder}/lake, rotate_secs: 3}}
state: {{path: {folder}/state.db}}
workers: {{count: 1, rule_secs: 0.05}}
http: {{listen: "127.0.0.1:{port}"}}
logging: {{level: info, format: json}}
"""

RULES = {
    "Finds": "def rule(event):\n    return event['eventID'].endswith('0')\n"
    "def dedup(event):\n    return event['eventID']\n",
    "FindsSome": "def rule(event):\n    return event['eventID'].endswith('-30')\n"
    "def dedup(event):\n    return event['eventID']\n",
    "Fails": "def rule(event):\n    return event['eventID'].endswith('1') and 1 / 0\n",
    "Loops": "def rule(event):\n    while event['eventID'].endswith('2'):\n        pass\n    return False\n",
}

CORRELATION = """
AnalysisType: correlation_rule
RuleID: FindsAgain
Enabled: true
Severity: High
Detection:
  - Group: [{ID: A, RuleID: FindsSome}, {ID: B, RuleID: Finds}]
    LookbackWindowMinutes: 60
    Schedule: {RateMinutes: 0.01, TimeoutMinutes: 1}
"""

PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs: [{{job_name: ingestd, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""


@dataclass
class Answer:
    """What Prometheus says to a query. Values that are no numbers are none: Grafana draws nothing for them."""

    query: Query
    values: list[float]

    @property
    def row(self) -> str:
        """For the table."""
        largest = f"{max(self.values):.6g}" if self.values else "EMPTY"
        return f"{self.query.where:<72} {len(self.values):>4} {largest:>14}"


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def ask(self, query: Query) -> Answer:
        """Evaluate a query now."""
        url = f"{self._base}/api/v1/query?{urllib.parse.urlencode({'query': query.expression})}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            series = json.load(answer)["data"]["result"]
        values = [float(each["value"][1]) for each in series]
        return Answer(query, [value for value in values if math.isfinite(value)])


class _Provider(http.server.BaseHTTPRequestHandler):
    """Takes no alert: one address refuses for good, the other for now."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(400 if self.path == "/refuse" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def busy(folder: Path) -> Iterator[Prometheus]:
    """Everything happens for some seconds; then Prometheus knows it."""
    with ExitStack() as stack:
        aws = stack.enter_context(running("moto", folder))
        provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Provider)
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        stack.callback(provider.shutdown)
        site = _Site(folder, aws, f"http://127.0.0.1:{provider.server_port}")
        command = [sys.executable, "-m", "ingestd", "run", "-c", str(site.config)]
        daemon = stack.enter_context(_process(command, folder / "daemon.log"))
        _until(lambda: _answers(f"http://127.0.0.1:{site.port}/readyz"), daemon, folder / "daemon.log")
        prometheus_port = free_port()
        (folder / "prometheus.yml").write_text(PROMETHEUS.format(port=site.port, rules=queries.RULES))
        command = [program("prometheus"), f"--config.file={folder}/prometheus.yml"]
        command += [f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{prometheus_port}"]
        prometheus = stack.enter_context(_process(command, folder / "prometheus.log"))
        _until(lambda: _answers(f"http://127.0.0.1:{prometheus_port}/-/ready"), prometheus, folder / "prometheus.log")
        for number in range(ROUNDS):
            began = time.monotonic()
            site.happen(number, daemon.pid)
            time.sleep(max(0.0, ROUND_SECS - (time.monotonic() - began)))  # Prometheus counts in real seconds
            assert daemon.poll() is None, (folder / "daemon.log").read_text()[-3_000:]
        yield Prometheus(prometheus_port)


class _Site:
    """A folder, a bucket and a queue for the daemon."""

    def __init__(self, folder: Path, aws: Aws, provider: str) -> None:
        self.folder, self.aws, self.port = folder, aws, free_port()
        self.bucket, self.queue, dead_letters = aws.bucket(), aws.queue(), aws.queue()
        aws.notify_queue(self.bucket, self.queue)
        for name, code in RULES.items():
            rule = f"AnalysisType: rule\nRuleID: {name}\nFilename: {name}.py\nEnabled: true\nSeverity: High\n"
            (folder / "rules").mkdir(exist_ok=True)
            (folder / "rules" / f"{name}.py").write_text(code)
            (folder / "rules" / f"{name}.yml").write_text(f"{rule}LogTypes: [AWS.CloudTrail]\n")
        (folder / "rules" / "FindsAgain.yml").write_text(CORRELATION)
        (folder / "inbox").mkdir()
        self.config = folder / "ingestd.yml"
        self.text = CONFIG.format(
            queue=self.queue,
            dead_letters=dead_letters,
            endpoint=aws.url,
            region=REGION,
            folder=folder,
            provider=provider,
            port=self.port,
        )
        self.config.write_text(self.text)

    def happen(self, number: int, daemon: int) -> None:
        """One round: good and bad files, messages that nobody understands; now and then worse."""
        records = [record(f"{number}-{index}") for index in range(40)]
        records[0]["aFieldOfNoSchema"] = "drift"
        strange = [{"eventVersion": [], "no": "schema"}]
        for index in range(3):
            self._drop(f"{number}-{index}.json.gz", {"Records": [*records, *strange]})
        self.aws.put(self.bucket, f"{number}.json.gz", gzip.compress(json.dumps({"Records": records}).encode()))
        self.aws.put(self.bucket, f"gone-{number}.json.gz", b"{}")
        self.aws.client("s3").delete_object(Bucket=self.bucket, Key=f"gone-{number}.json.gz")
        self.aws.send(self.queue, f"what is this? {number}")
        if number == ROUNDS // 4:
            self._reload("sources: [\n", daemon)
        elif number == ROUNDS // 2:
            self._reload(self.text, daemon)
            os.kill(list(descendants(daemon))[-1], signal.SIGKILL)

    def _drop(self, name: str, content: object) -> None:
        partial = self.folder / "inbox" / f"{name}.part"
        partial.write_bytes(gzip.compress(json.dumps(content).encode()))
        partial.rename(self.folder / "inbox" / name)

    def _reload(self, text: str, daemon: int) -> None:
        self.config.write_text(text)
        os.kill(daemon, signal.SIGHUP)


@contextmanager
def _process(command: list[str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **CREDENTIALS}
    with output.open("wb") as log:
        process = subprocess.Popen(command, cwd=output.parent, stdout=log, stderr=log, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WAIT_SECS
    while not condition():
        assert process.poll() is None, f"{process.args!r} has ended: {log.read_text()[-3_000:]}"
        assert time.monotonic() < deadline, f"not ready after {WAIT_SECS:.0f} s: {log.read_text()[-3_000:]}"
        time.sleep(0.1)  # nobody tells when a port answers


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def asked() -> list[Query]:
    """Panels as they are; of alerts, which rightly answer nothing as a rule, each selector."""
    wanted = list(queries.panels())
    for alert in queries.alerts():
        for selector in {str(each): each for each in queries.selectors(alert.expression)}.values():
            matchers = ",".join(f'{each.name}{_OPERATORS[str(each.op)]}"{each.value}"' for each in selector.matchers)
            wanted.append(Query(f"{alert.where}: {selector.name}", f"{selector.name}{{{matchers}}}"))
    return wanted


_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


def main() -> int:
    """Print the table; 1 when a query has no answer."""
    folder = Path(tempfile.mkdtemp(prefix="ingestd-live-"))
    try:
        with busy(folder) as prometheus:
            answers = [prometheus.ask(query) for query in asked()]
            firing = prometheus.ask(Query("", "count by (alertname, alertstate) (ALERTS)"))
    finally:
        shutil.rmtree(folder)
    print(f"{'query':<72} {'n':>4} {'largest':>14}")
    for answer in answers:
        print(answer.row)
    empty = [answer for answer in answers if not answer.values]
    print(f"{len(answers)} queries, {len(empty)} without an answer; {len(firing.values)} alerts pending or firing")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
