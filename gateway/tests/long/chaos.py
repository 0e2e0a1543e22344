"""Fault after fault on a real cluster under load, and proof that nothing came of it: the history of all operations is
linearizable, all nodes hold the same, every byte on every disk is what was written.

Which faults befall, in which order and for how long, follows from the seed. Each kind comes once before any comes
twice. The load and the checker are `siltstone-bench history` and `siltstone-bench check`; for every fault the checker
tells how long writes and reads had no success, and how soon it was over.

A program and no test of pytest's: one run with a report, for a person who reads it.

    .tools/venv/bin/python gateway/tests/long/chaos.py target/release/siltstone --rounds 60 --seed 1
"""
import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import network
from lib.cluster import Cluster, ClusterError, KafkaError
from lib.faults import FAULTS
from lib.server import ACCESS_KEY, SECRET_KEY, ServerError
from lib.tree import Tree, copy_files

# Between two faults the load runs undisturbed for so long: what a fault does is seen apart from the next.
CALM = (4, 8)
# The caps of a quick run.
QUICK_SECONDS, QUICK_CALM = 6, (1, 3)


@dataclasses.dataclass(frozen=True)
class Round:
    """One fault that is to come."""

    name: str
    seconds: float
    calm: float
    # Decides who the victim is, among those that there are then.
    seed: int


def plan(seed, rounds, names, quick):
    """The faults that are to come, and for how long; depends on nothing but its arguments."""
    chance, order = random.Random(seed), []
    while len(order) < rounds:
        order += chance.sample(names, len(names))
    planned = []
    for name in order[:rounds]:
        fault = FAULTS[name]
        longest = min(fault.longest, max(fault.shortest, QUICK_SECONDS)) if quick else fault.longest
        seconds = round(chance.uniform(fault.shortest, longest), 1)
        planned.append(Round(name, seconds, round(chance.uniform(*(QUICK_CALM if quick else CALM)), 1), chance.getrandbits(32)))
    return planned


