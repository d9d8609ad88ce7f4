//! What the proxies are given to do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::backend::{LARGE, LARGE_BYTES, SMALL, UPLOAD};
use crate::bench::core::{Core, processor_time};
use crate::bench::wrk::Ask;
use crate::proxy::Proxy;

/// Kinds of requests, as many as a proxy can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Work {
    /// Small answers, 32 connections
    KeepAlive,
    /// Small answers, a connection each
    Close,
    /// Answers of 1 MiB, 8 connections
    Download,
    /// Requests of 1 MiB, 8 connections
    Upload,
}

/// Of one slice.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    pub answered: u64,
    pub elapsed: Duration,
    /// Processor time of the proxy alone.
    pub processor: Duration,
    /// Requests that failed or were refused.
    pub failed: u64,
}

impl Work {
    pub const ALL: [Work; 4] = [Work::KeepAlive, Work::Close, Work::Download, Work::Upload];

    pub fn title(self) -> &'static str {
        match self {
            Work::KeepAlive => "612 bytes, keep-alive",
            Work::Close => "612 bytes, a connection each",
            Work::Download => "responses of 1 MiB",
            Work::Upload => "uploads of 1 MiB",
        }
    }

    /// What processor time is told per.
    pub fn unit(self) -> &'static str {
        match self {
            Work::KeepAlive | Work::Close => "CPU ms per 1000 requests",
            Work::Download | Work::Upload => "CPU s per GB",
        }
    }

    /// One proxy at work, the load on this core.
    ///
    /// # Errors
    /// When nothing was answered.
    pub fn slice(self, proxy: &Proxy, core: Core, seconds: u32, upload: &Path) -> Result<Slice> {
        let (path, connections) = match self {
            Work::KeepAlive | Work::Close => (SMALL, 32),
            Work::Download => (LARGE, 8),
            Work::Upload => (UPLOAD, 8),
        };
        let ask = Ask {
            address: proxy.address,
            path,
            connections,
            script: (self == Work::Upload).then_some(upload),
            close: self == Work::Close,
            seconds,
        };
        let before = processor_time(proxy.process.pid())?;
        let answers = ask.ask(core)?;
        let processor = processor_time(proxy.process.pid())?.saturating_sub(before);
        ensure!(answers.answered > answers.refused, "{}: {answers:?}", self.title());
        Ok(Slice {
            answered: answers.answered,
            elapsed: answers.elapsed,
            processor,
            failed: answers.refused + answers.errors,
        })
    }

    /// In [`Work::unit`]s.
    pub fn cost(self, slice: &Slice) -> f64 {
        let each = slice.processor.as_secs_f64() / slice.answered as f64;
        match self {
            Work::KeepAlive | Work::Close => each * 1e6,
            Work::Download | Work::Upload => each / LARGE_BYTES as f64 * 1e9,
        }
    }
}

impl Slice {
    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_slice() {
        let slice = Slice {
            answered: 2_000,
            elapsed: Duration::from_secs(1),
            processor: Duration::from_millis(500),
            failed: 0,
        };
        assert!((Work::KeepAlive.cost(&slice) - 250.0).abs() < 1e-9);
        let seconds_per_gigabyte = 0.5 / (2000.0 * 1_048_576.0 / 1e9);
        assert!((Work::Upload.cost(&slice) - seconds_per_gigabyte).abs() < 1e-9);
        assert!((slice.per_second() - 2000.0).abs() < 1e-9);
    }
}
