//! The same description, performed by util-linux and by embryo: the probe finds the same of itself, field by
//! field, but for what is named here with its reason.
//!
//! It must never leave a field out without saying why.

use embryo::{CapSet, Command, Mount, NamespaceKind, Privileges, Stdio, UserNamespace};
use embryo_tests::{Report, is_root, probe, rerun_as_nobody, skip};
use std::process::Command as StdCommand;

/// Fields that differ, and why.
const MEANT: [&str; 5] = [
    // unshare(1) makes its program the first process; embryo's has an init above it.
    "pid",
    "ppid",
    // How unshare(1) sees to it that nobody is left when it is killed; with embryo the init does.
    "pdeathsig",
    // Each has its own, which is looked at below.
    "namespaces",
    // Pipes to the test, and what unshare(1) and setpriv(1) let through of what this test was started with.
    "fds",
];

/// New namespaces of all kinds but time, as root in that of users.
fn unshare() -> StdCommand {
    let mut command = StdCommand::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount"]);
    command.args(["--mount-proc", "--net", "--ipc", "--uts", "--cgroup"]);
    command
}

#[test]
fn of_unshare_and_setpriv() {
    if is_root() {
        rerun_as_nobody(embryo_tests::here!());
    }
    let works = unshare().arg("true").output().is_ok_and(|output| output.status.success());
    let setpriv = StdCommand::new("setpriv").arg("true").status().is_ok_and(|s| s.success());
    if !works || !setpriv {
        skip!("unshare(1) or setpriv(1) is not there, or may not do it here");
    }
    let probe = probe!();
    let mut theirs = unshare();
    theirs.args(["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]);
    theirs.arg(&probe).arg("report").env_clear().env("A", "1").current_dir("/usr");
    let theirs = Report::by_std(&mut theirs);

    let mut ours = Command::new(&probe);
    ours.arg("report").env_clear().env("A", "1").current_dir("/usr").stdout(Stdio::piped());
    ours.user_namespace(UserNamespace::ROOT);
    ours.unshare(NamespaceKind::ALL.into_iter().filter(|kind| *kind != NamespaceKind::Time));
    ours.mount(Mount::proc("/proc")).no_new_privs(true);
    let none = Some(CapSet::NONE);
    ours.privileges(Privileges { bounding: none, inheritable: none, ..Privileges::default() });
    let output = ours.output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let ours = Report::parse(&output.stdout);

    let differ = theirs.diff(&ours, &MEANT);
    assert!(differ.is_empty(), "theirs, then ours:\n  {}", differ.join("\n  "));
    assert_eq!((theirs.pid, ours.pid), (1, 2), "each is alone with its init");
    let here = Report::capture(Vec::new(), Vec::new());
    let new = |report: &Report| {
        let names = here.namespaces.iter();
        let new = names.filter(|(kind, name)| report.namespaces.get(*kind) != Some(*name));
        new.map(|(kind, _)| kind.clone()).collect::<Vec<_>>()
    };
    assert_eq!(new(&theirs), new(&ours));
    assert!(new(&ours).len() >= 7, "{:?}", new(&ours));
}
