"""Terraform: state in a bucket, with its lock file."""
import json
import shutil
import subprocess
import threading

import pytest

from lib.client_jobs import Client, job

CLIENT = Client("Terraform (S3 backend)", lambda: json.loads(subprocess.run(["terraform", "version", "-json"], check=True, capture_output=True).stdout)["terraform_version"],
                ("endpoints = { s3 = … }", "use_path_style = true", "skip_credentials_validation = true", "skip_requesting_account_id = true", "skip_metadata_api_check = true"), "HashiCorp's releases")
# No registry has it, so that it is taken where a machine has it.
pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")


@pytest.fixture
def project(run, server, bucket, tmp_path):
    """Makes folders of one project, whose state is in the job's bucket; returns a function that runs Terraform in one."""
    backend = f"""
terraform {{
  backend "s3" {{
    bucket                      = "{bucket}"
    key                         = "path/to ü/state"
    region                      = "us-east-1"
    endpoints                   = {{ s3 = "{server.url}" }}
    use_path_style              = true
    use_lockfile                = true
    skip_credentials_validation = true
    skip_requesting_account_id  = true
    skip_metadata_api_check     = true
  }}
}}

variable "value" {{ type = string }}
variable "seconds" {{ default = 0 }}

resource "terraform_data" "one" {{
  input = var.value
  triggers_replace = [var.value]
  provisioner "local-exec" {{ command = "touch started; sleep ${{var.seconds}}" }}
}}

output "value" {{ value = terraform_data.one.output }}
"""

    def start(name):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "main.tf").write_text(backend)

        def call(*words, **options):
            return run("terraform", *words, folder=folder, CHECKPOINT_DISABLE="1", **options)

        call("init", "-input=false", "-no-color")
        call.folder = folder
        return call

    return start


@job("init, apply, read, change and destroy", flags="use_lockfile = true")
def test_state(project, s3, bucket, stored, compared):
    terraform = project("a")
    for value in ["first", "second ü" * 1000]:
        terraform("apply", "-auto-approve", "-input=false", f"-var=value={value}")
        other = json.loads(terraform("output", "-json"))
        assert other["value"]["value"] == value
        [state] = stored(bucket).values()
        compared.same(terraform("state", "pull").rstrip(b"\n"), state.rstrip(b"\n"), "the state")
    assert json.loads(project("b")("output", "-json")) == other, "another machine reads the same state"
    terraform("destroy", "-auto-approve", "-input=false", "-var=value=x")
    assert json.loads([*stored(bucket).values()][0])["resources"] == []


@job("a second apply waits for the lock or is refused", flags="use_lockfile = true")
def test_lock(project, stored, bucket):
    first, second = project("a"), project("b")
    begun = threading.Thread(target=first, args=["apply", "-auto-approve", "-input=false", "-var=value=a", "-var=seconds=6"])
    begun.start()
    while begun.is_alive() and not (first.folder / "started").exists():
        begun.join(0.05)
    assert any(key.endswith(".tflock") for key in stored(bucket))
    told = second("apply", "-auto-approve", "-input=false", "-no-color", "-lock-timeout=0s", "-var=value=b", code=1).decode()
    assert "Error acquiring the state lock" in told and "PreconditionFailed" in told
    second("apply", "-auto-approve", "-input=false", "-lock-timeout=60s", "-var=value=b")
    begun.join()
    assert json.loads(first("output", "-json"))["value"]["value"] == "b"
    assert not any(key.endswith(".tflock") for key in stored(bucket))


@job("workspaces", flags="use_lockfile = true")
def test_workspaces(project, stored, bucket):
    terraform = project("a")
    terraform("workspace", "new", "two")
    terraform("apply", "-auto-approve", "-input=false", "-var=value=x")
    assert terraform("workspace", "list").split() == [b"default", b"*", b"two"]
    terraform("destroy", "-auto-approve", "-input=false", "-var=value=x")
    terraform("workspace", "select", "default")
    terraform("workspace", "delete", "two")
    assert not any("two" in key for key in stored(bucket))
