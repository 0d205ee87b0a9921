//! The same in tokio: nothing that waits for an agent holds up its runtime.

use super::fake::{Fake, Sleeper, agent, plan, within};
use embryo::Error;
use embryo::agent::wire::{self, kind};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use zerocopy::FromBytes;

fn in_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

#[test]
fn many_children_are_awaited_at_once() {
    const CHILDREN: u64 = 20;
    within(|| {
        let agent = agent(|fake| {
            let mut sleeper = Sleeper::new();
            let mut requests = Vec::new();
            for child in 0..CHILDREN {
                let request = fake.receive().expect("a request");
                requests.push((request.request, child));
            }
            // Late, and in another order than they were asked for.
            std::thread::sleep(Duration::from_millis(20));
            for (request, child) in requests.iter().rev() {
                fake.started(*request, *child, sleeper.pidfd());
            }
            std::thread::sleep(Duration::from_millis(20));
            for (request, child) in requests {
                fake.ended(request, child, 0);
            }
            sleeper.end();
        });
        in_tokio(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..CHILDREN {
                let agent = agent.clone();
                tasks.spawn(async move {
                    let mut process = agent.spawn_async(&plan(), &[]).await.expect("it starts");
                    process.wait().await.expect("it ends").success()
                });
            }
            while let Some(ended) = tasks.join_next().await {
                assert!(ended.expect("no panic"));
            }
        });
    });
}

#[test]
fn threads_and_tasks_share_a_connection() {
    const EACH: u64 = 8;
    within(|| {
        let agent = agent(|fake| {
            let mut sleeper = Sleeper::new();
            let requests: Vec<_> =
                (0..2 * EACH).map(|_| fake.receive().expect("a request").request).collect();
            for (child, request) in requests.iter().enumerate() {
                fake.started(*request, child as u64, sleeper.pidfd());
            }
            std::thread::sleep(Duration::from_millis(30));
            for (child, request) in requests.iter().enumerate().rev() {
                fake.ended(*request, child as u64, 0);
            }
            sleeper.end();
        });
        std::thread::scope(|scope| {
            for _ in 0..EACH {
                scope.spawn(|| {
                    let mut process = agent.spawn(&plan(), &[]).expect("it starts");
                    assert!(process.wait().expect("it ends").success());
                });
            }
            in_tokio(async {
                let mut tasks = tokio::task::JoinSet::new();
                for _ in 0..EACH {
                    let agent = agent.clone();
                    tasks.spawn(async move {
                        let mut process = agent.spawn_async(&plan(), &[]).await.expect("starts");
                        assert!(process.wait().await.expect("it ends").success());
                    });
                }
                while let Some(ended) = tasks.join_next().await {
                    ended.expect("no panic");
                }
            });
        });
    });
}

#[test]
fn a_spawn_that_is_cancelled_leaves_no_child() {
    within(|| {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let agent = agent(move |fake| {
            let sleeper = Sleeper::new();
            let request = fake.receive().expect("a request");
            gone.recv().expect("told to go on");
            fake.started(request.request, 9, sleeper.pidfd());
            let list = fake.receive().expect("a request");
            fake.send(kind::TEXT, list.request, 0, b"[]", &[]);
            let kill = fake.receive().expect("a request");
            assert_eq!(kill.kind, kind::KILL);
            let body = wire::Child::read_from_bytes(&kill.body).expect("a body");
            assert_eq!(body.child.get(), 9);
            fake.send(kind::DONE, kill.request, 0, &[], &[]);
            fake.ended(request.request, 9, 9);
            let list = fake.receive().expect("a request");
            fake.send(kind::TEXT, list.request, 0, b"[]", &[]);
        });
        in_tokio(async {
            let plan = plan();
            let spawn = agent.spawn_async(&plan, &[]);
            let soon = tokio::time::timeout(Duration::from_millis(30), spawn);
            assert!(soon.await.is_err(), "nobody has answered");
        });
        go.send(()).expect("it is there");
        assert_eq!(agent.list().expect("an answer"), "[]");
        assert_eq!(agent.list().expect("an answer"), "[]");
        // Nothing is owed to anybody now.
        agent.into_fd().expect("the connection is free");
    });
}

#[test]
fn an_agent_that_dies_wakes_all_tasks() {
    within(|| {
        let (theirs, mut fake) = Fake::pair();
        let dying = std::thread::spawn(move || {
            let mut sleeper = Sleeper::new();
            fake.greet();
            let request = fake.receive().expect("a request");
            fake.started(request.request, 1, sleeper.pidfd());
            fake.receive().expect("a request");
            drop(fake);
            std::thread::sleep(Duration::from_millis(30));
            sleeper.end();
        });
        let agent = embryo::agent::Agent::from_fd(theirs).expect("it is greeted");
        in_tokio(async {
            let plan = plan();
            let mut process = agent.spawn_async(&plan, &[]).await.expect("it starts");
            let other = agent.clone();
            let waiting = tokio::spawn(async move { process.wait().await });
            let error = other.spawn_async(&plan, &[]).await.expect_err("it dies");
            assert_eq!(error.raw_os_error(), Some(32), "{error}");
            match waiting.await.expect("no panic") {
                Ok(status) => assert_eq!(status.signal(), Some(9)),
                Err(error) => assert!(matches!(error, Error::Reaped { .. }), "{error}"),
            }
        });
        dying.join().expect("no panic");
    });
}

#[test]
fn a_narrower_connection_is_greeted_without_blocking() {
    within(|| {
        let agent = agent(|fake| {
            let request = fake.receive().expect("a request");
            let (theirs, mut ours) = Fake::pair();
            fake.send(kind::NARROWED, request.request, 0, &[], &[theirs.as_fd()]);
            drop(theirs);
            ours.greet();
            let request = ours.receive().expect("a request");
            ours.send(kind::REFUSED, request.request, 0, b"images\0none", &[]);
            ours.wait_for_end();
        });
        let narrower = agent.narrow(&Default::default()).expect("there is one");
        let error = in_tokio(async { narrower.spawn_async(&plan(), &[]).await }).expect_err("no");
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    });
}
