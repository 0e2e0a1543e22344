"""Common parts of the Python tests: options, running servers, and what a failure prints.

A module's `server` is one process for all tests of the module, because a start costs more than most tests. Tests keep
apart by buckets of their own. When the module is over, the server must stop cleanly, its store must be whole and its log
free of panics. A server that ends by itself fails the test that ran at that time.
"""
import collections
import contextlib
import datetime
import os
import pathlib
import random
import shlex
import signal
import uuid

import pytest

# Before any of its modules is imported: assertions of the libraries count and explain themselves like those of tests.
pytest.register_assert_rewrite("lib")
pytest_plugins = ["lib.client_jobs"]

from lib.receiver import Receiver  # noqa: E402
from lib.server import Server, write_other_user  # noqa: E402

CHECKS = pytest.StashKey[int]()
# Sizes of samples: name, default, meaning. The defaults are what `deploy/test` runs.
SIZES = [
    ("pairs-of-names", 400, "pairs of S3's query names in one request (all: 1500)"),
    ("signatures", 320, "signed requests of other implementations, each again with one bit changed"),
    ("listings", 3000, "pages of listings that are compared with the model"),
    ("listing-keys", 300, "keys of a bucket that is listed"),
    ("listing-workers", 4, "processes that list at the same time"),
    ("idle", 1500, "idle connections of a crowd"),
    ("heads", 150, "connections of a crowd that send half of a head"),
    ("bodies", 150, "connections of a crowd that send a body byte by byte"),
    ("readers", 150, "connections of a crowd that do not read their answer"),
    ("crowd-seconds", 3, "seconds for which a crowd stays"),
    ("conversations", 400, "conversations with the PostgreSQL endpoint"),
    ("queries", 400, "queries that are compared with DuckDB's answers"),
    ("pairs", 200, "pairs of a write and a question about it"),
    ("kills", 8, "kill -9 under load"),
    ("events", 4000, "writes whose events go to a receiver that is killed (long: 100000)"),
    ("samples", 60, "flipped bits"),
    ("rounds", 8, "rounds of uploads that are given up"),
    ("requests", 600, "requests under a tracer"),
    ("spoils", 3, "spoiled traces of each kind"),
    ("client-keys", 1100, "keys of a bucket that clients list"),
    ("client-mib", 24, "MiB of the largest object that clients move"),
    ("tree-files", 20_000, "files that the tree of `--tree` must have at least"),
]
FLAGS = [
    ("every-damage", "flip twenty bytes more of each file before fsck"),
    ("every-depth", "SQL statements of many depths below the bound, at every endpoint"),
]


def pytest_addoption(parser):
    group = parser.getgroup("siltstone")
    group.addoption("--siltstone", default="target/debug/siltstone", help="the program under test (default: %(default)s)")
    group.addoption("--seed", type=int, default=os.environ.get("SILTSTONE_SEED"), help="seed of what is drawn (default: another one each time)")
    group.addoption("--endpoints", help="S3 endpoints of a running cluster, for the operations that are tried on one; keys are SILTSTONE_ACCESS_KEY and SILTSTONE_SECRET_KEY")
    group.addoption("--fault", help="fault of the cluster's short test (default: another one each day)")
    group.addoption("--tree", help="a folder whose files go in with real clients and come back")
    for name, default, meaning in SIZES:
        group.addoption(f"--{name}", type=int, default=default, help=f"{meaning} (default: %(default)s)")
    for name, meaning in FLAGS:
        group.addoption(f"--{name}", action="store_true", help=meaning)


def pytest_configure(config):
    # Workers of pytest-xdist get the options of their controller, and this one with them.
    if not hasattr(config.option, "drawn_seed"):
        config.option.drawn_seed = random.randrange(1 << 32) if config.option.seed is None else config.option.seed
    signal.signal(signal.SIGTERM, interrupt_workers if config.option.numprocesses else interrupt)


