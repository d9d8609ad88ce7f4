//! Asks a server how it keeps, closes and resets connections.
