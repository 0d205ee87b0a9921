//! What changes for a program that used `std::process::Command`: one import.

use embryo::{Command, Stdio};
use std::io::{Read, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let output = Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).output()?;
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));

    let mut child = Command::new("tr")
        .args(["a-z", "A-Z"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().expect("it is piped").write_all(b"no fork was needed\n")?;
    let mut text = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut text)?;
    assert!(child.wait()?.success());
    print!("{text}");

    // What std has no word for is a method too, and a failure says what failed.
    let error = Command::new("true").current_dir("/no/such/place").status().unwrap_err();
    println!("{error}");
    Ok(())
}
