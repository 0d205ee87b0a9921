//! Builds the seed: a static executable without a standard library, embedded into this crate.
//!
//! It is another program for the same machine, with other code generation (static, no unwinding,
//! optimised for size), which one build of a dependency graph cannot say; so cargo is called once more,
//! with a target directory of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The seed is meant to be a few KiB; this is where a mistake would show.
const SEED_BYTES_MAX: u64 = 64 << 10;

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let target = variable("TARGET");
    let out = PathBuf::from(variable("OUT_DIR"));
    let seed = PathBuf::from(variable("DEP_EMBRYO_SEED_MANIFEST_DIR"));
    watch(&seed);

    let target_dir = out.join("seed");
    let status = Command::new(variable("CARGO"))
        .arg("build")
        .args(["--bin", "embryo-seed", "--features", "image", "--profile", "seed"])
        .arg("--manifest-path")
        .arg(seed.join("Cargo.toml"))
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        .args(profile())
        // What the outer build says of flags is about another program.
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&seed))
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the seed could not be built (the messages above say why)");

    let built = target_dir.join(&target).join("seed/embryo-seed");
    let image = out.join("embryo-seed");
    std::fs::copy(&built, &image).expect("the seed was built where cargo was told to put it");
    let size = std::fs::metadata(&image).expect("the copy is there").len();
    assert!(size <= SEED_BYTES_MAX, "the seed has {size} bytes, more than {SEED_BYTES_MAX}");
    println!("cargo::rustc-env=EMBRYO_SEED_IMAGE={}", image.display());
}

/// Static, at a fixed address, and without tables for unwinding: those of the standard library's parts
/// too, which the linker has to be told to leave out.
fn flags(seed: &Path) -> String {
    let script = seed.join("seed.ld");
    let script = script.to_str().expect("a path that cargo takes is text");
    [
        "-Crelocation-model=static".to_owned(),
        "-Cforce-unwind-tables=no".to_owned(),
        "-Clink-arg=-Wl,--no-eh-frame-hdr".to_owned(),
        format!("-Clink-arg=-Wl,-T,{script}"),
    ]
    .join("\u{1f}")
}

/// The profile `seed`, said here so that it holds wherever this crate is built from.
fn profile() -> impl Iterator<Item = String> {
    [
        "inherits='release'",
        "opt-level='s'",
        "lto='fat'",
        "codegen-units=1",
        "panic='abort'",
        "overflow-checks=false",
        "debug=false",
        "strip='symbols'",
    ]
    .into_iter()
    .flat_map(|setting| ["--config".to_owned(), format!("profile.seed.{setting}")])
}

/// Asks for a new build whenever something that the seed is made of has changed.
fn watch(seed: &Path) {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["seed", "interp", "plan", "syscall"] {
        let package = seed.with_file_name(name);
        for part in ["src", "Cargo.toml", "build.rs", "seed.ld"] {
            let path = package.join(part);
            if path.exists() {
                println!("cargo::rerun-if-changed={}", path.display());
            }
        }
    }
}
