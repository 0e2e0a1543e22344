"""The shell of `siltstone sql` in a terminal."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from lib.server import key_environment


class Terminal:
    """A shell that believes that somebody sits before it."""

    def __init__(self, siltstone, server, home):
        self.shown = ""
        self.side, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
        env = dict(key_environment(), HOME=str(home), TERM="xterm", PAGER="sed -u 's/^/paged /; 30q'")
        self.process = subprocess.Popen([siltstone, "sql", "--admin", server.admin], stdin=inner, stdout=inner, stderr=inner, env=env,
                                        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(inner)

    def type(self, keys):
        os.write(self.side, keys.encode())

    def until(self, pattern, within=20):
        """Reads until something is shown; forgets what came before its end."""
        deadline = time.monotonic() + within
        while not (found := re.search(pattern, self.shown, re.S)):
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"the shell does not show {pattern!r} but\n{self.shown}")
            if select.select([self.side], [], [], 0.1)[0]:
                self.shown += os.read(self.side, 65536).decode(errors="replace")
        self.shown = self.shown[found.end():]
        return found

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.side)


    def answers(self, statement, pattern, within=20):
        """Types a statement and waits for what is shown, up to the next prompt."""
        self.type(statement + "\r")
        return self.until(pattern + ".*siltstone> ", within)[0]


@pytest.fixture(scope="module", autouse=True)
def filled(s3):
    """Two buckets and an object."""
    s3.create_bucket(Bucket="plain")
    s3.create_bucket(Bucket="versions")
    s3.put_object(Bucket="plain", Key="k", Body=b"1")


@pytest.fixture
def terminal(siltstone, server, tmp_path):
    terminal = Terminal(siltstone, server, tmp_path)
    try:
        terminal.until("siltstone> ")
        yield terminal
    finally:
        terminal.end()


def test_tables_and_columns_are_described(terminal):
    terminal.answers("\\d", "buckets.*objects.*uploads.*versions")
    terminal.answers("\\d objects", "last_modified.*Timestamp")


def test_a_statement_has_several_lines(terminal):
    terminal.type("SELECT count(*) AS many\r")
    terminal.until(r"\.\.\.> ")
    terminal.answers("FROM buckets;", r"many.*\| 2 ")


def test_tab_completes_a_column(terminal):
    terminal.answers("SELECT max(last_mo\t) AS newest FROM objects;", r"newest.*20\d\d-")


def test_errors_leave_the_shell_running(terminal):
    terminal.answers("SELECT nothing FROM objects;", "400")
    terminal.answers("\\nonsense", "no such command")


def test_timing_is_shown_when_it_is_on(terminal):
    terminal.answers("\\timing", "timing is on")
    terminal.answers("SELECT 41 + 1 AS answer;", r"42.*[\d.]+ ms")


def test_the_pager_gets_what_is_taller_than_the_terminal(terminal):
    """Unless the pager is off."""
    terminal.answers("SELECT value AS tall FROM generate_series(1, 40);", r"paged \S+.*paged \| tall.*paged \| 20 ")
    low = terminal.answers("SELECT value AS low FROM generate_series(1, 18);", r"\| low .*\| 18 ")
    assert "paged" not in low, "a low answer goes to the terminal"
    terminal.answers("\\pset pager off", "pager is off")
    tall = terminal.answers("SELECT value AS tall FROM generate_series(1, 40);", r"\| tall .*\| 40 ")
    assert "paged" not in tall, "the pager is off"
    terminal.answers("\\pset pager", "pager is on")


def test_a_pager_that_is_left_early_ends_the_answer_and_no_more(terminal):
    terminal.answers("\\format csv", "")
    terminal.answers("SELECT value FROM generate_series(1, 50000000);", r"paged 29\r", within=40)
    terminal.answers("\\format table", "")


def test_control_c_ends_a_query_and_the_shell_goes_on(terminal):
    terminal.type("SELECT count(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b;\r")
    time.sleep(1)
    terminal.process.send_signal(signal.SIGINT)
    terminal.until("the query was ended.*siltstone> ")
    terminal.answers("SELECT 41 + 1 AS answer;", "42")


def test_the_line_before_comes_back_and_the_history_is_kept(terminal, tmp_path):
    terminal.answers("SELECT 'once' AS word;", "once.*once")
    terminal.answers("\x1b[A", r"\| once ")
    terminal.type("\\q\r")
    assert terminal.process.wait(10) == 0, "the shell ends"
    assert "SELECT 'once' AS word;" in (tmp_path / ".siltstone_history").read_text(), "the history is kept"
