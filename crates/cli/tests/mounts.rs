//! The options that put a root together: what they mean, and that their order counts. As root and as an
//! ordinary user it is the same; bubblewrap, where it is installed, is asked for its opinion.

mod support;

use support::{embryo, shell};

/// What a program needs to run, for sh(1).
const SYSTEM: &str = "--ro-bind /usr /usr --ro-bind-try /lib /lib --ro-bind-try /lib64 /lib64 \
                      --ro-bind-try /bin /bin";

#[track_caller]
fn says(line: &str, expect: &str) {
    let ran = shell(&format!("$E run {SYSTEM} {line}"));
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), (expect, "", Some(0)), "{line}");
}

#[track_caller]
fn fails(line: &str, expect: &str) {
    let ran = shell(&format!("$E run {SYSTEM} {line}"));
    assert_eq!((ran.out.as_str(), ran.code), ("", Some(125)), "{line}: {}", ran.err);
    assert!(ran.err.contains(expect), "{line}: {}", ran.err);
}

#[test]
fn they_are_done_in_the_order_in_which_they_are_given() {
    says("--dir /a/b --tmpfs /a -- sh -c 'ls /a'", "");
    says("--tmpfs /a --dir /a/b -- sh -c 'ls /a'", "b\n");
    says("--symlink x /a --dir /b --symlink y /c --dir /d -- readlink /a /c", "x\ny\n");
    says("--tmpfs /a --dir /a/b --remount-ro /a -- sh -c 'ls /a; ! touch /a/x 2>&-'", "b\n");
}

#[test]
fn each_makes_what_its_name_says() {
    says("--dev /dev -- sh -c 'echo x >/dev/null; head -c 3 /dev/zero | wc -c'", "3\n");
    says("--proc /proc -- sh -c 'test -e /proc/self/status && echo there'", "there\n");
    says("--unshare-pid --proc /proc -- sh -c 'echo /proc/[0-9]*'", "/proc/1 /proc/2\n");
    says("--bind-try /nowhere/at/all /x -- sh -c 'ls -d /x 2>&- || echo none'", "none\n");
    says("--perms 0711 --dir /a --perms 1777 --tmpfs /b -- stat -c %a /a /b", "711\n1777\n");
    says("--dir /a --chmod 0500 /a -- stat -c %a /a", "500\n");
    says("--size 65536 --tmpfs /a -- stat -f -c %b /a", "16\n");
    says("--unshare-ipc --mqueue /q -- stat -f -c %T /q", "mqueue\n");
}

#[test]
fn files_come_from_descriptors() {
    let line = "printf text | $E run SYSTEM --file 0 /a/b --stdin null -- cat /a/b";
    let ran = shell(&line.replace("SYSTEM", SYSTEM));
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("text", ""));
    let line = "$E run SYSTEM --ro-bind-data 9 /f --bind-data 9 /g --bind-fd 8 /etc -- \
                sh -c 'cat /f; echo more >>/g && cat /g; test -e /etc/passwd && stat -c %a /f' \
                8</etc 9<FILE";
    let file = std::env::temp_dir().join(format!("embryo-mounts-{}", std::process::id()));
    std::fs::write(&file, "text\n").expect("it can be written");
    let line = line.replace("SYSTEM", SYSTEM).replace("FILE", &file.display().to_string());
    let ran = shell(&line);
    std::fs::remove_file(&file).expect("it is ours");
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("text\ntext\nmore\n600\n", ""));
}

#[test]
fn layers_are_given_from_the_lowest() {
    let script = "d=$(mktemp -d) && chmod 755 $d && mkdir $d/a $d/b $d/u $d/w && echo a >$d/a/f \
                  && echo b >$d/b/f && $E run SYSTEM --overlay-src $d/a --overlay-src $d/b \
                  --ro-overlay /o -- cat /o/f && $E run SYSTEM --overlay-src $d/a \
                  --tmp-overlay /o -- sh -c 'echo x >/o/f; cat /o/f' && $E run SYSTEM \
                  --overlay-src $d/a --overlay $d/u $d/w /o -- sh -c 'echo y >/o/g' && cat $d/u/g \
                  $d/a/f; rm -rf $d";
    let ran = shell(&script.replace("SYSTEM", SYSTEM));
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("b\nx\ny\na\n", ""));
}

#[test]
fn what_is_misused_is_said_so_and_nothing_runs() {
    fails("--perms 0700 -- true", "--perms stands before nothing");
    fails("--perms 0700 --proc /proc -- true", "--perms stands before nothing");
    fails("--perms 9 --dir /a -- true", "octal number");
    fails("--size 1 --dir /a -- true", "--size stands before no --tmpfs");
    fails("--size x --tmpfs /a -- true", "a number of bytes");
    fails("--ro-overlay /a -- true", "needs 2 of --overlay-src");
    fails("--overlay-src /usr -- true", "stands before no overlay");
    fails("--bind-fd x /a -- true", "no descriptor number");
    fails("--bind-fd 77 /a -- true", "descriptor 77 is not open");
    fails("--mount-propagation no /a -- true", "private, slave, shared or unbindable");
    fails("--dir /a/../b -- true", "has .. in it");
    fails("--bind /nowhere/at/all /x -- true", "the source /nowhere/at/all does not exist");
    fails("--dir /usr/x/y -- true", "EROFS");
}

#[test]
fn a_plan_excludes_them_by_name() {
    let plan = std::env::temp_dir().join(format!("embryo-mounts-{}.plan", std::process::id()));
    let path = plan.to_str().expect("it is text");
    let saved = embryo(&["run", "--save", path, "--", "true"]);
    assert_eq!(saved.code, Some(0), "{}", saved.err);
    for option in ["--tmpfs", "--unmount"] {
        let ran = embryo(&["run", option, "/a", "--plan", path]);
        assert_eq!(ran.code, Some(125), "{}", ran.err);
        assert!(ran.err.contains(&format!("so {option} cannot be added")), "{}", ran.err);
    }
    std::fs::remove_file(&plan).expect("it was just written");
}

/// Mount points with their attributes, and what stands in the root, side by side.
#[test]
fn bubblewrap_makes_the_same_of_the_same_options() {
    const OPTIONS: &str = "--dev-bind /dev/zero /z --tmpfs /tmp --dir /etc --perms 0700 --dir /d --perms 0711 \
        --size 65536 --tmpfs /s --bind-try /nowhere /x --dev-bind /dev/null /n \
        --ro-bind /etc/passwd /etc/passwd --ro-bind /proc /proc --symlink a/b /l --chmod 0750 /d";
    const LOOK: &str = "cut -d' ' -f5,6 /proc/self/mountinfo | sort; stat -c '%n %A %u %g' /*";
    if !shell("command -v bwrap").out.contains("bwrap") {
        eprintln!("SKIPPED: there is no bwrap(1) to compare with");
        return;
    }
    let theirs = shell(&format!("bwrap {SYSTEM} {OPTIONS} -- sh -c \"{LOOK}\""));
    if theirs.code != Some(0) {
        eprintln!("SKIPPED: bwrap(1) does not work here: {}", theirs.err);
        return;
    }
    let ours = shell(&format!("$E run {SYSTEM} {OPTIONS} -- sh -c \"{LOOK}\""));
    assert_eq!(ours.out, theirs.out, "left: embryo; right: bwrap; {}", ours.err);
}
