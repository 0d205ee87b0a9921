//! The protocol of an agent as its document has it, looked at from outside.
//!
//! It must never use the library's client: a mistake that both sides make would not be seen.

use embryo::agent::wire::{Hello, Started, flags, kind};
use embryo::{ExecFlags, Keep, Op, Plan, PlanBuilder};
use embryo_tests::agent::{RawClient, Reader, RunningAgent};
use embryo_tests::skip;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use zerocopy::IntoBytes;

const CONFIG: &str = r#"
[[listen]]
path = "{socket}"
mode = "0666"
mandate = "all"

[mandates.all]
peers = [{}]
bounds = { uids = [0, 65534], gids = [0, 65534], capabilities = "all" }
images = [{ under = "/usr" }]
ops = ["put-fd"]
signals = ["TERM"]
"#;

fn shell(script: &str) -> Plan {
    let plan = shell_with(script);
    plan.build().expect("it is a plan")
}

fn shell_with(script: &str) -> PlanBuilder {
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::ExecPath { path: c"/usr/bin/dash", flags: ExecFlags::empty() })
        .arg("sh")
        .arg("-c")
        .arg(script);
    plan
}

#[test]
fn the_documents_client_runs_programs() {
    let agent = RunningAgent::start(CONFIG);
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agent/client.py");
    let run = |arguments: &[&str]| {
        Command::new("/usr/bin/python3").arg(&client).arg(agent.socket()).args(arguments).output()
    };
    let first = match run(&["/usr/bin/true"]) {
        Err(error) => skip!("there is no python3: {error}"),
        Ok(output) => output,
    };
    assert!(first.status.success(), "{first:?}");
    let shell = |script| run(&["/usr/bin/dash", "-c", script]).expect("python3 is there");
    let said = shell("echo out; echo err >&2; exit 3");
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    assert_eq!((&said.stdout[..], &said.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(shell("kill -9 $$").status.code(), Some(128 + 9));
    let missing = run(&["/usr/bin/there-is-no-such-program"]).expect("python3 is there");
    assert_eq!(missing.status.code(), Some(125), "{missing:?}");
}

#[test]
fn requests_are_answered_under_their_numbers() {
    let agent = RunningAgent::start(CONFIG);
    let client = agent.client();
    let plans: Vec<Plan> = (0..32).map(|code| shell(&format!("exit {code}"))).collect();
    for (code, plan) in plans.iter().enumerate() {
        client.spawn(1000 + code as u64, plan.as_bytes(), &[]);
    }
    let mut seen = std::collections::BTreeMap::<u64, Vec<u16>>::new();
    while seen.values().map(Vec::len).sum::<usize>() < 2 * plans.len() {
        let answer = client.hear().expect("the agent goes on");
        let request = answer.head.request.get();
        match answer.head.kind.get() {
            kind::STARTED => assert_eq!(answer.fds.len(), 1),
            kind::ENDED => {
                let ended: embryo::agent::wire::Ended = answer.read();
                assert_eq!(ended.status.get(), ((request - 1000) as i32) << 8);
                assert_eq!(answer.head.flags, flags::USAGE);
            }
            other => panic!("{other:#x}: {}", answer.words()),
        }
        seen.entry(request).or_default().push(answer.head.kind.get());
    }
    assert_eq!(seen.len(), plans.len());
    assert!(seen.values().all(|kinds| *kinds == [kind::STARTED, kind::ENDED]), "{seen:?}");
}

#[test]
fn a_child_is_signalled_killed_and_measured_by_its_number() {
    let agent = RunningAgent::start(CONFIG);
    let client = agent.client();
    let mut reader = Reader::default();
    let sleep = shell("exec sleep 1000");
    let mut start = |request| {
        client.spawn(request, sleep.as_bytes(), &[]);
        let started: Started = reader.want(&client, request, kind::STARTED).read();
        started.child.get()
    };
    let (one, other) = (start(10), start(11));
    assert_ne!(one, other);
    let mut reader = Reader::default();
    client.signal(20, one, 10);
    assert_eq!(reader.answer(&client, 20).rule(), Some("signals"));
    client.signal(21, one, 15);
    reader.want(&client, 21, kind::DONE);
    let ended: embryo::agent::wire::Ended = reader.want(&client, 10, kind::ENDED).read();
    assert_eq!((ended.child.get(), ended.status.get()), (one, 15));
    client.say(kind::USAGE, 22, 0, other.to_le_bytes().as_bytes(), &[]);
    let used: embryo::agent::wire::Used = reader.want(&client, 22, kind::USED).read();
    assert!(used.max_rss.get() > 0);
    client.kill(23, other);
    reader.want(&client, 23, kind::DONE);
    let ended: embryo::agent::wire::Ended = reader.want(&client, 11, kind::ENDED).read();
    assert_eq!((ended.child.get(), ended.status.get()), (other, 9));
    client.kill(24, other);
    assert_eq!(reader.answer(&client, 24).rule(), Some("child"));
    // A child is nobody else's.
    client.spawn(12, sleep.as_bytes(), &[]);
    let third: Started = reader.want(&client, 12, kind::STARTED).read();
    let stranger = agent.client();
    stranger.kill(25, third.child.get());
    assert_eq!(Reader::default().answer(&stranger, 25).rule(), Some("child"));
}

#[test]
fn a_plan_may_come_in_a_sealed_memfd_alone() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let agent = RunningAgent::start(CONFIG);
    let client = agent.client();
    let plan = shell("exit 5");
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    let mut reader = Reader::default();
    let mut ask = |request: u64, seals: SealFlags| {
        let file = memfd_create(c"plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
        let file = file.expect("a memfd can be made");
        rustix::io::write(&file, plan.as_bytes()).expect("it can be written");
        fcntl_add_seals(&file, seals).expect("it can be sealed");
        client.say(kind::SPAWN, request, flags::IN_FD, &[0; 8], &[file.as_fd()]);
        reader.answer(&client, request)
    };
    assert_eq!(ask(1, all).head.kind, kind::STARTED);
    for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE] {
        assert_eq!(ask(2, all - missing).rule(), Some("plan"), "{missing:?}");
    }
    let zero = std::fs::File::open("/dev/zero").expect("there is one");
    client.say(kind::SPAWN, 3, flags::IN_FD, &[0; 8], &[zero.as_fd()]);
    assert_eq!(Reader::default().answer(&client, 3).rule(), Some("plan"));
}

#[test]
fn the_newest_common_version_is_spoken() {
    let agent = RunningAgent::start(CONFIG);
    let hello = |oldest: u16, newest: u16, version: u16| {
        let client = RawClient::connect(&agent.socket());
        let body = Hello { oldest: oldest.into(), newest: newest.into(), ..Hello::default() };
        let mut packet = RawClient::packet(kind::HELLO, 9, 0, body.as_bytes());
        packet[4..6].copy_from_slice(&version.to_le_bytes());
        client.send(&packet, &[]).expect("it can be sent");
        (client.hear().expect("an answer"), client)
    };
    for (oldest, newest, version) in [(1, 1, 1), (1, 7, 1), (0, 1, 0), (0, u16::MAX, 0x1234)] {
        let (answer, client) = hello(oldest, newest, version);
        assert_eq!((answer.head.kind.get(), answer.head.request.get()), (kind::WELCOME, 9));
        let welcome: Hello = answer.read();
        assert_eq!((welcome.oldest.get(), welcome.newest.get()), (1, 1));
        assert_eq!(client.run(2, shell("exit 0").as_bytes(), &[]), 0);
    }
    for (oldest, newest) in [(2, 3), (0, 0), (3, 1)] {
        let (answer, client) = hello(oldest, newest, 1);
        assert_eq!(answer.rule(), Some("version"), "{oldest} {newest}");
        assert!(client.hear().is_none(), "it goes on after that");
    }
}
