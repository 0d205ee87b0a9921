//! Man pages and completions, which the build script made: printed or put where they belong.
//!
//! It must never make one itself; the binary carries no generator.

use crate::args::Shell;
use crate::failure::Failure;
use crate::output;
use std::fs;
use std::path::Path;

include!(concat!(env!("OUT_DIR"), "/generated.rs"));

/// Prints the completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<u8, Failure> {
    let text = match shell {
        Shell::Bash => BASH,
        Shell::Elvish => ELVISH,
        Shell::Fish => FISH,
        Shell::Powershell => POWERSHELL,
        Shell::Zsh => ZSH,
    };
    output::text(text)?;
    Ok(0)
}

/// Writes everything to where the system looks for it below a `share` directory.
pub(crate) fn generate(dir: &Path) -> Result<u8, Failure> {
    let completions = [
        ("bash-completion/completions/embryo", BASH),
        ("fish/vendor_completions.d/embryo.fish", FISH),
        ("zsh/site-functions/_embryo", ZSH),
    ];
    for (name, page) in MAN_PAGES {
        write(&dir.join("man/man1").join(name), page)?;
    }
    for (name, text) in completions {
        write(&dir.join(name), text)?;
    }
    Ok(0)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .map_err(|error| Failure::io("cannot make", parent.display(), &error))?;
    fs::write(path, text).map_err(|error| Failure::io("cannot write", path.display(), &error))?;
    output::line(&path.display().to_string())
}
