//! What a failed launch says: which op, on what, which errno, what exactly, and what to do.

use embryo::{Command, Error};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("embryo-faults-{}", std::process::id()));
    fs::create_dir(&dir)?;
    let script = |name: &str, text: &str| -> std::io::Result<std::path::PathBuf> {
        let path = dir.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    };
    let attempts = [
        Command::new("no-such-program").clone(),
        Command::new("true").current_dir("/no/such/directory").clone(),
        Command::new("/etc").clone(),
        Command::new("/etc/passwd").clone(),
        Command::new(script("interpreter", "#!/no/such/interpreter\n")?).clone(),
        Command::new(script("windows", "#!/bin/sh\r\nexit\r\n")?).clone(),
        Command::new(script("bare", "exit 0\n")?).clone(),
        Command::new("true").arg("x".repeat(200_000)).clone(),
        Command::new("true").rlimit(7, 10, 5).clone(),
        Command::new("true").cpu_affinity([8000]).clone(),
        Command::new("true").process_group(1).clone(),
    ];
    for mut attempt in attempts {
        match attempt.spawn() {
            Err(error) => println!("{}\n    {error}", describe(&error)),
            Ok(mut child) => println!("started after all: {}", child.wait()?),
        }
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

fn describe(error: &Error) -> String {
    match error.as_spawn() {
        Some(fault) => format!("op {} at {:?}", fault.op(), fault.index()),
        None => "refused before anything happened".to_owned(),
    }
}
