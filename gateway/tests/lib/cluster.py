"""A real cluster on one machine: Kafka brokers and siltstone nodes, each of which can be killed, paused, wiped and split
off. Everything is made below one folder and taken down with the `with` block, however that ends.

    with Cluster(binary, folder) as cluster:
        cluster.nodes[0].client().create_bucket(Bucket="b")
        cluster.brokers[0].kill()

With `namespaces=True` every broker and node is a machine of its own on a network that can be split (see network.py), and
this process lives there too, with the clients that it starts.
"""
import contextlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

from lib import ROOT
from lib.network import Network
from lib.server import ACCESS_KEY, SECRET_KEY, Server, basic

sys.path.insert(0, str(ROOT / "deploy" / "kafka"))
import jars
from kafka import Kafka
from kafka import KafkaError as KafkaError
from kafka import java
from layout import LOOPBACK, Layout

NAME = "test"
# Connections of this machine get their own ports from here on. A port below it stays free while its owner is down.
EPHEMERAL = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")


class ClusterError(Exception):
    """A cluster did not do what it must."""


def free_ports(count):
    """The first of so many consecutive ports that nobody uses."""
    below = int(EPHEMERAL.read_text().split()[0])
    for _ in range(200):
        first = random.randrange(10_000, below - count)
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probes.enter_context(socket.socket()).bind((LOOPBACK, port))
                return first
            except OSError:
                continue
    raise ClusterError(f"there are no {count} free ports in a row")


