//! Promise: a program is found by execvp(3)'s rules in the search list that the plan gives, and what is
//! not found or cannot run is an error that says which thing was missing: the program, its `#!`
//! interpreter, its ELF loader or the working directory.
//!
//! It must never rely on the `PATH` of whoever runs the tests.

mod before;
mod launch;

use before::Before;
use embryo::{ExecFlags, Op};
use embryo_tests::{alone, is_root, rerun_as_nobody, skip};
use launch::{Draft, Way, c_path};
use std::ffi::CString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

#[path = "exec_rules/by_descriptor.rs"]
mod by_descriptor;
#[path = "exec_rules/oracle.rs"]
mod oracle;
#[path = "exec_rules/why.rs"]
mod why;

/// Directories that each hold a `tool` of another kind.
struct Yard(tempfile::TempDir);

impl Yard {
    fn new() -> Self {
        let yard = Self(embryo_tests::tempdir());
        let missing = "#!/no/such/interpreter\n";
        for (place, content, mode) in [
            ("a", "#!/bin/sh\necho \"a $1\"\n", 0o755),
            ("b", "#!/bin/sh\necho \"b $1\"\n", 0o755),
            ("denied", "#!/bin/sh\necho denied\n", 0o644),
            ("plain", "echo \"plain $0 $1\"\n", 0o755),
            ("empty", "", 0o755),
            ("crlf", "#!/bin/sh\r\necho crlf\r\n", 0o755),
            ("nointerpreter", missing, 0o755),
            ("badelf", "\x7fELF and then nothing that makes sense", 0o755),
            ("closed", "#!/bin/sh\necho closed\n", 0o755),
        ] {
            yard.write(place, content.as_bytes(), mode);
        }
        yard.write("nested", format!("#!{}/nointerpreter/tool\n", yard.text()).as_bytes(), 0o755);
        yard.write("noloader", &without_loader(), 0o755);
        for place in ["dir/tool", "dangling", "loop"] {
            std::fs::create_dir_all(yard.path(place)).expect("it can be made");
        }
        symlink("/no/such/target", yard.path("dangling/tool")).expect("it can be made");
        symlink("tool", yard.path("loop/tool")).expect("it can be made");
        std::fs::write(yard.path("file"), "").expect("it can be written");
        yard.set_mode("closed", 0o000);
        yard
    }

    fn write(&self, place: &str, content: &[u8], mode: u32) {
        std::fs::create_dir(self.path(place)).expect("it can be made");
        let tool = format!("{place}/tool");
        std::fs::write(self.path(&tool), content).expect("it can be written");
        self.set_mode(&tool, mode);
    }

    fn set_mode(&self, path: &str, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(path), mode).expect("it is one's own");
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn text(&self) -> &str {
        self.0.path().to_str().expect("a temporary directory has a plain name")
    }

    /// A search list in which `@` stands for this directory.
    fn search(&self, list: &str) -> CString {
        CString::new(list.replace('@', self.text())).expect("it has no NUL")
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // Or it cannot be removed by an ordinary user.
        self.set_mode("closed", 0o755);
    }
}

/// A program whose ELF loader is one that no machine has: the probe with another name in it.
fn without_loader() -> Vec<u8> {
    let mut elf = std::fs::read(embryo_tests::probe_path()).expect("the probe is there");
    let word = |elf: &[u8], at: usize| u64::from_le_bytes(std::array::from_fn(|i| elf[at + i]));
    let half = |elf: &[u8], at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    // Of Elf64_Ehdr: e_phoff, e_phentsize, e_phnum; of Elf64_Phdr: p_type, p_offset, p_filesz.
    let (table, size, count) = (word(&elf, 32) as usize, half(&elf, 54), half(&elf, 56));
    const PT_INTERP: u64 = 3;
    let mut headers = (0..count).map(|index| table + index * size);
    let header = headers.find(|at| word(&elf, *at) & 0xffff_ffff == PT_INTERP);
    let header = header.expect("the probe is linked dynamically");
    let (offset, len) = (word(&elf, header + 8) as usize, word(&elf, header + 32) as usize);
    let name = b"/no/loader";
    elf[offset..offset + len].fill(0);
    elf[offset..offset + name.len()].copy_from_slice(name);
    elf
}

/// What came of a launch: what the program wrote, or the errno and the error's text.
type Outcome = Result<String, (i32, String)>;

/// Launches `tool arg` with a search list, and maybe a working directory, on both ways, which must
/// agree.
#[track_caller]
fn search(yard: &Yard, list: &str, cwd: Option<&str>, flags: ExecFlags) -> Outcome {
    run(cwd.map(|cwd| yard.path(cwd)).as_deref(), |draft| {
        draft.op(&Op::ExecName { name: c"tool", search: &yard.search(list), flags });
    })
}

