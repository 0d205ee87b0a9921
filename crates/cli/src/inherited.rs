//! The descriptors that the caller of this command left open for it, by number.
//!
//! They are taken before anything else is opened: a number that is free would otherwise be ours by
//! the time it is looked at. It must never grant what this process opened for itself.

use crate::failure::Failure;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};
use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;

/// Descriptors of the caller by the numbers that it has for them.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    fds: BTreeMap<u32, OwnedFd>,
    looking: bool,
}

impl Inherited {
    /// Takes the descriptors with these numbers.
    pub(crate) fn take(numbers: impl IntoIterator<Item = u32>) -> Result<Self, Failure> {
        let numbers: Vec<u32> = numbers.into_iter().collect();
        for number in &numbers {
            if embryo_syscall::fcntl_getfd(*number as i32).is_err() {
                return Err(Failure::new(format!("descriptor {number} is not open in the caller"))
                    .hint(format!(
                        "in a shell, {number}<FILE opens a file as descriptor {number}"
                    )));
            }
        }
        let mut inherited = Self::default();
        for number in numbers {
            let fd = duplicate(number as i32)
                .map_err(|errno| Failure::io("cannot take descriptor", number, &errno.into()))?;
            inherited.fds.insert(number, fd);
        }
        Ok(inherited)
    }

    /// Says whether nothing is to be started: then no file is made, emptied or opened for writing.
    pub(crate) fn looking(self, looking: bool) -> Self {
        Self { looking, ..self }
    }

    /// Whether nothing is to be started.
    pub(crate) fn is_looking(&self) -> bool {
        self.looking
    }

    /// A handle of its own for the caller's descriptor `number`.
    pub(crate) fn get(&self, number: u32) -> Result<OwnedFd, Failure> {
        let fd = self.fds.get(&number).map(OwnedFd::try_clone);
        let fd = fd.unwrap_or_else(|| Err(rustix::io::Errno::BADF.into()));
        fd.map_err(|error| Failure::io("cannot take descriptor", number, &error))
    }
}

/// Makes an owned handle from a number without claiming the number: the kernel passes it through a
/// socket to ourselves, as it does between processes.
fn duplicate(number: i32) -> rustix::io::Result<OwnedFd> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    embryo_syscall::send_with_fds(ours.as_raw_fd(), &[0], &[], &[number])
        .map_err(|errno| rustix::io::Errno::from_raw_os_error(errno.number().into()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8];
    let mut iov = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(&theirs, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut arrived = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    arrived.next().ok_or(rustix::io::Errno::BADF)
}

#[cfg(test)]
mod tests {
    use super::Inherited;
    use rustix::fd::AsRawFd;
    use std::io::{Read, Write};

    #[test]
    fn a_number_becomes_a_handle_of_its_own() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
        let number = writer.as_raw_fd().unsigned_abs();
        let inherited = Inherited::take([number]).expect("it is open");
        let mut copy = std::fs::File::from(inherited.get(number).expect("it was taken"));
        drop((writer, inherited));
        copy.write_all(b"x").expect("the copy works");
        drop(copy);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("the other end works");
        assert_eq!(text, "x");
    }

    #[test]
    fn a_closed_number_is_an_error_and_a_foreign_one_too() {
        let failure = Inherited::take([1_000_000]).expect_err("it is not open");
        assert!(failure.message().contains("descriptor 1000000 is not open"));
        assert!(Inherited::default().get(0).is_err());
    }
}
