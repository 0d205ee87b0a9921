//! Plans as text, as JSON and as files: explained, traced, saved, checked and run.

mod support;

use embryo_tests::tempdir;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::Stdio;
use support::{command, embryo, finish, shell};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn explain_says_everything_and_does_nothing() {
    let dir = tempdir();
    let file = dir.path().join("made");
    let touch = ["--clearenv", "-E", "A=1", "--chdir", "/", "touch", file.to_str().unwrap()];
    let text = embryo(&[&["run", "--explain"], &touch[..]].concat()).ok();
    assert!(!file.exists());
    for line in [
        "keep  umask",
        "keep  session",
        "put-fd fd=0 slot=0",
        "chdir path=/",
        "exec-name name=touch search=/bin:/usr/bin",
        "argv[0]  touch",
        "envp[0]  A=1",
        "slot 0  /dev/null, for descriptor 0",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("keep  working directory"));
    assert!(!text.contains("envp[1]"));
}

#[test]
fn explain_opens_no_file_for_writing() {
    let dir = tempdir();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (new, old) = (path("new"), path("old"));
    fs::write(&old, "kept").unwrap();
    let grant = format!("5={old}:rw");
    let args = ["run", "--explain", "--stdout", &new, "--stderr", &old, "--fd", &grant, "true"];
    let text = embryo(&args).ok();
    assert!(!fs::exists(&new).unwrap());
    assert_eq!(fs::read_to_string(&old).unwrap(), "kept");
    assert!(text.contains(&format!("slot 1  {new}, for descriptor 1")), "{text}");
    assert!(text.contains(&format!("slot 3  {old}, for descriptor 5")), "{text}");
    let line = embryo(&["run", "--explain", "--stdin", "/no/such", "true"]).fails(125);
    assert!(line.contains("cannot open /no/such"), "{line}");
}

#[test]
fn explained_plans_are_objects_for_programs() {
    let args = [
        "run",
        "--explain",
        "--json",
        "--clearenv",
        "--env",
        "A=1",
        "--nice",
        "3",
        "--groups",
        "1,2",
        "--signal-mask",
        "INT,TERM",
        "--rlimit",
        "core=0:unlimited",
        "--umask",
        "022",
        "--null",
        "5:r",
        "--cpus",
        "0",
        "--",
        "/bin/echo",
        "x",
    ];
    let plan = json(&embryo(&args).ok());
    assert_eq!(plan["keep"], json!(["working directory", "session"]));
    assert_eq!(plan["route"], "seed");
    assert_eq!(plan["argv"], json!(["/bin/echo", "x"]));
    assert_eq!(plan["envp"], json!(["A=1"]));
    let ops = plan["ops"].as_array().unwrap();
    let find = |name: &str| ops.iter().find(|op| op["op"] == name).unwrap();
    assert_eq!(find("nice")["value"], 3);
    assert_eq!(find("groups")["gids"], json!([1, 2]));
    assert_eq!(find("signal-mask")["signals"], json!(["INT", "TERM"]));
    assert_eq!(find("affinity")["cpus"], json!([0]));
    let rlimit = find("rlimit");
    assert_eq!((&rlimit["resource"], &rlimit["soft"]), (&json!("CORE"), &json!(0)));
    assert_eq!((&rlimit["hard"], &find("umask")["mode"]), (&json!("unlimited"), &json!("0022")));
    assert_eq!(find("exec")["path"], "/bin/echo");
    for (index, op) in ops.iter().enumerate() {
        assert_eq!(op["index"], index);
    }
    assert_eq!(
        plan["grants"][0],
        json!({"slot": 0, "uses": ["descriptor 0"], "object": "/dev/null"})
    );
}

