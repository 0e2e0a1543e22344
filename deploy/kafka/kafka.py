#!/usr/bin/env python3
"""A real Apache Kafka cluster on one machine, for trying Siltstone and for testing it. For nothing else: all copies
share one disk and one power cord.

    kafka.py get                          fetch the jars; needs Maven and Java 17
    kafka.py up DIR                       start three members; prints host:port,host:port,host:port
    kafka.py down DIR --members 2 --kill  crash member 2
    kafka.py up DIR --members 2           start it again
    kafka.py down DIR                     stop all of them; the data stay until DIR is removed

A member is one Java process: broker and controller in one, or one of them. Its log is DIR/member-N.log, its process id
stands in DIR/member-N.pid. How the cluster is laid out is settled by the first `up` and kept in DIR/layout.json.
"""
import argparse
import base64
import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import jars
import metadata
from layout import LOOPBACK, Layout

HERE = pathlib.Path(__file__).resolve().parent
READY = b"Kafka Server started"
# What the Java processes have in common. The serial collector has the fewest threads.
JVM = ["-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
       f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"]


class KafkaError(Exception):
    """A member did not do what it was told; the text says which, and how its log ends."""


class Kafka:
    """The members of one cluster. Any process may start them and any other stop them: the folder knows them all.

    `prefix(member)` gives the words of a command to run a member under, `ip netns exec NAME` for example.
    """

    def __init__(self, folder, layout=None, heap="400m", prefix=lambda member: []):
        self.folder, self.heap, self.prefix = pathlib.Path(folder).resolve(), heap, prefix
        self.folder.mkdir(parents=True, exist_ok=True)
        self.layout, self.id = self.settle(layout)
        self.processes = {}

    def settle(self, wanted):
        """The layout and id of this folder: what was settled before, or `wanted` and a new id."""
        kept = self.folder / "layout.json"
        if not kept.exists():
            layout, identity = wanted or Layout(), cluster_id()
            fresh = kept.with_suffix(".new")
            fresh.write_text(json.dumps({"id": identity, **dataclasses.asdict(layout)}, indent=1) + "\n")
            fresh.rename(kept)
            return layout, identity
        found = json.loads(kept.read_text())
        identity = found.pop("id")
        found["hosts"] = tuple(found["hosts"])
        found["properties"] = tuple(tuple(pair) for pair in found["properties"])
        layout = Layout(**found)
        if wanted and wanted != layout:
            raise KafkaError(f"{self.folder} holds another cluster, {layout}; remove it, or ask for that one")
        return layout, identity

    @property
    def bootstrap(self):
        return self.layout.bootstrap

    def path(self, member, ending):
        return self.folder / f"member-{member}.{ending}"

    def data(self, member):
        return self.folder / f"data-{member}"

    def pid(self, member):
        """The process id of a member that runs, or None. A pid that now belongs to something else does not count."""
        try:
            pid = int(self.path(member, "pid").read_text())
            if member in self.processes and self.processes[member].poll() is None:
                return pid
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        # One that is dying has no command any more, and may still hold its ports until it is a zombie.
        is_member = not command or str(self.path(member, "properties")).encode() in command.split(b"\0")
        return pid if is_member and state not in "ZX" else None

    def start(self, members=None, within=240):
        """Starts what does not run, and waits until each is ready."""
        members = [member for member in members or self.layout.ids if not self.pid(member)]
        for member in members:
            self.path(member, "properties").write_text(self.layout.properties_of(member, self.data(member)))
        self.format(members)
        marks = {member: self.launch(member) for member in members}
        deadline = time.monotonic() + within
        for member, mark in marks.items():
            self.wait_ready(member, mark, deadline)

    def format(self, members):
        """Prepares data folders that are new: side by side, as each takes a Java process some seconds."""
        formats = {}
        for member in members:
            if not (self.data(member) / "meta.properties").exists():
                # What an interrupted format left behind would be refused.
                shutil.rmtree(self.data(member), ignore_errors=True)
                tool = ["kafka.tools.StorageTool", "format", "-t", self.id, "-c", str(self.path(member, "properties"))]
                quick = ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dlevel=warn"]
                formats[member] = subprocess.Popen(java(*quick, *tool), stdin=subprocess.DEVNULL, text=True,
                                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for member, process in formats.items():
            told, _ = process.communicate()
            if process.returncode != 0:
                raise KafkaError(f"member {member} cannot be formatted:\n{told[-2000:]}")

    def launch(self, member):
        """Starts a member's process; gives where in its log this run begins."""
        pid = self.path(member, "pid")
        pid.unlink(missing_ok=True)
        # The shell writes down its own id and becomes the member, whatever it runs under does.
        noting = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(pid)]
        command = java(f"-Xms{self.heap}", f"-Xmx{self.heap}", "kafka.Kafka", str(self.path(member, "properties")))
        with open(self.path(member, "log"), "ab") as log:
            mark = log.tell()
            # In a session of its own: Ctrl-C ends whoever waits for it, not the member.
            self.processes[member] = subprocess.Popen([*self.prefix(member), *noting, *command], start_new_session=True,
                                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not pid.exists() and self.processes[member].poll() is None:
            time.sleep(0.01)
        return mark

    def wait_ready(self, member, mark, deadline):
        log = self.path(member, "log")
        while True:
            ended = self.processes[member].poll() is not None
            with open(log, "rb") as file:
                file.seek(mark)
                told = file.read()
            if READY in told:
                return
            if ended or time.monotonic() > deadline:
                what = "ended" if ended else "did not get ready"
                raise KafkaError(f"member {member} {what}; {log} ends so:\n" + told[-3000:].decode(errors="replace"))
            time.sleep(0.1)

    def signal(self, number, members=None):
        for member in members or self.layout.ids:
            pid = self.pid(member)
            if pid:
                os.kill(pid, number)

    def kill(self, members=None):
        """Crashes members: they get no chance to hand over or to close anything."""
        self.signal(signal.SIGKILL, members)
        self.wait_gone(members, 10)

    def pause(self, members):
        """Lets members stand still with all connections open, as a long pause of a machine does."""
        self.signal(signal.SIGSTOP, members)

    def resume(self, members):
        self.signal(signal.SIGCONT, members)

    def stop(self, members=None, within=20):
        """Stops members cleanly; what is left after a while is killed. Brokers go before a separate controller, or they
        would wait for it in vain to take over what they lead."""
        members = members or self.layout.ids
        brokers = [member for member in members if member in self.layout.broker_ids]
        for group in [brokers, [member for member in members if member not in brokers]]:
            if group:
                self.signal(signal.SIGTERM, group)
                self.resume(group)  # one that is paused would not see it
                if not self.wait_gone(group, within):
                    self.kill(group)

    def wait_gone(self, members, within):
        deadline = time.monotonic() + within
        while any(self.pid(member) for member in members or self.layout.ids):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def views(self, timeout=2):
        """What each broker that answers believes: member -> `metadata.View`."""
        found = {}
        for member in self.layout.broker_ids:
            try:
                found[member] = metadata.ask(self.layout.broker_address(member), timeout)
            except OSError:
                continue
        return found

    def is_whole(self):
        """Whether every broker sees every broker alive, and every copy of every partition in step."""
        views = self.views()
        return len(views) == self.layout.brokers and all(
            view.brokers == tuple(self.layout.broker_ids)
            and all(sorted(partition.in_step) == sorted(partition.replicas) and partition.leader in partition.replicas
                    for topic in view.topics.values() for partition in topic.values())
            for view in views.values())

    def wait_whole(self, within=60):
        deadline = time.monotonic() + within
        while not self.is_whole():
            if time.monotonic() > deadline:
                raise KafkaError(f"after {within} s the brokers are not all in step: {self.views()}")
            time.sleep(0.2)


def java(*arguments):
    home = os.environ.get("JAVA_HOME")
    program = f"{home}/bin/java" if home else shutil.which("java")
    if not program:
        raise KafkaError("Java 17 or newer is needed: `bash deploy/setup --cluster` installs it")
    # Options before the class path, the class and its arguments after it: the first word without a dash is the class.
    first = next(place for place, word in enumerate(arguments) if not word.startswith("-"))
    return [program, *JVM, *arguments[:first], "-cp", f"{jars.LIBRARIES}/*", *arguments[first:]]


def cluster_id():
    """Sixteen random bytes, as Kafka writes them. One that begins with a dash would be taken for an option."""
    while True:
        identity = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        if not identity.startswith("-"):
            return identity


def layout_of(arguments):
    """The layout that is asked for, or None where nothing of it is."""
    properties = [("log.flush.interval.messages", "1")] if arguments.fsync else []
    properties += [tuple(pair.split("=", 1)) for pair in arguments.set]
    asked = {"brokers": arguments.brokers, "port": arguments.port, "own_controller": arguments.own_controller or None,
             "hosts": tuple(arguments.hosts.split(",")) if arguments.hosts else None,
             "properties": tuple(properties) or None}
    asked = {name: value for name, value in asked.items() if value is not None}
    return Layout(**asked) if asked else None


def parse_arguments():
    numbers = lambda text: [int(word) for word in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("get", help="fetch the jars, once")
    up = commands.add_parser("up", help="start members that do not run, and wait until they are ready")
    up.add_argument("dir")
    up.add_argument("--members", type=numbers, metavar="N,N", help="only these (default: all)")
    up.add_argument("--brokers", type=int, help="how many (default: 3)")
    up.add_argument("--own-controller", action="store_true", help="one separate controller, not one in each broker")
    up.add_argument("--hosts", metavar="HOST,HOST", help=f"one for all members or one for each (default: {LOOPBACK})")
    up.add_argument("--port", type=int, help="the first port (default: 19092)")
    up.add_argument("--fsync", action="store_true", help="sync every append: power loss, not only crashes, is survived")
    up.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one more property")
    up.add_argument("--heap", default="400m", help="of each Java process (default: 400m)")
    up.add_argument("--prefix", default="", help="run each member under this command; @N@ becomes its number")
    down = commands.add_parser("down", help="stop members")
    down.add_argument("dir")
    down.add_argument("--members", type=numbers, metavar="N,N", help="only these (default: all)")
    down.add_argument("--kill", action="store_true", help="crash them instead")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    try:
        if arguments.command == "get":
            print(jars.get())
        elif arguments.command == "up":
            jars.get()
            prefix = lambda member: shlex.split(arguments.prefix.replace("@N@", str(member)))
            kafka = Kafka(arguments.dir, layout_of(arguments), arguments.heap, prefix)
            kafka.start(arguments.members)
            print(kafka.bootstrap)
        elif not (pathlib.Path(arguments.dir) / "layout.json").exists():
            raise KafkaError(f"there is no cluster in {arguments.dir}")
        else:
            kafka = Kafka(arguments.dir)
            (kafka.kill if arguments.kill else kafka.stop)(arguments.members)
    except KafkaError as error:
        sys.exit(f"kafka.py: {error}")


if __name__ == "__main__":
    main()
