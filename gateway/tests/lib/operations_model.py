"""S3's operations as botocore's model has them, and as the table in `gateway/s3/src/operation.rs` has them."""
import gzip
import json
import os
import re

import botocore

from lib import ROOT

# Operations that the model has and that no request here can be: older names of others, and other services' endpoints.
ELSEWHERE = {"GetBucketLifecycle", "GetBucketNotification", "PutBucketLifecycle", "PutBucketNotification",
             "ListDirectoryBuckets", "WriteGetObjectResponse"}


def model():
    """S3's operations: name -> (method, resource, selectors, parameters, headers)."""
    path = os.path.join(os.path.dirname(botocore.__file__), "data/s3/2006-03-01/service-2.json.gz")
    known = json.load(gzip.open(path))
    found = {}
    for name, operation in known["operations"].items():
        if name in ELSEWHERE:
            continue
        path, _, query = operation["http"]["requestUri"].partition("?")
        resource = "Object" if "{Key" in path else "Bucket" if "{Bucket}" in path else "Service"
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
    """The rows of operation.rs: name -> (method, resource, all query names)."""
    text = (ROOT / "gateway/s3/src/operation.rs").read_text()
    groups = {name: re.findall(r'"(.*?)"', body) for name, body in re.findall(r"const (\w+): &\[&str\] =\s*&\[(.*?)\];", text, re.S)}
    rows = {}
    row = r"^ *(\w+) (\w+) (\w+) \[(.*?)\] \[(.*?)\] \[(.*?)\](?: by \w+)? => (\w+)"
    for name, method, resource, selectors, parameters, _, _ in re.findall(row, text, re.M):
        names = re.findall(r'"(.*?)"', selectors) + [n for group in parameters.split() for n in groups[group]]
        rows[name] = (method, resource, set(names))
    return rows
