//! Command lines of bubblewrap: what the job that is made of one reports of itself, beside what bubblewrap's own
//! program does.
//!
//! It must never take a command line that neither can run for one that both agree on.

mod support;

use embryo_tests::{is_root, rerun_as_nobody, skip};
use std::process::Command;
use support::{embryo, finish, shell};

/// A root in which a shell runs.
const ROOT: &str = "--ro-bind /usr /usr --ro-bind-try /lib /lib --ro-bind-try /lib64 /lib64 --ro-bind-try /bin /bin \
                    --proc /proc --dev /dev --tmpfs /tmp --dir /var/made";

/// What the program finds: its status, its ids, where it is, its environment, and what there is.
const REPORT: &str = "grep -E '^(Cap|NoNew|Seccomp:|Uid|Gid|Groups|SigIgn|SigBlk)' /proc/self/status; \
                      cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; \
                      pwd; echo $PWD; umask; env | grep -v ^_= | sort; cat /proc/sys/kernel/hostname; \
                      ls -a / /dev /var; cut -d: -f1 /proc/net/dev; \
                      for n in user pid net ipc uts cgroup; do \
                      test $(readlink /proc/self/ns/$n) = $(eval echo \\$NS_$n); echo $n $?; done; exit 7";

fn here(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
}

fn report(mut command: Command) -> support::Ran {
    // What cargo sets is long, and of no interest.
    command.env_clear();
    for kind in ["user", "pid", "net", "ipc", "uts", "cgroup"] {
        command.env(format!("NS_{kind}"), here(kind));
    }
    for name in ["PATH", "HOME", "LANG"] {
        command.env(name, std::env::var_os(name).unwrap_or_default());
    }
    finish(command.current_dir("/usr"))
}

/// The lines of a report; of the ignored signals those that are anybody's. Signals 32 and 33 are the C
/// library's own, and bubblewrap's has a use for them.
fn lines(report: &str) -> Vec<String> {
    let line = |line: &str| match line.strip_prefix("SigIgn:\t") {
        None => line.to_owned(),
        Some(set) => {
            let set = u64::from_str_radix(set, 16).expect("a set is hexadecimal");
            format!("{:x}", set & !(3 << 31))
        }
    };
    report.lines().map(line).collect()
}

fn bwrap() -> bool {
    let line = format!("bwrap {ROOT} -- /bin/true");
    shell(&line).code == Some(0)
}

#[track_caller]
fn check(options: &str) {
    let line = format!("{ROOT} {options} -- /bin/sh -c");
    let words = || line.split_whitespace();
    let mut theirs = Command::new("bwrap");
    theirs.args(words()).arg(REPORT);
    let theirs = report(theirs);
    let mut import = support::command(&["import", "bwrap", "--"]);
    let job = finish(import.args(words()).arg(REPORT).current_dir("/usr")).ok();
    let dir = embryo_tests::tempdir();
    let file = dir.path().join("job.toml");
    std::fs::write(&file, &job).unwrap();
    let ours = report(support::command(&["run", "--plan", file.to_str().unwrap()]));
    assert_eq!(
        (theirs.code, ours.code),
        (Some(7), Some(7)),
        "{options}: {theirs:?} {ours:?} {job}"
    );
    let (theirs, ours) = (lines(&theirs.out), lines(&ours.out));
    let differ = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours);
    let differ: Vec<_> = differ.collect();
    assert!(differ.is_empty(), "{options}: {differ:#?}");
    assert_eq!(theirs.len(), ours.len(), "{options}");
}

fn compare() {
    if !bwrap() {
        skip!("there is no bwrap, or it cannot make a root");
    }
    for options in [
        "",
        "--unshare-pid",
        "--unshare-all --hostname box --new-session --die-with-parent",
        "--unshare-all --share-net",
        "--unshare-user --unshare-pid --uid 5 --gid 6",
        "--cap-add CAP_NET_RAW --unshare-pid",
        "--cap-drop ALL --unshare-pid",
        "--chdir /var --setenv A b --unsetenv HOME",
        "--clearenv --setenv PATH /bin:/usr/bin",
    ] {
        check(options);
    }
}

#[test]
fn a_job_is_what_bubblewrap_makes() {
    compare();
}

#[test]
fn a_job_is_what_bubblewrap_makes_for_an_ordinary_user() {
    if is_root() {
        return rerun_as_nobody(embryo_tests::here!());
    }
    compare();
}

#[test]
fn what_cannot_be_said_is_named() {
    for (options, why) in [
        (&["--lock-file", "/x", "true"][..], "--lock-file cannot be said in a job"),
        (&["--as-pid-1", "--unshare-pid", "true"], "--as-pid-1 cannot be said"),
        (&["--as-pid-1", "true"], "--as-pid-1 needs --unshare-pid"),
        (&["--no-such", "true"], "bubblewrap has no option --no-such"),
        (&["-x", "true"], "bubblewrap has no option -x"),
        (&["--bind", "/usr"], "--bind needs more values"),
        (&["--hostname", "x", "true"], "--hostname needs --unshare-uts"),
        (&["--seccomp", "3", "--add-seccomp-fd", "4", "true"], "exclude each other"),
        (&["--cap-add", "CAP_NO", "true"], "--cap-add"),
        (&["--dir", "/x"], "has no program"),
    ] {
        let line = embryo(&[&["import", "bwrap", "--"], options].concat()).fails(125);
        assert!(line.contains(why), "{line}");
    }
}

#[test]
fn options_are_read_from_a_descriptor() {
    let line =
        "printf '%s\\0' --tmpfs /here --chdir /here | \"$E\" import bwrap -- --args 0 /bin/true x";
    let job = shell(line).ok();
    for part in ["target = \"/here\" }", "chdir = \"/here\"", "args = [\"x\"]"] {
        assert!(job.contains(part), "{part}: {job}");
    }
}
