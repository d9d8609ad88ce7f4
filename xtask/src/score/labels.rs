use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Which causes are right for a label: `labels.toml`.
pub struct Labels(BTreeMap<String, Vec<String>>);

impl Labels {
    /// The table beside this crate.
    ///
    /// # Errors
    /// When it is no such table.
    pub fn load() -> Result<Labels> {
        toml::from_str(include_str!("../../labels.toml"))
            .map(Labels)
            .context("labels.toml")
    }

    /// The causes that are right.
    ///
    /// # Errors
    /// For a label that the table does not hold: a truth that cannot be scored must not count as right.
    pub fn causes(&self, label: &str) -> Result<&[String]> {
        let causes = self.0.get(label);
        Ok(causes.with_context(|| format!("the label {label} is not in xtask/labels.toml"))?)
    }
}
