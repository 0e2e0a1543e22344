"""Faults of a running cluster, by name: whom a fault befalls, what happens, and how it ends.

A fault is over when its victim is back, which may take longer than it lasted. No fault here loses what was acknowledged:
never more than one broker is away, and no more than one node's disk is lost.
"""
import contextlib
import dataclasses
import typing


@contextlib.contextmanager
def killed(member):
    member.kill()
    yield
    member.start()


@contextlib.contextmanager
def paused(member):
    member.pause()
    yield
    member.resume()


@contextlib.contextmanager
def wiped(node):
    node.kill()
    node.wipe()
    yield
    node.start()


@contextlib.contextmanager
def split_off(member):
    member.split_off()
    yield
    member.heal()


@contextlib.contextmanager
def restarted(cluster):
    """An upgrade as an operator does it: one after the other, the next one when all is whole again."""
    for member in [*cluster.brokers, *cluster.nodes]:
        member.restart()
        cluster.wait_whole()
    yield


def a_leader(cluster, chance):
    leaders = cluster.leaders()
    return leaders[chance.choice(sorted(leaders))]


def a_broker(cluster, chance):
    return chance.choice(cluster.brokers)


def a_node(cluster, chance):
    return chance.choice(cluster.nodes)


def everybody(cluster, _):
    return cluster


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of fault. `victim(cluster, chance)` chooses whom it befalls, `harm(victim)` is it from begin to end."""

    victim: typing.Callable
    harm: typing.Callable
    # It lasts at least and at most so many seconds.
    shortest: float
    longest: float
    needs_network: bool = False


FAULTS = {
    "leader-kill": Fault(a_leader, killed, 2, 8),
    "broker-kill": Fault(a_broker, killed, 2, 8),
    "node-kill": Fault(a_node, killed, 2, 8),
    "leader-pause": Fault(a_leader, paused, 1, 60),
    "broker-pause": Fault(a_broker, paused, 1, 60),
    "node-pause": Fault(a_node, paused, 1, 60),
    "node-wipe": Fault(a_node, wiped, 2, 8),
    "broker-split": Fault(a_broker, split_off, 5, 30, needs_network=True),
    "node-split": Fault(a_node, split_off, 5, 30, needs_network=True),
    "rolling-restart": Fault(everybody, restarted, 0, 0),
}
