//! An agent in a process of its own, to which all of it is done, and which is compared with the model after each action.
//!
//! It must never go on before the agent has taken notice: what it has done is asked of its operator's list.

use super::action::{Action, Narrower, Numbers};
use super::model::{CHILDREN, CONNECTIONS, Expected, Lifetime, Model, Program};
use embryo::agent::Agent;
use embryo::agent::mandate::{ImageRule, Mandate, SignalName};
use embryo::agent::mandate::{Lifetime as Lives, Numbers as Counts};
use embryo::agent::wire::{self, kind};
use embryo::{ExecFlags, Keep, Op, Plan, PlanBuilder};
use embryo_agent::operator::Listing;
use embryo_tests::agent::{Message, PATIENCE, RawClient, RunningAgent};
use embryo_tests::wait_for;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use zerocopy::IntoBytes;

type Checked<T = ()> = Result<T, String>;

const NAMES: [&str; 3] = ["a", "b", "c"];
const KILLED: i32 = 9;
const TERMINATED: i32 = 15;
const HANGUP: u32 = 1;

struct Client {
    raw: RawClient,
    requests: u64,
}

struct Child {
    /// The agent's number.
    number: u64,
    request: u64,
    pidfd: OwnedFd,
}

struct World {
    agent: RunningAgent,
    operator: Agent,
    model: Model,
    clients: BTreeMap<usize, Client>,
    children: BTreeMap<usize, Child>,
    next: usize,
    /// Descriptors of an agent of whom nobody wants anything.
    idle: u64,
}

/// Does all of it to a new agent, and says what was not as it should be.
pub(super) fn run(actions: &[Action]) -> Checked {
    let all = AssertUnwindSafe(|| {
        let mut world = World::new();
        for (step, action) in actions.iter().enumerate() {
            let settled = world.act(action).and_then(|()| world.settle());
            settled.map_err(|difference| {
                format!("step {step}, {action:?}: {difference}\n{}", world.agent.log())
            })?;
        }
        let stops = actions.len() % 2 == 1;
        let ended = if stops { world.stop() } else { world.drain() };
        ended.map_err(|difference| format!("at the end: {difference}\n{}", world.agent.log()))
    });
    catch_unwind(all).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "something has panicked".to_owned()))
    })
}

fn unlimited() -> Numbers {
    Numbers { children: None, children_per_uid: None, connections: None, connections_per_uid: None }
}

fn config(model: &Model) -> String {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let mut text = format!(
        "[agent]\nchildren = {CHILDREN}\nconnections = {CONNECTIONS}\nembryos = 4\n\
         [[listen]]\npath = '{{socket}}'\nmandate = 'operator'\n\
         [mandates.operator]\npeers = [{{ uids = [{uid}] }}]\noperator = true\n"
    );
    for (name, named) in NAMES.iter().zip(&model.named) {
        let lifetime = match named.lifetime {
            Lifetime::Connection => "connection",
            Lifetime::Agent => "agent",
            Lifetime::LiveOn => "live-on",
        };
        text += &format!(
            "[[listen]]\npath = '{{dir}}/{name}'\nmandate = '{name}'\n\
             [mandates.{name}]\npeers = [{{ uids = [{uid}] }}]\nsignals = ['TERM']\n\
             bounds = {{ uids = [{uid}], gids = [{gid}], capabilities = 'all' }}\n\
             images = [{{ path = '/usr/bin/sleep' }}, {{ path = '/usr/bin/true' }}, \
             {{ path = '/etc/passwd' }}]\n\
             lifetime = '{lifetime}'\nnarrower = {}\n",
            named.narrower
        );
        for (key, [children, connections]) in [
            ("numbers", [named.numbers.children, named.numbers.connections]),
            (
                "numbers-per-uid",
                [named.numbers.children_per_uid, named.numbers.connections_per_uid],
            ),
        ] {
            text += &format!("[mandates.{name}.{key}]\n");
            let lines = [("children", children), ("connections", connections)];
            for (name, value) in lines {
                text.extend(value.map(|value| format!("{name} = {value}\n")));
            }
        }
    }
    text
}

