//! What the errors say. It must never accept a text that is true of another cause too.

use crate::before;
use crate::launch::{self, Way, c_path};
use crate::{Outcome, Yard, by_path, outcome, run, search};
use embryo::{ExecFlags, Op};
use embryo_tests::{alone, is_root, require_root};
use std::path::Path;

/// Checks that a text has all of these parts and none of the phrases that are for other causes.
#[track_caller]
fn says(outcome: Outcome, errno: i32, parts: &[&str]) {
    const CAUSES: [&str; 11] = [
        "the program does not exist",
        "its #! interpreter",
        "ELF loader",
        "working directory does not exist",
        "symbolic link to something that does not exist",
        "is a directory",
        "no execute permission",
        "no ELF file",
        "the program is empty",
        "for another machine, or damaged",
        "no such program in the search list",
    ];
    let (seen, text) = outcome.expect_err("it cannot run");
    assert_eq!(seen, errno, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    for cause in CAUSES.iter().filter(|cause| !parts.iter().any(|part| part.contains(*cause))) {
        assert!(!text.contains(cause), "it also says {cause:?}: {text}");
    }
}

#[test]
fn the_text_says_what_was_missing() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    let interpreter = "its #! interpreter /no/such/interpreter does not exist";
    let loader = "its ELF loader /no/loader does not exist";
    let link = "the program is a symbolic link to something that does not exist";
    for (place, errno, parts) in [
        ("nowhere", libc::ENOENT, &["the program does not exist"][..]),
        ("nointerpreter", libc::ENOENT, &[interpreter]),
        ("crlf", libc::ENOENT, &["its #! interpreter", "/bin/sh\\r", "CR LF"]),
        ("noloader", libc::ENOENT, &[loader]),
        ("dangling", libc::ENOENT, &[link]),
        ("loop", libc::ELOOP, &["too many symbolic links"]),
        ("dir", libc::EACCES, &["the program is a directory"]),
        ("denied", libc::EACCES, &["no execute permission", "chmod +x"]),
        ("plain", libc::ENOEXEC, &["no ELF file", "shell"]),
        ("empty", libc::ENOEXEC, &["the program is empty"]),
        ("badelf", libc::ENOEXEC, &["for another machine, or damaged"]),
        // What is missing is not the interpreter, which is there, but the interpreter's own.
        ("nested", libc::ENOENT, &["nointerpreter/tool", interpreter]),
    ] {
        let path = yard.path(place).join("tool");
        let whole = path.to_str().expect("a plain name");
        says(by_path(&path, None, ExecFlags::empty()), errno, &[&[whole], parts].concat());
        // A relative path is looked for where the child would have looked.
        let cwd = yard.0.path();
        let relative = Path::new(place).join("tool");
        says(by_path(&relative, Some(cwd), ExecFlags::empty()), errno, parts);
    }
    says(
        by_path(Path::new("/bin/sh"), Some(&yard.path("nowhere")), ExecFlags::empty()),
        libc::ENOENT,
        &["working directory does not exist", "/nowhere"],
    );
}

#[test]
fn a_search_says_which_file_it_means() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    let at = |list: &str| search(&yard, list, None, ExecFlags::empty());
    let none = ["no such program in the search list", "/nowhere"];
    says(at("/nowhere"), libc::ENOENT, &none);
    let interpreter = ["nointerpreter/tool: its #! interpreter /no/such/interpreter"];
    says(at("/nowhere:@/nointerpreter"), libc::ENOENT, &interpreter);
    says(at("@/noloader:/nowhere"), libc::ENOENT, &["noloader/tool: its ELF loader /no/loader"]);
    says(
        at("@/denied:/nowhere"),
        libc::EACCES,
        &["denied/tool: the program has no execute permission"],
    );
    says(at("@/dir:/nowhere"), libc::EACCES, &["dir/tool: the program is a directory"]);
    says(at("@/plain:@/a"), libc::ENOEXEC, &["plain/tool: the program is no ELF file"]);
    // Several are there, and only one of them explains the answer.
    says(
        at("@/nointerpreter:@/denied"),
        libc::EACCES,
        &["denied/tool: the program has no execute permission"],
    );
    says(at("@/denied:@/plain"), libc::ENOEXEC, &["plain/tool: the program is no ELF file"]);
    says(at("@/nointerpreter:@/empty"), libc::ENOEXEC, &["empty/tool: the program is empty"]);
}

/// Under a new root paths mean something else, and the files there are those that are looked at.
#[test]
fn a_path_is_looked_for_under_the_childs_root() {
    require_root!();
    alone!();
    before::warm_up();
    let yard = Yard::new();
    let rooted = |path: &str| {
        run(None, |draft| {
            let path = c_path(Path::new(path));
            draft.op(&Op::ChrootPath { path: &c_path(yard.0.path()) });
            draft.op(&Op::ChdirPath { path: c"/a" });
            draft.op(&Op::ExecPath { path: &path, flags: ExecFlags::empty() });
        })
    };
    says(rooted("/bin/sh"), libc::ENOENT, &["the program does not exist"]);
    says(rooted("/noloader/tool"), libc::ENOENT, &["its ELF loader /no/loader does not exist"]);
    says(rooted("../denied/tool"), libc::EACCES, &["no execute permission"]);
    // The script is there, and so is /bin/sh for us, but not for the child.
    says(rooted("tool"), libc::ENOENT, &["its #! interpreter /bin/sh does not exist"]);
}

/// An ordinary user cannot look into a directory that is closed to him, and is told no fairy tale.
#[test]
fn what_cannot_be_looked_at_is_not_explained_away() {
    if is_root() {
        return embryo_tests::rerun_as_nobody(embryo_tests::here!());
    }
    alone!();
    before::warm_up();
    let yard = Yard::new();
    says(by_path(&yard.path("closed/tool"), None, ExecFlags::empty()), libc::EACCES, &["EACCES"]);
}

/// The errors that a descriptor can have instead.
#[test]
fn a_descriptor_says_the_same() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    for (place, errno, part) in [
        ("noloader", libc::ENOENT, "its ELF loader /no/loader does not exist"),
        ("denied", libc::EACCES, "no execute permission"),
        ("plain", libc::ENOEXEC, "no ELF file"),
        ("empty", libc::ENOEXEC, "the program is empty"),
        ("dir", libc::EACCES, "is a directory"),
    ] {
        for way in Way::BOTH {
            let mut draft = launch::Draft::bare();
            draft.arg("zeroth");
            let file = std::fs::File::open(yard.path(place).join("tool")).expect("it is there");
            let slot = draft.grant(file);
            draft.op(&Op::ExecSlot { slot, flags: ExecFlags::empty() });
            says(outcome(&draft, way), errno, &["slot 0", part]);
        }
    }
}