def tool(cluster, name, *flags, within=120):
    """Runs a tool of Kafka; returns what it prints, without its log, whose lines would stand among those of the result."""
    command = java("-Dlevel=off", name, "--bootstrap-server", cluster.kafka.bootstrap, *flags)
    done = subprocess.run(command, capture_output=True, text=True, timeout=within)
    if done.returncode != 0:
        raise ClusterError(f"{name} ends with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Broker:
    """One Kafka broker of the cluster."""

    def __init__(self, cluster, number):
        self.cluster, self.number, self.name = cluster, number, f"broker-{number}"

    def kill(self):
        self.cluster.kafka.kill([self.number])

    def stop(self):
        self.cluster.kafka.stop([self.number])

    def start(self):
        self.cluster.kafka.start([self.number])

    def restart(self):
        self.stop()
        self.start()

    def pause(self):
        self.cluster.kafka.pause([self.number])

    def resume(self):
        self.cluster.kafka.resume([self.number])

    def split_off(self):
        """Separates it from all other brokers and controllers. Nodes still reach it: they see a leader that answers and
        can get nothing acknowledged."""
        others = [self.cluster.member(number) for number in self.cluster.layout.ids if number != self.number]
        self.cluster.network.split(self.name, others)

    def heal(self):
        self.cluster.network.heal(self.name)


class Node(Server):
    """One siltstone node of the cluster. Its ports stay the same over restarts."""

    def __init__(self, cluster, number, host, port, admin_port):
        self.name, self.number, self.cluster, self.host = f"node-{number}", number, cluster, host
        super().__init__(cluster.binary, str(cluster.folder / self.name), *cluster.flags,
                         under=cluster.network.prefix(self.name) if cluster.network else ())
        self.port, self.admin_port = port, admin_port

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def launch(self):
        command = [*self.under, self.binary, "server", *self.cluster.log_flags(), "--node-id", str(self.number),
                   "--data", self.data, "--listen", f"{self.host}:{self.port}", "--admin", f"{LOOPBACK}:{self.admin_port}",
                   "--reserve-bytes", "0", *(["--insecure-listen"] if self.cluster.network else []), *self.flags]
        with open(self.data + ".log", "ab") as log:
            self.process = subprocess.Popen(command, env=self.cluster.environment(), start_new_session=True,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        Server.running.add(self)

    def start(self, wait=600):
        # An empty node folds the whole log first, and the machine is busy with everything else.
        self.launch()
        if not self.is_ready(wait):
            what = "did not get ready" if self.is_running() else "ended"
            raise ClusterError(f"{self.name} {what}; {self.log_end()}")
        return self

    def kill(self):
        if self.process is not None:
            super().kill()

    def stop(self):
        self.resume()  # a paused process would not see the signal
        super().stop()

    def restart(self):
        self.stop()
        self.start()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def wipe(self):
        """Takes away all that a node that is down keeps: it must come back from the log alone."""
        shutil.rmtree(self.data)

    def split_off(self):
        """Separates it from all brokers. Clients still reach it."""
        self.cluster.network.split(self.name, [broker.name for broker in self.cluster.brokers])

    def heal(self):
        self.cluster.network.heal(self.name)

    def ask(self, path, body=None, within=60, headers=None):
        """Asks the admin address, which is the node's own loopback; gives status and text."""
        connection = http.client.HTTPConnection(LOOPBACK, self.admin_port, timeout=within)
        with contextlib.closing(connection):
            with self.cluster.network.inside(self.name) if self.cluster.network else contextlib.nullcontext():
                connection.connect()
            connection.request("GET" if body is None else "POST", path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def must(self, path, body=None, within=60, headers=None):
        """Asks, and takes nothing but success."""
        status, text = self.ask(path, body, within, headers)
        if status != 200:
            raise ClusterError(f"{self.name} answers {status} to {path}: {text.strip()}")
        return text

    def is_ready(self, wait=0, pause=0.1):
        deadline = time.monotonic() + wait
        while self.is_running():
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("/health/ready", within=2)[0] == 200:
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
        return False

    def cut(self):
        return self.must("/cut", "")

    def sql(self, query):
        return json.loads(self.must("/sql", query, headers=basic((ACCESS_KEY, SECRET_KEY))))

    def partitions(self):
        """The state of each partition: number -> the fields of `/cluster`."""
        told = json.loads(self.must("/cluster", within=5))
        return {one["partition"]: one for one in told["partitions"]}


class Cluster:
    """Brokers and nodes. `flags` go to every `siltstone server`."""

    # Who a fault befalls that befalls all.
    name = "everybody"

    def __init__(self, binary, folder, nodes=3, brokers=3, own_controller=False, namespaces=False, partitions=4, flags=()):
        self.binary, self.folder = os.path.abspath(binary), pathlib.Path(folder).resolve()
        self.partitions, self.flags = partitions, flags
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers = range(1, nodes + 1)
        members = range(1, brokers + 1 + own_controller)
        self.brokers = [Broker(self, number) for number in range(1, brokers + 1)]
        self.network, prefix = None, lambda number: []
        if namespaces:
            self.network = Network([f"broker-{number}" for number in members] + [f"node-{number}" for number in numbers])
            hosts = tuple(self.network.address(self.member(number)) for number in members)
            self.layout = Layout(brokers, own_controller, hosts, 9092)
            self.nodes = [Node(self, n, self.network.address(f"node-{n}"), 9000, 9001) for n in numbers]
            prefix = lambda number: self.network.prefix(self.member(number))
        else:
            first = free_ports(2 * brokers + 2 * nodes)
            self.layout = Layout(brokers, own_controller, (LOOPBACK,), first)
            first += 2 * brokers
            self.nodes = [Node(self, n, LOOPBACK, first + 2 * n - 2, first + 2 * n - 1) for n in numbers]
        self.kafka = Kafka(self.folder / "kafka", self.layout, prefix=prefix)

    def member(self, number):
        """A Kafka member as a machine; a controller of its own counts as one more broker here."""
        return f"broker-{number}"

    def log_flags(self):
        return ["--log", "kafka", "--bootstrap", self.kafka.bootstrap, "--cluster", NAME]

    def environment(self):
        return dict(os.environ, SILTSTONE_ACCESS_KEY=ACCESS_KEY, SILTSTONE_SECRET_KEY=SECRET_KEY)

    @property
    def endpoints(self):
        return [node.url for node in self.nodes]

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        jars.get()
        if self.network:
            self.network.up()
        self.kafka.start()
        self.kafka.wait_whole()
        self.init()
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            if not node.is_ready(120):
                raise ClusterError(f"{node.name} is not ready; {node.log_end()}")

    def init(self):
        """Makes the topics. Does nothing, and succeeds, where they are made."""
        command = [self.binary, "init", *self.log_flags(), "--partitions", str(self.partitions)]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise ClusterError(f"siltstone init fails ({done.returncode}):\n{done.stdout}{done.stderr}")

    def stop(self):
        """A clean stop of all, nodes first."""
        for node in self.nodes:
            if node.is_running():
                node.stop()
        self.kafka.stop()

    def close(self):
        """Takes down whatever is left, in whatever state."""
        for node in self.nodes:
            node.kill()
        self.kafka.kill()
        if self.network:
            self.network.down()

    def leaders(self):
        """The leaders: (topic, partition) -> broker, without Kafka's own topics."""
        for view in self.kafka.views().values():
            found = {(name, number): partition.leader for name, topic in view.topics.items() if not name.startswith("__")
                     for number, partition in topic.items() if partition.leader > 0}
            if found:
                return {place: self.brokers[leader - 1] for place, leader in sorted(found.items())}
        raise ClusterError("no broker names a leader of anything")

    def wait_whole(self, within=120):
        """Waits until all brokers are in step and all nodes are ready."""
        self.kafka.wait_whole(within)
        for node in self.nodes:
            if not node.is_ready(within):
                raise ClusterError(f"{node.name} is not ready: {node.ask('/health/ready') if node.is_running() else 'ended'}")

    def wait_caught_up(self, within=120):
        """Waits until all nodes have applied the same of every partition, and that is all there is. Nobody may write
        meanwhile."""
        deadline, before = time.monotonic() + within, None
        while True:
            told = [node.partitions() for node in self.nodes]
            applied = [{number: one["applied"] for number, one in partitions.items()} for partitions in told]
            lags = [one["lag"] for partitions in told for one in partitions.values()]
            # Twice the same: a lag is only as fresh as what some broker believes. Where none says, there is no lag.
            if all(lag == 0 for lag in lags) and all(one == applied[0] for one in applied) and applied == before:
                return
            if time.monotonic() > deadline:
                raise ClusterError(f"after {within} s nodes have not caught up: {told}")
            before = applied
            time.sleep(0.5)

    def compare(self, within=60):
        """Cuts, and compares what every node has folded; gives partition -> (cut, digest). Nobody may write meanwhile."""
        self.wait_caught_up()
        self.nodes[0].cut()
        deadline = time.monotonic() + within
        while True:
            told = [node.partitions() for node in self.nodes]
            for node, partitions in zip(self.nodes, told):
                for number, one in partitions.items():
                    if one["quarantined"] or one["stopped"]:
                        raise ClusterError(f"{node.name} does not serve partition {number}: {one}")
            cuts = [{number: one["cut"] for number, one in partitions.items()} for partitions in told]
            if all(one == cuts[0] for one in cuts):
                break
            if time.monotonic() > deadline:
                raise ClusterError(f"after {within} s nodes are at different cuts: {cuts}")
            time.sleep(0.2)
        if len(cuts[0]) < self.partitions or not any(cuts[0].values()):
            raise ClusterError(f"there is nothing to compare: {told[0]}")
        digests = [{number: one["digest"] for number, one in partitions.items()} for partitions in told]
        for number, cut in cuts[0].items():
            found = {node.name: one[number] for node, one in zip(self.nodes, digests)}
            if len(set(found.values())) != 1 or (cut and not digests[0][number]):
                raise ClusterError(f"partition {number} at cut {cut} differs between nodes: {found}")
        return {number: (cut, digests[0][number]) for number, cut in cuts[0].items()}

    def fsck(self):
        """Checks every byte of every node's folder. All nodes are down."""
        for node in self.nodes:
            done = subprocess.run([self.binary, "fsck", node.data], capture_output=True, text=True)
            if done.returncode != 0:
                raise ClusterError(f"fsck of {node.name}:\n{done.stdout}{done.stderr}")
