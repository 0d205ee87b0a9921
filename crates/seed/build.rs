//! Link arguments for the executable, and where this package lies for whoever builds it.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo::metadata=manifest_dir={here}");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_IMAGE").is_some() {
        for argument in [
            "-nostartfiles",
            "-nostdlib",
            "-static",
            "-Wl,--build-id=none",
            "-Wl,-z,noseparate-code",
            "-Wl,-z,norelro",
            "-Wl,--gc-sections",
        ] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
