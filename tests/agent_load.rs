//! Many clients at full speed: every status once, and nothing grows.
//!
//! It must never judge how long that takes: it is printed, for whoever wants to know.

use embryo::agent::wire::{Ended, flags, kind};
use embryo::{ExecFlags, Keep, Op, Plan};
use embryo_tests::agent::{PATIENCE, RunningAgent};
use embryo_tests::wait_for;
use std::collections::BTreeMap;
use std::time::Instant;

const CONFIG: &str = r#"
[[listen]]
path = "{socket}"
mode = "0666"
mandate = "all"

# What the log keeps is there after the first part already.
[agent]
log-entries = 256

[mandates.all]
peers = [{}]
bounds = { uids = [0, 65534], gids = [0, 65534], capabilities = "all" }
images = [{ under = "/usr" }]
"#;

const CLIENTS: usize = 64;
/// Requests of one client that it has under way.
const WINDOW: usize = 8;
/// Memory that an agent may have more after all of it than after the first part of it.
const GROWTH_MAX: u64 = 2 << 20;

/// In all; `EMBRYO_LOAD=200000` is the long form, which wants a release build.
fn spawns() -> usize {
    std::env::var("EMBRYO_LOAD").ok().and_then(|text| text.parse().ok()).unwrap_or(4_000)
}

/// A child that exits with this.
fn plan(code: u8) -> Plan {
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::ExecPath { path: c"/usr/bin/dash", flags: ExecFlags::empty() })
        .arg("sh")
        .arg("-c")
        .arg(format!("exit {code}"));
    plan.build().expect("it is a plan")
}

/// What a client has heard of one request.
#[derive(Clone, Copy, Default)]
struct Heard {
    started: u32,
    ended: u32,
}

/// Spawns as many, several at a time, and checks each answer.
fn one_client(agent: &RunningAgent, count: usize) {
    let client = agent.client();
    let plans: Vec<Plan> = (0..16).map(plan).collect();
    let mut heard: BTreeMap<u64, Heard> = BTreeMap::new();
    let (mut sent, mut ended) = (0, 0);
    while ended < count {
        while sent < count && sent - ended < WINDOW {
            client.spawn(1000 + sent as u64, plans[sent % plans.len()].as_bytes(), &[]);
            sent += 1;
        }
        let answer = client.hear().expect("the agent goes on");
        let request = answer.head.request.get();
        let of_it = heard.entry(request).or_default();
        match answer.head.kind.get() {
            kind::STARTED => of_it.started += 1,
            kind::ENDED => {
                let code = (request - 1000) as usize % plans.len();
                let body: Ended = answer.read();
                assert_eq!(body.status.get(), (code as i32) << 8, "request {request}");
                assert_eq!(answer.head.flags, flags::USAGE);
                assert_eq!(of_it.started, 1, "request {request}: ended before it has started");
                of_it.ended += 1;
                ended += 1;
            }
            other => panic!("request {request}: {other:#x}: {}", answer.words()),
        }
    }
    assert_eq!(heard.len(), count);
    assert!(heard.values().all(|heard| (heard.started, heard.ended) == (1, 1)));
    let more = client.hear_within(std::time::Duration::ZERO);
    assert!(more.is_err(), "something was said twice: {more:?}");
}

fn all_clients(agent: &RunningAgent, spawns: usize) {
    std::thread::scope(|scope| {
        for at in 0..CLIENTS {
            let count = spawns / CLIENTS + usize::from(at < spawns % CLIENTS);
            scope.spawn(move || one_client(agent, count));
        }
    });
}

/// Sockets and the like, without what it has of embryos that are ready.
fn rest(agent: &RunningAgent) -> BTreeMap<String, usize> {
    let mut last = agent.fds();
    let still = wait_for(PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let now = agent.fds();
        let same = now == last;
        last = now;
        same
    });
    assert!(still, "it does not come to rest: {last:?}");
    last
}

#[test]
fn every_status_is_delivered_once_and_nothing_grows() {
    let agent = RunningAgent::start(CONFIG);
    // Its buffers and pools are as large afterwards as they ever are.
    all_clients(&agent, 1_000);
    let (fds, memory) = (rest(&agent), agent.rss());
    let (spawns, since) = (spawns(), Instant::now());
    all_clients(&agent, spawns);
    let took = since.elapsed();
    let per_second = spawns as f64 / took.as_secs_f64();
    let after = agent.rss();
    println!("{CLIENTS} clients, {spawns} spawns: {took:.1?}, {per_second:.0} in a second");
    println!("memory before and after: {} and {} KiB", memory >> 10, after >> 10);
    let same = wait_for(PATIENCE, || agent.fds() == fds);
    assert!(same, "descriptors: {fds:?} before, {:?} after", agent.fds());
    assert!(after < memory + GROWTH_MAX, "memory: {memory} before, {after} after");
    let left: Vec<_> = agent.descendants().into_values().filter(|one| one.1 == 'Z').collect();
    assert!(left.is_empty(), "zombies: {left:?}");
}
