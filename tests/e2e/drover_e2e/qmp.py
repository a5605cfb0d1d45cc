# SPDX-License-Identifier: GPL-2.0-or-later
"""A QMP client: one reader thread, commands from any thread, all events kept."""

import itertools
import json
import socket
import threading
import time
from dataclasses import dataclass


class QmpError(Exception):
    """The server answered with an error."""

    def __init__(self, command: str, error: dict):
        super().__init__(f"{command}: {error.get('desc', error)}")
        self.error_class = error.get("class", "")
        self.desc = error.get("desc", "")


class QmpClosed(Exception):
    """The server went away."""


@dataclass
class Event:
    name: str
    data: dict
    at: float  # time.monotonic() of its arrival


class Qmp:
    def __init__(self, sock: socket.socket, log=None):
        self.events: list[Event] = []
        self.greeting: dict | None = None
        self._socket = sock
        self._log = log
        self._replies: dict[int, dict] = {}
        self._closed: str | None = None
        self._changed = threading.Condition()
        self._ids = itertools.count(1)
        self._send_lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    @classmethod
    def connect(cls, path) -> "Qmp":
        """One more client, negotiated, of a monitor on a UNIX socket."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        qmp = cls(client)
        qmp.negotiate()
        return qmp

    def negotiate(self, timeout: float = 30) -> None:
        self._wait(lambda: self.greeting, timeout, "QMP greeting")
        self.execute("qmp_capabilities")

    def execute(self, command: str, /, timeout: float = 30, **arguments):
        """The command's return value. An underscore in an argument's name stands for a hyphen
        where written double: multifd__channels is multifd-channels."""
        return self.result(self.send(command, **arguments), command, timeout)

    def execute_with_descriptor(self, command: str, fd: int, **arguments):
        """A descriptor travels beside the command."""
        return self.result(self.send(command, _fd=fd, **arguments), command)

    def send(self, command: str, /, _fd: int | None = None, **arguments) -> int:
        """Sends without waiting; the number goes to result()."""
        number = next(self._ids)
        message = {"execute": command, "id": number}
        if arguments:
            message["arguments"] = {k.replace("__", "-"): v for k, v in arguments.items()}
        self._note(">", message)
        data = json.dumps(message).encode() + b"\n"
        try:
            with self._send_lock:
                if _fd is None:
                    self._socket.sendall(data)
                else:
                    socket.send_fds(self._socket, [data], [_fd])
        except OSError as error:
            raise QmpClosed(str(error)) from error
        return number

    def result(self, number: int, what: str, timeout: float = 30):
        reply = self._wait(lambda: self._replies.pop(number, None), timeout, what)
        if "error" in reply:
            raise QmpError(what, reply["error"])
        return reply["return"]

    def mark(self) -> int:
        """The present end of the events, for `after`."""
        with self._changed:
            return len(self.events)

    def wait_event(self, name: str, timeout: float = 30, after: int = 0, match=None) -> Event:
        def find():
            for event in self.events[after:]:
                if event.name == name and (match is None or match(event.data)):
                    return event
            return None

        return self._wait(find, timeout, f"event {name}")

    def wait_migration(self, *statuses: str, timeout: float = 60, after: int = 0) -> Event:
        return self.wait_event("MIGRATION", timeout, after, lambda d: d.get("status") in statuses)

    def statuses(self, after: int = 0) -> list[str]:
        return [e.data["status"] for e in self.events[after:] if e.name == "MIGRATION"]

    @property
    def closed(self) -> bool:
        return self._closed is not None

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _wait(self, condition, timeout: float, what: str):
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = condition()
                if found:
                    return found
                if self._closed is not None:
                    raise QmpClosed(f"waiting for {what}: QMP connection closed {self._closed}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"waited {timeout} s for {what}; events so far: "
                                       f"{[(e.name, e.data.get('status', '')) for e in self.events]}")
                self._changed.wait(left)

    def _note(self, direction: str, message: dict) -> None:
        if self._log:
            self._log.write(f"{time.time():.6f} {direction} {json.dumps(message)}\n")
            self._log.flush()

    def _read(self) -> None:
        reason = ""
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError) as error:
            reason = str(error)
        with self._changed:
            self._closed = reason
            self._changed.notify_all()

    def _take(self, message: dict) -> None:
        self._note("<", message)
        with self._changed:
            if "QMP" in message:
                self.greeting = message["QMP"]
            elif "event" in message:
                self.events.append(Event(message["event"], message.get("data", {}), time.monotonic()))
            else:
                self._replies[message.get("id")] = message
            self._changed.notify_all()
