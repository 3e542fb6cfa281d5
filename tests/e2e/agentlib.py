# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
"""Speaking to the agent on a virtual device's plain TCP console, without any of devstamp's own code."""

import select
import socket
import struct
import threading
import time
import zlib


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """A protobuf field: bytes or a number."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def fields(message):
    """{number: value}; of a repeated one the last."""
    out, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = message[at]
            at += 1
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    while at < len(message):
        tag = number()
        if tag & 7 == 0:
            out[tag >> 3] = number()
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            size = number() if size is None else size
            out[tag >> 3] = message[at:at + size]
            at += size
    return out


def escape(payload):
    return b"\xc0" + payload.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def wrap(message):
    """A whole frame, as it goes over the wire."""
    payload = b"DS\x01" + message
    return escape(payload + struct.pack("<I", zlib.crc32(payload)))


def unwrap(part):
    """The message of what lay between two END bytes; None where it is no whole frame."""
    part = part.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
    whole = part[:3] == b"DS\x01" and zlib.crc32(part[:-4]) == struct.unpack("<I", part[-4:])[0]
    return part[3:-4] if whole else None


class Forger:
    """A wire between station and device that changes what the device reports: forge(body) is the new ReportReply."""

    REPORT_REPLY = 9

    def __init__(self, device_port, forge):
        self.forge = forge
        self.forged = 0
        self.device = socket.create_connection(("127.0.0.1", device_port), 5)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                station, _ = self.listener.accept()
            except OSError:
                return
            self.serve(station)
            station.close()

    def serve(self, station):
        held = None  # since the last END byte, while it may become a frame
        while True:
            ready, _, _ = select.select([station, self.device], [], [])
            if station in ready:
                data = station.recv(4096)
                if not data:
                    return
                self.device.sendall(data)
            if self.device in ready:
                out = b""
                for i in self.device.recv(4096):
                    byte = bytes([i])
                    if byte == b"\xc0":
                        out += self.frame(held) if held else b""
                        held = b""
                    elif held is None:
                        out += byte
                    else:
                        held += byte
                        if held[:3] != b"DS\x01"[:len(held)]:  # text
                            out, held = out + held, None
                station.sendall(out)

    def frame(self, part):
        message = unwrap(part)
        r = fields(message) if message else {}
        if self.REPORT_REPLY not in r:
            return b"\xc0" + part + b"\xc0"
        self.forged += 1
        return wrap(field(1, r[1]) + field(self.REPORT_REPLY, self.forge(r[self.REPORT_REPLY])))

    def close(self):
        self.listener.close()
        self.device.close()


class Agent:
    """A station's end of the console."""

    HELLO, REBOOT, REPORT = 2, 13, 14

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.settimeout(0.2)
        self.id = 0x5A00
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def answers(self):
        """Whole frames that are there."""
        try:
            self.buffer += self.socket.recv(4096)
        except TimeoutError:
            return
        *parts, self.buffer = self.buffer.split(b"\xc0")
        for part in parts:
            message = unwrap(part)
            if message is not None:
                yield fields(message)

    def call(self, request, body=b"", timeout=10):
        """(status, the answer's body) of a request by the number of its field."""
        self.id += 1
        frame = wrap(field(1, self.id) + field(request, body))
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.socket.sendall(frame)
            again = time.monotonic() + 2
            while time.monotonic() < again:
                for r in self.answers():
                    if r.get(1) == self.id and 3 not in r:
                        status = struct.unpack("<I", r.get(2, b"\0" * 4))[0]
                        return status, next((v for k, v in r.items() if k > 3), b"")
        raise AssertionError(f"request {request}: no answer within {timeout} s")

    def hello(self, timeout=10):
        status, body = self.call(self.HELLO, timeout=timeout)
        assert status == 0, hex(status)
        f = fields(body)
        return {"firmware": f.get(5, 0), "stage": f.get(9, 0), "serial": f.get(16, b"").decode()}

    def boot_partition(self):
        return fields(self.call(self.HELLO)[1])[17].decode()

    def report(self, nonce):
        """(evidence, signature)"""
        status, body = self.call(self.REPORT, field(1, nonce))
        assert status == 0, hex(status)
        return fields(body)[1], fields(body).get(2, b"")
