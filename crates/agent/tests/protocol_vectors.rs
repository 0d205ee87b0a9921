//! Golden vectors: one message of each kind, byte by byte, in `docs/agent`, for whoever writes a client in
//! another language.
//!
//! Each file is made here, comments and all, and must be what this code makes of it now;
//! `EMBRYO_BLESS=1` writes them anew. It must never be blessed to make a test pass: bytes that changed are
//! another version of the protocol.

#[path = "protocol/source.rs"]
mod source;

use embryo::agent::wire::{
    self, Child, Ended, Fault, Head, Hello, Signal, Since, Spawn, Started, Used, flags, kind,
};
use embryo::{ExecFlags, Keep, Op, Plan};
use source::{constants, structures};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use zerocopy::{Immutable, IntoBytes};

/// One message and what a reader should know of it.
struct Vector {
    name: &'static str,
    about: &'static str,
    kind: u16,
    request: u64,
    flags: u32,
    /// The structure that the body begins with, and its bytes.
    body: Option<(&'static str, Vec<u8>)>,
    /// What follows: its meaning, and the bytes.
    rest: Vec<(&'static str, Vec<u8>)>,
    descriptors: &'static [&'static str],
}

fn vector(kind: u16, name: &'static str, about: &'static str) -> Vector {
    Vector {
        name,
        about,
        kind,
        request: 7,
        flags: 0,
        body: None,
        rest: Vec::new(),
        descriptors: &[],
    }
}

impl Vector {
    fn body(mut self, name: &'static str, body: impl IntoBytes + Immutable) -> Self {
        self.body = Some((name, body.as_bytes().to_vec()));
        self
    }

    fn rest(mut self, means: &'static str, bytes: impl AsRef<[u8]>) -> Self {
        self.rest.push((means, bytes.as_ref().to_vec()));
        self
    }

    fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    fn descriptors(mut self, descriptors: &'static [&'static str]) -> Self {
        self.descriptors = descriptors;
        self
    }

    fn request(mut self, request: u64) -> Self {
        self.request = request;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let body: Vec<u8> = self.body.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let rest: Vec<u8> = self.rest.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let len = body.len() + rest.len();
        let head = Head::new(self.kind, self.request, self.flags, len);
        [head.as_bytes(), &body, &rest].concat()
    }
}

/// A program whose standard output is slot 0.
fn plan() -> Vec<u8> {
    let mut plan = Plan::builder();
    let output = plan.slot();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::PutFd { slot: output, fd: 1 })
        .op(&Op::ExecPath { path: c"/usr/bin/true", flags: ExecFlags::empty() })
        .arg("true");
    plan.build().expect("it is a plan").as_bytes().to_vec()
}

fn used() -> Used {
    Used {
        user_ns: 1_500_000.into(),
        system_ns: 2_500_000.into(),
        max_rss: (1 << 21).into(),
        minor_faults: 120.into(),
        major_faults: 1.into(),
        voluntary_switches: 3.into(),
        involuntary_switches: 2.into(),
    }
}