#[test]
fn bytes_that_are_not_utf8_survive_as_numbers() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let args = [
        OsStr::new("run"),
        OsStr::new("--explain"),
        OsStr::new("--json"),
        OsStr::new("echo"),
        OsStr::from_bytes(b"\xff\x1b"),
    ];
    let plan = json(&finish(&mut command(&args)).ok());
    assert_eq!(plan["argv"], json!(["echo", [255, 27]]));
    let text = finish(&mut command(&[args[0], args[1], args[3], args[4]])).ok();
    assert!(text.contains(r#"argv[1]  "\xff\u{1b}""#), "{text}");
}

#[test]
fn a_trace_has_every_operation_with_its_result() {
    let ran = embryo(&["run", "--trace", "--nice", "3", "--chdir", "/", "echo", "out"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "out\n"));
    for op in ["put-fd fd=0 slot=0", "nice value=3", "chdir path=/"] {
        let line = ran.err.lines().find(|line| line.contains(op)).unwrap_or_else(|| panic!("{op}"));
        assert!(line.contains("  ok  ") && line.ends_with(" us"), "{line}");
    }
    assert!(ran.err.contains("started pid ") && ran.err.contains(" directly, in "), "{}", ran.err);
    let ran = embryo(&["run", "--trace", "--through-seed", "true"]);
    assert!(ran.err.contains("through the seed"), "{}", ran.err);
}

#[test]
fn a_trace_of_a_failure_ends_with_what_failed() {
    let ran = embryo(&["run", "--trace", "--chdir", "/no", "--", "true"]);
    assert_eq!(ran.code, Some(125));
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(
        lines[lines.len() - 2].contains("chdir path=/no")
            && lines[lines.len() - 2].contains("ENOENT")
    );
    assert!(lines[lines.len() - 1].starts_with("embryo: op "));
    let ran = embryo(&["run", "--trace", "--", "/no"]);
    assert_eq!(ran.code, Some(127));
    let exec = ran.err.lines().rev().nth(1).unwrap();
    assert!(exec.contains("exec path=/no") && exec.contains("ENOENT"), "{exec}");
}

#[test]
fn traces_are_objects_for_programs() {
    let dir = tempdir();
    let file = dir.path().join("trace");
    let option = format!("--trace={}", file.display());
    assert_eq!(embryo(&["run", &option, "--json", "echo", "x"]).ok(), "x\n");
    let trace = json(&fs::read_to_string(&file).unwrap());
    assert_eq!((&trace["result"], &trace["route"]), (&json!("started"), &json!("direct")));
    assert!(trace["pid"].as_u64().unwrap() > 1 && trace["took_ns"].as_u64().unwrap() > 0);
    let ops: Vec<&str> =
        trace["trace"].as_array().unwrap().iter().map(|r| r["op"].as_str().unwrap()).collect();
    assert!(ops.contains(&"put-fd") && ops.contains(&"unshare-descriptors"), "{ops:?}");

    let ran = embryo(&["run", "--trace", "--json", "--", "/no"]);
    let trace = json(&ran.err);
    assert_eq!((ran.code, &trace["result"]), (Some(127), &json!("failed")));
    let error = &trace["error"];
    assert_eq!(error["op"], "exec");
    assert_eq!((&error["errno"], &error["errno_name"]), (&json!(2), &json!("ENOENT")));
    assert_eq!((&error["object"], &error["status"]), (&json!("/no"), &json!(127)));
    assert!(error["message"].is_string() && error["detail"].is_string());
}

#[test]
fn a_saved_plan_says_and_does_what_it_did() {
    let dir = tempdir();
    let file = dir.path().join("plan");
    let file = file.to_str().unwrap();
    let described = ["--umask", "027", "-E", "A=b", "--", "sh", "-c", "umask; echo $A; cat"];
    assert_eq!(embryo(&[&["run", "--save", file], &described[..]].concat()).ok(), "");
    let saved = fs::read(file).unwrap();
    let printed = shell("\"$E\" run --save - true | \"$E\" check -").ok();
    assert!(printed.starts_with("-: a plan of "), "{printed}");

    let explain = ["run", "--explain", "--json"];
    let direct = json(&embryo(&[&explain[..], &described].concat()).ok());
    let from_file = json(&embryo(&["explain", "--json", file]).ok());
    for field in ["ops", "argv", "envp", "keep", "bytes"] {
        assert_eq!(direct[field], from_file[field], "{field}");
    }
    let by_run = json(&embryo(&["run", "--explain", "--json", "--plan", file]).ok());
    assert_eq!(by_run, from_file);
    assert!(embryo(&["explain", file]).ok().contains("slot 0  to be granted, for descriptor 0"));

    let mut run = command(&["run", "--plan", file]);
    run.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut run = run.spawn().unwrap();
    run.stdin.take().unwrap().write_all(b"input").unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"0027\nb\ninput");
    assert_eq!(fs::read(file).unwrap(), saved);
}

