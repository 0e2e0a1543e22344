"""S3's operations as botocore's model has them, and as `docs/s3.md` has them, the page that is generated from the server's table."""
import gzip
import json
import os
import re

import botocore

from lib import ROOT

# Operations of the model that no request here can be: clients sign them for other services.
ELSEWHERE = {"ListDirectoryBuckets", "WriteGetObjectResponse"}


def model():
    """S3's operations: name -> (method, resource, selectors, parameters, headers). Older forms of others are left out."""
    path = os.path.join(os.path.dirname(botocore.__file__), "data/s3/2006-03-01/service-2.json.gz")
    known = json.load(gzip.open(path))
    found = {}
    for name, operation in known["operations"].items():
        if operation.get("deprecated"):
            continue
        path, _, query = operation["http"]["requestUri"].partition("?")
        resource = "/bucket/key" if "{Key" in path else "/bucket" if "{Bucket}" in path else path
        selectors = [piece.partition("=")[0] for piece in query.split("&") if piece]
        parameters, headers = [], []
        if "input" in operation:
            for member in known["shapes"][operation["input"]["shape"]]["members"].values():
                if member.get("location") == "querystring":
                    parameters.append(member["locationName"])
                elif member.get("location") in ("header", "headers"):
                    headers.append(member["locationName"].lower())
        found[name] = (operation["http"]["method"], resource, selectors, parameters, headers)
    return found


def table():
    """The rows of docs/s3.md: name -> (method, resource, all query names)."""
    text = (ROOT / "docs/s3.md").read_text()
    rows = {}
    row = r"^\| (\w+)(?:, older \w+)? \| `([A-Z]+) ([^`?]+)\??([^`]*)`.*? \| (.*?) \|"
    for name, method, resource, selectors, parameters in re.findall(row, text, re.M):
        names = [name for name in selectors.split("&") if name] + re.findall(r"`(.*?)`", parameters)
        rows[name] = (method, resource, set(names))
    return rows