class Load:
    """`siltstone-bench history`, from when it is made until it is told to stop."""

    def __init__(self, bench, cluster, out, clients, keys, seed):
        self.bench, self.history, self.told = bench, out / "history.jsonl", out / "history.log"
        self.until = out / "stop"
        command = [bench, "history", "--endpoints", ",".join(cluster.endpoints), "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY,
                   "--until-file", self.until, "--clients", str(clients), "--keys", str(keys), "--seed", str(seed), "--out", self.history]
        with open(self.told, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def must_run(self):
        if self.process.poll() is not None:
            raise ClusterError(f"the load ended ({self.process.returncode}):\n" + self.told.read_text(errors="replace")[-3000:])

    def stop(self):
        """Lets it finish what is under way, and read everything once more through every node."""
        self.must_run()
        self.until.touch()
        try:
            code = self.process.wait(300)
        except subprocess.TimeoutExpired:
            raise ClusterError("the load does not stop when it is told to") from None
        if code != 0:
            raise ClusterError(f"the load failed ({code}):\n" + self.told.read_text(errors="replace")[-3000:])

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Chaos:
    """One run. What goes wrong is collected, so that the proofs at the end are all attempted."""

    def __init__(self, arguments, out):
        self.arguments, self.out, self.wrong = arguments, out, []
        self.faults, self.rows, self.checked, self.tree = out / "faults.jsonl", [], None, None

    @contextlib.contextmanager
    def proving(self, what):
        """Notes what a step throws, and lets the next one run."""
        try:
            yield
        except Exception as error:
            told = str(error) if isinstance(error, (AssertionError, ClusterError, KafkaError, ServerError)) else repr(error)
            self.wrong.append(f"{what}: {told}")
            say(f"FAILED: {self.wrong[-1]}")

    def run(self, planned):
        namespaces = any(FAULTS[one.name].needs_network for one in planned)
        flags = ["--cut-bytes", "8000000", "--cut-seconds", "5", "--bulk-file-bytes", "20000000"]
        if self.arguments.read:
            flags += ["--read", self.arguments.read]
        cluster = Cluster(self.arguments.binary, self.out / "cluster", own_controller=self.arguments.own_controller,
                          namespaces=namespaces, partitions=self.arguments.partitions, flags=flags)
        with cluster:
            say(f"up: {', '.join(cluster.endpoints)}{' (in namespaces)' if namespaces else ''}")
            if self.arguments.tree:
                self.upload_tree(cluster)
            load = Load(self.arguments.bench, cluster, self.out, self.arguments.clients, self.arguments.keys, self.arguments.seed)
            try:
                with self.proving("faults"):
                    time.sleep(CALM[0])
                    for number, one in enumerate(planned, 1):
                        self.befall(cluster, load, number, one)
                with self.proving("load"):
                    load.stop()
            finally:
                load.end()
            self.prove(cluster, load)

    def befall(self, cluster, load, number, one):
        load.must_run()
        fault = FAULTS[one.name]
        victim = fault.victim(cluster, random.Random(one.seed))
        begin = time.time()
        with fault.harm(victim):
            time.sleep(one.seconds)
        end = time.time()
        with open(self.faults, "a") as file:
            file.write(json.dumps({"fault": f"{number} {one.name}", "begin": begin, "end": end}) + "\n")
        row = {"round": number, "fault": one.name, "victim": victim.name, "lasted, s": f"{end - begin:.1f}"}
        self.rows.append(row)
        cluster.wait_whole()
        whole = time.time() - end
        row["whole after, s"] = f"{whole:.1f}"
        say(f"{number}: {one.name} of {victim.name}, {end - begin:.1f} s, whole {whole:.1f} s later")
        time.sleep(one.calm)

    def prove(self, cluster, load):
        with self.proving("catching up and digests"):
            cluster.wait_whole()
            digests = cluster.compare()
            say(f"{len(digests)} partitions have the same digest on every node: "
                + ", ".join(f"{number}@{cut}" for number, (cut, _) in sorted(digests.items())))
        with self.proving("what the load left"):
            self.count(cluster)
        with self.proving("history"):
            self.check_history(load)
        if self.tree:
            with self.proving("tree"):
                self.compare_tree(cluster)
        with self.proving("stop"):
            cluster.stop()
            # What is still open cannot be checked.
            with self.proving("fsck"):
                cluster.fsck()
                say("fsck: every node is clean")

    def count(self, cluster):
        """A load that never got through would have a flawless history. SQL tells, and the same on every node."""
        query = "SELECT count(*) AS n FROM objects WHERE bucket NOT IN ('aws', 'rclone')"
        counted = [node.sql(query)[0]["n"] for node in cluster.nodes]
        if len(set(counted)) != 1 or counted[0] == 0:
            raise ClusterError(f"objects that SQL counts on the nodes: {counted}")

    def check_history(self, load):
        """Has the history judged, and takes over what the checker tells of each fault."""
        command = [self.arguments.bench, "--json", "check", load.history, *(["--faults", self.faults] if self.rows else [])]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        (self.out / "check.json").write_text(done.stdout)
        told = json.loads(done.stdout.splitlines()[-1]) if done.stdout else None
        if done.returncode != 0:
            shown = "\n".join(told_of(one) for one in told["shown"]) if told else ""
            raise ClusterError(f"the checker says no ({done.returncode}): {done.stderr.strip()}\n{shown}")
        self.checked = told
        for row, window in zip(self.rows, told["faults"], strict=True):
            gaps = window["all"]
            row |= {"reads": counts(window["reads"]), "longest gap, s": f"{gaps['longest_read_gap']:.1f}",
                    "writes": counts(window["writes"]), "longest gap of writes, s": f"{gaps['longest_write_gap']:.1f}",
                    "writes back after, s": "never" if gaps["writes_back_after"] is None else f"{gaps['writes_back_after']:.1f}"}
        never = [row["round"] for row in self.rows if row["writes back after, s"] == "never"]
        if never:
            raise ClusterError(f"writes never came back after rounds {never}")

    def upload_tree(self, cluster):
        count, size = copy_files(self.arguments.tree, self.out / "tree")
        self.tree = self.tree_through(cluster.nodes[0])
        self.tree.sync()
        say(f"tree: {count} files, {size} bytes are in")

    def compare_tree(self, cluster):
        for node in cluster.nodes:
            for bucket in ["aws", "rclone"]:
                self.tree_through(node).compare(bucket)
            say(f"tree: the same through {node.name}")

    def tree_through(self, node):
        return Tree(node, self.out / "tree", say)

    def report(self, seconds):
        """The table of the run, in Markdown."""
        say("\nReads and writes that began meanwhile: done / not done (conditions that did not hold, too) / nobody knows.\n")
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        say("| " + " | ".join(columns) + " |")
        say("|" + "---|" * len(columns))
        for row in self.rows:
            say("| " + " | ".join(str(row.get(key, "–")) for key in columns) + " |")
        say("")
        if self.checked:
            for kind, found in self.checked["tally"]["kinds"].items():
                say(f"{kind}: {counts(found)}")
            say(f"{self.checked['operations']} operations on {self.checked['keys']} keys in {self.checked['history_seconds']:.0f} s, "
                f"{self.checked['pages']} pages: linearizable, listings right")
        say(f"{len(self.rows)} rounds in {seconds:.0f} s, {len(self.wrong)} wrong")


def counts(found):
    return f"{found['ok']} / {found['failed']} / {found['unknown']}"


def told_of(violation):
    """A violation as the checker found it."""
    return "\n  ".join([f"{violation['bucket']} {violation['key']}: {violation['what']}", *violation["timeline"]])


def say(text):
    print(text, flush=True)


def possible(names):
    """The faults that this machine allows; says which it does not."""
    lacking = network.lacking()
    left_out = [name for name in names if FAULTS[name].needs_network and lacking]
    for name in left_out:
        say(f"SKIPPED: {name}: {lacking}")
    return [name for name in names if name not in left_out]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", help="siltstone")
    parser.add_argument("--bench", help="siltstone-bench (default: beside the binary)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--faults", default=",".join(FAULTS), metavar="NAME,NAME", help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--keys", type=int, default=40)
    parser.add_argument("--read", help="what nodes promise of reads; `high-watermark` promises less than the check asks for, and is caught at it")
    parser.add_argument("--own-controller", action="store_true", help="one separate Kafka controller, not one in each broker")
    parser.add_argument("--tree", metavar="DIR", help="upload its files first, and compare them through every node at the end")
    parser.add_argument("--out", metavar="DIR", help="keep everything there (default: a temporary folder, kept when something is wrong)")
    parser.add_argument("--quick", action="store_true", help=f"faults of at most {QUICK_SECONDS} s and short calms")
    arguments = parser.parse_args()
    arguments.bench = os.path.abspath(arguments.bench or pathlib.Path(arguments.binary).with_name("siltstone-bench"))
    unknown = set(arguments.faults.split(",")) - set(FAULTS)
    if unknown:
        parser.error(f"no such faults: {', '.join(sorted(unknown))}")
    return arguments


def end_on_signals():
    """Ends processes and network with the run when it is told to end."""
    for number in [signal.SIGTERM, signal.SIGHUP]:
        signal.signal(number, lambda number, _: sys.exit(f"ended by {signal.Signals(number).name}"))


def main():
    arguments = parse_arguments()
    end_on_signals()
    out = pathlib.Path(arguments.out or tempfile.mkdtemp(prefix="chaos-")).resolve()
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        sys.exit(f"{out} is not empty")
    say(f"seed {arguments.seed}, in {out}")
    names = possible(arguments.faults.split(","))
    if not names:
        sys.exit("FAILED: none of these faults is possible here")
    chaos, begun = Chaos(arguments, out), time.monotonic()
    with chaos.proving("cluster"):
        chaos.run(plan(arguments.seed, arguments.rounds, names, arguments.quick))
    chaos.report(time.monotonic() - begun)
    if chaos.wrong:
        say("\n".join(f"FAILED: {wrong}" for wrong in chaos.wrong))
        sys.exit(f"FAILED: {len(chaos.wrong)} wrong; everything is kept in {out}")
    if not arguments.out:
        shutil.rmtree(out)
    say(f"{len(chaos.rows)} passed, 0 failed")


if __name__ == "__main__":
    main()
