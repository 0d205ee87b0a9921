//! `cargo xtask`: the project's own chores, one subcommand each.

mod kernels;
mod ops_table;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Kernels(kernels::Args),
    OpsTable(ops_table::Args),
    Tidy(tidy::Args),
}

fn main() -> ExitCode {
    match Cli::parse().task {
        Task::Kernels(args) => kernels::command(&args),
        Task::OpsTable(args) => ops_table::command(&args),
        Task::Tidy(args) => tidy::command(&args),
    }
}
