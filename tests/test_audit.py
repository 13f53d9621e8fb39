"""`make audit` against a service of its own: a known fault fails it, and no service at all is told and passes."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.small_world import free_port

PROJECT = Path(__file__).resolve().parent.parent
FAULT = {
    "id": "GHSA-0000",
    "summary": "",
    "details": "",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


@pytest.fixture
def service() -> Iterator[str]:
    """Knows of one fault, in jinja2."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps({"vulns": [FAULT]} if asked["package"]["name"] == "jinja2" else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()


def audit(url: str, folder: Path, pins: str) -> tuple[int, list[str]]:
    (folder / "pins.lock").write_text(pins)
    command = [sys.executable, "scripts/audit.py", "--osv-url", url, str(folder / "pins.lock")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def test_a_known_fault_of_a_pinned_package_fails_the_check_and_is_named(service: str, tmp_path: Path) -> None:
    pins = "polars==2.1.0 \\\n    --hash=sha256:00\n    # via x\njinja2==3.1.6 ; python_version > '3'\n"
    code, lines = audit(service, tmp_path, pins)
    assert code == 1
    assert lines == ["jinja2 3.1.6: GHSA-0000; mended in 99.1", "audit: 2 of 2 packages, 1 known faults"]
    assert audit(service, tmp_path, "polars==2.1.0\n") == (0, ["audit: 1 of 1 packages, 0 known faults"])


def test_where_no_service_answers_nothing_is_called_audited(tmp_path: Path) -> None:
    code, lines = audit(f"http://127.0.0.1:{free_port()}/", tmp_path, "polars==2.1.0\n")
    assert code == 0
    assert len(lines) == 1
    assert "nothing was audited" in lines[0]


def test_the_check_audits_and_every_pin_of_the_project_is_read() -> None:
    sys.path.insert(0, str(PROJECT / "scripts"))
    try:
        import audit as script
    finally:
        sys.path.pop(0)
    pins = dict(pin for name in script.FILES for pin in script.PIN.findall((PROJECT / name).read_text(encoding="utf-8")))
    assert {"torch", "polars", "starlette"} <= set(pins)
    shown = subprocess.run(
        ["make", "-n", "-o", "setup", "check"], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert "scripts/audit.py" in shown
