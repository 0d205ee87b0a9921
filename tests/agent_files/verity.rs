//! The digest of fs-verity, where there is any.

use embryo_agent::files::facts::{Facts, Known};
use embryo_agent::files::verity::measure;
use embryo_tests::{alone, require_root, skip};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

fn digest(file: &File) -> Option<String> {
    let facts = Facts::of(file.as_fd(), &mut Known::new().unwrap());
    measure(file.as_fd(), &facts).unwrap()
}

#[test]
fn an_ordinary_file_has_none() {
    assert_eq!(digest(&tempfile::tempfile().unwrap()), None);
    assert_eq!(digest(&File::open("/dev/null").unwrap()), None);
    assert_eq!(digest(&File::open("/").unwrap()), None);
}

/// Runs a tool; why not, if it fails.
fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A file on a new ext4 with a digest, and what fsverity(1) says of it.
fn with_digest(dir: &Path) -> Result<(File, String), String> {
    let [image, at] = [dir.join("image"), dir.join("mounted")];
    let text = |path: &Path| path.to_str().unwrap_or_default().to_owned();
    std::fs::write(&image, []).map_err(|error| error.to_string())?;
    let file = File::options().write(true).open(&image).map_err(|error| error.to_string())?;
    file.set_len(32 << 20).map_err(|error| error.to_string())?;
    std::fs::create_dir(&at).map_err(|error| error.to_string())?;
    run("mkfs.ext4", &["-q", "-b", "4096", "-O", "verity", &text(&image)])?;
    // In this thread's own mount namespace; the loop device goes with the mount.
    embryo_syscall::unshare(0x0002_0000).map_err(|errno| format!("unshare: {errno:?}"))?;
    run("mount", &["--make-rprivate", "/"])?;
    run("mount", &["-o", "loop", &text(&image), &text(&at)])?;
    let path = at.join("file");
    std::fs::write(&path, "good").map_err(|error| error.to_string())?;
    run("fsverity", &["enable", &text(&path)])?;
    let said = run("fsverity", &["measure", &text(&path)])?;
    let said = said.split(' ').next().unwrap_or_default().to_owned();
    Ok((File::open(&path).map_err(|error| error.to_string())?, said))
}

#[test]
fn a_digest_is_what_fsverity_says() {
    require_root!();
    alone!();
    let done = std::thread::spawn(|| {
        let dir = tempfile::tempdir().unwrap();
        let found = with_digest(dir.path());
        let compared = found.map(|(file, said)| (digest(&file), said));
        let _ = run("umount", &["-l", dir.path().join("mounted").to_str().unwrap()]);
        compared
    });
    match done.join().unwrap() {
        Ok((digest, said)) => assert_eq!(digest, Some(said)),
        Err(why) => skip!("{why}"),
    }
}
