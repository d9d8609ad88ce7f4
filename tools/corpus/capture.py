"""The TCP connections of a pcap file: who, when, and the resets seen on the wire. Nothing is judged from it."""

import ipaddress
import re
import struct

# Bytes before the IP header, by link type.
LINK_HEADER = {1: 14, 12: 0, 101: 0, 113: 16, 276: 20}
FIN, SYN, RST, ACK = 1, 2, 4, 16


class Connection:
    """One connection of the capture, with the kernel's and the client's words on it."""

    def __init__(self, client, server, time, isn):
        self.client, self.server, self.isn = client, server, isn
        self.t_syn = self.t_last = time
        self.bytes_from = {"client": 0, "server": 0}
        self.ended = False
        # Time, side, TTL of every reset on the wire.
        self.rst = []
        # The kernel's `tcp_send_reset` and `inet_sock_set_state` events.
        self.resets, self.states = [], []
        # What the client said of its requests.
        self.saw = []

    @property
    def sport(self):
        return port(self.server)

    @property
    def cport(self):
        return port(self.client)

    @property
    def bc(self):
        return self.bytes_from["client"]

    @property
    def bs(self):
        return self.bytes_from["server"]


def connections(path):
    live, found = {}, []
    for time, source, destination, flags, length, ttl, isn in segments(path):
        key = frozenset((source, destination))
        connection = live.get(key)
        opens = flags & SYN and not flags & ACK
        if connection is None or (opens and connection.ended and isn != connection.isn):
            # Picked up midway: the higher port is the client's.
            from_client = opens or port(source) > port(destination)
            ends = (source, destination) if from_client else (destination, source)
            connection = live[key] = Connection(*ends, time, isn)
            found.append(connection)
        connection.t_last = time
        side = "client" if source == connection.client else "server"
        connection.bytes_from[side] += max(length, 0)
        if flags & (FIN | RST):
            connection.ended = True
        if flags & RST:
            connection.rst.append([time, side, ttl])
    return found


def segments(path):
    """Time, source, destination, flags, payload bytes, TTL, sequence number of each TCP segment."""
    data = path.read_bytes()
    link = struct.unpack("<I", data[20:24])[0]
    at = 24
    while at + 16 <= len(data):
        seconds, micros, kept, full = struct.unpack("<IIII", data[at : at + 16])
        packet = data[at + 16 + LINK_HEADER[link] : at + 16 + kept]
        full -= LINK_HEADER[link]
        at += 16 + kept
        if len(packet) < 40:
            continue
        if packet[0] >> 4 == 4:
            protocol, ttl, header = packet[9], packet[8], (packet[0] & 15) * 4
            source, destination = packet[12:16], packet[16:20]
            # Zero when the kernel cuts segments later.
            total = struct.unpack("!H", packet[2:4])[0] or full
        else:
            protocol, ttl, header = packet[6], packet[7], 40
            source, destination = packet[8:24], packet[24:40]
            total = 40 + struct.unpack("!H", packet[4:6])[0]
        if protocol != 6:
            continue
        tcp = packet[header:]
        ports = struct.unpack("!HH", tcp[:4])
        length = total - header - (tcp[12] >> 4) * 4
        yield (
            seconds + micros / 1e6,
            name(source, ports[0]),
            name(destination, ports[1]),
            tcp[13],
            length,
            ttl,
            tcp[4:8],
        )


def name(address, number):
    address = ipaddress.ip_address(address)
    return f"[{address}]:{number}" if address.version == 6 else f"{address}:{number}"


def port(end):
    return int(end.rsplit(":", 1)[1])


def endpoint(said):
    """An address as the kernel prints it, in our way: v4-mapped ones come as `[::ffff:a.b.c.d]:p`."""
    if match := re.match(r"\[::ffff:([\d.]+)\]:(\d+)$", said):
        return f"{match[1]}:{match[2]}"
    if match := re.match(r"\[(.*)\]:(\d+)$", said):
        return f"[{ipaddress.ip_address(match[1])}]:{match[2]}"
    return said
