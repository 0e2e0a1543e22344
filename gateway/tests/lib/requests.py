"""Signed requests, one by one, for tests that send what no client would."""
import hashlib
import http.client
import re

from lib.signing import sign


class Requests:
    """Signed requests over one connection."""

    def __init__(self, server):
        self.host = f"127.0.0.1:{server.port}"
        self.connection = None

    def send(self, method, target, headers, body, pairs=()):
        for attempt in range(2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, timeout=30)
            try:
                self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in [*headers.items(), *pairs]:
                    self.connection.putheader(name, value)
                self.connection.endheaders(body)
                response = self.connection.getresponse()
                answer = response.status, dict(response.getheaders()), response.read()
                if response.will_close:
                    self.connection = None
                return answer
            except (http.client.HTTPException, OSError):
                self.connection = None
                if attempt:
                    raise

    def ask(self, method, path, query="", headers=None, body=b"", pairs=(), payload=None):
        """Signs and sends; `payload` is the statement about the body where that is not its digest."""
        target = path + ("?" + query if query else "")
        headers = dict(headers or {}, host=self.host)
        headers, *_ = sign(method, target, headers, payload or hashlib.sha256(body).hexdigest())
        return self.send(method, target, dict(headers, **{"content-length": str(len(body))}), body, pairs)


def code(answer):
    """The status of an answer, and the code in its document."""
    found = re.search(rb"<Code>(.*?)</Code>", answer[2])
    return answer[0], found.group(1).decode() if found else None


def header_of(answer, name):
    """A header of an answer, however it is spelt."""
    return next((value for known, value in answer[1].items() if known.lower() == name), None)


def head(method, path, headers):
    """The bytes of a request's head."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")
