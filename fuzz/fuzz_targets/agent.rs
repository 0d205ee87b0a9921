//! Arbitrary packets against what an agent makes of them, from the first byte: requests, and the mandates and plans
//! in them.
//!
//! Nothing is started. Each packet is a request or is refused with words, and nothing panics.
#![no_main]

use embryo::RawPlan;
use embryo::agent::mandate::Mandate;
use embryo::agent::wire::{HEAD_LEN, Head, MESSAGE_BYTES_MAX, Spawn, kind};
use embryo_agent::files::facts::Known;
use embryo_agent::mandate::{Compiled, Held, Refusal, judge, may_signal, narrow};
use embryo_agent::peer::Peer;
use embryo_agent::request::{Request, parse};
use embryo_fuzz::Description;
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, OnceLock};

/// A packet that chance would hardly find: a head that fits.
#[derive(Arbitrary, Debug)]
struct Packet<'a> {
    kind: u8,
    flags: u8,
    fds: u8,
    request: u64,
    timeout_ms: u32,
    body: Body<'a>,
}

#[derive(Arbitrary, Debug)]
enum Body<'a> {
    Bytes(&'a [u8]),
    Plan(Description),
    /// A mandate of fields by chance.
    Mandate(Vec<(u8, Vec<u8>)>),
}

fuzz_target!(|bytes: &[u8]| {
    let (fds, packet) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
    look_at(packet, fds.into());
    if let Ok(packet) = Packet::arbitrary(&mut Unstructured::new(bytes)) {
        look_at(&packet.bytes(), packet.fds.into());
    }
});

fn look_at(packet: &[u8], fds: usize) {
    let packet = packet.get(..MESSAGE_BYTES_MAX).unwrap_or(packet);
    let request = match parse(packet, fds) {
        Ok((id, request)) => {
            let (head, _) = Head::split(packet).expect("a request has a head");
            assert_eq!(head.request, id);
            request
        }
        Err((id, malformed)) => {
            assert!(!malformed.to_string().is_empty());
            assert!(packet.len() >= HEAD_LEN || id == 0);
            return;
        }
    };
    for held in held() {
        look_into(request, held, fds);
    }
}

fn look_into(request: Request<'_>, held: &Held, fds: usize) {
    match request {
        Request::Spawn { plan: Some(plan), .. } => {
            let Ok(plan) = RawPlan(plan).check() else { return };
            let null = File::open("/dev/null").expect("there is one");
            let grants: Vec<BorrowedFd<'_>> = vec![null.as_fd(); fds];
            let mut known = known().lock().expect("nobody panics and goes on");
            match judge(held, &plan, &grants, &mut known) {
                Ok(judged) => {
                    let ops = judged.plan.as_plan().entries().len();
                    assert_eq!(judged.origin.len(), ops, "each op comes from somewhere");
                    assert_eq!(judged.grants.len(), judged.plan.as_plan().slots() as usize);
                }
                Err(refusal) => say(&refusal),
            }
        }
        Request::Signal { signal, .. } => {
            if let Err(refusal) = may_signal(held, signal) {
                say(&refusal);
            }
        }
        Request::Narrow { json } => match narrow(held, json) {
            Ok(compiled) => assert!(!compiled.source.operator, "an operator out of nothing"),
            Err(refusal) => say(&refusal),
        },
        _ => {}
    }
}

/// A refusal fits into its message: a rule, a NUL, and words.
fn say(refusal: &Refusal) {
    assert!(!refusal.rule.is_empty() && !refusal.why.is_empty(), "{refusal:?}");
    assert!(!refusal.rule.contains('\0'), "{refusal:?}");
}

/// What is known of this machine.
fn known() -> &'static Mutex<Known> {
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| Mutex::new(Known::new().expect("what is mounted")))
}