fn mandate(narrower: &Narrower) -> Mandate {
    let image = |program: &Program| ImageRule {
        path: Some(path(*program).to_str().expect("it is ASCII").into()),
        ..ImageRule::default()
    };
    Mandate {
        images: narrower.images.as_ref().map(|all| all.iter().map(image).collect()),
        signals: narrower
            .terminate
            .map(|may| may.then(|| SignalName::Text("TERM".to_owned())).into_iter().collect()),
        numbers: Counts {
            children: narrower.children,
            total: narrower.total,
            connections: narrower.connections,
            ..Counts::default()
        },
        lifetime: narrower.lifetime.map(|lifetime| match lifetime {
            Lifetime::Connection => Lives::Connection,
            Lifetime::Agent => Lives::Agent,
            Lifetime::LiveOn => Lives::LiveOn,
        }),
        narrower: narrower.narrower,
        ..Mandate::default()
    }
}

fn path(program: Program) -> &'static std::ffi::CStr {
    match program {
        Program::True => c"/usr/bin/true",
        // It may be read, and not executed.
        Program::Fault => c"/etc/passwd",
        Program::Other => c"/usr/bin/id",
        _ => c"/usr/bin/sleep",
    }
}

fn plan(program: Program) -> Plan {
    let mut plan = PlanBuilder::new();
    match program {
        Program::Environment => {
            plan.env("LD_PRELOAD", "/tmp/library.so");
        }
        Program::Op => {
            plan.op(&Op::Umask { mode: 0 });
        }
        _ => {}
    }
    let umask = if program == Program::Op { Keep::empty() } else { Keep::UMASK };
    plan.keep(Keep::CWD | Keep::SESSION | umask);
    plan.op(&Op::ExecPath { path: path(program), flags: ExecFlags::empty() });
    plan.arg("program").arg("1000").build().expect("it is a plan")
}

/// One of those that there are.
fn pick<T>(all: &BTreeMap<usize, T>, number: usize) -> Option<usize> {
    all.keys().nth(number.checked_rem(all.len())?).copied()
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, expected: &T) -> Checked {
    if is == expected {
        return Ok(());
    }
    Err(format!("{what} is {is:?}, and should be {expected:?}"))
}

/// Compares an answer with what it should be; whether it is of the kind that says that it was done.
fn compare(answer: &Message, done: u16, expected: &Expected) -> Checked<bool> {
    let kind = answer.head.kind.get();
    let is_number = answer.rule().is_some_and(|rule| rule.starts_with("numbers"));
    let fine = match expected {
        Expected::Done => kind == done,
        Expected::Fault => kind == kind::FAULT,
        Expected::Refused(rule) => answer.rule() == Some(rule),
        Expected::Unsure => kind == done || kind == kind::FAULT || is_number,
    };
    match fine {
        true => Ok(kind == done),
        false => {
            let rule = answer.rule().unwrap_or_default();
            let words = answer.words();
            Err(format!("answered by {kind:#x} {rule} {words:?}, and should be {expected:?}"))
        }
    }
}

impl Client {
    fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// The next message, which is the answer to this request.
    fn answer(&self, request: u64) -> Checked<Message> {
        let answer = self.raw.hear().ok_or("the connection was closed")?;
        check("the answer's request", &answer.head.request.get(), &request)?;
        Ok(answer)
    }
}

impl World {
    fn new() -> Self {
        let model = Model::new([
            (Lifetime::Connection, 3, unlimited()),
            (Lifetime::Agent, 2, unlimited()),
            (Lifetime::LiveOn, 1, unlimited()),
        ]);
        let agent = RunningAgent::start(&config(&model));
        let operator = Agent::connect(agent.socket()).expect("the operator may connect");
        let (clients, children) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self { agent, operator, model, clients, children, next: 1, idle: 0 };
        world.settle().expect("it has nothing to do");
        world.idle = world.rest().expect("it says how many");
        world
    }

