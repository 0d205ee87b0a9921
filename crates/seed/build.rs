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
        // Where programs that are not position-independent lie, the seed would be in their way. The
        // linker that rustc has for x86_64 does this by itself and does not know the option.
        if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "aarch64") {
            println!("cargo::rustc-link-arg-bins=-Wl,-Ttext-segment=0x200000");
        }
    }
}
