//! Compiles `child/child.rs` into a static executable without libc, which the benchmark embeds.
//!
//! It is not a Cargo target, because Cargo cannot give one binary of a package its own link line.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "child/child.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let image = PathBuf::from(variable("OUT_DIR")).join("bench-child");

    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition=2024", "--crate-type=bin", "--crate-name=bench_child"]);
    rustc.args(["--target", &variable("TARGET")]);
    rustc.args(["-Copt-level=s", "-Cpanic=abort", "-Crelocation-model=static", "-Cstrip=symbols"]);
    rustc.args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static"]);
    rustc.arg("-Clink-arg=-Wl,--build-id=none");
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.arg("-o").arg(&image).arg(SOURCE);

    let status = rustc.status().unwrap_or_else(|error| panic!("rustc did not start: {error}"));
    assert!(status.success(), "{SOURCE} did not compile: {rustc:?}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("Cargo sets {name} for every build script"))
}
