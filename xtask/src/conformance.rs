//! `cargo xtask conformance`: public suites through a proxy, with a list of what is known to be otherwise, and why.
//!
//! The requests of gunicorn's tests come from PyPI (one version, its hash known), h2spec is asked where it is installed
//! (`go install github.com/summerwind/h2spec/cmd/h2spec@v2.6.0`). Nothing of either is kept in this repository.

mod http1;
mod http2;
mod origin;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use self::http1::Case;
use self::origin::Origin;
use crate::proxy::Name;

const GUNICORN: &str = "gunicorn-23.0.0";
const REQUIREMENT: &str =
    "gunicorn==23.0.0 --hash=sha256:f014447a0101dc57e294f6c18ca6b40227a4c90e9bdb586042628030cba004ec\n";
const READER: &str = include_str!("conformance/gunicorn.py");
const PAGE: &str = "docs/guard-conformance.md";
const BEGINNING: &str = "\
# Public suites through the guard

Written by `cargo xtask conformance --write --through guard,nginx,haproxy`. The requests of gunicorn 23.0.0's own tests go through each proxy
to a server that looks at every byte: valid ones must arrive as they were meant, invalid ones must not arrive. Those that are about
gunicorn's settings and limits are left out; a Host that a case lacks is added. h2spec 2.6.0 speaks HTTP/2 by prior knowledge, without TLS.
Listed is what was otherwise, and why that is left so.
";
const KNOWN: &str = include_str!("conformance/known.toml");

/// Through what.
#[derive(clap::Args)]
pub struct Arguments {
    /// Through these
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',', default_values = ["guard"])]
    through: Vec<Name>,
    /// Through whatever listens here, in place of them; it is to pass on to --origin
    #[arg(long, value_name = "ADDRESS", requires = "origin")]
    address: Option<SocketAddr>,
    /// Port of loopback where what was passed on is looked at
    #[arg(long, value_name = "PORT", requires = "address")]
    origin: Option<u16>,
    /// This h2spec
    #[arg(long, value_name = "FILE", default_value = "h2spec")]
    h2spec: PathBuf,
    /// Write docs/guard-conformance.md
    #[arg(long, conflicts_with = "address")]
    write: bool,
    /// This program, in place of one built from the source
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    known: Vec<KnownCase>,
}

/// A case that is not as the suite wants it.
#[derive(Deserialize)]
struct KnownCase {
    /// `guard`, `nginx`, `HAProxy`.
    proxy: String,
    case: String,
    reason: String,
}

/// Runs the suites. Fails when something is otherwise that is not known to be, or no more.
///
/// # Errors
/// When a suite cannot be had, or a proxy not be started.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let known: Known = toml::from_str(KNOWN).context("known.toml")?;
    let cases = gunicorn()?;
    let mut right = true;
    let mut page = BEGINNING.to_owned();
    let mut judge = |proxy: &str, suite: &str, outcomes: Vec<http2::Outcome>| {
        let (text, is_right) = tell(proxy, suite, &outcomes, &known.known);
        print!("{text}");
        page += &text;
        right &= is_right;
    };
    if let (Some(address), Some(port)) = (arguments.address, arguments.origin) {
        let origin = Origin::start(port)?;
        let name = address.to_string();
        judge(&name, "HTTP/1 (gunicorn's tests)", http1(&cases, address, &origin)?);
        match http2::run(&arguments.h2spec, address)? {
            Some(outcomes) => judge(&name, "HTTP/2 (h2spec)", outcomes),
            None => println!("skipped: h2spec is not installed"),
        }
        return Ok(ExitCode::from(u8::from(!right)));
    }
    for name in &arguments.through {
        let product = match name {
            Name::Guard => name.product(&crate::bypeer::given(arguments.binary.as_deref())?),
            _ => name.product(Path::new("")),
        };
        let origin = Origin::start(0)?;
        let proxy = product.start(&[origin.address], None)?;
        let name_and_version = format!("\n## {} ({})\n", product.name(), product.version());
        let outcomes = http1(&cases, proxy.address, &origin)?;
        judge(
            product.name(),
            &format!("{name_and_version}\nHTTP/1 (gunicorn's tests)"),
            outcomes,
        );
        // The others speak HTTP/2 only where they are told to, and then nothing else.
        if *name == Name::Guard {
            match http2::run(&arguments.h2spec, proxy.address)? {
                Some(outcomes) => judge(product.name(), "\nHTTP/2 (h2spec)", outcomes),
                None if arguments.write => bail!("h2spec is not installed, and the page is to have it"),
                None => println!("skipped: h2spec is not installed"),
            }
        }
    }
    if arguments.write {
        std::fs::write(crate::bypeer::root().join(PAGE), page).context(PAGE)?;
        eprintln!("wrote {PAGE}");
    }
    Ok(ExitCode::from(u8::from(!right)))
}