/// Launches a path, likewise.
#[track_caller]
fn by_path(path: &Path, cwd: Option<&Path>, flags: ExecFlags) -> Outcome {
    run(cwd, |draft| {
        draft.op(&Op::ExecPath { path: &c_path(path), flags });
    })
}

#[track_caller]
fn run(cwd: Option<&Path>, image: impl Fn(&mut Draft)) -> Outcome {
    let [direct, seed] = Way::BOTH.map(|way| {
        let mut draft = Draft::bare();
        draft.args(&["zeroth", "arg"]);
        draft.env("PATH", "/nowhere");
        if let Some(cwd) = cwd {
            draft.op(&Op::ChdirPath { path: &c_path(cwd) });
        }
        image(&mut draft);
        outcome(&draft, way)
    });
    assert_eq!(direct, seed, "the two ways differ");
    direct
}

/// What comes of a draft; of one that fails nothing is left.
#[track_caller]
fn outcome(draft: &Draft, way: Way) -> Outcome {
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut draft = draft.clone();
    let slot = draft.grant(writer);
    draft.op(&Op::PutFd { slot, fd: 1 });
    draft.op(&Op::OpenNull { fd: 2, access: embryo::Access::Write });
    let before = Before::capture();
    match draft.spawn(way) {
        Ok(mut child) => {
            drop(draft);
            let text = std::io::read_to_string(&mut reader).expect("a pipe can be read");
            child.wait().expect("it can be waited for");
            Ok(text)
        }
        Err(error) => {
            before.assert_nothing_left();
            let errno = error.raw_os_error().unwrap_or_else(|| panic!("no errno: {error}"));
            let index = error.as_spawn().expect("a fault").index();
            assert!(index.is_some(), "it is a step: {error}");
            Err((errno, error.to_string()))
        }
    }
}

#[track_caller]
fn expect(yard: &Yard, list: &str, expected: Result<&str, i32>) {
    let outcome = search(yard, list, None, ExecFlags::empty());
    let seen = outcome.as_ref().map(String::as_str).map_err(|(errno, _)| *errno);
    assert_eq!(seen, expected, "{list}: {outcome:?}");
}

#[test]
fn the_first_that_can_run_is_run() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    expect(&yard, "@/a:@/b", Ok("a arg\n"));
    expect(&yard, "@/b:@/a", Ok("b arg\n"));
    expect(&yard, "/nowhere:@/b", Ok("b arg\n"));
    expect(&yard, "/nowhere", Err(libc::ENOENT));
}

#[test]
fn what_may_not_be_run_is_passed_over_and_remembered() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    for place in ["denied", "dir"] {
        expect(&yard, &format!("@/{place}:@/a"), Ok("a arg\n"));
        expect(&yard, &format!("@/{place}:/nowhere"), Err(libc::EACCES));
        expect(&yard, &format!("/nowhere:@/{place}:@/file"), Err(libc::EACCES));
    }
    if !is_root() {
        expect(&yard, "@/closed:@/a", Ok("a arg\n"));
        expect(&yard, "@/closed:/nowhere", Err(libc::EACCES));
    }
}

/// An entry that is no directory, a link to nothing, and files whose interpreter or loader is
/// missing: the kernel says that there is nothing, and the search goes on.
#[test]
fn what_is_not_there_is_passed_over() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    for place in ["dangling", "nointerpreter", "nested", "crlf", "noloader"] {
        expect(&yard, &format!("@/{place}:@/a"), Ok("a arg\n"));
        expect(&yard, &format!("@/{place}"), Err(libc::ENOENT));
    }
    expect(&yard, "@/file:@/a", Ok("a arg\n"));
    expect(&yard, "@/file", Err(libc::ENOTDIR));
}

/// Every other answer is about a file that was found.
#[test]
fn what_the_kernel_refuses_ends_the_search() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    expect(&yard, "@/loop:@/a", Err(libc::ELOOP));
    expect(&yard, "@/plain:@/a", Err(libc::ENOEXEC));
    expect(&yard, "@/empty:@/a", Err(libc::ENOEXEC));
    expect(&yard, "@/badelf:@/a", Err(libc::ENOEXEC));
    let busy = std::fs::OpenOptions::new().write(true).open(yard.path("b/tool"));
    expect(&yard, "@/b:@/a", Err(libc::ETXTBSY));
    drop(busy);
    expect(&yard, "@/b:@/a", Ok("b arg\n"));
}

