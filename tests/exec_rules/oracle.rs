//! glibc's posix_spawnp(3) as the judge of what execvp's rules are. It must never be given what
//! the two are documented to differ in: files for the shell, and names too long to be paths.

use crate::{Yard, before, search};
use embryo::ExecFlags;
use embryo_tests::alone;
use std::io::Read;
use std::os::fd::AsRawFd;

/// What posix_spawnp finds in the `PATH` of this process: what the program wrote, or the errno.
fn by_posix_spawnp() -> Result<String, i32> {
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let argv = [c"zeroth".as_ptr(), c"arg".as_ptr(), std::ptr::null()];
    let envp = [c"PATH=/nowhere".as_ptr(), std::ptr::null()];
    let mut actions = std::mem::MaybeUninit::<libc::posix_spawn_file_actions_t>::uninit();
    // SAFETY: the call initialises what it is given.
    let made = unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) };
    assert_eq!(made, 0);
    // SAFETY: it was initialised just now.
    let mut actions = unsafe { actions.assume_init() };
    // SAFETY: the actions are initialised; the others are numbers.
    let added =
        unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut actions, writer.as_raw_fd(), 1) };
    assert_eq!(added, 0);
    let mut pid = 0;
    // SAFETY: the strings and arrays are constants that end with NUL and NULL; the actions are
    // initialised; the pid is written to a number. posix_spawnp(3) writes to none of the strings.
    let errno = unsafe {
        libc::posix_spawnp(
            &raw mut pid,
            c"tool".as_ptr(),
            &raw const actions,
            std::ptr::null(),
            argv.as_ptr().cast(),
            envp.as_ptr().cast(),
        )
    };
    // SAFETY: the actions are initialised, and not used any more.
    unsafe { libc::posix_spawn_file_actions_destroy(&raw mut actions) };
    drop(writer);
    if errno != 0 {
        return Err(errno);
    }
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("a pipe can be read");
    let mut status = 0;
    // SAFETY: the call writes one number.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((waited, status), (pid, 0));
    Ok(text)
}

#[test]
fn posix_spawnp_finds_the_same() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    let places =
        ["/nowhere", "@/a", "@/denied", "@/dir", "@/file", "@/nointerpreter", "@/dangling"];
    let others = ["@/noloader", "@/loop", "@/plain", "@/badelf", "@/closed", "", "a", "../b"];
    let all: Vec<&str> = places.into_iter().chain(others).collect();
    let pairs = all.iter().flat_map(|one| all.iter().map(move |two| format!("{one}:{two}")));
    let triples = all.iter().map(|one| format!("@/denied:{one}:@/b"));
    std::env::set_current_dir(yard.path("a")).expect("one may enter it");
    for list in all.iter().map(|one| (*one).to_owned()).chain(pairs).chain(triples) {
        let path = list.replace('@', yard.text());
        // SAFETY: the harness's main thread, the only other one, waits for this one and reads no
        // environment.
        unsafe { std::env::set_var("PATH", &path) };
        let ours = search(&yard, &list, None, ExecFlags::empty()).map_err(|(errno, _)| errno);
        assert_eq!(ours, by_posix_spawnp(), "{list}");
    }
}
