//! Scenarios: TOML files that say what hosts and wire do and what is then true.
