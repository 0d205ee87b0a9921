//! An ordinary user's program that has its jobs started by an agent: for the story of a CI user.
//!
//! It must never decide what happens next: it does what it is told, a line at a time, and answers each with a line of
//! JSON. `EMBRYO_AGENT` names the agent.
//!
//! ```text
//! family             start a shell with two children in sessions of their own
//! sleep              start a child that sleeps
//! sleep anew         the same over a new connection
//! sleep narrowed     the same over a narrower connection
//! kill               send the last one SIGTERM directly
//! signal N           have the agent send it signal N
//! wait               wait for the last one
//! list               ask for what an operator may see
//! ```

use embryo::agent::Agent;
use embryo::agent::mandate::Mandate;
use embryo::{Command, Error, Process, Stdio};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::BufRead;
use std::os::unix::process::ExitStatusExt;

const FAMILY: &str = "setsid sleep 1000 & setsid sleep 1000 & wait";

struct Jobs {
    agent: Agent,
    others: Vec<Agent>,
    running: Vec<Process>,
}

fn main() -> Result<(), Error> {
    let mut jobs = Jobs { agent: Agent::from_env()?, others: Vec::new(), running: Vec::new() };
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        println!("{}", jobs.obey(&line).unwrap_or_else(|error| said(&error)));
    }
    Ok(())
}

/// The rule of a refusal; any other error as it is.
fn said(error: &Error) -> Value {
    match error {
        Error::Refused { rule, .. } => json!({ "said": format!("refused: {rule}") }),
        error => json!({ "said": format!("error: {error}") }),
    }
}

impl Jobs {
    fn obey(&mut self, line: &str) -> Result<Value, Error> {
        let done = json!({ "said": "done" });
        match line {
            "family" => self.start(self.agent.clone(), "/usr/bin/dash", &["-c", FAMILY]),
            "sleep" => self.start(self.agent.clone(), "/usr/bin/sleep", &["1000"]),
            "sleep anew" => self.start(Agent::from_env()?, "/usr/bin/sleep", &["1000"]),
            "sleep narrowed" => {
                let narrower = self.agent.narrow(&Mandate::default())?;
                self.start(narrower, "/usr/bin/sleep", &["1000"])
            }
            "kill" => {
                let pid = self.running.last().and_then(|job| Pid::from_raw(job.id().cast_signed()));
                let sent = pid.map(|pid| kill_process(pid, Signal::TERM));
                let errno = sent.and_then(Result::err).map_or(0, |errno| errno.raw_os_error());
                Ok(json!({ "direct": errno }))
            }
            "wait" => {
                let status = self.running.pop().map(|mut job| job.wait()).transpose()?;
                Ok(json!({ "status": status.map(|status| status.into_raw()) }))
            }
            "list" => self.agent.list().map(|_| done),
            other => {
                let signal = other.strip_prefix("signal ").and_then(|number| number.parse().ok());
                if let (Some(signal), Some(job)) = (signal, self.running.last()) {
                    job.signal(signal)?;
                }
                Ok(done)
            }
        }
    }

    fn start(&mut self, agent: Agent, program: &str, args: &[&str]) -> Result<Value, Error> {
        let mut command = Command::new(program);
        command.args(args).env("CI_JOB", "7").agent(&agent);
        // A connection is held as long as this program runs, whether something came of it or not.
        self.others.push(agent);
        let job = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let pid = job.id();
        self.running.push(job);
        Ok(json!({ "pid": pid }))
    }
}
