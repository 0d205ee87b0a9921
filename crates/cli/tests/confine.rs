//! The options that confine a child, and `embryo seccomp`.

mod support;

use embryo_tests::tempdir;
use std::fs;
use support::{embryo, field, shell};

#[test]
fn a_profile_is_listed_shown_and_used() {
    assert_eq!(embryo(&["seccomp", "list"]).ok(), "default\n");
    let shown = embryo(&["seccomp", "show", "default"]).ok();
    assert!(shown.starts_with("default ENOSYS\n"), "{shown}");
    for part in ["EPERM\n    mount umount2", "(int) arg1 == 0x5412", "# Keyrings"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let status = embryo(&["run", "--seccomp-profile", "default", "cat", "/proc/self/status"]).ok();
    assert_eq!(field(&status, "Seccomp").as_deref(), Some("2"));
    assert_eq!(field(&status, "NoNewPrivs").as_deref(), Some("1"));
    let ran = embryo(&["run", "--seccomp-profile", "default", "unshare", "--user", "true"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("Operation not permitted"), "{ran:?}");
    let error = embryo(&["run", "--seccomp-profile", "defalt", "true"]).fails(125);
    assert!(error.contains("no seccomp profile") && error.contains("default"), "{error}");
    let error = embryo(&["seccomp", "show", "defalt"]).fails(125);
    assert!(error.contains("default"), "{error}");
}

/// What is written down in either form is read again, and means the same.
#[test]
fn a_policy_travels_as_toml_and_json() {
    let dir = tempdir();
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let (toml, json) = (path("policy.toml"), path("policy.json"));
    fs::write(&toml, embryo(&["seccomp", "show", "default", "--toml"]).ok()).unwrap();
    fs::write(&json, embryo(&["seccomp", "show", "default", "--json"]).ok()).unwrap();
    let text = fs::read_to_string(&toml).unwrap();
    assert!(text.contains("action = \"EPERM\"") && text.contains("skip-missing = true"), "{text}");
    let compile = |name: &str, arch: &str, to: &str| {
        let line = format!("\"$E\" seccomp compile {name} --arch {arch} > {to}");
        shell(&line).ok();
        fs::read(to).unwrap()
    };
    for arch in ["x86_64", "aarch64"] {
        let program = compile("default", arch, &path("a"));
        assert!(program.len() > 1000 && program.len().is_multiple_of(8));
        assert_eq!(compile(&toml, arch, &path("b")), program);
        assert_eq!(compile(&json, arch, &path("c")), program);
    }
    // What was compiled is taken as a program, too.
    let here = std::env::consts::ARCH;
    compile("default", here, &path("d"));
    let ran = shell(&format!("\"$E\" run --seccomp 9 -- cat /proc/self/status 9<{}", path("d")));
    assert_eq!(field(&ran.ok(), "Seccomp").as_deref(), Some("2"));
    let status = embryo(&[
        "run",
        "--seccomp-policy",
        &toml,
        "--seccomp-policy",
        &json,
        "cat",
        "/proc/self/status",
    ]);
    assert_eq!(field(&status.ok(), "Seccomp_filters").as_deref(), Some("2"));
}

#[test]
fn what_is_wrong_with_a_policy_is_one_line() {
    let dir = tempdir();
    let file = dir.path().join("policy.toml");
    let name = file.to_str().expect("text");
    let check = |text: &str, parts: &[&str]| {
        fs::write(&file, text).unwrap();
        for (ran, code) in [
            (embryo(&["seccomp", "show", name]), 1),
            (embryo(&["run", "--seccomp-policy", name, "true"]), -1),
        ] {
            let code = if code < 0 { ran.code.expect("it exits") } else { code };
            let error = ran.fails(code);
            for part in parts {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
    };
    check(
        "default = \"allow\"\nrules = [{ action = \"EPERM\", calls = [\"opnat\"] }]",
        &["openat is near"],
    );
    check("default = \"alow\"\n", &["\"alow\"", "line 1 column"]);
    check("default = \"allow\"\nrule = []\n", &["rule", "rules", "line 2 column 1"]);
    check("{\"default\": 3}", &["line 1 column"]);
    fs::write(&file, "default = \"EPERM\"\n").unwrap();
    let error = embryo(&["run", "--seccomp-policy", "/no/such.toml", "true"]).fails(125);
    assert!(error.contains("/no/such.toml") && error.contains("ENOENT"), "{error}");
    // It forbids the exec itself.
    let error = embryo(&["run", "--seccomp-policy", name, "true"]).fails(125);
    assert!(error.contains("forbids execve(2)") && error.contains("EPERM"), "{error}");
    fs::write(&file, "default = \"allow\"\nrules = [{ action = \"notify\", calls = [\"mkdir\"], skip-missing = true }]").unwrap();
    let error = embryo(&["run", "--seccomp-policy", name, "true"]).fails(125);
    assert!(error.contains("listener"), "{error}");
}

/// Whether the kernel has this much of Landlock.
fn has(abi: u32) -> bool {
    let found = embryo::Landlock::kernel_abi();
    let has = found.is_some_and(|found| found >= abi);
    if !has {
        eprintln!("skipped: this kernel's Landlock is {found:?}, below {abi}");
    }
    has
}

#[test]
fn files_by_options() {
    if !has(5) {
        return;
    }
    let dir = tempdir();
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    fs::create_dir(path("open")).unwrap();
    fs::write(path("shut"), "text").unwrap();
    let (open, shut, file) = (path("open"), path("shut"), path("open/file"));
    let run = |options: &[&str], command: &[&str]| {
        let system = ["/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache"];
        let system = system.iter().filter(|path| fs::exists(path).unwrap());
        let mut args = vec!["run"];
        system.for_each(|path| args.extend(["--landlock-exec", path]));
        args.extend(options);
        args.push("--");
        args.extend(command);
        embryo(&args)
    };
    let ran = run(&[], &["cat", &shut]);
    assert_eq!((ran.code, ran.err.contains("Permission denied")), (Some(1), true), "{ran:?}");
    assert_eq!(run(&["--landlock-ro", &shut], &["cat", &shut]).ok(), "text");
    let write = format!("echo x > {file}");
    assert_ne!(run(&["--landlock-ro", &open], &["sh", "-c", &write]).code, Some(0));
    run(&["--landlock-rw", &open], &["sh", "-c", &write]).ok();
    let exact = format!("read-file,execute:{shut}");
    assert_eq!(run(&["--landlock-rights", &exact], &["cat", &shut]).ok(), "text");
    run(&["--landlock-inside"], &["true"]).ok();
    // The program itself is not named.
    let error = embryo(&["run", "--landlock-ro", "/etc", "true"]).fails(126);
    assert!(error.contains("Landlock") && error.contains("EACCES"), "{error}");
    let error = embryo(&["run", "--landlock-ro", "/no/such/path", "true"]).fails(125);
    assert!(error.contains("/no/such/path") && error.contains("ENOENT"), "{error}");
    let error = embryo(&["run", "--landlock-rights", "raed:/", "true"]).fails(125);
    assert!(error.contains("raed"), "{error}");
    for option in ["--landlock-inside", "--landlock-best-effort"] {
        let error = embryo(&["run", option, "true"]).fails(125);
        assert!(error.contains(option), "{error}");
    }
    let explained = run(&["--explain", "--landlock-inside"], &["true"]);
    let explained = String::from_utf8_lossy(explained.out.as_bytes()).into_owned();
    for part in ["landlock-path path=/usr access=execute,read-file,read-dir", "landlock slot="] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
}

#[test]
fn ports_scopes_and_versions_by_options() {
    if !has(6) {
        return;
    }
    let bind = "import socket; socket.socket().bind(('127.0.0.1', 0))";
    let python = ["/usr/bin/python3", "-S", "-c", bind];
    let run = |options: &[&str]| embryo(&[&["run"][..], options, &["--"], &python].concat());
    run(&["--landlock-bind", "0"]).ok();
    run(&["--landlock-connect", "none"]).ok();
    let ran = run(&["--landlock-bind", "none"]);
    assert!(ran.err.contains("Permission denied"), "{ran:?}");
    let script = "kill -0 $PPID";
    let ran = embryo(&["run", "--landlock-scope", "signal", "sh", "-c", script]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    embryo(&["run", "--landlock-scope", "abstract-unix-socket", "sh", "-c", script]).ok();
    let all = ["--landlock-exec", "/", "--landlock-rw", "/"];
    let abi = |abi: &str, rest: &[&str]| {
        embryo(&[&["run", "--landlock-abi", abi][..], &all, rest, &["true"]].concat())
    };
    abi("1", &[]).ok();
    if !has(10) {
        let error = abi("10", &[]).fails(125);
        assert!(error.contains("ABI 10 (Linux 7.2)"), "{error}");
        abi("10", &["--landlock-best-effort"]).ok();
    }
    let error = abi("11", &[]).fails(125);
    assert!(error.contains("1 to 10"), "{error}");
    let error = embryo(&["run", "--landlock-bind", "http", "true"]).fails(125);
    assert!(error.contains("ports"), "{error}");
}

#[test]
fn beside_a_plan_they_are_refused() {
    let dir = embryo_tests::tempdir();
    let plan = dir.path().join("plan");
    let plan = plan.to_str().expect("its name is text");
    embryo(&["run", "--save", plan, "true"]).ok();
    let error = embryo(&["run", "--plan", plan, "--landlock-ro", "/"]).fails(125);
    assert!(error.contains("--landlock-ro cannot be added"), "{error}");
    let doctor = embryo(&["doctor"]).ok();
    for part in ["Landlock", "seccomp listener", "seccomp kill-process"] {
        assert!(doctor.contains(part), "{part}: {doctor}");
    }
}
