"""Makes one scenario: runs it, joins capture, kernel and clients, has its connections judged, writes the folder."""

import collections
import os
import shutil
import subprocess

from capture import connections, port
from judging import CASES, default_judge, lost_by
from lab import Lab
from truths import compact
from versions import version

# Clocks of capture and kernel differ by less, in seconds.
SAME_TIME = 0.05
# Families that show how connections end well: a reset that cost nobody an answer may be passed over there.
HARMLESS_IN = ("clean", "tls", "h2")
HARMLESS = ("late_data_after_close", "unread_request_data_at_close", "linger_zero_abort")


def make(name, number, destination):
    """Makes a scenario in the networks of this number, 1 to 250. Returns what to tell."""
    done, servers, clients, scenario = CASES[name]
    lab = Lab(name, number)
    try:
        lab.servers = [one for one in servers if one]
        lab.clients = [one for one in clients if one]
        judge = scenario(lab) or default_judge
        lab.finish()
        found = joined(lab)
        truth = {
            "done": done,
            "servers": [software(one) for one in lab.servers],
            "clients": [software(one) for one in lab.clients],
            "kernel": os.uname().release,
            "captures": [{"file": "capture.pcap.zst", "where": lab.capdesc[0]}],
            "connections": [account(name, connection, judge) for connection in found],
        }
        return write(lab, truth, destination / name)
    finally:
        lab.close()


def joined(lab):
    """The connections of the capture, with the kernel's events and the clients' accounts."""
    found = connections(lab.dumps[0].file)
    by_ends = collections.defaultdict(list)
    for connection in found:
        by_ends[frozenset((connection.client, connection.server))].append(connection)

    def of(one, other, time):
        uses = by_ends.get(frozenset((one, other)), [])
        begun = [connection for connection in uses if connection.t_syn <= time + lab.tol]
        return max(begun, key=lambda connection: connection.t_syn) if begun else (uses or [None])[0]

    resets, _, states = lab.trace()
    taken = set()
    for reset in resets:
        connection = of(reset["src"], reset["dst"], reset["t"])
        if connection is not None:
            reset["side"] = "client" if reset["src"] == connection.client else "server"
        elif reset["dst"].endswith(":0"):
            connection = nameless(found, reset, taken)
        if connection is not None:
            connection.resets.append(reset)
    for time, local, remote, before, after in states:
        connection = of(local, remote, time)
        if connection is not None:
            connection.states.append([time, "client" if local == connection.client else "server", before, after])
    for said in lab.accounts:
        begun = said.get("t")
        uses = [one for one in found if one.cport == said["port"] and said.get("sport") in (None, 0, one.sport)]
        if begun:
            uses.sort(key=lambda one: (not one.t_syn - 0.5 <= begun <= one.t_last + 0.5, -one.t_syn))
        if said["port"] and uses:
            uses[0].saw.append(said)
    return found


def nameless(found, reset, taken):
    """The socket was gone while its listener lives: the event has the listener's address alone. The nearest reset on
    the wire from that port is the one."""
    best = None
    for connection in found:
        for time, side, _ in connection.rst:
            sender = connection.server if side == "server" else connection.client
            apart = abs(time - reset["t"])
            if port(sender) == port(reset["src"]) and apart < SAME_TIME and (id(connection), time) not in taken:
                if best is None or apart < best[0]:
                    best = (apart, connection, side, time)
    if best is None:
        return None
    _, connection, reset["side"], time = best
    taken.add((id(connection), time))
    return connection


def account(name, connection, judge):
    said = judge(connection)
    if said in (None, "default"):
        said = default_judge(connection)
    lost = said["lost"] if "lost" in said else lost_by(connection)
    also = list(said.get("also_ok", []))
    if name.startswith(HARMLESS_IN) and said["label"] in HARMLESS and lost is not True:
        also += ["clean", "client_abort"]
    return {
        "client": connection.client,
        "server": connection.server,
        "t_syn": round(connection.t_syn, 6),
        "t_last": round(connection.t_last, 6),
        "label": said["label"],
        "also_ok": [label for label in dict.fromkeys(also) if label != said["label"]],
        "side": said.get("side"),
        "lost": lost,
        "why": said.get("why"),
        "kernel_resets": connection.resets,
        "client_saw": connection.saw,
    }


def software(words):
    name, _, options = words.partition(" ")
    return {"software": name, "version": version(name), "options": options}


def write(lab, truth, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / "capture.pcap.zst"
    subprocess.run(["zstd", "-q", "-19", str(lab.dumps[0].file), "-o", str(target)], check=True)
    (folder / "truth.json").write_text(compact(truth))
    counts = collections.Counter(one["label"] for one in truth["connections"])
    told = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
    return f"{told or 'no connections'}; {target.stat().st_size} bytes"
