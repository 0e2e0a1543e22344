"""The page of clients, `docs/clients.md`: written from the results of a run, and read again to see if it is stale."""
import collections
import re

from lib import ROOT

PAGE = ROOT / "docs" / "clients.md"
HEAD = """# Clients

<!-- Generated from the results of gateway/tests/clients by: .tools/venv/bin/pytest gateway/tests/clients -m "" --write-client-page -->

Unmodified clients and the jobs that each of them did with Siltstone. Every job compares all bytes that it moved with
those that it started from: what the client reads, and what a second client reads where the first one wrote. The numbers of
objects and bytes that were compared stand beside each job. Without a number a job moved no content (it listed or deleted,
and names and sizes were compared), or the program that drives the client compared the content.

*Works* is AWS's answer. *Refused* is a feature that Siltstone does not have: the request fails with the error that is
named, and nothing is changed. *Not yet* is a job that the client does with AWS and that is not served now. *Needs* are
the settings without which a client does not reach the store, besides keys and region; flags of a single job stand beside
the job. The versions are those of the run that made this page.
"""


def write_page(results):
    """Writes the page; returns a line that says so, or why the page stays as it was."""
    wrong = [f"{one['client']}: {one['job']} ({one['result']})" for one in results if one["result"] in ("failed", "not run")]
    if wrong or not results:
        return f"{PAGE} is not written, because jobs failed or were not run: " + ("; ".join(wrong) or "there are none")
    PAGE.write_text(page(results))
    return f"{PAGE} is written"


def page(results):
    clients = collections.defaultdict(list)
    for one in results:
        clients[one["client"]].append(one)
    names = sorted(clients, key=str.lower)
    rows = [summary(name, clients[name]) for name in names]
    parts = [HEAD, table(["client", "version", "package", "works", "needs", "refused", "not yet"], rows)]
    for name in names:
        first = clients[name][0]
        jobs = table(["job", "result", "flags", "objects", "bytes"], [row(one) for one in clients[name]])
        needs = ", ".join(f"`{setting}`" for setting in first["needs"])
        parts.append(f"## {name}\n\nVersion {first['version']} of {first['package']}. Needs {needs}.\n\n{jobs}")
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def summary(name, jobs):
    first = jobs[0]
    anchor = re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")
    of = collections.defaultdict(list)
    for one in jobs:
        of[one["result"]].append(one)
    return [
        f"[{name}](#{anchor})", first["version"], first["package"], f"{len(of['works'])} jobs",
        ", ".join(f"`{setting}`" for setting in first["needs"]),
        ", ".join(dict.fromkeys(one["job"] for one in of["refused"])),
        ", ".join(dict.fromkeys(one["pending"] for one in of["pending"])),
    ]


def told(one):
    """The result of a job as the page has it, which follows from the test where the test does not fail."""
    if one["pending"]:
        return f"not yet: {one['pending']}"
    return f"refused: {one['refused']}" if one["refused"] else "works"


def row(one):
    compared = [f"{one[what]:,}" if one["objects"] else "" for what in ["objects", "bytes"]]
    return [one["job"], told(one), f"`{one['flags']}`" if one["flags"] else "", *compared]


def table(names, rows):
    lines = ["| " + " | ".join(escape(cell) for cell in cells) + " |" for cells in [names, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(names), *lines[1:]]) + "\n"


def escape(text):
    return text.replace("|", "\\|")


def jobs_of_page():
    """The jobs that the page tells, each with its client, result and flags."""
    found, client = [], None
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            client = line[3:]
        elif client and line.startswith("| ") and not line.startswith("| job |"):
            name, result, flags, *_ = [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.append((client, name, result, flags.strip("`")))
    return found
