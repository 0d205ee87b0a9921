//! glibc's posix_spawn(3), told what a [`Description`] says. It must never be told anything of
//! ids: it cannot set them.

use super::{Description, Stream};
use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Launches it and waits for its end.
pub(super) fn launch(description: &Description, report: &Path) {
    let strings = Strings::of(description, report);
    let mut actions = actions();
    let null = c"/dev/null";
    for (number, stream) in (0..).zip(&description.streams) {
        let result = match stream {
            Stream::Inherit => 0,
            Stream::Null => {
                let how = if number == 0 { libc::O_RDONLY } else { libc::O_WRONLY };
                // SAFETY: the actions are initialised, and the call copies the path.
                unsafe {
                    libc::posix_spawn_file_actions_addopen(
                        &raw mut actions,
                        number,
                        null.as_ptr(),
                        how,
                        0,
                    )
                }
            }
            Stream::File(file) => {
                // SAFETY: the actions are initialised; the others are numbers.
                unsafe {
                    libc::posix_spawn_file_actions_adddup2(
                        &raw mut actions,
                        file.as_raw_fd(),
                        number,
                    )
                }
            }
        };
        assert_eq!(result, 0);
    }
    if let Some(cwd) = &description.cwd {
        let cwd = c_string(cwd.as_os_str());
        // SAFETY: the actions are initialised, and the call copies the path.
        let result =
            unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut actions, cwd.as_ptr()) };
        assert_eq!(result, 0);
    }
    let mut attributes = attributes(description.group);
    let (argv, envp) = (pointers(&strings.argv), pointers(&strings.envp));
    let mut pid = 0;
    // SAFETY: the program and the strings end with NUL, the arrays with NULL, and they outlive the
    // call; actions and attributes are initialised; the pid is written to a number.
    let errno = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            strings.program.as_ptr(),
            &raw const actions,
            &raw const attributes,
            argv.as_ptr(),
            envp.as_ptr(),
        )
    };
    // SAFETY: they are initialised, and not used any more.
    unsafe { libc::posix_spawn_file_actions_destroy(&raw mut actions) };
    // SAFETY: likewise.
    unsafe { libc::posix_spawnattr_destroy(&raw mut attributes) };
    assert_eq!(errno, 0, "posix_spawn: {}", std::io::Error::from_raw_os_error(errno));
    let mut status = 0;
    // SAFETY: the call writes one number.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((waited, status), (pid, 0));
}

struct Strings {
    program: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl Strings {
    fn of(description: &Description, report: &Path) -> Self {
        let arg0 = description.arg0.as_ref().unwrap_or(&description.program);
        let argv = [arg0.as_os_str(), OsStr::new("report"), report.as_os_str()];
        let mut envp: Vec<CString> = match &description.env {
            Some(env) => env.iter().map(|(name, value)| variable(name, value)).collect(),
            None => std::env::vars_os().map(|(name, value)| variable(&name, &value)).collect(),
        };
        // As std and embryo hand them over.
        envp.sort();
        Self { program: description.found(), argv: argv.map(c_string).into(), envp }
    }
}

impl Description {
    /// The program's path: posix_spawnp would look in the caller's `PATH`, not in the child's.
    fn found(&self) -> CString {
        if self.program.as_bytes().contains(&b'/') {
            return c_string(&self.program);
        }
        let env = self.env.as_ref().expect("a name needs a PATH");
        let (_, path) = env.iter().find(|(name, _)| name == "PATH").expect("a name needs a PATH");
        let found = std::env::split_paths(path).map(|directory| directory.join(&self.program));
        let found = found.into_iter().find(|path| path.exists()).expect("it is in it");
        c_string(found.as_os_str())
    }
}

fn variable(name: &OsStr, value: &OsStr) -> CString {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).expect("it has no NUL")
}

fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes()).expect("it has no NUL")
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    let pointers = strings.iter().map(|string| string.as_ptr().cast_mut());
    pointers.chain([std::ptr::null_mut()]).collect()
}

fn actions() -> libc::posix_spawn_file_actions_t {
    let mut actions = MaybeUninit::uninit();
    // SAFETY: the call initialises what it is given.
    let result = unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: it was initialised just now.
    unsafe { actions.assume_init() }
}

/// SIGPIPE at its default, no signal blocked, and maybe a group: what std asks for.
fn attributes(group: Option<i32>) -> libc::posix_spawnattr_t {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the call initialises what it is given.
    let result = unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: it was initialised just now.
    let mut attributes = unsafe { attributes.assume_init() };
    let mut flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
    let mut none = MaybeUninit::uninit();
    // SAFETY: the call initialises what it is given.
    let result = unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: it was initialised just now.
    let none = unsafe { none.assume_init() };
    let mut pipe = none;
    // SAFETY: the set is initialised.
    let result = unsafe { libc::sigaddset(&raw mut pipe, libc::SIGPIPE) };
    assert_eq!(result, 0);
    // SAFETY: both are initialised, and the call copies the set.
    unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes, &raw const pipe) };
    // SAFETY: likewise.
    unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes, &raw const none) };
    if let Some(group) = group {
        flags |= libc::POSIX_SPAWN_SETPGROUP;
        // SAFETY: the attributes are initialised.
        unsafe { libc::posix_spawnattr_setpgroup(&raw mut attributes, group) };
    }
    // SAFETY: the attributes are initialised.
    let result =
        unsafe { libc::posix_spawnattr_setflags(&raw mut attributes, flags as libc::c_short) };
    assert_eq!(result, 0);
    attributes
}
