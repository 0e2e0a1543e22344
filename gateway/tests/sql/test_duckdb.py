"""SQL's answers are DuckDB's over a copy of the tables: generated queries of many kinds, half of them while the newest rows
are in the tail, half after a cut. What the copy holds is compared with what S3 lists first."""
import random

import pytest

from lib import query_texts
from lib.query_answers import Fill, Run, compare_with_s3, copied

# Of the queries of a kind so many must have rows in their answers, or they prove little.
SHARE_WITH_ROWS = 0.8
KINDS = [of.__name__ for of in query_texts.CLASSES]


@pytest.fixture(scope="module")
def server(serve, seed):
    server = serve()
    Fill(server, random.Random(seed)).run()
    return server


@pytest.fixture(scope="module")
def copy(server):
    return copied(server)


@pytest.fixture(scope="module")
def run(server, copy, seed):
    """The queries of this run; a number makes one."""
    return Run(server, copy, seed)


@pytest.fixture(scope="module")
def after_cut(server, run):
    server.cut()


def numbers(kind, first, end):
    return [number for number in range(first, end) if number % len(KINDS) == KINDS.index(kind)]


def same(run, kind, numbers):
    """Runs some queries of a kind; all that differ are told."""
    before = len(run.wrong[kind])
    for number in numbers:
        run.ask(number)
    wrong = run.wrong[kind][before:]
    assert not wrong, f"{len(wrong)} of {len(numbers)} queries differ:\n" + "\n".join(wrong)


def test_the_copy_has_what_s3_lists(s3, copy, tell):
    tell(f"{compare_with_s3(s3, copy)} versions")


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_duckdb_before_a_cut(run, sizes, kind):
    same(run, kind, numbers(kind, 0, sizes.queries // 2))


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_duckdb_after_a_cut(run, after_cut, sizes, count, kind):
    same(run, kind, numbers(kind, sizes.queries // 2, sizes.queries))
    share = run.with_rows[kind] / run.asked[kind] if run.asked[kind] else 1
    print(f"{run.asked[kind]} queries, {share:.0%} with rows")
    count("queries compared with DuckDB's answers", run.asked[kind])
    # Where only some tests are selected, there are too few queries for a share.
    if run.asked[kind] == len(numbers(kind, 0, sizes.queries)):
        assert share >= SHARE_WITH_ROWS, f"too few answers have rows: {share:.0%}"
