"""Between a client of any library and the server: counts round trips, and can be down and up again as a server can."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Between:
    """Passes all on to the server of a DSN. `dsn` leads here; `trips` is how often a client spoke after the server."""

    def __init__(self, dsn: str) -> None:
        server = conninfo_to_dict(dsn)
        self._server = (str(server["host"]), int(server["port"] or 5432))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self.dsn = make_conninfo(dsn, host=self._address[0], port=self._address[1])
        self.trips = 0
        self._client_spoke_last = False
        self._open: list[socket.socket] = []
        self.up()

    def up(self) -> None:
        """Be there, from now on or again."""
        if self._listener.fileno() == -1:
            self._listener = socket.create_server(self._address)
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        """Be gone: what is open breaks, what is new is refused."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._server)
                self._open += (near, far)
                threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, of_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.trips += of_client and not self._client_spoke_last
                self._client_spoke_last = of_client
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if not of_client:  # both threads are at their end
            source.close()
            sink.close()
