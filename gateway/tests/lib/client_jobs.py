"""Jobs of unmodified clients: how a test says which job of which client it is, and the file of the results.

A module of tests is about one client, which it names as `CLIENT`. Each of its tests is a job. A job is data of its test:
the name, the flags that the client needs for it, and the error with which the server refuses it. The results and the page
of clients are made of the same data that the tests obey.
"""
import dataclasses
import functools
import hashlib
import json
import pathlib
import typing

import pytest

from lib.client_page import write_page

PHASES = pytest.StashKey[dict]()
COMPARED = pytest.StashKey["Compared"]()


@dataclasses.dataclass(frozen=True)
class Client:
    """A client under test. `version` asks the client itself; `needs` are settings without which it does not reach the store."""

    name: str
    version: typing.Callable[[], str]
    needs: tuple[str, ...] = ()
    # Where the client comes from: a package and its registry.
    package: str = ""


def job(name, *, flags="", refused="", pending=""):
    """Makes a test a job of the module's client.

    The name may have fields like `{algorithm}`, which parameters of the test fill. `refused` is the status and the code with
    which the server must refuse the job, such as `501 NotImplemented`; the test compares. `pending` names a feature that
    the store does not have yet: the test must fail until the store has it.
    """
    def decorate(test):
        test = pytest.mark.job(name, flags=flags, refused=refused)(test)
        return pytest.mark.xfail(strict=True, reason=pending)(test) if pending else test

    return decorate


class Compared:
    """Comparisons of contents: how many objects and bytes were found equal."""

    def __init__(self):
        self.objects = self.bytes = 0

    def same(self, got, wanted, what="the content"):
        """Compares two contents by length and SHA-256, because a difference of megabytes cannot be shown."""
        if got != wanted:
            pytest.fail(f"{what}: {describe(got)} instead of {describe(wanted)}")
        self.objects, self.bytes = self.objects + 1, self.bytes + len(wanted)

    def same_tree(self, got, wanted, what="the tree"):
        """Compares all contents of two dictionaries by their names; the names must be the same."""
        assert sorted(got) == sorted(wanted), f"{what} has {sorted(set(got) - set(wanted))} more and lacks {sorted(set(wanted) - set(got))}"
        for name, content in wanted.items():
            self.same(got[name], content, f"{what}, {name!r}")


@functools.cache
def version_of(client):
    return client.version()


def describe(content):
    return f"{len(content)} bytes with SHA-256 {hashlib.sha256(content).hexdigest()[:16]}"


def fields(item):
    """The job of a test as the file of results has it; none when the test is no job."""
    mark = item.get_closest_marker("job")
    if mark is None:
        return None
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    missing = item.get_closest_marker("xfail")
    return {
        "client": item.module.CLIENT.name,
        "job": mark.args[0].format(**parameters),
        "flags": mark.kwargs["flags"],
        "refused": mark.kwargs["refused"],
        "pending": missing.kwargs["reason"] if missing else "",
    }


def pytest_addoption(parser):
    group = parser.getgroup("clients", "unmodified clients")
    group.addoption("--client-results", metavar="PATH", help="writes the results of all jobs of clients to this file, as JSON")
    group.addoption("--client-jobs", metavar="PATH", help="writes the jobs of the collected tests to this file, as JSON; for --collect-only")
    group.addoption("--write-client-page", action="store_true", help="writes docs/clients.md; every job must have been run, see CONTRIBUTING.md")


def pytest_configure(config):
    config.addinivalue_line("markers", "job(name, flags, refused): a job of the client that the module names, see gateway/tests/lib/client_jobs.py")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(config), "client results")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if config.option.client_jobs:
        jobs = [found for item in items if (found := fields(item))]
        pathlib.Path(config.option.client_jobs).write_text(json.dumps(jobs, indent=1, ensure_ascii=False))


# Outermost, to see what other plugins make of an outcome.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    found = fields(item)
    if found is None:
        return report
    phases = item.stash.setdefault(PHASES, {})
    phases[call.when] = report.outcome, hasattr(report, "wasxfail"), report.duration
    if call.when == "teardown":
        report.user_properties.append(("job", dict(found, **result(item, found, phases))))
    return report


def result(item, found, phases):
    """The part of a job's result that is known when its test is over."""
    outcomes = {outcome for outcome, _, _ in phases.values()}
    if "failed" in outcomes:
        told = "failed"
    elif any(expected for _, expected, _ in phases.values()):
        told = "pending"
    elif "skipped" in outcomes:
        told = "not run"
    else:
        told = "refused" if found["refused"] else "works"
    compared = item.stash.get(COMPARED, None) or Compared()
    return {
        "result": told,
        "objects": compared.objects,
        "bytes": compared.bytes,
        "seconds": round(sum(seconds for _, _, seconds in phases.values()), 2),
        # A client that is not there has no version.
        "version": "" if told == "not run" else version_of(item.module.CLIENT),
        "needs": item.module.CLIENT.needs,
        "package": item.module.CLIENT.package,
    }


class Results:
    """The results of a run, also of one with several workers."""

    def __init__(self, config):
        self.config, self.jobs = config, []

    def pytest_runtest_logreport(self, report):
        if report.when == "teardown":
            self.jobs += [value for name, value in report.user_properties if name == "job"]

    def pytest_terminal_summary(self, terminalreporter):
        if path := self.config.option.client_results:
            pathlib.Path(path).write_text(json.dumps(self.jobs, indent=1, ensure_ascii=False) + "\n")
        if self.config.option.write_client_page:
            terminalreporter.line(write_page(self.jobs))
