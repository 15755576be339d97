#!/usr/bin/env python3
"""Reads TensorBoard's event files by their written format alone, and prints one JSON object an event.

  read_events.py DIRECTORY     all runs below it; "run" is the path from there

Nothing of nibble, TensorFlow or protobuf is used: checksums are computed bit by bit.
"""
import json
import pathlib
import struct
import sys


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        assert struct.unpack_from("<I", data, at + 8)[0] == masked(data[at : at + 8]), f"checksum of a length at {at}"
        body = data[at + 12 : at + 12 + length]
        assert len(body) == length, f"the record at {at} is cut off"
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(body), f"checksum of a record at {at}"
        yield body
        at += 16 + length


def fields(message):
    """(number, value) of a protobuf message: ints, 4 or 8 raw bytes, or byte strings."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(kind) or varint()
            value = message[at : at + size]
            at += size
        yield key >> 3, value


def event(message):
    result = {"step": 0, "scalars": {}}
    for number, value in fields(message):
        if number == 1:
            (result["wall_time"],) = struct.unpack("<d", value)
        elif number == 2:
            result["step"] = value
        elif number == 3:
            result["version"] = value.decode()
        elif number == 5:
            for _, entry in fields(value):
                parts = dict(fields(entry))
                result["scalars"][parts[1].decode()] = struct.unpack("<f", parts.get(2, bytes(4)))[0]
    return result


root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*tfevents*")):
    for body in records(path.read_bytes()):
        print(json.dumps({"run": str(path.parent.relative_to(root)), **event(body)}))
