"""The page of clients tells the jobs that the tests have."""
import collections
import json
import subprocess
import sys

from lib import ROOT
from lib.client_page import jobs_of_page, told


def test_the_page_has_the_jobs_of_the_tests(tmp_path):
    found = tmp_path / "jobs.json"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-o", f"cache_dir={tmp_path / 'cache'}", "-m", "", "gateway/tests/clients", f"--client-jobs={found}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    wanted = [(one["client"], one["job"], told(one), one["flags"]) for one in json.loads(found.read_text())]
    twice = [name for name, number in collections.Counter(job[:2] for job in wanted).items() if number > 1]
    assert not twice, "a client's job has a name of its own"
    stale = set(wanted) ^ set(jobs_of_page())
    assert not stale, f"docs/clients.md is stale, write it with --write-client-page: {sorted(stale)}"