/// What connections hold: one that may do much, and a narrower one of it.
fn held() -> &'static [Held] {
    static HELD: OnceLock<Vec<Held>> = OnceLock::new();
    HELD.get_or_init(|| {
        let wide = mandate(
            r#"{"images":[{"under":"/usr/bin","args":{"first":["a*"],"rest":["*"]}},{"registers":true}],
                "ops":["put-fd","umask","uid","gid","groups","rlimit","nice","no-new-privs","chdir"],
                "environment":["PATH","LANG","X*"],"signals":["TERM",9],"narrower":3,
                "bounds":{"uids":[0,65534],"gids":[0,65534],"limits":{"nofile":1024},"directories":["/usr"]},
                "forced":{"no-new-privs":true,"umask":63,"environment":{"LANG":"C"}}}"#,
        );
        let narrow = mandate(r#"{"ops":["put-fd","umask"],"forced":{"limits":{"nofile":64}}}"#);
        let wide = Arc::new(Compiled::named("wide", &wide).expect("it can be compiled"));
        let narrow = Arc::new(Compiled::narrower("wide", &narrow).expect("it can be compiled"));
        let peer = Arc::new(Peer {
            pid: 1,
            uid: 65534,
            gid: 65534,
            groups: Vec::new(),
            cgroup: None,
            pidfd: None,
        });
        let held = |levels| Held { levels, accounts: Vec::new(), peer: peer.clone() };
        vec![held(vec![wide.clone()]), held(vec![narrow, wide])]
    })
}

fn mandate(json: &str) -> Mandate {
    serde_json::from_str(json).expect("it is a mandate")
}

impl Packet<'_> {
    fn bytes(&self) -> Vec<u8> {
        let kinds = [kind::SPAWN, kind::NARROW, kind::SIGNAL, kind::HELLO, kind::KILL, kind::LOG];
        let kind = match self.kind % 8 {
            small @ 0..6 => kinds[usize::from(small)],
            6 => self.kind.into(),
            _ => 0x8000 | u16::from(self.kind),
        };
        let spawn = Spawn { timeout_ms: self.timeout_ms.into(), ..Spawn::default() };
        let spawn = [spawn.timeout_ms.to_bytes(), spawn.reserved.to_bytes()].concat();
        let body = match &self.body {
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Plan(plan) => {
                let plan = plan.build().map(|plan| plan.as_bytes().to_vec());
                [spawn, plan.unwrap_or_default()].concat()
            }
            Body::Mandate(fields) => json(fields).into_bytes(),
        };
        let head = Head::new(kind, self.request, (self.flags % 2).into(), body.len());
        let head = [
            &head.magic[..],
            &head.version.to_bytes(),
            &head.kind.to_bytes(),
            &head.request.to_bytes(),
            &head.flags.to_bytes(),
            &head.body_len.to_bytes(),
        ];
        [head.concat(), body].concat()
    }
}

/// Fields with values that are sometimes of their type.
fn json(fields: &[(u8, Vec<u8>)]) -> String {
    let names = [
        "images",
        "ops",
        "bounds",
        "environment",
        "forced",
        "numbers",
        "signals",
        "lifetime",
        "narrower",
        "operator",
        "peers",
        "numbers-per-uid",
        "description",
    ];
    let mut out = String::from("{");
    for (index, (name, value)) in fields.iter().take(16).enumerate() {
        let text = String::from_utf8_lossy(value);
        let text = serde_json::Value::from(text.as_ref()).to_string();
        let number = value.first().copied().unwrap_or_default();
        let value = match number % 8 {
            0 => format!("[{text}]"),
            1 => text,
            2 => number.to_string(),
            3 => format!("[{{\"under\":{text}}}]"),
            4 => format!("{{\"uids\":[{number},{text}],\"limits\":{{{text}:{number}}}}}"),
            5 => format!("{{\"environment\":{{{text}:{text}}},\"uid\":{number}}}"),
            6 => {
                format!("[{{\"sha256\":{text},\"args\":{{\"first\":[{text}],\"max\":{number}}}}}]")
            }
            _ => String::from_utf8_lossy(value).into_owned(),
        };
        let comma = if index == 0 { "" } else { "," };
        out += &format!("{comma}\"{}\":{value}", names[usize::from(*name) % names.len()]);
    }
    out + "}"
}