#[test]
fn a_file_of_no_known_kind_goes_to_the_shell_if_that_was_asked_for() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    let plain = format!("plain {}/plain/tool arg\n", yard.text());
    assert_eq!(search(&yard, "@/plain:@/a", None, ExecFlags::SHELL), Ok(plain.clone()));
    assert_eq!(by_path(&yard.path("plain/tool"), None, ExecFlags::SHELL), Ok(plain));
    assert_eq!(search(&yard, "@/empty:@/a", None, ExecFlags::SHELL), Ok(String::new()));
    // What needs no shell gets none.
    assert_eq!(search(&yard, "@/a", None, ExecFlags::SHELL), Ok("a arg\n".into()));
}

/// The pointers that the shell's arguments are written to are not shared between launches.
#[test]
fn the_shell_serves_many_threads_at_once() {
    alone!();
    let yard = Yard::new();
    let draft = &|number: usize| {
        let mut draft = Draft::bare();
        draft.args(&["zeroth", &number.to_string()]);
        let search = yard.search("@/plain");
        draft.op(&Op::ExecName { name: c"tool", search: &search, flags: ExecFlags::SHELL });
        draft
    };
    let yard_text = yard.text();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..10 {
                    let number = thread * 100 + round;
                    let expected = format!("plain {yard_text}/plain/tool {number}\n");
                    for way in Way::BOTH {
                        let mut child = draft(number).start(way);
                        assert_eq!(child.rest(), expected);
                    }
                }
            });
        }
    });
}

/// Relative entries, and empty ones, which are the working directory, start where the child
/// works and not where the caller does.
#[test]
fn relative_and_empty_entries_start_at_the_childs_working_directory() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    let at = |list: &str, cwd: &str| search(&yard, list, Some(cwd), ExecFlags::empty());
    assert_eq!(at("a", "."), Ok("a arg\n".into()));
    assert_eq!(at("../b", "a"), Ok("b arg\n".into()));
    for list in ["", ":/nowhere", "/nowhere:", "/nowhere::@/a", ":"] {
        assert_eq!(at(list, "b"), Ok("b arg\n".into()), "{list:?}");
    }
    assert_eq!(at("::", ".").map_err(|(errno, _)| errno), Err(libc::ENOENT));
    // Without a working directory of its own it is the caller's.
    std::env::set_current_dir(yard.path("a")).expect("one may enter it");
    expect(&yard, "", Ok("a arg\n"));
    expect(&yard, "../b", Ok("b arg\n"));
}

#[test]
fn a_name_with_a_slash_is_not_searched() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    let named = |name: &str, cwd: &str| {
        let name = CString::new(name).expect("no NUL");
        run(Some(&yard.path(cwd)), |draft| {
            let search = yard.search("@/a:@/b:");
            draft.op(&Op::ExecName { name: &name, search: &search, flags: ExecFlags::empty() });
        })
    };
    assert_eq!(named("./tool", "b"), Ok("b arg\n".into()));
    assert_eq!(named("a/tool", "."), Ok("a arg\n".into()));
    let (errno, text) = named("./tool", ".").expect_err("there is none in that directory");
    assert_eq!(errno, libc::ENOENT, "{text}");
    assert!(text.contains("the program does not exist"), "{text}");
}

#[test]
fn names_that_are_too_long() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    let long = "x".repeat(5000);
    // An entry that no path could begin with is passed over.
    expect(&yard, &format!("{long}:@/a"), Ok("a arg\n"));
    expect(&yard, &format!("@/{}:@/a", "x".repeat(300)), Ok("a arg\n"));
    expect(&yard, &long, Err(libc::ENAMETOOLONG));
    let name = CString::new("x".repeat(300)).expect("no NUL");
    let outcome = run(None, |draft| {
        let search = yard.search("@/a:@/b");
        draft.op(&Op::ExecName { name: &name, search: &search, flags: ExecFlags::empty() });
    });
    assert_eq!(outcome.map_err(|(errno, _)| errno), Err(libc::ENAMETOOLONG));
    // The longest path that the kernel takes, one byte short of the limit with its NUL.
    let entry = format!("{}/{}a", yard.text(), "./".repeat((4090 - yard.text().len() - 2) / 2));
    expect(&yard, &entry, Ok("a arg\n"));
}

#[test]
fn all_of_this_works_for_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    for test in [
        "the_first_that_can_run_is_run",
        "what_may_not_be_run_is_passed_over_and_remembered",
        "what_is_not_there_is_passed_over",
        "what_the_kernel_refuses_ends_the_search",
        "a_file_of_no_known_kind_goes_to_the_shell_if_that_was_asked_for",
        "relative_and_empty_entries_start_at_the_childs_working_directory",
        "by_descriptor::a_script_needs_its_descriptor_left_open",
        "by_descriptor::an_image_that_has_no_file",
        "oracle::posix_spawnp_finds_the_same",
        "why::the_text_says_what_was_missing",
    ] {
        rerun_as_nobody(test);
    }
}
