//! `embryo doctor`, and the man pages and completions that the binary carries.

mod support;

use embryo_tests::tempdir;
use serde_json::Value;
use std::fs;
use support::{embryo, shell};

#[test]
fn the_doctor_says_what_can_be_done() {
    let text = embryo(&["doctor"]).ok();
    assert!(text.contains("direct launch") && text.contains("programs can be started here"));
    assert!(!text.contains('\x1b'), "a pipe gets no colours");
    let json: Value = serde_json::from_str(&embryo(&["doctor", "--json"]).ok()).unwrap();
    assert_eq!(json["can_spawn"], true);
    let abilities = json["abilities"].as_array().unwrap();
    assert!(abilities.len() > 10);
    assert!(
        abilities.iter().all(|found| found["note"].is_string() && found["available"].is_boolean())
    );
}

#[test]
fn completions_and_pages_are_put_where_they_belong() {
    let dir = tempdir();
    let to = dir.path().to_str().unwrap();
    let written = embryo(&["generate", to]).ok();
    for file in written.lines() {
        assert!(fs::metadata(file).unwrap().len() > 100, "{file}");
    }
    let page = fs::read_to_string(dir.path().join("man/man1/embryo-run.1")).unwrap();
    for part in ["--rlimit", "EXIT STATUS", "EXAMPLES"] {
        assert!(page.contains(&part.replace('-', "\\-")), "{part}");
    }
    assert!(!page.contains("EXTRA"));
    for (shell, file) in [
        ("bash", "bash-completion/completions/embryo"),
        ("fish", "fish/vendor_completions.d/embryo.fish"),
        ("zsh", "zsh/site-functions/_embryo"),
    ] {
        let printed = embryo(&["completions", shell]).ok();
        assert_eq!(printed, fs::read_to_string(dir.path().join(file)).unwrap());
    }
    for shell in ["elvish", "powershell"] {
        assert!(embryo(&["completions", shell]).ok().contains("signal-as-status"));
    }
    embryo(&["completions", "tcsh"]).fails(125);
    embryo(&["generate", "/dev/null/x"]).fails(125);
}

#[test]
fn bash_completes_an_option() {
    if shell("command -v bash").code != Some(0) {
        embryo_tests::skip!("there is no bash");
    }
    let ran = shell(
        "bash -c 'source <(\"$E\" completions bash); COMP_WORDS=(embryo run --signal-m); \
         COMP_CWORD=2; _embryo embryo --signal-m run; echo ${COMPREPLY[@]}'",
    );
    assert_eq!(ran.ok(), "--signal-mask\n");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let ran = shell("\"$E\" run --help | head -n 1; \"$E\" run --explain true | head -n 1");
    assert_eq!(ran.err, "");
    let line = shell("\"$E\" run --explain true > /dev/full").fails(125);
    assert!(line.contains("ENOSPC"), "{line}");
}

#[test]
fn colours_are_for_terminals_and_can_be_asked_for() {
    let explain = "\"$E\" run --explain true";
    assert!(!shell(explain).out.contains('\x1b'));
    assert!(shell(&format!("CLICOLOR_FORCE=1 {explain}")).out.contains('\x1b'));
    assert!(!shell(&format!("NO_COLOR=1 CLICOLOR_FORCE= {explain}")).out.contains('\x1b'));
}
