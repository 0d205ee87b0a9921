//! Clients that do not read, that die, that flood.

use crate::victim::{Victim, exit, program, serve_somebody, shell, stay, with_slots};
use embryo::agent::wire::{Child, IN_FLIGHT_MAX, Started, kind};
use embryo_tests::agent::{PATIENCE, RawClient, Reader};
use embryo_tests::wait_for;
use rustix::io::Errno;
use rustix::net::{Shutdown, sockopt};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Memory that an agent may have taken for whatever clients did: pools that it keeps, not what they sent.
const GROWTH_MAX: u64 = 24 << 20;

/// A buffer as small as the kernel makes it, so that it is soon full.
fn deaf(victim: &Victim) -> RawClient {
    let client = victim.client();
    sockopt::set_socket_recv_buffer_size(&client.socket, 1).expect("it can be set");
    client
}

/// Sends the same packet until there is no room for a while; how many went.
fn flood(client: &RawClient, packet: &[u8], limit: usize) -> usize {
    let (mut sent, mut since) = (0, Instant::now());
    while sent < limit && since.elapsed() < Duration::from_millis(500) {
        match client.send_now(packet, &[]) {
            Ok(()) => (sent, since) = (sent + 1, Instant::now()),
            Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("after {sent}: {error}"),
        }
    }
    sent
}

fn spawn(plan: &embryo::Plan) -> Vec<u8> {
    RawClient::packet(kind::SPAWN, 1, 0, &[&[0; 8], plan.as_bytes()].concat())
}

#[test]
fn one_that_never_reads_is_not_read_any_more() {
    let victim = Victim::start();
    let memory = victim.agent.rss();
    let client = deaf(&victim);
    let sent = flood(&client, &spawn(&exit(0)), 100_000);
    assert!(sent < 100_000, "it reads on and on");
    serve_somebody(&victim.agent);
    // Not a single answer is lost when it reads at last, and each child has its two.
    let mut answers = [0; 2];
    while answers[1] < sent {
        let answer = client.hear().expect("it goes on");
        match answer.head.kind.get() {
            kind::STARTED => answers[0] += 1,
            kind::ENDED => answers[1] += 1,
            other => panic!("{other:#x}: {}", answer.words()),
        }
    }
    assert_eq!(answers, [sent, sent]);
    assert!(victim.agent.rss() < memory + GROWTH_MAX, "{memory} and {}", victim.agent.rss());
    drop(client);
    victim.check();
}

#[test]
fn one_that_never_reads_may_have_many_children() {
    let victim = Victim::start();
    let client = deaf(&victim);
    let sent = flood(&client, &spawn(&stay()), 300);
    assert!(sent > 0);
    let all = wait_for(PATIENCE, || sleepers(&victim) > 0);
    assert!(all, "none has started");
    serve_somebody(&victim.agent);
    drop(client);
    victim.check();
}

fn sleepers(victim: &Victim) -> usize {
    victim.agent.descendants().values().filter(|(name, _)| name == "sleep").count()
}

#[test]
fn one_that_never_reads_is_told_of_each_end_once_it_does() {
    let victim = Victim::start();
    let client = victim.client();
    let mut reader = Reader::default();
    let children: Vec<u64> = (0..40)
        .map(|request| {
            client.spawn(request, stay().as_bytes(), &[]);
            reader.want(&client, request, kind::STARTED).read::<Started>().child.get()
        })
        .collect();
    sockopt::set_socket_recv_buffer_size(&client.socket, 1).expect("it can be set");
    for child in &children {
        client.kill(1000, *child);
    }
    assert!(wait_for(PATIENCE, || sleepers(&victim) == 0));
    serve_somebody(&victim.agent);
    for request in 0..40 {
        reader.want(&client, request, kind::ENDED);
    }
    drop(client);
    victim.check();
}

#[test]
fn a_flood_of_any_request_leaves_room_for_others() {
    let victim = Victim::start();
    let memory = victim.agent.rss();
    let child = Child { child: 1.into() };
    let floods = [
        spawn(&exit(0)),
        spawn(&with_slots(3)),
        RawClient::packet(kind::MANDATE, 1, 0, &[]),
        RawClient::packet(kind::NARROW, 1, 0, b"{"),
        RawClient::packet(kind::KILL, 1, 0, child.as_bytes()),
        RawClient::packet(kind::LIST, 1, 0, &[]),
        RawClient::packet(kind::SPAWN, 1, 0, &vec![0x5a; 60_000]),
    ];
    std::thread::scope(|scope| {
        for packet in &floods {
            let victim = &victim;
            scope.spawn(move || {
                // One that reads and one that does not.
                let (deaf, client) = (victim.client(), victim.client());
                let until = Instant::now() + Duration::from_secs(2);
                while Instant::now() < until {
                    let _ = deaf.send_now(packet, &[]);
                    let _ = client.send_now(packet, &[]);
                    let _ = client.hear_within(Duration::ZERO);
                }
            });
        }
        for _ in 0..20 {
            serve_somebody(&victim.agent);
        }
    });
    assert!(victim.agent.rss() < memory + GROWTH_MAX, "{memory} and {}", victim.agent.rss());
    victim.check();
}