fn http1(cases: &[Case], proxy: SocketAddr, origin: &Origin) -> Result<Vec<http2::Outcome>> {
    let asked = cases.iter().filter(|case| !case.setting);
    asked
        .map(|case| {
            Ok((
                case.name.clone(),
                case.run(proxy, origin).with_context(|| case.name.clone())?,
            ))
        })
        .collect()
}

/// What is otherwise, in words; whether all of that is known, and still so.
fn tell(proxy: &str, suite: &str, outcomes: &[http2::Outcome], known: &[KnownCase]) -> (String, bool) {
    let mut right = true;
    let passed = outcomes.iter().filter(|(_, failed)| failed.is_none()).count();
    let mut text = format!("{suite}: {passed} of {} as they should be.\n\n", outcomes.len());
    for (case, failed) in outcomes {
        let reason = known.iter().find(|known| known.proxy == proxy && known.case == *case);
        let line = match (failed, reason) {
            (None, None) => continue,
            (Some(why), Some(known)) => format!("- `{case}`: {why}. {}\n", known.reason),
            (Some(why), None) => {
                right = false;
                format!("- FAILED `{case}`: {why}\n")
            }
            (None, Some(_)) => {
                right = false;
                format!("- FAILED `{case}`: known to be otherwise, and is as it should be: take it off the list\n")
            }
        };
        text.push_str(&line);
    }
    (text, right)
}

/// The cases of gunicorn's tests, from PyPI the first time.
fn gunicorn() -> Result<Vec<Case>> {
    let folder = crate::bypeer::root().join("target/conformance");
    let requests = folder.join(GUNICORN).join("tests/requests");
    if !requests.is_dir() {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("requirements.txt"), REQUIREMENT)?;
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--require-hashes",
        ]);
        pip.args(["--requirement", "requirements.txt"]);
        ran(pip.current_dir(&folder))?;
        ran(Command::new("tar")
            .args(["xzf", &format!("{GUNICORN}.tar.gz")])
            .current_dir(&folder))?;
    }
    let reader = folder.join("gunicorn.py");
    std::fs::write(&reader, READER)?;
    let text = ran(Command::new("python3").arg(&reader).arg(&requests))?;
    let cases: Vec<Case> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<_>>()?;
    ensure!(!cases.is_empty(), "{} has no cases", requests.display());
    Ok(cases)
}

fn ran(command: &mut Command) -> Result<String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| program.clone())?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_has_a_reason() {
        let known: Known = toml::from_str(KNOWN).unwrap();
        for case in &known.known {
            assert!(case.reason.ends_with('.') && case.reason.len() > 20, "{}", case.case);
            assert!(
                ["guard", "nginx", "HAProxy"].contains(&case.proxy.as_str()),
                "{}",
                case.case
            );
        }
    }

    #[test]
    fn only_what_is_known_may_be_otherwise() {
        let known = [KnownCase {
            proxy: "guard".to_owned(),
            case: "one".to_owned(),
            reason: "So it is.".to_owned(),
        }];
        let outcome = |failed: Option<&str>| [("one".to_owned(), failed.map(str::to_owned))];
        assert!(tell("guard", "", &outcome(Some("bad")), &known).1);
        assert!(!tell("guard", "", &outcome(None), &known).1);
        assert!(!tell("nginx", "", &outcome(Some("bad")), &known).1);
        assert!(tell("nginx", "", &outcome(None), &known).1);
    }
}
