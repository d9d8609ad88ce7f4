"""A box that forges a reset to the client when a request names a host: censor.py INTERFACE HOST"""

import socket
import struct
import sys


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
tap.bind((sys.argv[1], 0))
print("watching", flush=True)
while True:
    frame = tap.recv(65535)
    ip = frame[14:]
    if ip[9] != 6 or f"Host: {sys.argv[2]}".encode() not in ip:
        continue
    tcp = ip[(ip[0] & 15) * 4 :]
    payload = len(ip) - (ip[0] & 15) * 4 - (tcp[12] >> 4) * 4
    sequence, acknowledged = struct.unpack("!II", tcp[4:12])
    header = tcp[2:4] + tcp[0:2] + struct.pack("!IIBBHHH", acknowledged, sequence + payload & 0xFFFFFFFF, 0x50, 0x14, 0, 0, 0)
    pseudo = ip[16:20] + ip[12:16] + struct.pack("!BBH", 0, 6, len(header))
    header = header[:16] + struct.pack("!H", checksum(pseudo + header)) + header[18:]
    # An own TTL, and an identification that is not in the server's series.
    outer = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(header), 0x4D2, 0, 247, 6, 0) + ip[16:20] + ip[12:16]
    outer = outer[:10] + struct.pack("!H", checksum(outer)) + outer[12:]
    tap.send(frame[6:12] + frame[0:6] + b"\x08\x00" + outer + header)
