"""Known faults of the locked packages, by pip-audit: `make audit`, which is part of `make check`.

Ends with 1 where a fault is known. Where no service that knows them can be reached it says so in one line and ends with 0: a machine without
a network can still check everything else. pip-audit alone would not do: it fails where nobody answers, and passes a package that its service
has not heard of.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FILES = ("requirements.lock", "pyproject.toml")  # the second pins what the first leaves to the machine: torch
PIN = re.compile(r"""^\s*["']?([A-Za-z0-9][\w.-]*)==([^\s;"'\\]+)""", re.MULTILINE)
PYPI = "https://pypi.org/pypi/pip/26.0/json"
OSV = "https://api.osv.dev/v1/query"
REACH_SECONDS, MOST_SECONDS = 5, 180


def knows(url: str, body: bytes | None = None) -> bool:
    """Whether a service answers with JSON of the kind that is asked for."""
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - the addresses above, or as told
    try:
        with urllib.request.urlopen(asked, timeout=REACH_SECONDS) as answer:  # noqa: S310
            told = json.load(answer)
    except (OSError, ValueError):
        return False
    return body is not None or "vulnerabilities" in told


def main() -> int:
    """Audit; 1 where a fault is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--osv-url", help="ask this service, which speaks OSV's API, and no other")
    parser.add_argument("files", nargs="*", type=Path, default=[PROJECT / name for name in FILES])
    chosen = parser.parse_args()
    pins = dict(sorted(pin for file in chosen.files for pin in PIN.findall(file.read_text(encoding="utf-8"))))
    question = json.dumps({"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "26.0"}).encode()
    if not chosen.osv_url and knows(PYPI):
        service = ["--vulnerability-service", "pypi"]
    elif knows(chosen.osv_url or OSV, question):
        service = ["--vulnerability-service", "osv", "--osv-url", chosen.osv_url or OSV]
    else:
        print("audit: no service of known faults (PyPI, OSV) can be reached from here: nothing was audited")
        return 0
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("\n".join(f"{name}=={version}" for name, version in pins.items()))
        wanted.flush()
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off", "--desc", "off"]
        command += ["--timeout", str(REACH_SECONDS), "--format", "json", "--requirement", wanted.name, *service]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)  # noqa: S603
            found = json.loads(done.stdout)["dependencies"]
        except subprocess.TimeoutExpired:
            print(f"audit: no result after {MOST_SECONDS} s: nothing was audited")
            return 0
        except ValueError:
            why = done.stderr.strip().splitlines()
            print(f"audit: pip-audit has no result: nothing was audited ({why[-1][:200] if why else 'it says nothing'})")
            return 0
    bad = [(one["name"], one["version"], fault) for one in found for fault in one.get("vulns", [])]
    for name, version, fault in bad:
        print(f"{name} {version}: {fault['id']}; mended in {', '.join(fault['fix_versions']) or 'no version yet'}")
    unknown = [one["name"] for one in found if "skip_reason" in one]
    print(
        f"audit: {len(found) - len(unknown)} of {len(pins)} packages, {len(bad)} known faults"
        + (f"; unknown to the service: {', '.join(unknown)}" if unknown else "")
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