def interrupt(number, _):
    """Ends the run as Ctrl-C does: fixtures end their processes."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def interrupt_workers(number, frame):
    """Ends the workers of pytest-xdist first, which a controller that ends would kill."""
    for child in pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        os.kill(int(child), number)
    interrupt(number, frame)


def pytest_report_header(config):
    return f"siltstone: {config.option.siltstone}, seed {config.option.drawn_seed}"


# Results: how many assertions passed, the figures that tests measured, and a command for each failure.


def pytest_assertion_pass(item):
    item.stash[CHECKS] = item.stash.get(CHECKS, 0) + 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "teardown":
        report.user_properties.append(("count", ("assertions passed", item.stash.get(CHECKS, 0))))
    if report.failed:
        report.sections += [("log of a server", server.log_end()) for server in Server.running]
    return report


@pytest.fixture
def tell(request):
    """Prints a figure, and repeats it at the end of the run."""
    def tell(text):
        print(text, flush=True)
        request.node.user_properties.append(("figure", text))

    return tell


@pytest.fixture
def count(request):
    """Counts what a test did many times; the end of the run has the sum of all tests."""
    return lambda what, number: request.node.user_properties.append(("count", (what, number)))


def pytest_terminal_summary(terminalreporter, config):
    reports = [report for found in terminalreporter.stats.values() for report in found if isinstance(report, pytest.TestReport)]
    ends = [report for report in reports if report.when == "teardown"]
    if not ends:
        return
    terminalreporter.section("figures")
    for report in ends:
        for name, text in report.user_properties:
            if name == "figure":
                terminalreporter.line(f"{report.nodeid.rpartition('/')[2]}: {text}")
    counted = collections.Counter()
    for name, value in [one for report in ends for one in report.user_properties]:
        if name == "count":
            what, number = value
            counted[what] += number
    terminalreporter.line(", ".join(f"{number} {what}" for what, number in counted.items()))
    # A test can fail in its call and at its end.
    commands = dict.fromkeys(repeating(config, report) for report in reports if report.failed)
    if commands:
        terminalreporter.section("to repeat")
    for command in commands:
        terminalreporter.line(command)


def repeating(config, report):
    """The command that runs a test again with what it drew."""
    seed = dict(report.user_properties).get("seed", config.option.drawn_seed)
    words = [".tools/venv/bin/pytest", report.nodeid, f"--seed={seed}"]
    if "long" in report.keywords:
        words += ["-m", "long"]
    for name in ["siltstone", "endpoints", "fault", "tree"]:
        if value := getattr(config.option, name):
            words.append(f"--{name}={value}")
    for name, default, _ in SIZES:
        if (value := getattr(config.option, name.replace("-", "_"))) != default:
            words.append(f"--{name}={value}")
    words += [f"--{name}" for name, _ in FLAGS if getattr(config.option, name.replace("-", "_"))]
    return shlex.join(words)


# Fixtures.


@pytest.fixture(scope="session")
def siltstone(pytestconfig):
    """The program under test."""
    path = pathlib.Path(pytestconfig.invocation_params.dir, pytestconfig.option.siltstone).resolve()
    if not os.access(path, os.X_OK):
        pytest.exit(f"there is no program {path}: build it, or name another one with --siltstone", returncode=pytest.ExitCode.USAGE_ERROR)
    return str(path)


@pytest.fixture(scope="session")
def seed(pytestconfig):
    """The seed of this run."""
    return pytestconfig.option.drawn_seed


@pytest.fixture(scope="session")
def seed_of_day(pytestconfig):
    """The day of the year where no seed is given: what follows from the seed changes from day to day."""
    seed = pytestconfig.option.seed
    return datetime.date.today().timetuple().tm_yday if seed is None else seed


@pytest.fixture(scope="session")
def sizes(pytestconfig):
    """The options: sizes of samples, and how far to go."""
    return pytestconfig.option


@pytest.fixture(scope="module")
def serve(siltstone, tmp_path_factory):
    """Starts servers, each on a new folder, with the flags that are given."""
    with contextlib.ExitStack() as ends:
        def start(*flags, wait=30, **options):
            server = Server(siltstone, tmp_path_factory.mktemp("server") / "data", *flags, **options).start(wait)
            ends.callback(end_well, server)
            return server

        yield start


def end_well(server):
    """Ends a server if it runs. Its store must be whole, and its log until then free of panics."""
    log = server.log_text()
    if server.is_running():
        server.stop()
    server.fsck()
    assert "panicked" not in log, server.log_end()


@pytest.fixture(autouse=True)
def servers_live():
    """Fails the test during which a server ended by itself."""
    yield
    died = [server for server in Server.running if server.has_died()]
    Server.running.difference_update(died)
    assert not died, "\n".join(f"a server ended with code {server.process.returncode}; {server.log_end()}" for server in died)


@pytest.fixture(scope="session")
def other_user(tmp_path_factory):
    """The flags of a server that knows a second user, see `lib.server.OTHER_KEYS`."""
    return write_other_user(tmp_path_factory.mktemp("users") / "other.toml")


@pytest.fixture(scope="module")
def server(serve, other_user):
    """A server for all tests of a module; modules that need other flags have a fixture of this name of their own."""
    return serve(*other_user)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    """A receiver of events in a process of its own, for all tests of a module."""
    receiver = Receiver(tmp_path_factory.mktemp("receiver")).start()
    yield receiver
    receiver.kill()


@pytest.fixture(scope="module")
def s3(server):
    """The root user's client of `server`."""
    return server.client()


@pytest.fixture
def bucket(s3):
    """The name of a new bucket."""
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    return name
