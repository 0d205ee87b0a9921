//! Files with mistakes: what is said of them, and where it points.

use embryo_job::{Content, Document, Job, Syntax};

/// What a file called `job.toml`, or `job.json`, with this text is answered with.
fn said(name: &str, text: &str) -> String {
    let error = match Document::parse(name, text.as_bytes().to_vec(), None) {
        Err(error) => error,
        Ok(document) => {
            let Content::Job(job) = document.content() else { panic!("no job: {text}") };
            let planned = job.command().and_then(|command| Ok(command.plan().map(drop)?));
            document.locate(&planned.expect_err("it is wrong"))
        }
    };
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{error}{hint}\n{}\n", error.excerpt())
}

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(said("job.toml", text).trim_end(), expect.trim_matches('\n'), "{text}");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_named() {
    check(
        "program = 'true'\nnise = 5\n",
        "
job.toml:2:1: unknown key `nise` (the nearest known one is `nice`)
 2 | nise = 5
   | ^^^^",
    );
    check(
        "program = 'true'\n\n[env]\n  settings = { A = '1' }\n",
        "
job.toml:4:3: unknown key `settings` (the nearest known one is `set`)
 4 |   settings = { A = '1' }
   |   ^^^^^^^^",
    );
    check(
        "program = 'true'\ncwd = '/'\n",
        "
job.toml:2:1: unknown key `cwd` (the nearest known one is `chdir`)
 2 | cwd = '/'
   | ^^^",
    );
    check(
        "program = 'true'\nzzz = 1\n",
        "
job.toml:2:1: unknown key `zzz` (`embryo schema` prints all that there are)
 2 | zzz = 1
   | ^^^",
    );
}

#[test]
fn a_bad_value_is_pointed_at() {
    check(
        "program = 'true'\nnice = 20\n",
        "
job.toml:2:8: a number from -20 to 19 is needed
 2 | nice = 20
   |        ^^",
    );
    check(
        "program = 'true'\numask = 22\n",
        "
job.toml:2:9: invalid type: integer `22`, expected octal digits in quotes, such as \"022\"
 2 | umask = 22
   |         ^^",
    );
    check(
        "program = 'true'\n[rlimit]\nnofile = '2:1'\n",
        "
job.toml:3:10: the soft limit is above the hard limit
 3 | nofile = '2:1'
   |          ^^^^^",
    );
    check(
        "program = 'true'\nsignal-mask = ['INT', 'KILL']\n",
        "
job.toml:2:15: SIGKILL and SIGSTOP can be neither blocked nor ignored
 2 | signal-mask = ['INT', 'KILL']
   |               ^^^^^^^^^^^^^^^",
    );
    check(
        "program = \"a\\u0000b\"\n",
        "
job.toml:1:11: it has a NUL inside
 1 | program = \"a\\u0000b\"
   |           ^^^^^^^^^^",
    );
}

#[test]
fn what_no_toml_says_is_pointed_at() {
    let said = said("job.toml", "program = 'true'\nnice == 5\n");
    assert!(said.starts_with("job.toml:2:"), "{said}");
    assert!(said.contains(" 2 | nice == 5\n"), "{said}");
}

#[test]
fn what_does_not_go_together_is_pointed_at() {
    check(
        "program = 'true'\nsetsid = true\npgid = 'new'\n",
        "
job.toml:3:8: pgid and setsid exclude each other
 3 | pgid = 'new'
   |        ^^^^^",
    );
    check(
        "program = 'true'\n[env]\nclear = true\ninherit = true\n",
        "
job.toml:2:2: clear and inherit exclude each other
 2 | [env]
   |  ^^^",
    );
    check(
        "program = 'true'\nuser = 'nobody-of-this-name'\n",
        "
job.toml:2:8: there is no user \"nobody-of-this-name\" in the user database (uid and gid take numbers)
 2 | user = 'nobody-of-this-name'
   |        ^^^^^^^^^^^^^^^^^^^^^",
    );
    assert!(said("job.toml", "").starts_with("job.toml: program: no program is given"));
}

#[test]
fn what_is_not_there_names_the_key() {
    check(
        "program = 'true'\nstdin = '/no/such/file'\n",
        "
job.toml:2:9: cannot open /no/such/file: No such file or directory (ENOENT)
 2 | stdin = '/no/such/file'
   |         ^^^^^^^^^^^^^^^",
    );
}

