//! bench
#[derive(clap::Subcommand)]
pub enum Bench {
    Explain(Arguments),
}
#[derive(clap::Args)]
pub struct Arguments {}
pub fn run(_: &Arguments) -> anyhow::Result<std::process::ExitCode> {
    todo!()
}
