//! What the README and the manual say in figures. Linux.
//!
//! ```text
//! cargo run --release -p lingering --example measure -- answers [ROUNDS]    early answers to 8 MB uploads: which arrive
//! cargo run --release -p lingering --example measure -- memory [NUMBER]     what a lingering connection costs
//! cargo run --release -p lingering --example measure -- attackers [SECONDS] a full set, and honest peers meanwhile
//! cargo run --release -p lingering --example measure -- drain [GIGABYTES]   processor time of what is thrown away
//! ```
//!
//! Each prints its figures as lines of a table, and fails where what is promised does not hold.

#[cfg(target_os = "linux")]
mod answers;
#[cfg(target_os = "linux")]
mod attackers;
#[cfg(target_os = "linux")]
mod drain;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod process;

use std::io;

#[cfg(target_os = "linux")]
fn main() -> io::Result<()> {
    process::raise_descriptor_limit();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |place: usize| arguments.get(place).map(String::as_str);
    let number = |default: usize| argument(1).and_then(|text| text.parse().ok()).unwrap_or(default);
    match argument(0) {
        Some("answers") => answers::measure(number(1000)),
        Some("memory") => memory::measure(number(10_000)),
        Some("attackers") => attackers::measure(number(20)),
        Some("drain") => drain::measure(number(16)),
        // Processes of their own, so that the server's figures are the server's.
        Some("hold") => memory::hold(&arguments[1..]),
        Some("attack") => attackers::attack(&arguments[1..]),
        _ => Err(io::Error::other("one of: answers, memory, attackers, drain")),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> io::Result<()> {
    Err(io::Error::other("the figures come from /proc: Linux only"))
}
