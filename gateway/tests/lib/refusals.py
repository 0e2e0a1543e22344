"""Calls that must be refused, and the errors they are refused with."""
import urllib.error

import pytest
from botocore.exceptions import ClientError


def refused(code, call, *args, **kwargs):
    """Runs an S3 call that must fail with this code; returns the answer."""
    with pytest.raises(ClientError) as raised:
        call(*args, **kwargs)
    got = raised.value.response["Error"]["Code"]
    assert got == code, f"{call.__name__}: {got} instead of {code}"
    return raised.value.response


def refused_sql(status, server, query, keys=None, **wishes):
    """Runs a query that must fail with this HTTP status; returns the text of the answer."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        server.sql(query, keys, **wishes)
    error = raised.value
    assert error.code == status, f"{query}: {error.code} {error.text}"
    return error.text
