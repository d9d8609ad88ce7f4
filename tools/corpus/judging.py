"""What is true of a connection: from what was done, the kernel's reason for its first reset, and the client's account."""

CASES = {}

# The label that the reason of a server's first reset stands for, where the scenario does not know better.
REASON = {
    "TCP_ABORT_ON_CLOSE": "unread_request_data_at_close",
    "TCP_ABORT_ON_DATA": "late_data_after_close",
    "TCP_TIMEWAIT_SOCKET": "late_data_after_close",
    "TCP_FLAGS": "late_data_after_close",
    "NO_SOCKET": "late_data_after_close",
    "TCP_STATE": "linger_zero_abort",
    "TCP_ABORT_ON_LINGER": "linger_zero_abort",
    "TCP_DISCONNECT_WITH_DATA": "linger_zero_abort",
    "TCP_KEEPALIVE_TIMEOUT": "tcp_keepalive_timeout",
}


def case(name, done, servers, clients):
    """Registers a scenario: software is separated by `|`. It gets a Lab, and returns a judge of connections, or none."""

    def register(scenario):
        CASES[name] = (done, servers.split("|"), clients.split("|"), scenario)
        return scenario

    return register


def verdict(label, also=(), side=None, why=None, lost="?"):
    """A truth. `lost` is the client's own account where it is not given."""
    said = dict(label=label, side=side)
    if also:
        said["also_ok"] = list(also)
    if why:
        said["why"] = why
    if lost != "?":
        said["lost"] = lost
    return said


def first_reset(connection):
    return min(connection.resets, key=lambda reset: reset["t"], default=None)


def reason_of(connection):
    reset = first_reset(connection)
    return f"first kernel reset: {reset['reason']}, state {reset['state']}, by {reset['side']}" if reset else None


def lost_by(connection):
    """Whether the client missed an answer by its own account; None when it gave none."""
    return any(not account.get("ok") for account in connection.saw) if connection.saw else None


def default_judge(connection):
    """By the first kernel reset; the client's word decides about a client's reset."""
    reset, lost, why = first_reset(connection), lost_by(connection), reason_of(connection)
    if reset is None:
        if not lost:
            return verdict("clean")
        if any(account.get("gave_up") or account.get("exit") == 28 for account in connection.saw):
            why = "the client gave up by its own account; no reset was sent"
            return verdict("client_abort", ["clean"], "client", why)
        return verdict("other", ["clean"], None, "the client lost an answer, and no reset was sent")
    label = REASON.get(reset["reason"], "other")
    if reset["side"] == "server":
        established = any(state[1] == "client" and state[3] == "ESTABLISHED" for state in connection.states)
        if not established and reset["reason"] in ("NO_SOCKET", "TCP_FLAGS", "NOT_SPECIFIED"):
            return verdict("port_closed", [], "server", why)
        return verdict(label, [], "server", why)
    if lost:
        return verdict("client_abort", ["late_data_after_close"], "client", why)
    if label == "linger_zero_abort":
        return verdict(label, ["clean"], "client", why)
    if label == "unread_request_data_at_close":
        return verdict("client_abort", ["clean"], "client", why)
    return verdict(label, ["clean", "client_abort"], "client", why)
