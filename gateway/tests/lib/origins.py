"""Requests as browsers send them for pages of other origins, and requests to hosts of websites."""
import hashlib
import http.client

from lib.signing import sign

EMPTY = hashlib.sha256(b"").hexdigest()


class Answer:
    """An answer: status, headers in lower case, and body."""

    def __init__(self, response):
        self.status, self.body = response.status, response.read()
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def cors(self):
        """The headers that permit a page to read the answer."""
        return {name: value for name, value in self.headers.items() if name.startswith("access-control-") or name == "vary"}


def ask(server, method, target, headers=None, host=None, keys=None, body=b"", region="us-east-1"):
    """Sends a request, with a signature if there are keys; `host` stands in the header and in the signature."""
    headers = {name.lower(): value for name, value in (headers or {}).items()}
    headers["host"] = host or server.address
    if keys:
        headers, *_ = sign(method, target, headers, hashlib.sha256(body).hexdigest(), access=keys[0], secret=keys[1], region=region)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()
