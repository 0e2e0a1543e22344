"""A tree of real files goes in with aws s3 and rclone and comes back the same, whatever happens to the server between."""
import pathlib

import pytest

from lib import ROOT
from lib.server import ACCESS_KEY, SECRET_KEY
from lib.tree import Tree, copy_files


@pytest.fixture(scope="module")
def own_files(tmp_path_factory):
    """A copy of this project's own files."""
    copy = tmp_path_factory.mktemp("tree") / "tree"
    copy_files(ROOT, copy, left_out=["target", ".git", ".tools", "data"])
    return copy


def test_this_project_comes_and_goes(server, own_files, tell):
    tree = Tree(server, own_files)
    tree.come_and_go()
    tell(f"{tree.count} files, {tree.size} bytes")


def test_s3cmd_puts_and_gets_a_file(server, own_files, tmp_path):
    config = tmp_path / "s3cfg"
    config.write_text(f"[default]\naccess_key={ACCESS_KEY}\nsecret_key={SECRET_KEY}\nhost_base={server.address}\nhost_bucket={server.address}\nuse_https=False\nbucket_location=us-east-1\n")
    tree = Tree(server, own_files)
    tree.run("s3cmd", "-c", config, "mb", "s3://cmd")
    tree.run("s3cmd", "-c", config, "put", own_files / "README.md", "s3://cmd/readme")
    tree.run("s3cmd", "-c", config, "get", "--force", "s3://cmd/readme", tmp_path / "readme")
    assert (tmp_path / "readme").read_bytes() == (own_files / "README.md").read_bytes(), "s3cmd"
    tree.run("s3cmd", "-c", config, "del", "--recursive", "--force", "s3://cmd")
    tree.run("s3cmd", "-c", config, "rb", "s3://cmd")


@pytest.mark.long
def test_a_large_tree_comes_and_goes(serve, tmp_path, sizes, tell):
    """The files below `--tree`; a registry of crates, for example."""
    assert sizes.tree, "name a folder with --tree"
    count, size = copy_files(pathlib.Path(sizes.tree).expanduser(), tmp_path / "tree")
    tell(f"{count} files, {size} bytes")
    assert count >= sizes.tree_files, f"{count} files, {sizes.tree_files} are wanted"
    tree = Tree(serve(), tmp_path / "tree", say=tell)
    assert (tree.count, tree.size) == (count, size), "the copy is whole"
    tree.come_and_go()
