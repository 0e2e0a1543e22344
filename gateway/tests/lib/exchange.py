"""One request as it stands, on a connection of its own."""
import http.client


def send(server, method, target, headers, body=b""):
    """Sends a raw request to the server, whatever its host; returns status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    if not any(name == "content-length" for name, _ in headers):
        connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    answer = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return answer
