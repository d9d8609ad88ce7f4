//! Chains for tests: configuration files that lie in memory.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;

use bypeer_chain::{AssembleError, Chain, Files, Hop, Limit, NotMeasured, Report, Request, assemble, judge};

/// Files by name.
#[derive(Default)]
pub struct Memory(pub BTreeMap<String, String>);

impl Memory {
    pub fn of(files: &[(&str, &str)]) -> Memory {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Memory(files.iter().map(own).collect())
    }

    /// What lies in tests/formats.
    pub fn formats() -> Memory {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
        let mut files = BTreeMap::new();
        for folder in ["", "sites"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                    files.insert(name, std::fs::read_to_string(&path).unwrap());
                }
            }
        }
        Memory(files)
    }
}

impl Files for Memory {
    fn read(&self, path: &str) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| "no such file".to_owned())
    }

    fn glob(&self, pattern: &str) -> Result<Vec<String>, String> {
        let Some((before, after)) = pattern.split_once('*') else {
            return Ok(vec![pattern.to_owned()]);
        };
        let is = |name: &&String| {
            name.starts_with(before) && name.ends_with(after) && name.len() >= before.len() + after.len()
        };
        Ok(self.0.keys().filter(is).cloned().collect())
    }
}

/// The hops of a chain as one writes them, spaces between.
pub fn hops(files: &Memory, chain: &[&str]) -> Result<Vec<Hop>, AssembleError> {
    let requests: Vec<Request> = chain.iter().map(|hop| Request::parse(hop).unwrap()).collect();
    assemble(&requests, files, &NotMeasured)
}

pub fn chain(chain: &[&str]) -> (Chain, Report) {
    let hops = hops(&Memory::default(), chain).unwrap();
    let chain = Chain {
        hops,
        ..Chain::default()
    };
    let report = judge(&chain);
    (chain, report)
}

/// One hop in the middle, or its error.
pub fn middle(files: &Memory, hop: &str) -> Result<Hop, String> {
    let hops = hops(files, &["client=1", hop, "end=9"]).map_err(|error| error.to_string())?;
    Ok(hops[1].clone())
}

/// Its idle and pool limits, in words.
pub fn limits(hop: &Hop) -> (String, String) {
    let words = |limit: Option<Limit>| limit.map_or("unknown".to_owned(), Limit::words);
    let idle = hop.accepts.idle.as_ref().map(|told| told.value);
    let pool = hop.opens.pool.as_ref().map(|told| told.value);
    (words(idle), words(pool))
}
