//! A program that is not trusted, in a sandbox that is data: printed, changed, and used.
//!
//! `cargo run -p embryo-examples --example sandbox`

use embryo::{Command, Mount, Sandbox};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What a program may do to find out where it is.
const LOOK: &str = "echo uid $(id -u), $(ls /proc | grep -c '^[0-9]') processes, home $HOME
    ls -d /home /root /etc/shadow 2>/dev/null || echo nobody lives here
    echo found >result && echo wrote a result
    touch /usr/mark 2>/dev/null || echo the system is read-only";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let work = tempfile::tempdir()?;
    // As root the program is nobody.
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o777))?;

    let mut sandbox = Sandbox::strict();
    sandbox.mounts.push(Mount::bind(work.path(), "/work"));
    sandbox.tmp_bytes = 16 << 20;
    sandbox.processes = Some(32);
    println!("{sandbox:#?}");

    let mut command = Command::new("sh");
    command.args(["-c", LOOK]).current_dir("/work").sandbox(&sandbox);
    match command.spawn() {
        Ok(mut child) => println!("{}", child.wait()?),
        // Not everywhere may one be made: the error says what forbids it.
        Err(error) => println!("no sandbox here: {error}"),
    }
    println!("outside: {:?}", fs::read_to_string(work.path().join("result")));
    Ok(())
}