    /// How many descriptors it has when that changes no more: it makes embryos at first.
    fn rest(&self) -> Checked<u64> {
        let (mut last, mut same) = (Ok(0), 0);
        let _ = wait_for(PATIENCE, || {
            std::thread::sleep(Duration::from_millis(10));
            let now = self.descriptors();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same == 5
        });
        last
    }

    fn descriptors(&self) -> Checked<u64> {
        Ok(self.listing()?.agent.descriptors)
    }

    fn act(&mut self, action: &Action) -> Checked {
        let client = |of: usize| pick(&self.clients, of);
        let child = |which: usize| pick(&self.children, which);
        match action {
            Action::Connect(named) => self.connect(named % NAMES.len()),
            Action::Reload(named, numbers) => self.reload(named % NAMES.len(), numbers),
            Action::Narrow(of, narrower) => {
                client(*of).map_or(Ok(()), |of| self.narrow(of, narrower))
            }
            Action::Spawn(of, program) => client(*of).map_or(Ok(()), |of| self.spawn(of, *program)),
            Action::Signal(of, which, terminate) => match (client(*of), child(*which)) {
                (Some(of), Some(child)) => self.signal(of, child, *terminate),
                _ => Ok(()),
            },
            Action::Kill(of, which) => match (client(*of), child(*which)) {
                (Some(of), Some(child)) => self.kill(of, child),
                _ => Ok(()),
            },
            Action::Usage(of, which) => match (client(*of), child(*which)) {
                (Some(of), Some(child)) => self.usage(of, child),
                _ => Ok(()),
            },
            Action::OperatorKills(which) => match child(*which) {
                Some(child) => self.operator_kills(child),
                None => Ok(()),
            },
            Action::Murder(which) => match child(*which) {
                Some(child) => self.murder(child),
                None => Ok(()),
            },
            Action::Close(of) => client(*of).map_or(Ok(()), |of| self.close(of, false)),
            Action::Crash(of) => client(*of).map_or(Ok(()), |of| self.crash(of)),
            Action::Nonsense(of) => client(*of).map_or(Ok(()), |of| self.nonsense(of)),
        }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn client(&mut self, id: usize) -> &mut Client {
        self.clients.get_mut(&id).expect("one that there is")
    }

    fn connect(&mut self, named: usize) -> Checked {
        let id = self.number();
        let expected = self.model.connect(id, named);
        let raw = RawClient::connect(&self.agent.dir().join(NAMES[named]));
        let version = wire::VERSION.into();
        let hello = wire::Hello { oldest: version, newest: version, ..wire::Hello::default() };
        let hello = RawClient::packet(kind::HELLO, 1, 0, hello.as_bytes());
        // Who is turned away may be so already.
        let _ = raw.send(&hello, &[]);
        let answer = raw.hear().ok_or("the connection was closed")?;
        if compare(&answer, kind::WELCOME, &expected)? {
            self.clients.insert(id, Client { raw, requests: 1 });
        }
        Ok(())
    }

    fn narrow(&mut self, of: usize, narrower: &Narrower) -> Checked {
        let id = self.number();
        let expected = self.model.narrow(of, id, narrower);
        let json = serde_json::to_vec(&mandate(narrower)).expect("it is JSON");
        let client = self.client(of);
        let request = client.request();
        client.raw.say(kind::NARROW, request, 0, &json, &[]);
        let mut answer = client.answer(request)?;
        if compare(&answer, kind::NARROWED, &expected)? {
            let socket = answer.fds.pop().ok_or("no socket came")?;
            let raw = RawClient { socket };
            raw.hello();
            self.clients.insert(id, Client { raw, requests: 1 });
        }
        Ok(())
    }

    fn spawn(&mut self, of: usize, program: Program) -> Checked {
        let expected = self.model.spawn(of, program);
        let id = self.number();
        let client = self.client(of);
        let request = client.request();
        client.raw.spawn(request, plan(program).as_bytes(), &[]);
        let mut answer = client.answer(request)?;
        if !compare(&answer, kind::STARTED, &expected)? {
            return Ok(());
        }
        let started: wire::Started = answer.read();
        let pidfd = answer.fds.pop().ok_or("no pidfd came")?;
        let child = Child { number: started.child.get(), request, pidfd };
        self.children.insert(id, child);
        self.model.started(of, id);
        match program {
            Program::True => self.ended(id, 0),
            _ => Ok(()),
        }
    }

    /// A child has ended like this: it can be seen, and whoever has a say in it is told.
    fn ended(&mut self, id: usize, status: i32) -> Checked {
        let told = self.model.ended(id);
        let child = self.children.remove(&id).ok_or("there is no such child")?;
        if let Some(of) = told {
            let answer = self.client(of).answer(child.request)?;
            check("the kind of the message", &answer.head.kind.get(), &kind::ENDED)?;
            let ended: wire::Ended = answer.read();
            check("the child", &ended.child.get(), &child.number)?;
            check("its status", &ended.status.get(), &status)?;
        }
        dies(&child)
    }

    fn signal(&mut self, of: usize, id: usize, terminate: bool) -> Checked {
        let expected = self.model.signal(of, id, terminate);
        let number = self.children[&id].number;
        let client = self.client(of);
        let request = client.request();
        let signal = if terminate { TERMINATED.unsigned_abs() } else { HANGUP };
        client.raw.signal(request, number, signal);
        let done = compare(&client.answer(request)?, kind::DONE, &expected)?;
        if done { self.ended(id, TERMINATED) } else { Ok(()) }
    }

    fn kill(&mut self, of: usize, id: usize) -> Checked {
        let expected = self.model.about(of, id);
        let number = self.children[&id].number;
        let client = self.client(of);
        let request = client.request();
        client.raw.kill(request, number);
        let done = compare(&client.answer(request)?, kind::DONE, &expected)?;
        if done { self.ended(id, KILLED) } else { Ok(()) }
    }

    fn usage(&mut self, of: usize, id: usize) -> Checked {
        let expected = self.model.about(of, id);
        let number = self.children[&id].number;
        let client = self.client(of);
        let request = client.request();
        let body = wire::Child { child: number.into() };
        client.raw.say(kind::USAGE, request, 0, body.as_bytes(), &[]);
        compare(&client.answer(request)?, kind::USED, &expected).map(drop)
    }

    fn operator_kills(&mut self, id: usize) -> Checked {
        let number = self.children[&id].number;
        self.operator.kill_child(number).map_err(|error| format!("the operator: {error}"))?;
        self.ended(id, KILLED)
    }

    fn murder(&mut self, id: usize) -> Checked {
        let sent = rustix::process::pidfd_send_signal(&self.children[&id].pidfd, Signal::KILL);
        sent.map_err(|error| format!("kill: {error}"))?;
        self.ended(id, KILLED)
    }

    fn close(&mut self, of: usize, crashed: bool) -> Checked {
        self.clients.remove(&of);
        for id in self.model.close(of, crashed) {
            dies(&self.children.remove(&id).ok_or("there is no such child")?)?;
        }
        Ok(())
    }

    fn crash(&mut self, of: usize) -> Checked {
        // Whether there is a child that lives on would depend on who is faster.
        let ends = self.model.lifetime(of) == Lifetime::Connection;
        if ends {
            let client = self.client(of);
            let request = client.request();
            client.raw.spawn(request, plan(Program::Sleep).as_bytes(), &[]);
        }
        self.close(of, ends)
    }

    fn nonsense(&mut self, of: usize) -> Checked {
        let client = self.client(of);
        client.raw.send(b"this is no message", &[]).map_err(|error| error.to_string())?;
        let answer = client.answer(0)?;
        compare(&answer, kind::DONE, &Expected::Refused("protocol"))?;
        if let Some(more) = client.raw.hear() {
            return Err(format!("it goes on: {more:?}"));
        }
        self.close(of, false)
    }

    fn reload(&mut self, named: usize, numbers: &Numbers) -> Checked {
        let before = self.listing()?.agent.loaded_ms;
        self.model.reload(named, numbers.clone());
        self.agent.configure(&config(&self.model));
        // The time that the list says may be off by one.
        std::thread::sleep(Duration::from_millis(5));
        self.agent.signal(Signal::HUP);
        let loaded = |agent: Listing| agent.agent.loaded_ms > before + 2;
        match wait_for(PATIENCE, || self.listing().is_ok_and(loaded)) {
            true => Ok(()),
            false => Err("the file was not read again".into()),
        }
    }

    fn listing(&self) -> Checked<Listing> {
        let list = self.operator.list().map_err(|error| format!("the operator: {error}"))?;
        serde_json::from_str(&list).map_err(|error| error.to_string())
    }

    /// Waits until the agent has the connections and children that it should have.
    fn settle(&self) -> Checked {
        let expected: BTreeSet<u64> = self.children.values().map(|child| child.number).collect();
        check("the test's own account", &self.children.len(), &self.model.children.len())?;
        let connections = self.model.connections.len() + 1;
        let mut last = Ok(());
        let settled = wait_for(PATIENCE, || {
            last = self.listing().and_then(|list| {
                let children = list.children.iter().map(|child| child.child).collect();
                check("the list of children", &children, &expected)?;
                check("the number of connections", &list.connections.len(), &connections)
            });
            last.is_ok()
        });
        if settled { Ok(()) } else { last }
    }

    /// Nobody wants anything any more: nothing is left.
    fn drain(&mut self) -> Checked {
        for client in self.clients.values() {
            if let Ok(message) = client.raw.hear_within(Duration::ZERO) {
                return Err(format!("somebody was told more than there is: {message:?}"));
            }
        }
        while let Some(of) = pick(&self.clients, 0) {
            self.close(of, false)?;
        }
        while let Some(id) = pick(&self.children, 0) {
            self.operator_kills(id)?;
        }
        self.settle()?;
        let left = || {
            let all = self.agent.descendants().into_values();
            all.filter(|(name, state)| *state == 'Z' || !name.starts_with("embryo"))
                .collect::<Vec<_>>()
        };
        if !wait_for(PATIENCE, || left().is_empty()) {
            return Err(format!("processes are left: {:?}", left()));
        }
        if !wait_for(PATIENCE, || self.descriptors().is_ok_and(|count| count <= self.idle)) {
            return Err(format!("{:?} descriptors are left of {}", self.descriptors(), self.idle));
        }
        check("its status", &self.agent.stop().code(), &Some(0))
    }

    /// The agent stops while there is something to do.
    fn stop(&mut self) -> Checked {
        check("its status", &self.agent.stop().code(), &Some(0))?;
        let left = self.model.stop();
        for (id, child) in &self.children {
            match left.contains(id) {
                false => dies(child)?,
                true if is_dead(child, Duration::ZERO) => {
                    return Err(format!("{} was to live on", child.number));
                }
                true => {
                    let sent = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
                    sent.map_err(|error| format!("kill: {error}"))?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for World {
    /// Who lives on does so without the agent.
    fn drop(&mut self) {
        for child in self.children.values() {
            let _ = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
        }
    }
}

fn is_dead(child: &Child, patience: Duration) -> bool {
    let mut fds = [PollFd::new(&child.pidfd, PollFlags::IN)];
    let patience = Timespec::try_from(patience).expect("it is not long");
    rustix::event::poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0)
}

fn dies(child: &Child) -> Checked {
    if is_dead(child, PATIENCE) { Ok(()) } else { Err(format!("{} lives", child.number)) }
}
