"""Crowds and overload: how much slower a healthy client gets, and how much work is still done when too much is asked for.

A program and no test of pytest's: figures of a machine are no verdict. Each part runs on a server of its own, the parts that are
compared in turn, and the table has their ratios.

    .tools/venv/bin/python gateway/tests/long/crowds.py target/release/siltstone --rounds 3
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from lib.server import Server

CROWDS = {
    "5,000 idle": {"idle": 5000}, "500 slow heads": {"heads": 500}, "500 slow bodies": {"bodies": 500}, "500 slow readers": {"readers": 500},
    "all of them": {"idle": 5000, "heads": 500, "bodies": 500, "readers": 500},
}
KINDS = ["idle", "heads", "bodies", "readers"]


def pinned(cores, *command):
    """A command on some cores; on a machine with one core, anywhere."""
    return ["taskset", "-c", cores, *command] if os.cpu_count() > 1 else list(command)


class Measured:
    """A server on the first core, everything else on the others."""

    def __init__(self, binary, folder, *flags):
        self.others = f"1-{os.cpu_count() - 1}"
        self.server = Server(binary, folder, *flags, under=pinned("0")).start()
        s3 = self.server.client()
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="big", Body=os.urandom(8 << 20))
        for number in range(200):
            s3.put_object(Bucket="bucket", Key=f"k{number}", Body=b"x" * 1024)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.kill()

    def load(self, rate, seconds, deadline, *closed):
        command = pinned(self.others, sys.executable, "-m", "lib.overload", *map(str, [self.server.port, rate, seconds, deadline, *closed]))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def crowd(self, wanted):
        wanted = {kind: wanted.get(kind, 0) for kind in KINDS}
        command = pinned(self.others, sys.executable, "-m", "lib.crowd", str(self.server.port), json.dumps(wanted))
        crowd = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        crowd.stdout.readline()
        return crowd


def healthy(measured, seconds):
    """Percentiles of a client that sends 100 requests each second, in milliseconds."""
    return measured.load(100, seconds, 10)


def crowds(arguments, folder):
    print("\n| crowd | p50 ms | p99 ms | p99, times quiet | not good | MiB more |\n|---|---|---|---|---|---|")
    for name, wanted in CROWDS.items():
        quiet, crowded, bad, grown = [], [], 0, 0
        for number in range(arguments.rounds):
            with Measured(arguments.binary, f"{folder}/{name.replace(' ', '-')}-{number}") as measured:
                quiet.append(healthy(measured, arguments.seconds))
                before = measured.server.resident()
                crowd = measured.crowd(wanted)
                crowded.append(healthy(measured, arguments.seconds))
                grown = max(grown, measured.server.resident() - before)
                crowd.kill()
                crowd.wait()
                bad += sum(count for result, count in crowded[-1]["results"].items() if result != "good")
        ratios = [one["p99"] / other["p99"] for one, other in zip(crowded, quiet)]
        of = lambda key: f"{statistics.median(one[key] for one in quiet):.1f} → {statistics.median(one[key] for one in crowded):.1f}"
        print(f"| {name} | {of('p50')} | {of('p99')} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {bad} | {grown >> 20} |", flush=True)


def overload(arguments, folder):
    print("\n| asked for | sent/s | good/s | of the peak | p50 ms | p99 ms | results |\n|---|---|---|---|---|---|---|")
    rounds = []
    for number in range(arguments.rounds):
        with Measured(arguments.binary, f"{folder}/overload-{number}") as measured:
            tried = [measured.load(0, arguments.seconds, 10, closed) for closed in (16, 64, 256)]
            peak = max(tried, key=lambda one: one["good"])
            results = {"the peak": peak}
            for times in (1, 2, 4):
                results[f"{times} times the peak"] = measured.load(peak["good"] * times, arguments.seconds, arguments.deadline)
                time.sleep(1)
            results["the peak again"] = measured.load(0, arguments.seconds, 10, 64)
            rounds.append(results)
            for name, one in results.items():
                print(f"| {name} | {one['sent']} | {one['good']} | {one['good'] / peak['good']:.2f} | {one['p50']} | {one['p99']} | {one['results']} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement (default: %(default)s)")
    parser.add_argument("--deadline", type=float, default=2, help="seconds after which a client gives up, under overload (default: %(default)s)")
    parser.add_argument("--only", choices=["crowds", "overload"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only != "overload":
            crowds(arguments, folder)
        if arguments.only != "crowds":
            overload(arguments, folder)


if __name__ == "__main__":
    main()
