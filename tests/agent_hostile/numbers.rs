//! Whoever tries to get more than the numbers of a mandate.

use crate::victim::{Victim, exit, stay};
use embryo::agent::wire::kind;
use embryo_tests::agent::{AgentOptions, PATIENCE, RawClient, Reader, RunningAgent};
use embryo_tests::{NOBODY, require_root, wait_for};
use std::process::Command;

fn config(numbers: &str) -> String {
    format!(
        r#"
[[listen]]
path = "{{socket}}"
mode = "0666"
mandate = "all"

[mandates.all]
peers = [{{}}]
bounds = {{ uids = [0, 65534], gids = [0, 65534], capabilities = "all" }}
images = [{{ under = "/usr" }}]
ops = ["put-fd"]
narrower = 1000000
{numbers}
"#
    )
}

/// Its children are started one after another, until the first refusal: how many, and its rule.
fn as_many_as_it_can(client: &RawClient, limit: u64) -> (u64, Option<String>) {
    let mut reader = Reader::default();
    for request in 0..limit {
        client.spawn(request, stay().as_bytes(), &[]);
        let answer = reader.answer(client, request);
        if answer.head.kind != kind::STARTED {
            return (request, answer.rule().map(str::to_owned));
        }
    }
    (limit, None)
}

#[test]
fn connecting_again_gives_nothing_back() {
    let agent = RunningAgent::start(&config("numbers = { total = 5 }"));
    let mut started = 0;
    for _ in 0..10 {
        started += as_many_as_it_can(&agent.client(), 2).0;
    }
    assert_eq!(started, 5);
    let (none, rule) = as_many_as_it_can(&agent.client(), 1);
    assert_eq!((none, rule.as_deref()), (0, Some("numbers.total")));
}

#[test]
fn many_connections_are_charged_as_one() {
    let agent = RunningAgent::start(&config("numbers = { children = 4 }"));
    let clients: Vec<RawClient> = (0..8).map(|_| agent.client()).collect();
    let started: u64 = clients.iter().map(|client| as_many_as_it_can(client, 3).0).sum();
    assert_eq!(started, 4);
    drop(clients);
    // They are given back when the children have gone.
    let again = wait_for(PATIENCE, || as_many_as_it_can(&agent.client(), 4).0 == 4);
    assert!(again, "they are lost: {}", agent.log());
}

#[test]
fn a_thousand_narrower_connections_multiply_nothing() {
    let agent = RunningAgent::start(&config("numbers = { children = 3, connections = 64 }"));
    let client = agent.client();
    let mut reader = Reader::default();
    let mut narrower = Vec::new();
    for request in 0..1000 {
        let mandate = br#"{"numbers":{"children":1000000,"connections":1000000}}"#;
        // From the first one, and from each other.
        let of = if request % 2 == 0 { &client } else { narrower.last().unwrap_or(&client) };
        of.say(kind::NARROW, request, 0, mandate, &[]);
        let mut answer = Reader::default().answer(of, request);
        if let Some(socket) = answer.fds.pop() {
            let made = RawClient { socket };
            made.hello();
            narrower.push(made);
        } else {
            assert_eq!(answer.rule(), Some("numbers.connections"), "{answer:?}");
        }
    }
    assert_eq!(narrower.len(), 63, "with the first one there are 64");
    let started: u64 = narrower.iter().map(|client| as_many_as_it_can(client, 2).0).sum();
    assert_eq!(started, 3);
    client.spawn(5000, exit(0).as_bytes(), &[]);
    assert_eq!(reader.answer(&client, 5000).rule(), Some("numbers.children"));
}

/// What is counted for a uid is counted for its number, whoever has it: that somebody has gone and another program
/// has his uid now gives nothing, and loses nothing.
#[test]
fn a_uid_that_is_used_again_has_the_counts_of_that_uid() {
    require_root!();
    let config = config("numbers-per-uid = { total = 3 }");
    let victim = Victim::start_with(&config, &AgentOptions::default());
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agent/client.py");
    let run = |uid: u32| {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}")).arg("--clear-groups");
        command.args(["/usr/bin/python3", client]).arg(victim.agent.socket()).arg("/usr/bin/true");
        command.output()
    };
    // The client's file has to be within reach of that uid.
    match run(NOBODY) {
        Err(error) => embryo_tests::skip!("there is no setpriv: {error}"),
        Ok(output) if output.status.success() => {}
        Ok(output) => embryo_tests::skip!("uid {NOBODY} has no python3 here: {output:?}"),
    }
    let exits: Vec<Option<i32>> =
        (0..4).map(|_| run(NOBODY).expect("it could be run before").status.code()).collect();
    assert_eq!(exits, [Some(0), Some(0), Some(125), Some(125)]);
    assert_eq!(run(NOBODY - 1).expect("the same").status.code(), Some(0), "another uid");
}
