"""The truth.json of a scenario as the repository keeps it: what the scores and tests need, one connection a line."""

import json

LONGEST_TEXT = 100


def compact(truth):
    """Text of a truth.json: without the kernel's states, and with one short line of what the client saw."""
    head = {
        "done": truth["done"],
        "servers": [software(one) for one in truth["servers"]],
        "clients": [software(one) for one in truth["clients"]],
        "kernel": ".".join(truth["kernel"].split(".")[:2]),
        "captures": truth["captures"],
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in head.items()]
    connections = ",\n".join(f"  {json.dumps(connection(one), ensure_ascii=False)}" for one in truth["connections"])
    return "\n".join(["{", *lines, ' "connections": [', connections, " ]", "}"]) + "\n"


def software(one):
    return {key: one[key] for key in ("software", "version", "options") if one.get(key)}


def connection(one):
    kept = {key: one[key] for key in ("client", "server", "t_syn", "t_last", "label")}
    if one.get("also_ok"):
        kept["also_ok"] = one["also_ok"]
    kept |= {"side": one["side"], "lost": one["lost"]}
    if one.get("why"):
        kept["why"] = one["why"]
    if one.get("kernel_resets"):
        said = [f"{reset['side']} {reset['reason']} {reset['state']}" for reset in one["kernel_resets"]]
        kept["kernel_resets"] = list(dict.fromkeys(said))
    errors = [str(account["error"]) for account in one.get("client_saw", []) if account.get("error")]
    if errors:
        kept["client_saw"] = errors[-1][:LONGEST_TEXT]
    return kept
