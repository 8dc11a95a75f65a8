"""The proxy does to connections what it is told, and nothing else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator

import pytest
from fault_proxy import LINK_HOST, FaultProxy, Mode

from sandbox.stack.ports import HOST
from sandbox.stack.processes import wait_until

PATIENCE_SECONDS = 5.0
SILENCE_SECONDS = 0.2


@pytest.fixture
def echo() -> Generator[int]:
    """A server that sends back what it gets; gives its port."""
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=echo_all, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_SECONDS)


def echo_all(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=echo_one, args=(connection,), daemon=True).start()


def echo_one(connection: socket.socket) -> None:
    try:
        with connection:
            while chunk := connection.recv(1024):
                connection.sendall(chunk)
    except OSError:
        return


@pytest.fixture
def port(echo: int) -> Generator[tuple[FaultProxy, int]]:
    """A proxy and the port of its link `a` to the echo."""
    with FaultProxy() as proxy:
        yield proxy, proxy.add("a", echo)


def connect(port: int) -> socket.socket:
    return socket.create_connection((LINK_HOST, port), timeout=PATIENCE_SECONDS)


def ends(client: socket.socket) -> bool:
    """Whether the other side ends the connection without a byte."""
    with contextlib.suppress(ConnectionResetError):
        return client.recv(10) == b""
    return True


def test_passes_bytes_both_ways(port: tuple[FaultProxy, int]) -> None:
    _, number = port
    with connect(number) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"


def test_a_cut_resets_connections_and_refuses_new_ones_until_it_is_healed(port: tuple[FaultProxy, int]) -> None:
    proxy, number = port
    with connect(number) as client:
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        proxy.set_mode("a", Mode.CUT)
        with pytest.raises(ConnectionResetError):
            client.recv(10)
    with pytest.raises(ConnectionRefusedError):
        connect(number)
    proxy.heal()
    with connect(number) as client:
        client.sendall(b"two")
        assert client.recv(10) == b"two"


def test_a_paused_link_accepts_and_delivers_when_it_goes_on(port: tuple[FaultProxy, int]) -> None:
    proxy, number = port
    proxy.set_mode("a", Mode.PAUSE)
    with connect(number) as client:
        client.sendall(b"late")
        client.settimeout(SILENCE_SECONDS)
        with pytest.raises(TimeoutError):
            client.recv(10)
        proxy.set_mode("a", Mode.PASS)
        client.settimeout(PATIENCE_SECONDS)
        assert client.recv(10) == b"late"


def test_a_slow_link_delivers_everything_later(port: tuple[FaultProxy, int]) -> None:
    proxy, number = port
    proxy.set_mode("a", Mode.SLOW, SILENCE_SECONDS)
    with connect(number) as client:
        client.sendall(b"slow")
        client.settimeout(SILENCE_SECONDS)  # one delay on the way there, one on the way back
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(PATIENCE_SECONDS)
        assert client.recv(10) == b"slow"


def test_a_dropping_link_resets_connections_and_ends_new_ones_at_once(port: tuple[FaultProxy, int]) -> None:
    proxy, number = port
    with connect(number) as client:
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        proxy.set_mode("a", Mode.DROP)
        with pytest.raises(ConnectionResetError):
            client.recv(10)
    with connect(number) as client:
        assert ends(client)


def test_a_reset_ends_open_connections_and_lets_new_ones_pass(port: tuple[FaultProxy, int]) -> None:
    proxy, number = port
    with connect(number) as client:
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        proxy.reset("a")
        with pytest.raises(ConnectionResetError):
            client.recv(10)
    with connect(number) as client:
        client.sendall(b"two")
        assert client.recv(10) == b"two"


def test_a_link_to_a_dead_server_ends_connections_at_once() -> None:
    with socket.create_server((HOST, 0)) as closed:
        dead = closed.getsockname()[1]
    with FaultProxy() as proxy, connect(proxy.add("a", dead)) as client:
        assert ends(client)
        assert wait_until(lambda: proxy.accepted("a") == 1, PATIENCE_SECONDS)
