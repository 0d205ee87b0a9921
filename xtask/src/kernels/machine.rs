//! One boot: QEMU, its three serial lines, and what the guest reported.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::arch::Arch;
use super::error::{Error, Result};

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Exit(u8),
    Signal(u8),
}

impl Status {
    /// The exit code that a shell would give it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Exit(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What one boot came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    /// The guest's `uname -r`.
    pub(crate) release: String,
    /// From power on, as the guest's clock has it, to the program's start.
    pub(crate) boot: Duration,
    /// From QEMU's start to its end.
    pub(crate) total: Duration,
    /// What the kernel printed.
    pub(crate) console: String,
}

pub(crate) struct Machine<'a> {
    pub(crate) arch: Arch,
    pub(crate) image: &'a Path,
    pub(crate) initramfs: &'a Path,
    pub(crate) kvm: bool,
    pub(crate) memory_mib: u32,
    pub(crate) timeout: Duration,
    /// A directory for this boot's own files.
    pub(crate) scratch: &'a Path,
}

impl Machine<'_> {
    /// Boots, copies the program's output while it runs, and reads the report.
    pub(crate) fn run(&self, output: &mut (dyn Write + Send)) -> Result<Outcome> {
        let started = Instant::now();
        let mut qemu = Running(self.start()?);
        let mut from = qemu.0.stdout.take().expect("piped");
        let ended = thread::scope(|scope| {
            scope.spawn(|| stream(&mut from, output));
            let ended = qemu.wait(started + self.timeout);
            // Ends the stream too.
            drop(qemu);
            ended
        });
        let ended = ended.map_err(Error::at(Path::new(self.arch.qemu().0)))?;
        let console = self.text(CONSOLE);
        let Report { boot, end } = parse(&self.text(REPORTS));
        if !ended {
            let what = if boot.is_some() { "ended" } else { "booted" };
            return Err(Error::Timeout { what, after: self.timeout, console });
        }
        match (boot, end) {
            (Some(Boot { after, release }), Some(End::Status(status))) => {
                Ok(Outcome { status, release, boot: after, total: started.elapsed(), console })
            }
            (_, Some(End::Failure(source, what))) => Err(Error::Guest { what, source, console }),
            _ => Err(match panic_reason(&console) {
                Some(reason) => Error::Panic { reason: reason.into(), console },
                None => Error::NoReport { qemu: self.text(ERRORS).trim().into(), console },
            }),
        }
    }

    fn start(&self) -> Result<Child> {
        let (qemu, package) = self.arch.qemu();
        let errors = self.file(ERRORS);
        let errors = fs::File::create(&errors).map_err(Error::at(&errors))?;
        let mut command = Command::new(qemu);
        let accelerator = if self.kvm { "kvm" } else { "tcg,thread=multi" };
        command
            .args(["-accel", accelerator, "-M", self.arch.machine(), "-cpu", "max"])
            .args(["-smp", "2", "-m", &format!("{}M", self.memory_mib)])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-monitor", "none"])
            .args(self.arch.line_options(&self.file(CONSOLE), &self.file(REPORTS)))
            .arg("-kernel")
            .arg(self.image)
            .arg("-initrd")
            .arg(self.initramfs)
            .args(["-append", &self.kernel_arguments()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                Error::Missing { tool: qemu.into(), package: package.into() }
            }
            _ => Error::Io { what: qemu.into(), source },
        })
    }

    fn kernel_arguments(&self) -> String {
        let [console, output, reports] = self.arch.lines();
        format!("console={console} quiet panic=-1 -- {output} {reports}")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A file's text; none if QEMU did not get to write it.
    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.file(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.replace(|sign: char| sign.is_control() && sign != '\n', "")
    }
}

const CONSOLE: &str = "console";
const REPORTS: &str = "reports";
const ERRORS: &str = "errors";

/// A QEMU that does not outlive its handle.
struct Running(Child);

impl Running {
    /// Whether it ended before the deadline.
    fn wait(&mut self, deadline: Instant) -> io::Result<bool> {
        while self.0.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(true)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Copies at once what there is; a reader that has gone away does not stop the guest.
fn stream(from: &mut impl Read, to: &mut (dyn Write + Send)) {
    let mut buffer = [0; 16384];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let _ = to.write_all(&buffer[..length]).and_then(|()| to.flush());
    }
}

fn panic_reason(console: &str) -> Option<&str> {
    console
        .lines()
        .find_map(|line| line.split_once("Kernel panic - not syncing: "))
        .map(|(_, reason)| reason)
}

/// What init reported.
#[derive(Default)]
struct Report {
    boot: Option<Boot>,
    end: Option<End>,
}

struct Boot {
    after: Duration,
    release: String,
}

enum End {
    Status(Status),
    Failure(io::Error, String),
}

/// Reads init's lines; the first end counts.
fn parse(text: &str) -> Report {
    let mut report = Report::default();
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        let (word, number) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let rest = words.next().unwrap_or("").to_owned();
        let end = match word {
            "boot" => {
                let after =
                    number.parse().ok().and_then(|secs| Duration::try_from_secs_f64(secs).ok());
                report.boot = after.map(|after| Boot { after, release: rest });
                None
            }
            "exit" => number.parse().ok().map(|code| End::Status(Status::Exit(code))),
            "signal" => number.parse().ok().map(|signal| End::Status(Status::Signal(signal))),
            "fail" => {
                let error = number.parse().ok().map(io::Error::from_raw_os_error);
                error.map(|error| End::Failure(error, rest))
            }
            _ => None,
        };
        report.end = report.end.or(end);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_boot_and_the_first_end() {
        let report = parse("boot 1.250 6.1.0-9\nfail 2 execve /x\nexit 127\n");
        let boot = report.boot.unwrap();
        assert_eq!((&*boot.release, boot.after), ("6.1.0-9", Duration::from_millis(1250)));
        assert!(matches!(report.end, Some(End::Failure(_, what)) if what == "execve /x"));
        assert!(matches!(parse("exit 7").end, Some(End::Status(Status::Exit(7)))));
        assert!(matches!(parse("signal 9").end, Some(End::Status(Status::Signal(9)))));
        assert!(parse("boot 1.0 x\nexi").end.is_none());
    }

    #[test]
    fn a_panic_has_a_reason() {
        let console = "[ 1.0] x\n[ 1.1] Kernel panic - not syncing: Fatal exception\n[ 1.2] y\n";
        assert_eq!(panic_reason(console), Some("Fatal exception"));
        assert_eq!(panic_reason("all well"), None);
    }
}
