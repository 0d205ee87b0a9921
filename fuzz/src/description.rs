//! A plan out of arbitrary bytes, by way of the builder.
//!
//! Most random ops would contradict each other, so what has only one sensible form (an image at
//! the end, something said of the working directory) is added here; everything else is as wild
//! as the bytes are.

use crate::mount::{self, Texts};
use crate::namespace;
use arbitrary::Arbitrary;
use embryo::{
    Access, BuildError, CapSets, CgroupOp, ConfineOp, ExecFlags, FilterFlags, Keep,
    LANDLOCK_RIGHTS, LandlockFlags, Layout, MapFlags, MountOp, NamespaceOp, Namespaces, Op, OpCode,
    Plan, PlanBuilder, PrivilegeOp, Regset, Slot, X86Regs, limits,
};
use std::collections::BTreeSet;
use std::ffi::CString;

/// What a plan is built from.
#[derive(Arbitrary, Clone, Debug)]
pub struct Description {
    slots: u8,
    keep: u8,
    ops: Vec<Wild>,
    argv: Vec<Text>,
    envp: Vec<Text>,
    /// Leave out what would make a plan of it.
    raw: bool,
}

/// One op: which, and what it is made of.
#[derive(Arbitrary, Clone, Debug)]
struct Wild {
    which: u8,
    /// Reduce numbers to what the checker takes, as far as that is simple.
    tame: bool,
    numbers: [u64; 4],
    flags: u16,
    slot: u8,
    texts: [Text; 2],
}

/// Bytes for a string; those from the first NUL on are cut off.
#[derive(Arbitrary, Clone, Debug)]
struct Text(Vec<u8>);

impl Text {
    fn c_string(&self) -> CString {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        CString::new(text).unwrap_or_default()
    }
}

impl Description {
    /// Builds it.
    ///
    /// # Errors
    /// What the checker says to it.
    pub fn build(&self) -> Result<Plan, BuildError> {
        let mut plan = PlanBuilder::new();
        let slots = self.slots % 8;
        for _ in 0..slots {
            plan.slot();
        }
        let mut keep = Keep::from_bits_truncate(self.keep.into());
        let mut seen = BTreeSet::new();
        let mut started = false;
        for wild in &self.ops {
            let code = wild.code();
            if !self.raw && !admits(&mut seen, &mut started, code, wild, slots) {
                continue;
            }
            wild.add(code, slots, &mut plan);
        }
        if !self.raw {
            keep.set(Keep::CWD, !seen.contains("cwd"));
            keep.set(Keep::UMASK, !seen.contains("umask"));
            keep.set(Keep::SESSION, !seen.contains("set-sid"));
            keep.set(Keep::SIGNAL_MASK, keep.contains(Keep::SIGNAL_MASK) && !seen.contains("mask"));
            let dispositions = keep.contains(Keep::IGNORED_SIGNALS) && !seen.contains("ignore");
            keep.set(Keep::IGNORED_SIGNALS, dispositions || seen.contains("default"));
            let mounts = seen.contains("mounts") || seen.contains("new-root");
            if mounts && !seen.contains(OpCode::Unshare.name()) {
                plan.op(&Op::Namespace(NamespaceOp::Unshare { kinds: Namespaces::MOUNT }));
            }
            if seen.contains("new-root") {
                plan.op(&Op::Mount(MountOp::EnterRoot));
                seen.insert("root".into());
            }
            if seen.contains("root") && !seen.contains("cwd") {
                keep.remove(Keep::CWD);
                plan.op(&Op::ChdirPath { path: c"/" });
            }
            if !started {
                plan.op(&Op::ExecPath { path: c"/", flags: ExecFlags::empty() });
            }
            if !seen.contains("registers") {
                plan.arg("fuzz");
            }
        }
        plan.keep(keep);
        if !self.raw && seen.contains("registers") {
            return plan.build();
        }
        self.argv.iter().for_each(|arg| _ = plan.arg(arg.c_string().as_bytes()));
        self.envp.iter().for_each(|text| _ = plan.env_string(text.c_string().as_bytes()));
        plan.build()
    }
}

