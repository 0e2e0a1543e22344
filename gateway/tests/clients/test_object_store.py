"""The Rust crate `object_store`: the integration tests that it has for stores, run by the program in `object_store/`."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from lib import ROOT
from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

HERE = pathlib.Path(__file__).parent / "object_store"
CLIENT = Client("object_store", lambda: re.search(r'name = "object_store"\nversion = "(.*)"', (HERE / "Cargo.lock").read_text())[1],
                ("AWS_ENDPOINT", "AWS_ALLOW_HTTP=true"), "Rust crate object_store")
# Building the program takes minutes.
pytestmark = [pytest.mark.long, pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")]
TESTS = [
    "put_get_delete_list", "unsigned_payload", "checksum", "put_get_attributes", "get_opts", "put_opts", "stream_get",
    "list_uses_directories_correctly", "list_with_delimiter", "list_with_offset_exclusivity", "list_paginated", "rename_and_copy",
    "multipart", "multipart_race_condition", "multipart_out_of_order", "nonexistent_bucket",
]


@pytest.fixture(scope="module")
def program():
    target = ROOT / "target" / "clients"
    subprocess.run(["cargo", "build", "--locked", "--quiet"], cwd=HERE, env=os.environ | {"CARGO_TARGET_DIR": str(target)}, check=True, timeout=1800)
    return target / "debug" / "object-store-jobs"


@pytest.fixture
def integration(run, program, server, bucket):
    """Runs one of the crate's tests, which compares what it moves by itself."""
    def act(test, **environment):
        run(program, test, AWS_ENDPOINT=server.url, AWS_ALLOW_HTTP="true", AWS_REGION="us-east-1", AWS_BUCKET=bucket,
            AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY, **environment)

    return act


@job("integration::{test}")
@pytest.mark.parametrize("test", TESTS)
def test_integration(integration, test):
    integration(test)


@job("integration::{test}, by an upload in parts that is completed if there is no object", flags="AWS_COPY_IF_NOT_EXISTS=multipart")
@pytest.mark.parametrize("test", ["copy_if_not_exists", "copy_rename_nonexistent_object"])
def test_copy_if_not_exists(integration, test):
    integration(test, AWS_COPY_IF_NOT_EXISTS="multipart")
