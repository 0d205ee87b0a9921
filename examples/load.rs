//! Programs brought into an empty process without execve(2): `load PROGRAM ARG...` loads one by
//! path; `load` alone loads a few and compares what they print with a normal launch.

use embryo::{Command, Embryo, Keep, Load, Op, Plan};
use std::error::Error;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    if let Some(program) = args.next() {
        let mut load = Load::open(program)?;
        load.args(args).envs(std::env::vars_os());
        let status = load.start()?.wait()?;
        std::process::exit(status.code().unwrap_or(1));
    }

    // The name in PATH may be a script that looks for the real one.
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let python = python.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let python = python.unwrap_or_default();
    let git = find("git").unwrap_or_default();
    let busybox = find("busybox").unwrap_or_default();
    let programs: [(&str, &[&str]); 5] = [
        ("/bin/echo", &["hello"]),
        ("/bin/ls", &["/"]),
        (&git, &["--version"]),
        (&python, &["-c", "print(6*7)"]),
        (&busybox, &["sha256sum", "/etc/passwd"]),
    ];
    for (program, args) in programs {
        if !Path::new(program).exists() {
            println!("SKIPPED: {args:?}: it is not installed");
            continue;
        }
        let loaded = loaded(program, args)?;
        let launched = Command::new(program).args(args).output()?.stdout;
        assert_eq!(loaded, launched, "{program} {args:?}");
        let first = String::from_utf8_lossy(&loaded);
        println!("{program} {args:?}: {:?}", first.lines().next().unwrap_or_default());
    }
    println!("all as in a normal launch");
    Ok(())
}

/// What a loaded program prints.
fn loaded(program: &str, args: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut load = Load::open(program)?;
    load.args(args).envs(std::env::vars_os());
    let mut plan = Plan::builder();
    let output = plan.slot();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::OpenNull { fd: 0, access: embryo::Access::Read })
        .op(&Op::PutFd { slot: output, fd: 1 })
        .op(&Op::PutFd { slot: output, fd: 2 });

    let (mut reader, writer) = std::io::pipe()?;
    let embryo = Embryo::create()?;
    let started = embryo.start_loaded(&load, plan, &[writer.as_fd()]);
    let mut process = started.map_err(|(error, _)| error)?;
    drop(writer);
    let mut printed = Vec::new();
    reader.read_to_end(&mut printed)?;
    process.wait()?;
    Ok(printed)
}

fn find(name: &str) -> Option<String> {
    let path = std::env::var("PATH").ok()?;
    let candidates = path.split(':').map(|directory| format!("{directory}/{name}"));
    candidates.into_iter().find(|candidate| Path::new(candidate).is_file())
}
