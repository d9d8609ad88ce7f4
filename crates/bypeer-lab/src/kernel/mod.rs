//! The kernel's own account of a round: resets with their reasons, sockets that died, counters.
