"""A network of its own for a test: machines are network namespaces on one bridge, and splits between them are packet
filters. Nothing of it touches the machine's own network. It needs root, `ip` and `nft`, and is taken down with the test.

    hub (the test itself, its clients) ──┬── broker-1   10.99.0.1
          10.99.0.254                    ├── broker-2   10.99.0.2
                                         └── node-1     10.99.0.4 …

A split drops packets in both directions, so that connections neither break nor answer: the worst that a network does.
"""
import atexit
import contextlib
import ctypes
import os
import shutil
import subprocess

SUBNET = "10.99.0"
HUB = f"{SUBNET}.254"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def lacking():
    """Why there can be no network here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ["ip", "nft"]:
        if not shutil.which(tool):
            return f"`{tool}` is missing: `bash deploy/setup --cluster` installs it"
    probe = f"siltstone-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    filters = subprocess.run(["ip", "netns", "exec", probe, "nft", "add", "table", "inet", "probe"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None if filters.returncode == 0 else f"no packet filter can be made here: {filters.stderr.strip()}"


class Network:
    """Machines by name. Between `up` and `down` this process lives in the hub, with all it starts from then on."""

    def __init__(self, names):
        if len(names) > 250:
            raise ValueError("the subnet has room for 250 machines")
        self.names, self.splits = list(names), set()
        # The process id keeps tests that run side by side apart.
        self.tag = f"siltstone-{os.getpid()}"
        self.home = None

    def address(self, name):
        return f"{SUBNET}.{self.names.index(name) + 1}"

    def namespace(self, name):
        return f"{self.tag}-{name}"

    def prefix(self, name):
        """The words of a command to run another one on a machine."""
        return ["ip", "netns", "exec", self.namespace(name)]

    def up(self):
        atexit.register(self.down)
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        hub = self.namespace("hub")
        ip("netns", "add", hub)
        ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", hub, "address", "add", f"{HUB}/24", "dev", "bridge")
        for device in ["lo", "bridge"]:
            ip("-n", hub, "link", "set", device, "up")
        for number, name in enumerate(self.names):
            there, port = self.namespace(name), f"port-{number}"
            ip("netns", "add", there)
            ip("link", "add", port, "netns", hub, "type", "veth", "peer", "name", "eth0", "netns", there)
            ip("-n", hub, "link", "set", port, "master", "bridge", "up")
            ip("-n", there, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            for device in ["lo", "eth0"]:
                ip("-n", there, "link", "set", device, "up")
        with open(f"/run/netns/{hub}") as namespace:
            enter(namespace.fileno())

    def down(self):
        """Takes all of it down; whatever still runs there keeps its own namespace, with nothing on the other end."""
        if self.home is None:
            return
        enter(self.home)
        os.close(self.home)
        self.home = None
        for name in [*self.names, "hub"]:
            # What `up` had no time to make is not there.
            subprocess.run(["ip", "netns", "del", self.namespace(name)], capture_output=True)
        atexit.unregister(self.down)

    @contextlib.contextmanager
    def inside(self, name):
        """Sockets that this thread makes in here are on that machine, and see its loopback."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with open(f"/run/netns/{self.namespace(name)}") as namespace:
                enter(namespace.fileno())
            yield
        finally:
            enter(back)
            os.close(back)

    def split(self, name, others):
        """Separates a machine from some others."""
        away = ", ".join(self.address(other) for other in others)
        # Both chains come at once or not at all.
        self.filter(name, f"""
            table inet split {{
                chain incoming {{ type filter hook input priority 0; ip saddr {{ {away} }} drop; }}
                chain outgoing {{ type filter hook output priority 0; ip daddr {{ {away} }} drop; }}
            }}""")
        self.splits.add(name)

    def heal(self, name):
        if name in self.splits:
            self.filter(name, "delete table inet split")
            self.splits.discard(name)

    def filter(self, name, rules):
        subprocess.run([*self.prefix(name), "nft", "-f", "-"], input=rules, text=True, check=True)


def enter(namespace):
    """Moves this thread, and threads and processes that it starts later, to the namespace of an open file."""
    if LIBC.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter a network namespace: {os.strerror(number)}")


def ip(*words):
    subprocess.run(["ip", *words], check=True)
