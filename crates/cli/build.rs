//! Makes the man pages and the completions from the command line's own definition, for the binary
//! to carry: `embryo generate` puts them where a system looks for them.

use clap::CommandFactory;
use clap_complete::Shell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[allow(
    dead_code,
    unused_imports,
    reason = "the build needs the definition, not what is parsed with it"
)]
#[path = "src/args/mod.rs"]
mod args;
#[allow(dead_code, unused_imports, reason = "the definition names the types it parses to")]
#[path = "src/value/mod.rs"]
mod value;

fn main() -> io::Result<()> {
    for input in ["build.rs", "src/args", "src/value"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut source = String::new();
    for (name, shell) in [
        ("BASH", Shell::Bash),
        ("ELVISH", Shell::Elvish),
        ("FISH", Shell::Fish),
        ("POWERSHELL", Shell::PowerShell),
        ("ZSH", Shell::Zsh),
    ] {
        let path = clap_complete::generate_to(shell, &mut args::Cli::command(), "embryo", &out)?;
        let _ = writeln!(source, "const {name}: &str = include_str!({path:?});");
    }
    let mut command = args::Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = String::new();
    man_pages(&command, &out.join("man"), &mut pages)?;
    let _ = writeln!(source, "const MAN_PAGES: &[(&str, &str)] = &[{pages}];");
    fs::write(out.join("generated.rs"), source)
}

/// Writes the page of a command and those of its subcommands.
fn man_pages(command: &clap::Command, to: &Path, list: &mut String) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let examples = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    // It would become one section called EXTRA; its parts have names of their own.
    let man = clap_mangen::Man::new(command.clone().after_long_help(None::<&str>))
        .manual("embryo")
        .source(format!("embryo {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend_from_slice(sections(&examples).as_bytes());
    let name = man.get_filename();
    fs::write(to.join(&name), page)?;
    let _ = write!(list, "({name:?}, include_str!({:?})), ", to.join(&name));
    command.get_subcommands().try_for_each(|command| man_pages(command, to, list))
}

/// The help below the options as roff: headings, prose that is filled, and everything else as it
/// stands.
fn sections(text: &str) -> String {
    let mut roff = String::new();
    for section in text.split("\n\n") {
        let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
        let heading = heading.trim_end_matches(':').to_uppercase();
        let lines = || body.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
        // Prose fills its lines; examples are short, and tables are indented further.
        let as_is = heading == "EXAMPLES" || lines().any(|line| line.contains("  "));
        let _ = writeln!(roff, ".SH {heading:?}");
        roff.push_str(if as_is { ".nf\n" } else { "" });
        for line in lines() {
            // A line that begins with a dot or an apostrophe would be a request.
            let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
            let text = line.replace('\\', "\\e").replace('-', "\\-");
            let _ = writeln!(roff, "{guard}{text}");
        }
        roff.push_str(if as_is { ".fi\n" } else { "" });
    }
    roff
}
