//! Rates with their intervals, medians and spreads.
