//! Jobs in files: run, with options beside them, explained, checked and converted.

mod support;

use embryo_tests::tempdir;
use serde_json::{Value, json};
use std::fs;
use support::{embryo, shell};

fn job(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempdir();
    let file = dir.path().join("job.toml");
    fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap().to_owned();
    (dir, name)
}

#[test]
fn a_job_is_run() {
    let (dir, file) = job(r#"
        program = "sh"
        args = ["-c", "umask; pwd; echo $A $B; cat <&5; nice", "sh"]
        chdir = "/"
        umask = "027"
        nice = 3
        fd = { 5 = "/proc/self/comm" }
        [env]
        set = { A = "1", B = "2" }
    "#);
    let out = embryo(&["run", "--plan", &file]).ok();
    assert_eq!(out, "0027\n/\n1 2\nembryo\n3\n");
    let json = dir.path().join("job.json");
    fs::write(&json, embryo(&["convert", "--to", "json", &file]).ok()).unwrap();
    assert_eq!(embryo(&["run", "--plan", json.to_str().unwrap()]).ok(), out);
    assert_eq!(shell(&format!("\"$E\" run --plan - <{file}")).ok(), out);
    let from_stdin = format!("\"$E\" run --plan - <{}", json.display());
    assert_eq!(shell(&from_stdin).ok(), out);
}

#[test]
fn options_are_added_or_take_the_place_of_keys() {
    let (_dir, file) = job(r#"
        program = "sh"
        args = ["-c", "echo $A $B $C; nice; ulimit -n; ulimit -c; echo $1 $2", "sh", "x"]
        nice = 3
        rlimit = { nofile = 100, core = 0 }
        env = { set = { A = "1", B = "2" } }
    "#);
    let out = embryo(&["run", "--plan", &file]).ok();
    assert_eq!(out, "1 2\n3\n100\n0\nx\n");
    let more = ["--nice", "7", "-E", "B=3", "-E", "C=4", "--rlimit", "nofile=50"];
    let out = embryo(&[&["run", "--plan", &file], &more[..], &["--", "y"]].concat()).ok();
    assert_eq!(out, "1 3 4\n7\n50\n0\nx y\n");
    let out = embryo(&["run", "--plan", &file, "--clearenv"]).ok();
    assert!(out.starts_with("1 2\n"), "{out}");

    let (_dir, file) = job("nice = 3");
    assert_eq!(embryo(&["run", "--plan", &file, "--", "nice"]).ok(), "3\n");
    let line = embryo(&["run", "--plan", &file]).fails(125);
    assert!(line.contains("no program is given"), "{line}");
    let line = embryo(&["run", "--plan", &file, "--grant", "0=1", "nice"]).fails(125);
    assert!(line.contains("a job has no slot 0"), "{line}");
}

#[test]
fn one_of_the_options_that_exclude_each_other_replaces_the_key() {
    let (_dir, file) =
        job("program = 'true'\nsetsid = true\nsched = 'batch'\nuid = 0\nchdir-fd = 9");
    let explain = |more: &[&str]| {
        let plan = embryo(&[&["run", "--explain", "--plan", &file], more].concat()).ok();
        plan.lines().filter_map(|line| line.get(8..).map(str::to_owned)).collect::<Vec<_>>()
    };
    let ops = explain(&["--pgid", "new", "--chdir", "/", "--sched", "idle", "--user", "nobody"]);
    let has = |op: &str| ops.iter().any(|line| line.starts_with(op));
    assert!(has("set-pgid") && !has("set-sid"), "{ops:?}");
    assert!(has("chdir path=/") && !has("chdir-fd"), "{ops:?}");
    assert!(has("sched policy=IDLE") && has("groups"), "{ops:?}");
}

#[test]
fn a_mistake_is_shown_where_it_is() {
    let (_dir, file) = job("program = 'true'\nnise = 3\n");
    for command in [&["run", "--plan"][..], &["explain"], &["check"], &["convert", "--to", "json"]]
    {
        let ran = embryo(&[command, &[&file]].concat());
        let code = if command[0] == "run" { 125 } else { 1 };
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{ran:?}");
        let expect = format!(
            "embryo: {file}:2:1: unknown key `nise` (hint: the nearest known one is `nice`)\n \
             2 | nise = 3\n   | ^^^^\n"
        );
        assert_eq!(ran.err, expect);
    }
    let said: Value = serde_json::from_str(&embryo(&["check", "--json", &file]).out).unwrap();
    assert_eq!(
        (&said["valid"], &said["line"], &said["column"]),
        (&json!(false), &json!(2), &json!(1))
    );

    let (_dir, file) = job("program = 'true'\nsetsid = true\npgid = 7\n");
    let ran = embryo(&["run", "--plan", &file]);
    assert!(ran.err.starts_with(&format!("embryo: {file}:3:8: pgid and setsid")), "{}", ran.err);
    // What an option brought in is in no file.
    let (_dir, file) = job("program = 'true'\nkeep-groups = true\n");
    let line = embryo(&["run", "--plan", &file, "--user", "nobody"]).fails(125);
    assert!(line.contains("keep-groups and user exclude each other"), "{line}");
}

#[test]
fn explained_and_checked_without_what_it_names() {
    let dir = tempdir();
    let (out, file) = (dir.path().join("out"), dir.path().join("job.toml"));
    let text = format!("program = 'true'\nstdout = '{}'\nfd = {{ 9 = 8 }}", out.display());
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let text = embryo(&["explain", file]).ok();
    assert!(text.contains("put-fd fd=9 slot=3"), "{text}");
    assert!(text.contains(&format!("{}, for descriptor 1", out.display())), "{text}");
    assert!(embryo(&["check", file]).ok().contains("a job whose plan has "));
    assert!(!out.exists());
    let line = embryo(&["run", "--plan", file]).fails(125);
    assert!(line.contains("descriptor 8 is not open in the caller"), "{line}");
}

#[test]
fn forms_turn_into_each_other() {
    let (dir, file) = job("program = '/bin/echo'\nargs = ['x']\nenv = { clear = true }\nnice = 2");
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (plan, exact, json, again) = (at("plan"), at("exact.toml"), at("exact.json"), at("again"));
    embryo(&["convert", "--to", "plan", "-o", &plan, &file]).ok();
    embryo(&["convert", "--to", "toml", "-o", &exact, &plan]).ok();
    embryo(&["convert", "--to", "json", "-o", &json, &exact]).ok();
    embryo(&["convert", "--to", "plan", "-o", &again, &json]).ok();
    assert_eq!(fs::read(&plan).unwrap(), fs::read(&again).unwrap());
    embryo(&["run", "--save", &again, "--plan", &file]).ok();
    assert_eq!(fs::read(&plan).unwrap(), fs::read(&again).unwrap());
    for form in [&plan, &exact, &json] {
        assert_eq!(embryo(&["run", "--plan", form]).ok(), "x\n", "{form}");
        assert_eq!(embryo(&["explain", form]).ok(), embryo(&["explain", &plan]).ok());
        let line = embryo(&["run", "--plan", form, "--nice", "1"]).fails(125);
        assert!(line.contains("--nice cannot be added"), "{line}");
    }
    let text = embryo(&["convert", "--to", "toml", &file]).ok();
    assert!(text.contains("nice = 2") && text.contains("clear = true"), "{text}");
}

#[test]
fn the_schema_is_json() {
    let schema: Value = serde_json::from_str(&embryo(&["schema"]).ok()).unwrap();
    assert!(schema["$defs"]["Job"]["properties"]["oom-score-adj"].is_object());
}