#[test]
fn json_has_lines_and_columns_too() {
    let text = "{\n  \"program\": \"true\",\n  \"nise\": 5\n}\n";
    let expect = "job.json:3:3: unknown key `nise` (the nearest known one is `nice`)\n \
                  3 |   \"nise\": 5\n   |   ^^^^^^\n";
    assert_eq!(said("job.json", text), expect);
    assert!(said("job", text).starts_with("job:3:3: unknown key `nise`"));
    assert!(said("job.json", "{\"program\": }").starts_with("job.json:1:13: "));
}

#[test]
fn an_op_is_pointed_at() {
    let wrong = |text: &str| {
        let document = Document::parse("plan.toml", text.as_bytes().to_vec(), None);
        let error = match document {
            Err(error) => error,
            Ok(document) => {
                let Content::Exact(exact) = document.content() else { panic!("{text}") };
                document.locate(&exact.plan().expect_err("it is wrong"))
            }
        };
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{error}{hint}\n{}", error.excerpt())
    };
    let head = "keep = ['umask', 'session', 'working-directory']\nargv = ['x']\n";
    let text = format!("{head}[[op]]\nop = 'nise'\nvalue = 3\n");
    assert_eq!(
        wrong(&text),
        "plan.toml:4:7: unknown op `nise` (the nearest known one is `nice`)\n \
         4 | op = 'nise'\n   |       ^^^^"
    );
    let text = format!("{head}[[op]]\nop = 'nice'\nvalu = 3\n");
    assert_eq!(
        wrong(&text),
        "plan.toml:5:1: unknown key `valu` (the nearest known one is `value`)\n \
         5 | valu = 3\n   | ^^^^"
    );
    let text = format!("{head}[[op]]\nop = 'nice'\nvalue = 'x'\n");
    assert_eq!(
        wrong(&text),
        "plan.toml:5:1: `value` of nice: a number, perhaps below zero is needed\n \
         5 | value = 'x'\n   | ^^^^^"
    );
    let text =
        format!("{head}[[op]]\nop = 'nice'\nvalue = 99\n\n[[op]]\nop = 'exec'\npath = '/x'\n");
    let said = wrong(&text);
    assert!(said.starts_with("plan.toml:3:1: ") && said.contains("nice"), "{said}");
}

#[test]
fn a_cursor_is_not_moved() {
    let said = said("job.toml", "program = 'true'\nnise = '\u{1b}[2J\u{9b}'\n");
    assert!(!said.contains(['\u{1b}', '\u{9b}']), "{said:?}");
}

#[test]
fn a_long_line_is_cut_around_the_mark() {
    let text = format!("args = [{}]\n", "'x', ".repeat(100) + "7");
    let error = Document::parse("j", text.into_bytes(), Some(Syntax::Toml)).expect_err("7");
    assert!(error.excerpt().lines().all(|line| line.chars().count() < 120), "{error}");
    assert!(error.excerpt().contains('^'));
}

#[test]
fn what_is_not_utf8_is_said() {
    let error = Document::parse("j", b"program = '\xff'\n".to_vec(), None).expect_err("\\xff");
    assert_eq!(error.to_string(), "j:1:12: this is not UTF-8, which TOML and JSON are");
}

#[test]
fn a_job_comes_back_as_it_was() {
    let text = "
program = 'sh'
args = ['-c', 'exit 3', [255, 1]]
argv0 = 'shell'
path = '/bin'
shell-fallback = true
stdin = 'null'
stdout = '/tmp/out'
stderr = 2
null = [5, '6:r']
chdir = '/'
umask = '027'
setsid = true
nice = 3
sched = 'batch'
reset-on-fork = true
cpus = [0, 1, 4]
ioprio = 'best-effort:3'
oom-score-adj = 100
timer-slack = '50us'
uid = '1::3'
gid = 7
groups = ['tty', 4]
no-new-privs = true
no-aslr = true
personality = '0x8'
subreaper = true
pdeathsig = 'TERM'
signal-mask = ['INT', 40]
ignore-signal = 'HUP'
fd = { 7 = '/dev/null:w', 8 = { file = 'a:r', mode = 'rw' } }
env = { inherit = true, keep = ['A*'], unset = ['B'], set = { C = 'd' } }
rlimit = { core = 0, nofile = '256:unlimited', as = ':2G' }
";
    let job = Job::from_toml(text).unwrap_or_else(|error| panic!("{error}"));
    let again = job.to_toml().expect("it can be said");
    assert_eq!(Job::from_toml(&again).unwrap_or_else(|e| panic!("{e}: {again}")), job);
    let json = Content::Job(Box::new(job.clone())).to_json().expect("it can be said");
    assert_eq!(Job::from_json(&json).unwrap_or_else(|e| panic!("{e}: {json}")), job);
}
