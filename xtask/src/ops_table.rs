//! `cargo xtask ops-table`: `docs/ops.md`, made anew.
//!
//! The test that compares it makes it; this only asks it to write. It must never make it in another way.

use std::process::{Command, ExitCode};

/// Make docs/ops.md anew
#[derive(clap::Args)]
pub(crate) struct Args {}

/// `cargo xtask ops-table`
pub(crate) fn command(_: &Args) -> ExitCode {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "-q", "-p", "embryo-cli", "--test", "ops_table"]).env("EMBRYO_BLESS", "1");
    match cargo.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cargo: {error}");
            ExitCode::from(2)
        }
    }
}
