"""Listings say what a plain model says, page by page and field by field, while the buckets change and are cut; see
`lib/listing_worker.py`."""
import collections
import concurrent.futures
import copy
import multiprocessing

import pytest

from lib.listing_kinds import KINDS
from lib.listing_worker import work

# The store makes cuts of its own after so many entries.
CUT_ENTRIES = 700


@pytest.fixture(scope="module")
def server(serve):
    return serve("--cut-entries", str(CUT_ENTRIES))


def test_pages_are_those_of_the_model(server, sizes, seed, tell, count):
    counts, failures, workers = collections.Counter(), [], sizes.listing_workers
    # A worker sends requests only; the process stays with the test.
    asked = copy.copy(server)
    asked.process = None
    each = [sizes.listings // workers] * workers
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for counted, failed in pool.map(work, [asked] * workers, range(workers), [seed] * workers, [sizes.listing_keys] * workers, each):
            counts += counted
            failures += failed
    count("pages of listings", sum(counts[kind.__name__] for kind in KINDS))
    tell(", ".join(f"{counts[what]} {what}" for what in ["rows", "walks to their end", "cuts", *(kind.__name__ for kind in KINDS)]))
    assert not failures, "\n".join(failures)
