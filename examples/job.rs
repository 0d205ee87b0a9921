//! A small job runner: a command under limits, with a deadline, and what it used.
//!
//! `job SECONDS PROGRAM [ARG...]`; without arguments it runs three jobs of its own.

use embryo::{Command, resource_name};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const RLIMIT_CPU: u32 = 0;
const RLIMIT_CORE: u32 = 4;
const RLIMIT_NOFILE: u32 = 7;
const RLIMIT_AS: u32 = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [seconds, program, rest @ ..] = args.as_slice() {
        return run(program, rest, Duration::from_secs_f64(seconds.parse()?));
    }
    let one = Duration::from_secs(1);
    run("sh", &["-c".into(), "ulimit -n; exit 7".into()], one)?;
    run("sh", &["-c".into(), "while :; do :; done".into()], Duration::from_millis(200))?;
    run("sleep", &["0.05".into()], one)
}

fn run(
    program: &str,
    args: &[String],
    deadline: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let limits = [(RLIMIT_CPU, 10), (RLIMIT_CORE, 0), (RLIMIT_NOFILE, 64), (RLIMIT_AS, 4 << 30)];
    let mut command = Command::new(program);
    command.args(args).nice(5).no_new_privs(true).process_group(0).kill_on_drop(true);
    for (resource, limit) in limits {
        println!("  limit {} {limit}", resource_name(resource).unwrap_or("?"));
        command.rlimit(resource, limit, limit);
    }
    let mut child = command.spawn()?;
    let status = match child.wait_timeout(deadline)? {
        Some(status) => status,
        None => {
            child.kill()?;
            child.wait()?
        }
    };
    let usage = child.usage().unwrap_or_default();
    println!(
        "{program}: code {:?}, signal {:?}, {:?} user, {:?} system, {} KiB at most",
        status.code(),
        status.signal(),
        usage.user,
        usage.system,
        usage.max_rss >> 10
    );
    Ok(())
}
