//! The ops on namespaces. A process of its own executes them, with one thread and memory of its own.

use crate::fds::Descriptors;
use crate::ops::Context;
use crate::world::Move;
use embryo_plan::{NamespaceOp, Namespaces, UserFlags};
use embryo_syscall::{self as sys, Errno, Result};

const AT_FDCWD: i32 = -100;
const O_WRONLY: u32 = 1;
const O_PATH: u32 = 0o10_000_000;

/// Executes an op on namespaces.
pub(crate) fn apply(op: &NamespaceOp<'_>, context: &mut Context<'_>) -> Result<()> {
    if context.own.is_none() {
        // The memory is somebody else's, so the process is not one of its own.
        return Err(Errno::PERM);
    }
    match *op {
        NamespaceOp::Join { slot, kinds } => {
            let Context { slots, control, owner, world, .. } = context;
            let fds = Descriptors { slots, control: *control, owner: *owner, world: *world };
            let fd = fds.get(slot)?;
            sys::setns(fd, kinds.bits())?;
            context.world.own |= kinds.bits();
            context.world.for_children |= kinds.intersects(Namespaces::PID | Namespaces::TIME);
            Ok(())
        }
        NamespaceOp::User { uid, gid } => {
            keep_proc(context);
            user(context, uid, gid)
        }
        NamespaceOp::NestedUser { uid, gid } => user(context, uid, gid),
        NamespaceOp::MappedUser { flags, .. } => {
            keep_proc(context);
            sys::unshare(Namespaces::USER.bits())?;
            context.world.own |= Namespaces::USER.bits();
            if flags.contains(UserFlags::DENY_SETGROUPS) {
                write(context.world.proc, c"setgroups", b"deny")?;
            }
            let control = context.control;
            executor(context)?.ask_for_maps(control)
        }
        NamespaceOp::Unshare { kinds } => {
            sys::unshare(kinds.bits())?;
            context.world.own |= kinds.bits();
            context.world.for_children |= kinds.contains(Namespaces::TIME);
            Ok(())
        }
        NamespaceOp::ClockOffset { clock, seconds, nanoseconds } => {
            context.world.demand(Namespaces::TIME.bits())?;
            let mut line = Line::new();
            line.number(clock.into());
            line.byte(b' ');
            if seconds < 0 {
                line.byte(b'-');
            }
            line.number(seconds.unsigned_abs());
            line.byte(b' ');
            line.number(nanoseconds.into());
            line.byte(b'\n');
            write(-1, c"timens_offsets", line.bytes())
        }
        NamespaceOp::Pid { pid } => go_on(context, Move::BelowInit(pid)),
        NamespaceOp::HostName { name } => {
            context.world.demand(Namespaces::UTS.bits())?;
            sys::sethostname(name.to_bytes())
        }
        NamespaceOp::DomainName { name } => {
            context.world.demand(Namespaces::UTS.bits())?;
            sys::setdomainname(name.to_bytes())
        }
        NamespaceOp::Loopback => {
            context.world.demand(Namespaces::NET.bits())?;
            sys::loopback_up()
        }
    }
}

/// Goes on in a new process, if some of the namespaces are only those of new ones.
pub(crate) fn enter_own(context: &mut Context<'_>) -> Result<()> {
    if context.world.for_children { go_on(context, Move::Plain) } else { Ok(()) }
}

fn go_on(context: &mut Context<'_>, how: Move) -> Result<()> {
    let (control, owner) = (context.control, context.owner);
    let init = executor(context)?.go_on(control, owner, how)?;
    // This is the new process.
    context.world.for_children = false;
    if init >= 0 {
        context.world.own |= Namespaces::PID.bits();
        context.world.init = init;
    }
    Ok(())
}

fn executor<'a, 'b>(context: &'b mut Context<'a>) -> Result<&'b mut (dyn crate::Executor + 'a)> {
    match &mut context.executor {
        Some(executor) => Ok(&mut **executor),
        None => Err(Errno::PERM),
    }
}

/// Keeps /proc, for the map of a namespace that is made when this root is gone.
fn keep_proc(context: &mut Context<'_>) {
    if context.world.proc < 0 {
        context.world.proc = sys::open_at(AT_FDCWD, c"/proc", O_PATH).unwrap_or(-1);
    }
}

/// A user namespace in which the caller's ids alone are mapped: that much anybody may do.
fn user(context: &mut Context<'_>, uid: u32, gid: u32) -> Result<()> {
    let outside = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
    sys::unshare(Namespaces::USER.bits())?;
    context.world.own |= Namespaces::USER.bits();
    let proc = context.world.proc;
    // In this order: the map of groups is refused until setgroups(2) is.
    let [outside_uid, outside_gid] = outside;
    write(proc, c"uid_map", Line::map(uid, outside_uid).bytes())?;
    write(proc, c"setgroups", b"deny")?;
    write(proc, c"gid_map", Line::map(gid, outside_gid).bytes())
}

/// Writes a file of /proc/self, in one call.
fn write(proc: i32, name: &core::ffi::CStr, text: &[u8]) -> Result<()> {
    let own = match proc {
        0.. => sys::open_at(proc, c"self", O_PATH),
        _ => sys::open_at(AT_FDCWD, c"/proc/self", O_PATH),
    }?;
    let file = sys::open_at(own, name, O_WRONLY);
    let _ = sys::close(own);
    let file = file?;
    let written = sys::write(file, text);
    let _ = sys::close(file);
    if written? == text.len() { Ok(()) } else { Err(Errno::BADMSG) }
}

/// A line of text, as files of /proc take it.
struct Line {
    text: [u8; 64],
    len: usize,
}

impl Line {
    fn new() -> Self {
        Self { text: [0; 64], len: 0 }
    }

    fn map(inside: u32, outside: u32) -> Self {
        let mut line = Self::new();
        line.number(inside.into());
        line.byte(b' ');
        line.number(outside.into());
        line.byte(b' ');
        line.byte(b'1');
        line.byte(b'\n');
        line
    }

    fn byte(&mut self, byte: u8) {
        if let Some(to) = self.text.get_mut(self.len) {
            *to = byte;
            self.len = self.len.wrapping_add(1);
        }
    }

    fn number(&mut self, number: u64) {
        let mut power = 10_000_000_000_000_000_000u64;
        let mut begun = false;
        for _ in 0..20 {
            let digit = number.checked_div(power).unwrap_or(0) % 10;
            begun |= digit != 0 || power == 1;
            if begun {
                self.byte(b'0'.wrapping_add(digit as u8));
            }
            power /= 10;
        }
    }

    fn bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn a_line_says_what_format_would() {
        extern crate std;
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            let mut line = Line::new();
            line.number(number);
            assert_eq!(line.bytes(), std::format!("{number}").as_bytes());
        }
        assert_eq!(Line::map(0, 1000).bytes(), b"0 1000 1\n");
    }
}
