"""The command `siltstone sql` on the admin endpoint: formats, errors, keys."""
import subprocess

import pytest

from lib.server import ACCESS_KEY, key_environment


@pytest.fixture(scope="module", autouse=True)
def filled(s3):
    s3.create_bucket(Bucket="asked")
    for number in range(50):
        s3.put_object(Bucket="asked", Key=f"a/{number:02}", Body=b"x" * number, Tagging="project=odd")


@pytest.fixture
def run(siltstone, server):
    """Runs the command with these arguments, and a text on its standard input."""
    def run(*arguments, text=None):
        command = [siltstone, "sql", "--admin", server.admin, *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, env=key_environment())

    return run


@pytest.mark.parametrize(("form", "wanted"), [("csv", "n\n50\n"), ("json", '[\n{"n":50}\n]\n')])
def test_a_format_is_written(run, form, wanted):
    told = run("--format", form, "SELECT count(*) AS n FROM objects WHERE bucket = 'asked'")
    assert told.stdout == wanted, f"{form}: {told.stdout}{told.stderr}"


def test_a_table_is_written_where_no_format_is_given(run):
    told = run("SELECT key, tags FROM objects WHERE bucket = 'asked' LIMIT 1")
    assert told.returncode == 0 and "{project: odd}" in told.stdout, f"a table: {told.stdout}{told.stderr}"


def test_a_wrong_query_fails(run):
    wrong = run("SELEC")
    assert wrong.returncode == 1 and "400" in wrong.stderr, f"a wrong query: {wrong.stderr}"


def test_wrong_keys_fail(run):
    nobody = run("--access-key", ACCESS_KEY, "--secret-key", "wrong", "SELECT 1")
    assert nobody.returncode == 1 and "401" in nobody.stderr, f"wrong keys: {nobody.stderr}"


def test_a_file_of_statements_is_run(run):
    told = run("--format", "csv", text="SELECT 1 AS a;\nSELECT\n 2 AS b;\nSELECT 3 AS c")
    assert told.stdout == "a\n1\nb\n2\nc\n3\n" and told.returncode == 0, f"a file of statements: {told}"


def test_a_file_of_statements_ends_at_the_first_error(run):
    told = run("--format", "csv", text="SELECT 1 AS a;\nSELEC;\nSELECT 3 AS c;")
    assert told.stdout == "a\n1\n" and told.returncode == 1, f"the first error: {told}"
