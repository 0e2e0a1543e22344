"""Who is who in a Kafka cluster on one machine: ids, roles, addresses, and the properties that follow from them.

Without a controller of their own, all members are broker and controller at once. Three such members survive the loss of
one; with two gone the controllers have no majority either, and nothing moves. With one separate controller, two of
three brokers can be lost and the cluster still knows it.

On one shared host each member has ports of its own, from `port` on: first the brokers, then the controllers. Where
every member has a host of its own (a network namespace, say), all use `port` and the next.
"""
import dataclasses
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a cluster is made of. It is fixed when the cluster's folder is made."""

    brokers: int = 3
    own_controller: bool = False
    # One for all members, or one for each, in the order of their ids.
    hosts: tuple = (LOOPBACK,)
    port: int = 19092
    # Further properties as (name, value); they win over the common ones.
    properties: tuple = ()

    @property
    def ids(self):
        """Brokers first, from 1; then the controller, if it is separate."""
        return range(1, self.brokers + 1 + self.own_controller)

    @property
    def broker_ids(self):
        return range(1, self.brokers + 1)

    @property
    def controller_ids(self):
        return range(self.brokers + 1, self.brokers + 2) if self.own_controller else self.broker_ids

    def host(self, member):
        return self.hosts[member - 1] if len(self.hosts) > 1 else self.hosts[0]

    def broker_address(self, member):
        return f"{self.host(member)}:{self.port + (0 if len(self.hosts) > 1 else member - 1)}"

    def controller_address(self, member):
        first = self.port + (1 if len(self.hosts) > 1 else self.brokers)
        return f"{self.host(member)}:{first + (0 if len(self.hosts) > 1 else self.controller_ids.index(member))}"

    @property
    def bootstrap(self):
        """The brokers' addresses, as clients take them."""
        return ",".join(self.broker_address(member) for member in self.broker_ids)

    def properties_of(self, member, data):
        """The text of a member's properties file; its data go to the folder `data`."""
        copies = min(self.brokers, 3)
        # Of three copies two must have a record before it is acknowledged; of two or one, all.
        in_step = min(copies, 2)
        lines = [
            "# Made by layout.py at every start; changes here are lost.",
            f"node.id={member}",
            f"process.roles={','.join(self.roles(member))}",
            *self.listeners(member),
            "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            f"controller.quorum.voters={','.join(f'{c}@{self.controller_address(c)}' for c in self.controller_ids)}",
            f"broker.rack=rack-{member}",
            f"log.dirs={data}",
            f"default.replication.factor={copies}",
            f"min.insync.replicas={in_step}",
            # Used by clients with consumer groups or transactions, such as Kafka's own tools; Siltstone has neither.
            f"offsets.topic.replication.factor={copies}",
            "offsets.topic.num.partitions=4",
            f"transaction.state.log.replication.factor={copies}",
            f"transaction.state.log.min.isr={in_step}",
            "transaction.state.log.num.partitions=4",
            "",
            (HERE / "common.properties").read_text(),
            *(f"{name}={value}" for name, value in self.properties),
        ]
        return "\n".join(lines) + "\n"

    def roles(self, member):
        return [role for role, ids in [("broker", self.broker_ids), ("controller", self.controller_ids)] if member in ids]

    def listeners(self, member):
        broker, controller = f"BROKER://{self.broker_address(member)}", None
        if member in self.controller_ids:
            controller = f"CONTROLLER://{self.controller_address(member)}"
        if member not in self.broker_ids:
            # A pure controller must not name a listener between brokers.
            return [f"listeners={controller}", f"advertised.listeners={controller}"]
        both = ",".join(filter(None, [broker, controller]))
        return [f"listeners={both}", f"advertised.listeners={both}", "inter.broker.listener.name=BROKER"]
