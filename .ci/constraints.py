"""Write constraints.txt: what pip resolves for every supported Python, one pin where they agree, markers where not.

Usage: python .ci/constraints.py python3.10 python3.11 python3.12 python3.13
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# Made by .ci/constraints.py from pyproject.toml; the versions that are tested. Names no index.\n"


def resolve(python: str) -> tuple[str, dict[str, str]]:
    """Return (``3.11``, {distribution: version}) as this interpreter's pip resolves the extra ``dev``."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run([python, "-m", "venv", f"{folder}/venv"], check=True)
        subprocess.run(
            [f"{folder}/venv/bin/python", "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
             "--report", str(report), "--editable", f"{ROOT}[dev]"],
            check=True,
        )  # fmt: skip
        found = json.loads(report.read_text())
    version = ".".join(found["environment"]["python_full_version"].split(".")[:2])
    return version, {
        re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"]["version"]
        for item in found["install"]
        if item["metadata"]["name"].lower() != "edgeproof"
    }


def main() -> None:
    """Resolve for each interpreter named on the command line and write the file."""
    pins: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    pythons = []
    for python in sys.argv[1:]:
        version, found = resolve(python)
        pythons.append(version)
        for name, pin in found.items():
            pins[name][pin].append(version)
    lines = []
    for name in sorted(pins):
        for pin, versions in sorted(pins[name].items()):
            if versions == pythons:
                lines.append(f"{name}=={pin}")
            else:
                marker = " or ".join(f'python_version == "{version}"' for version in versions)
                lines.append(f"{name}=={pin} ; {marker}")
    (ROOT / "constraints.txt").write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
