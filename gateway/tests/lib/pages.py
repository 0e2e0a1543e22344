"""Web pages of another origin than the store's: a server for them on this machine."""
import http.server
import threading

# Functions that scripts of tests call. `ask` tells all that a script may see of an answer; a refusal by the browser is an error.
SCRIPT = """
async function sha256(bytes) {
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return [...new Uint8Array(digest)].map(byte => byte.toString(16).padStart(2, '0')).join('');
}
async function ask(url, options) {
  try {
    const answer = await fetch(url, options);
    const bytes = await answer.arrayBuffer();
    const text = bytes.byteLength < 10000 ? new TextDecoder().decode(bytes) : '';
    return {status: answer.status, headers: Object.fromEntries(answer.headers), text, sha256: await sha256(bytes)};
  } catch (error) {
    return {error: String(error)};
  }
}
"""
PAGE = f"<!doctype html><meta charset='utf-8'><title>page</title><script>{SCRIPT}</script><body></body>"


class Pages:
    """A server of pages: every path has the same one. `targets` has the targets that were asked for."""

    def __init__(self):
        self.targets = []
        pages = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                pages.targets.append(self.path)
                body = PAGE.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def other_origin(self):
        """Another origin with the same pages."""
        return f"http://localhost:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)