/// Whether an op may stand beside those seen, and remembers it.
fn admits(
    seen: &mut BTreeSet<String>,
    started: &mut bool,
    code: OpCode,
    wild: &Wild,
    slots: u8,
) -> bool {
    let takes_slot = matches!(
        code,
        OpCode::ControllingTty
            | OpCode::Foreground
            | OpCode::PutFd
            | OpCode::ChrootSlot
            | OpCode::ChdirSlot
            | OpCode::ExecSlot
            | OpCode::MapSlot
            | OpCode::WriteSlot
            | OpCode::ReadSlot
            | OpCode::CgroupJoin
            | OpCode::Tie
            | OpCode::Landlock
            | OpCode::LandlockPath
            | OpCode::BindSlot
            | OpCode::BindMapped
            | OpCode::FileSlot
            | OpCode::JoinNamespace
    );
    if takes_slot && slots == 0 {
        return false;
    }
    let (key, excluded): (String, &str) = match code {
        code if code == OpCode::Fail || (0x0701..=0x0710).contains(&(code as u16)) => return true,
        code if (0x0802..=0x0810).contains(&(code as u16)) => {
            seen.insert("mounts".into());
            return true;
        }
        OpCode::StartRegs if *started => return false,
        OpCode::StartRegs if seen.contains("mdwe") => return false,
        OpCode::Mdwe if seen.contains("registers") => return false,
        // Those need a start by registers, which is there already, since the builder puts them in front.
        OpCode::Thread => return seen.contains("registers"),
        OpCode::SeccompStrict if !seen.contains("registers") => return false,
        OpCode::Seccomp | OpCode::SeccompStrict => ("filter".into(), ""),
        // Those need a ruleset that is enforced, which the builder puts behind them.
        OpCode::LandlockPath => return seen.contains("landlock"),
        OpCode::StartRegs => {
            *started = true;
            ("registers".into(), "")
        }
        OpCode::ExecPath | OpCode::ExecSlot | OpCode::ExecName => {
            return !std::mem::replace(started, true);
        }
        OpCode::ControllingTty if !seen.contains("set-sid") => return false,
        OpCode::SetSid => ("set-sid".into(), "set-pgid"),
        OpCode::SetPgid => ("set-pgid".into(), "set-sid"),
        OpCode::PutFd | OpCode::OpenNull => (format!("fd {}", wild.fd()), ""),
        OpCode::Rlimit => (format!("limit {}", wild.numbers[0] % 16), ""),
        OpCode::ChrootPath | OpCode::ChrootSlot => ("root".into(), "new-root"),
        OpCode::NewRoot => ("new-root".into(), "root"),
        // It is added where there is one to enter.
        OpCode::EnterRoot => return false,
        OpCode::ChdirPath | OpCode::ChdirSlot => ("cwd".into(), ""),
        OpCode::Umask => ("umask".into(), ""),
        OpCode::SignalMask => ("mask".into(), ""),
        OpCode::SignalIgnore => ("ignore".into(), "default"),
        OpCode::SignalDefault => ("default".into(), "ignore"),
        // In a user namespace there are not the ids that others name.
        OpCode::Uid | OpCode::Gid | OpCode::Groups => {
            return !seen.contains("users") && seen.insert(code.name().into()) && {
                seen.insert("ids".into());
                true
            };
        }
        OpCode::UserNamespace | OpCode::MappedUserNamespace => ("users".into(), "ids"),
        OpCode::NestedUserNamespace if seen.contains("ids") => return false,
        OpCode::NestedUserNamespace => {
            seen.insert("users".into());
            return seen.insert(code.name().into());
        }
        OpCode::ClockOffset | OpCode::HostName | OpCode::DomainName | OpCode::Loopback
            if !seen.contains(OpCode::Unshare.name()) =>
        {
            return false;
        }
        other => (other.name().into(), ""),
    };
    !seen.contains(excluded) && seen.insert(key)
}

impl Wild {
    fn code(&self) -> OpCode {
        OpCode::ALL[usize::from(self.which) % OpCode::ALL.len()]
    }