fn vectors() -> Vec<Vector> {
    let (child, hello) =
        (42.into(), Hello { oldest: 1.into(), newest: 1.into(), ..Hello::default() });
    let mandate = br#"{"images":[{"path":"/usr/bin/cc"}],"numbers":{"children":4},"narrower":0}"#;
    let limits = Hello {
        message_bytes_max: (wire::MESSAGE_BYTES_MAX as u32).into(),
        in_flight_max: (wire::IN_FLIGHT_MAX as u32).into(),
        connection: 5.into(),
        ..hello
    };
    let fault = Fault { index: 1.into(), code: 0x0f01.into(), errno: 2.into() };
    let ended = Ended { child, status: (3 << 8).into(), reserved: 0.into(), usage: used() };
    vec![
        vector(kind::HELLO, "hello", "a client that speaks version 1 alone").body("Hello", hello),
        vector(kind::SPAWN, "spawn", "a plan with one slot, to start within a second")
            .body("Spawn", Spawn { timeout_ms: 1000.into(), ..Spawn::default() })
            .rest("the plan", plan())
            .descriptors(&["slot 0"]),
        vector(kind::SPAWN, "spawn-in-fd", "the same plan in a memfd, whenever it starts")
            .flags(flags::IN_FD)
            .body("Spawn", Spawn::default())
            .descriptors(&["a sealed memfd that holds the plan", "slot 0"]),
        vector(kind::SIGNAL, "signal", "SIGTERM to child 42")
            .body("Signal", Signal { child, signal: 15.into(), ..Signal::default() }),
        vector(kind::KILL, "kill", "SIGKILL to child 42").body("Child", Child { child }),
        vector(kind::USAGE, "usage", "what child 42 has used").body("Child", Child { child }),
        vector(kind::NARROW, "narrow", "a connection for one program").rest("the mandate", mandate),
        vector(kind::MANDATE, "mandate", "what may this connection ask for?"),
        vector(kind::LIST, "list", "who is there, and what runs?"),
        vector(kind::LOG, "log", "the log from its entry 100 on")
            .body("Since", Since { entry: 100.into() }),
        vector(kind::WELCOME, "welcome", "version 1 it is; this is connection 5")
            .body("Hello", limits),
        vector(kind::STARTED, "started", "child 42 runs with the pid 1234")
            .body("Started", Started { child, pid: 1234.into(), image_pid: 1234.into() })
            .descriptors(&["a pidfd of the child"]),
        vector(kind::FAULT, "fault", "op 1, exec, has failed with ENOENT")
            .body("Fault", fault)
            .rest("in words", "exec: /usr/bin/true: No such file or directory"),
        vector(kind::FAULT, "fault-timed-out", "the child has not started in time")
            .flags(flags::TIMED_OUT)
            .body("Fault", Fault { index: u32::MAX.into(), code: 0.into(), errno: 110.into() })
            .rest("in words", "the child did not start within 1000 ms"),
        vector(kind::REFUSED, "refused", "the uid is not among those of the mandate")
            .rest("the rule", "bounds.uids\0")
            .rest("why", "uid 0 is not allowed"),
        vector(kind::ENDED, "ended", "child 42 has exited with the status 3")
            .flags(flags::USAGE)
            .body("Ended", ended),
        vector(kind::ENDED, "ended-time-is-over", "child 42 has lived long enough, SIGKILL")
            .flags(flags::USAGE | flags::TIME_IS_OVER)
            .body("Ended", Ended { status: 9.into(), ..ended }),
        vector(kind::DONE, "done", "it has been done"),
        vector(kind::USED, "used", "what a child has used").body("Used", used()),
        vector(kind::NARROWED, "narrowed", "a socket with a narrower mandate")
            .descriptors(&["a connected socket"]),
        vector(kind::TEXT, "text", "a text of two bytes").rest("the text", "{}"),
        vector(kind::TEXT, "text-in-fd", "a text that does not fit in a message")
            .flags(flags::IN_FD)
            .descriptors(&["a file that holds the text"]),
        vector(kind::STOPPING, "stopping", "no more requests are taken").request(0),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/agent")
}

fn line(out: &mut String, bytes: &[u8], means: &str) {
    for (at, chunk) in bytes.chunks(16).enumerate() {
        let hex: Vec<_> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.join(" ");
        match at {
            0 => writeln!(out, "{hex:<24}  # {means}"),
            _ => writeln!(out, "{hex}"),
        }
        .expect("a string takes everything");
    }
}

/// The fields of a structure by their names, as `wire.rs` has them.
fn fields(out: &mut String, name: &str, mut bytes: &[u8]) {
    let known = structures();
    let structure = known.iter().find(|found| found.name == name).expect("it is a structure");
    let size: usize = structure.fields.iter().map(|(_, size)| size).sum();
    assert_eq!(bytes.len(), size, "{name} has more or less than its fields");
    for (field, size) in &structure.fields {
        let (first, rest) = bytes.split_at(*size);
        bytes = rest;
        if *size == size_of::<Used>() {
            fields(out, "Used", first);
        } else {
            line(out, first, field);
        }
    }
}

/// The whole file of a vector.
fn listing(vector: &Vector) -> String {
    let kinds = constants("kind");
    let kind = kinds.iter().find(|kind| kind.1 == u32::from(vector.kind)).expect("a kind");
    let mut out = format!("# {}: {}.\n", kind.0, vector.about);
    out += "# Whatever follows a # is a comment. docs/agent-protocol.md explains the fields.\n";
    for (index, what) in vector.descriptors.iter().enumerate() {
        writeln!(out, "# Descriptor {index} of the packet: {what}.").expect("a string");
    }
    out += "# -- head\n";
    fields(&mut out, "Head", &vector.bytes()[..wire::HEAD_LEN]);
    if let Some((name, bytes)) = &vector.body {
        writeln!(out, "# -- body: {name}").expect("a string");
        fields(&mut out, name, bytes);
    }
    for (means, bytes) in &vector.rest {
        writeln!(out, "# -- {means}").expect("a string");
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        line(&mut out, bytes, text.unwrap_or(means));
    }
    out
}

/// The bytes of a file like that.
fn parse(listing: &str) -> Vec<u8> {
    let code = |line: &str| line.split('#').next().unwrap_or_default().to_owned();
    let text: Vec<String> = listing.lines().map(code).collect();
    let byte = |word: &str| u8::from_str_radix(word, 16).expect("two digits make a byte");
    text.iter().flat_map(|line| line.split_ascii_whitespace()).map(byte).collect()
}

#[test]
fn the_vectors_are_what_the_code_makes() {
    let bless = std::env::var_os("EMBRYO_BLESS").is_some();
    for vector in vectors() {
        let path = folder().join(vector.name).with_extension("hex");
        let made = listing(&vector);
        assert_eq!(parse(&made), vector.bytes(), "{}", vector.name);
        if bless {
            std::fs::write(&path, &made).expect("the vectors' folder can be written to");
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        assert_eq!(stored, made, "{}", vector.name);
    }
}

#[test]
fn the_vectors_are_read_as_what_they_were_made_from() {
    for vector in vectors() {
        let path = folder().join(vector.name).with_extension("hex");
        let bytes = parse(&std::fs::read_to_string(&path).expect("the vector is there"));
        let (head, body) = Head::split(&bytes).unwrap_or_else(|| panic!("{}", vector.name));
        assert_eq!(head.version, wire::VERSION, "{}", vector.name);
        assert_eq!(head.kind, vector.kind, "{}", vector.name);
        assert_eq!(head.request, vector.request, "{}", vector.name);
        assert_eq!(head.flags, vector.flags, "{}", vector.name);
        assert_eq!(head.body_len.get() as usize, body.len(), "{}", vector.name);
    }
}

/// A request's vector is one that the agent takes, and one of an answer it does not.
#[test]
fn an_agent_reads_the_requests_and_no_answers() {
    for vector in vectors() {
        let bytes = vector.bytes();
        let parsed = embryo_agent::request::parse(&bytes, vector.descriptors.len());
        assert_eq!(parsed.is_ok(), vector.kind < 0x8000, "{}: {parsed:?}", vector.name);
        let id = parsed.map_or_else(|(id, _)| id, |(id, _)| id);
        assert_eq!(id, vector.request, "{}", vector.name);
    }
}

#[test]
fn each_kind_and_each_file_has_a_vector() {
    let vectors = vectors();
    for (name, value) in constants("kind") {
        let shown = vectors.iter().any(|vector| u32::from(vector.kind) == value);
        assert!(shown, "no vector shows {name}");
    }
    let files = std::fs::read_dir(folder()).expect("the vectors are there").flatten();
    for file in
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "hex"))
    {
        let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(vectors.iter().any(|vector| vector.name == name), "{name} is of no vector");
    }
}