#[test]
fn slots_are_filled_or_named() {
    let dir = tempdir();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (plan, data) = (path("plan"), path("data"));
    fs::write(&data, "content").unwrap();
    let wanted = format!("6={data}");
    embryo(&["run", "--fd", &wanted, "--save", &plan, "sh", "-c", "cat <&6"]).ok();
    let line = embryo(&["run", "--plan", &plan]).fails(125);
    assert!(line.contains("slot 3 has no grant: the plan needs it for descriptor 6"), "{line}");
    assert!(line.contains("(hint: --grant 3=FD, or --grant 3=PATH:MODE)"), "{line}");
    let line = embryo(&["run", "--plan", &plan, "--grant", "4=1"]).fails(125);
    assert!(line.contains("the plan has no slot 4"), "{line}");
    let grant = format!("3={data}:r");
    assert_eq!(embryo(&["run", "--plan", &plan, "--grant", &grant]).ok(), "content");
    let line = format!("\"$E\" run --plan {plan} --grant 3=8 8<{data}");
    assert_eq!(shell(&line).ok(), "content");
    let line = embryo(&["run", "--plan", &plan, "--grant", "3=8"]).fails(125);
    assert!(line.contains("descriptor 8 is not open in the caller"), "{line}");
    let line = embryo(&["run", "--plan", &plan, "--nice", "1"]).fails(125);
    assert!(line.contains("describes the whole child, so --nice cannot"), "{line}");
    embryo(&["run", "--plan", &plan, "--", "ls"]).fails(125);
    embryo(&["run", "--grant", "3=1", "ls"]).fails(125);
}

#[test]
fn a_file_that_is_no_plan_is_refused_with_the_reason() {
    let dir = tempdir();
    let file = dir.path().join("plan");
    let name = file.to_str().unwrap();
    embryo(&["run", "--save", name, "--nice", "3", "/bin/true"]).ok();
    let good = fs::read(&file).unwrap();
    assert!(embryo(&["check", name]).ok().contains("a plan of "));
    assert_eq!(json(&embryo(&["check", "--json", name]).ok())["valid"], true);

    let check = |bytes: &[u8], reason: &str| {
        fs::write(&file, bytes).unwrap();
        let line = embryo(&["check", name]).fails(1);
        assert!(line.contains(reason), "{line}");
        embryo(&["explain", name]).fails(1);
        assert!(embryo(&["run", "--plan", name]).fails(125).contains(reason));
        let ran = embryo(&["check", "--json", name]);
        let said = json(&ran.out);
        assert_eq!((ran.code, &said["valid"]), (Some(1), &json!(false)));
        said
    };
    check(&good[..good.len() - 1], "truncated");
    check(&[&good[..], b"x"].concat(), "bytes follow");
    check(&[0; 80], "wrong magic");
    check(b"EMBR", "truncated");
    check(b"#!/bin/sh\n", "no program is given");
    check(b"", "no program is given");
    // The nice value is the fourth op's first number: after the header and three entries, behind
    // code, flags and slot.
    let mut bad = good.clone();
    bad[72 + 3 * 64 + 8] = 99;
    let said = check(&bad, "entry 3 (nice): the nice value is out of range");
    assert_eq!((&said["entry"], &said["op"]), (&json!(3), &json!("nice")));

    let endless = shell("\"$E\" check - < /dev/zero");
    assert!(endless.fails(1).contains("wrong magic"));
    embryo(&["check", "/no/such/file"]).fails(125);
    embryo(&["explain", "/"]).fails(125);
}
