//! The wire between the hosts: it forwards, delays, drops, holds and forges as its script says, and records what each end saw.
