#!/usr/bin/env python3
"""The documents name files that exist: every `path` in backquotes and every link to a file."""
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parents[1]
tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, check=True, capture_output=True, text=True).stdout.split()
names = {path.rsplit("/", 1)[-1] for path in tracked}
packages = [(root / path).parent for path in tracked if path.endswith("/Cargo.toml")]
missing, looked_at = [], 0
for document in [path for path in tracked if path.endswith(".md")]:
    text = (root / document).read_text()
    here = (root / document).parent
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        looked_at += 1
        if not (here / link).exists():
            missing.append(f"{document}: {link}")
    for name in re.findall(r"`([\w./-]+\.(?:rs|py|md|toml|seg|bin|keys|hex))`", text):
        looked_at += 1
        # A bare name is a file somewhere; a path is one from the top, from here, or from a package.
        places = [base / name for base in [root, here, *packages]]
        if not (name in names if "/" not in name else any(place.exists() for place in places)):
            missing.append(f"{document}: {name}")
print("\n".join(missing))
print(f"{looked_at - len(missing)} passed, {len(missing)} failed")
sys.exit(1 if missing else 0)