    /// Mostly low numbers, where collisions are.
    fn fd(&self) -> u32 {
        let number = self.numbers[0] as u32;
        if self.tame { number % 16 } else { number % (1 << 20) }
    }

    fn add(&self, code: OpCode, slots: u8, plan: &mut PlanBuilder) {
        let slot = Slot(u32::from(self.slot) % u32::from(slots.max(1)));
        let [a, b, c, d] = self.numbers;
        let number = |tame: u64| if self.tame { (a % tame) as u32 } else { a as u32 };
        let id = |id: u64| if id % 3 == 0 { u32::MAX } else { id as u32 };
        let signals = |set: u64| if self.tame { set & !(1 << 8 | 1 << 18) } else { set };
        let [first, second] = [self.texts[0].c_string(), self.texts[1].c_string()];
        let shell = if self.flags & 1 == 1 { ExecFlags::SHELL } else { ExecFlags::empty() };
        let open = if self.flags & 1 == 1 { ExecFlags::KEEP_OPEN } else { ExecFlags::empty() };
        let mut cpus = self.texts[0].0.clone();
        cpus.resize(cpus.len().next_multiple_of(8).max(8), 1);
        let mut gids = self.texts[0].0.clone();
        gids.truncate(gids.len() / 4 * 4);
        let map = MapFlags::from_bits_truncate(self.flags);
        // Tame ones are few, so that one op meets what another made.
        let page = |number: u64| {
            if self.tame { (1 + number % 16) * limits::PAGE } else { number & !(limits::PAGE - 1) }
        };
        let byte = |number: u64| if self.tame { number % (32 * limits::PAGE) } else { number };
        let (addr, len, prot) = (page(a), page(b), c as u32 % 8);
        let regs = Regset::X86(X86Regs {
            rax: c.into(),
            fs_base: byte(d).into(),
            ..X86Regs::at(byte(a), byte(b))
        });
        // Tame ones are in order.
        let after = |number: u64| if self.tame { byte(a) + number % 4 } else { number };
        let layout = Layout {
            start_code: byte(a).into(),
            end_code: after(1).into(),
            start_data: byte(a).into(),
            end_data: after(b).into(),
            start_brk: byte(a).into(),
            brk: after(c).into(),
            start_stack: byte(d).into(),
            arg_start: byte(a).into(),
            arg_end: after(d).into(),
            env_start: byte(a).into(),
            env_end: after(b).into(),
        };
        let mut leave = self.texts[0].0.clone();
        leave.truncate(leave.len() / 16 * 16);
        let mut regset = regs.as_bytes().to_vec();
        if self.flags & 2 == 2 {
            // As FXSAVE writes it, mostly; otherwise whatever the bytes are.
            regset.resize(160 + 512, 0);
            let at = 160 + b as usize % 464;
            if !self.tame || !(160 + 26..160 + 28).contains(&at) {
                regset[at] = c as u8;
            }
        }
        let mut program = self.texts[1].0.clone();
        program.truncate(program.len() / 8 * 8);
        if self.tame {
            // Most let the exec through that follows.
            let answer = if b % 4 == 0 { b << 32 } else { 0x7fff_0000 << 32 };
            program = [0x20u64, (a << 32) | 0x15, answer | 6].map(u64::to_le_bytes).concat();
        }
        let mut filter = FilterFlags::from_bits_truncate(self.flags);
        if self.tame && !filter.contains(FilterFlags::LISTENER) {
            filter.remove(FilterFlags::WAIT_KILLABLE);
        }
        let ruleset = if self.tame { Slot(0) } else { slot };
        let mounts = Texts::of([&first, &second], self.tame);
        let maps = [&self.texts[0].0[..], &self.texts[1].0[..]];
        let spaces = namespace::Texts::of(&first, maps, self.tame);
        let access = [Access::Read, Access::Write, Access::ReadWrite][b as usize % 3];
        plan.op(&match code {
            OpCode::Fail => Op::Fail { errno: number(4095).wrapping_add(1) },
            OpCode::SetSid => Op::SetSid,
            OpCode::SetPgid => Op::SetPgid { pgid: number(1 << 22) },
            OpCode::ControllingTty => Op::ControllingTty { slot },
            OpCode::Foreground => Op::Foreground { slot },
            OpCode::PutFd => Op::PutFd { slot, fd: self.fd() },
            OpCode::OpenNull => Op::OpenNull { fd: self.fd(), access },
            OpCode::OomScoreAdj => {
                Op::OomScoreAdj { value: (number(2001) as i32).wrapping_sub(1000) }
            }
            OpCode::Rlimit => Op::Rlimit { resource: number(16), soft: b.min(c), hard: b.max(c) },
            OpCode::Sched => {
                let policy = [0, 1, 2, 3, 5, 6, number(16)][a as usize % 7];
                let priority = if matches!(policy, 1 | 2) { (b % 99) as u32 + 1 } else { 0 };
                let mut times = if policy == 6 { [b >> 1, c >> 1, d >> 1] } else { [0; 3] };
                times.sort_unstable();
                let [runtime_ns, deadline_ns, period_ns] = times;
                let flags = self.flags & 7;
                Op::Sched { policy, priority, flags, runtime_ns, deadline_ns, period_ns }
            }
            OpCode::Nice => Op::Nice { value: (number(40) as i32).wrapping_sub(20) },
            OpCode::Affinity => Op::Affinity { mask: &cpus },
            OpCode::IoPriority => Op::IoPriority { value: number(4) << 13 | b as u32 % 8 },
            OpCode::TimerSlack => Op::TimerSlack { ns: a },
            OpCode::ChrootPath => Op::ChrootPath { path: &first },
            OpCode::ChrootSlot => Op::ChrootSlot { slot },
            OpCode::ChdirPath => Op::ChdirPath { path: &first },
            OpCode::ChdirSlot => Op::ChdirSlot { slot },
            OpCode::Umask => Op::Umask { mode: number(0o1000) },
            OpCode::Groups => Op::Groups { list: &gids },
            OpCode::Gid => Op::Gid { real: id(a), effective: id(b), saved: id(c) },
            OpCode::Uid => Op::Uid { real: id(a), effective: id(b), saved: id(c) },
            OpCode::DeathSignal => Op::DeathSignal { signal: number(64).wrapping_add(1) },
            OpCode::Subreaper => Op::Subreaper,
            OpCode::Personality => Op::Personality { persona: a as u32 },
            OpCode::NoNewPrivs => Op::NoNewPrivs,
            OpCode::Seccomp => Op::Seccomp { flags: filter, program: &program },
            OpCode::SeccompStrict => Op::SeccompStrict,
            OpCode::Landlock => Op::Confine(ConfineOp::Landlock {
                slot: ruleset,
                flags: LandlockFlags::from_bits_truncate(self.flags),
            }),
            OpCode::LandlockPath => {
                let access = a % (1 << LANDLOCK_RIGHTS.len());
                Op::Confine(ConfineOp::LandlockPath { slot: ruleset, path: &first, access })
            }
            OpCode::SignalIgnore => Op::SignalIgnore { set: signals(a) },
            OpCode::SignalMask => Op::SignalMask { set: signals(a) },
            OpCode::SignalDefault => Op::SignalDefault { set: a },
            OpCode::Map => {
                Op::Map { addr: if d % 2 == 0 { addr } else { 0 }, len, prot, flags: map }
            }
            OpCode::MapSlot => Op::MapSlot { slot, addr, len, prot, flags: map, offset: page(d) },
            OpCode::Unmap => Op::Unmap { addr, len },
            OpCode::Protect => Op::Protect { addr, len, prot },
            OpCode::Remap => Op::Remap { addr, len, to: page(c), to_len: page(d) },
            OpCode::Advise => Op::Advise { addr, len, advice: c as u32 },
            OpCode::Lock => Op::Lock { addr, len },
            OpCode::NameRegion => Op::NameRegion { addr, len, name: &first },
            OpCode::Write => Op::Write { addr: byte(a), contents: &self.texts[0].0 },
            OpCode::WriteSlot => Op::WriteSlot { slot, addr: byte(a), len: byte(b), offset: c },
            OpCode::ReadSlot => Op::ReadSlot { slot, addr: byte(a), len: byte(b), offset: c },
            OpCode::Fill => Op::Fill { addr: byte(a), len: byte(b), byte: c as u8 },
            OpCode::SignalAction => Op::SignalAction {
                signal: number(64).wrapping_add(1),
                flags: self.flags.into(),
                handler: byte(b),
                restorer: byte(c),
                mask: signals(d),
            },
            OpCode::MmLayout => Op::MmLayout { layout: layout.as_bytes(), auxv: &leave },
            OpCode::MoveVdso => Op::MoveVdso { to: if d % 2 == 0 { addr } else { 0 } },
            OpCode::DropVdso => Op::DropVdso,
            OpCode::StartRegs => Op::StartRegs { page: page(c), regset: &regset, leave: &leave },
            OpCode::Thread => {
                let clear_tid = byte(c) & !3;
                Op::Thread { mask: signals(a), clear_tid, regset: &regset }
            }
            OpCode::CoreScheduling => Op::CoreScheduling,
            OpCode::MemoryPolicy => {
                let mode = number(7);
                let none = self.tame && matches!(mode, 0 | 4);
                Op::MemoryPolicy { mode, nodes: if none { &[] } else { &cpus } }
            }
            OpCode::BoundingSet => Op::Privilege(PrivilegeOp::BoundingSet { keep: a }),
            OpCode::Securebits => Op::Privilege(PrivilegeOp::Securebits { bits: number(256) }),
            OpCode::KeepCapabilities => Op::Privilege(PrivilegeOp::KeepCapabilities),
            OpCode::Capabilities => {
                let given = CapSets::from_bits_truncate(self.flags);
                let only = |bit, set| if !self.tame || given.contains(bit) { set } else { 0 };
                Op::Privilege(PrivilegeOp::Capabilities {
                    given,
                    effective: only(CapSets::EFFECTIVE, if self.tame { a & b } else { a }),
                    permitted: only(CapSets::PERMITTED, b),
                    inheritable: only(CapSets::INHERITABLE, c),
                })
            }
            OpCode::Ambient => Op::Privilege(PrivilegeOp::Ambient { set: a }),
            OpCode::SessionKeyring => Op::Privilege(PrivilegeOp::SessionKeyring { name: &first }),
            OpCode::Mdwe => Op::Privilege(PrivilegeOp::Mdwe),
            OpCode::ThpDisable => {
                Op::Privilege(PrivilegeOp::ThpDisable { except_advised: self.flags & 1 == 1 })
            }
            OpCode::CgroupJoin => Op::Cgroup(CgroupOp::Join { slot }),
            OpCode::Tie => Op::Cgroup(CgroupOp::Tie { slot }),
            OpCode::NewRoot
            | OpCode::Bind
            | OpCode::BindSlot
            | OpCode::BindMapped
            | OpCode::Tmpfs
            | OpCode::Proc
            | OpCode::Devpts
            | OpCode::Mqueue
            | OpCode::Overlay
            | OpCode::Symlink
            | OpCode::Directory
            | OpCode::FileSlot
            | OpCode::Chmod
            | OpCode::Propagation
            | OpCode::Attributes
            | OpCode::Unmount
            | OpCode::EnterRoot => {
                Op::Mount(mount::wild(code, slot, self.flags, self.numbers, &mounts, self.tame))
            }
            OpCode::JoinNamespace
            | OpCode::UserNamespace
            | OpCode::MappedUserNamespace
            | OpCode::Unshare
            | OpCode::ClockOffset
            | OpCode::PidNamespace
            | OpCode::HostName
            | OpCode::DomainName
            | OpCode::Loopback
            | OpCode::NestedUserNamespace => Op::Namespace(namespace::wild(
                code,
                slot,
                self.flags,
                self.numbers,
                &spaces,
                self.tame,
            )),
            OpCode::ExecPath => Op::ExecPath { path: &first, flags: shell },
            OpCode::ExecSlot => Op::ExecSlot { slot, flags: open },
            OpCode::ExecName => Op::ExecName { name: &first, search: &second, flags: shell },
        });
    }
}