#[test]
fn one_that_connects_without_end_leaves_room_for_others() {
    let victim = Victim::start();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    // The queue of the listening socket may be full.
                    drop(RawClient::try_connect(&victim.agent.socket()));
                }
            });
        }
        for _ in 0..10 {
            serve_somebody(&victim.agent);
        }
    });
    victim.check();
}

#[test]
fn one_that_goes_in_the_middle_of_a_request_takes_its_children_along() {
    let victim = Victim::start();
    for round in 0..120u64 {
        let client = victim.client();
        for request in 0..round % 7 {
            client.spawn(request, stay().as_bytes(), &[]);
            client.spawn(request, exit(0).as_bytes(), &[]);
        }
        // At another moment each time.
        let moment = Duration::from_micros(round * 37 % 1500);
        let until = Instant::now() + moment;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        if round % 3 == 0 {
            let _ = rustix::net::shutdown(&client.socket, Shutdown::Write);
        }
        drop(client);
    }
    victim.check();
}

/// A process that is killed leaves its socket to the kernel; so does one that shares it with a child of the agent.
#[test]
fn one_that_is_killed_takes_its_children_along() {
    use std::io::BufRead;
    use std::process::{Command, Stdio};
    let script = r#"
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("client", sys.argv[1])
client = importlib.util.module_from_spec(spec)
spec.loader.exec_module(client)
agent = client.Agent(sys.argv[2])
print("connected", flush=True)
request = 2
while True:
    body = bytes(8) + client.plan(b"/usr/bin/sleep", [b"sleep", b"1000"], [0])
    agent.send(client.SPAWN, request, body, [0])
    for fd in agent.receive()[4]:
        os.close(fd)
    request += 1
"#;
    let victim = Victim::start();
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agent/client.py");
    for round in 0..10u64 {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script, client]).arg(victim.agent.socket());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else { embryo_tests::skip!("there is no python3") };
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("it is a pipe");
        std::io::BufReader::new(output).read_line(&mut line).expect("it can be read");
        assert_eq!(line, "connected\n");
        std::thread::sleep(Duration::from_millis(round * 3));
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }
    victim.check();
}

/// One that floods while the agent stops: it stops, and nothing that it has started is left.
#[test]
fn a_flood_does_not_keep_an_agent_from_stopping() {
    let mut victim = Victim::start();
    // Arguments that nobody else's processes have.
    let mark = format!("10000000.{}", std::process::id());
    let plan = program(Path::new("/usr/bin/sleep"), &[&mark]).build().expect("it is a plan");
    let packet = spawn(&plan);
    let clients: Vec<RawClient> = (0..4).map(|_| victim.client()).collect();
    let stop = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        let floods: Vec<_> = clients
            .iter()
            .map(|client| {
                let (packet, stop) = (&packet, &stop);
                scope.spawn(move || {
                    let mut heard = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let _ = client.send_now(packet, &[]);
                        match client.hear_within(Duration::from_millis(1)) {
                            Ok(Some(answer)) => heard.push(answer.head.kind.get()),
                            Ok(None) => break,
                            Err(_) => {}
                        }
                    }
                    heard
                })
            })
            .collect();
        assert!(wait_for(PATIENCE, || sleepers(&victim) > 8), "they have children");
        let status = victim.agent.stop();
        assert!(status.success(), "{status}");
        stop.store(true, Ordering::Relaxed);
        let heard = floods.into_iter().map(|flood| flood.join().expect("it does not panic"));
        heard.collect::<Vec<_>>()
    });
    let left = with_argument(&mark);
    for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    for heard in answers {
        let count = |wanted| heard.iter().filter(|kind| **kind == wanted).count();
        assert_eq!(count(kind::STOPPING), 1, "it is told once");
        assert_eq!(count(kind::STARTED), count(kind::ENDED), "and of each end");
    }
    assert_eq!(left, Vec::<i32>::new(), "what it has started lives on");
}

/// The processes that have this argument.
fn with_argument(argument: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|found| found == argument.as_bytes())
    };
    pids.filter(has).collect()
}

#[test]
fn no_more_requests_are_under_way_than_may_be() {
    let victim = Victim::start();
    let client = victim.client();
    // A launch that takes its time is one whose image is read by nobody.
    let packet = spawn(&shell("exit 0"));
    for _ in 0..4 * IN_FLIGHT_MAX {
        client.send(&packet, &[]).expect("there is room in time");
    }
    let mut ended = 0;
    while ended < 4 * IN_FLIGHT_MAX {
        let answer = client.hear().expect("it goes on");
        assert!([kind::STARTED, kind::ENDED].contains(&answer.head.kind.get()), "{answer:?}");
        ended += usize::from(answer.head.kind == kind::ENDED);
    }
    drop(client);
    victim.check();
}
