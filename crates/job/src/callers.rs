//! The descriptors that were left open for this process, by number.
//!
//! They are taken before anything else is opened: a number that is free would otherwise be ours by
//! the time it is looked at. It must never grant what this process opened for itself.

use crate::error::Error;
use crate::fill::place;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;

/// Descriptors of the caller by the numbers that it has for them.
#[derive(Debug, Default)]
pub struct Callers {
    fds: BTreeMap<u32, OwnedFd>,
    looking: bool,
    stand_in: bool,
}

impl Callers {
    /// Takes the descriptors with these numbers.
    ///
    /// # Errors
    /// One is not open.
    pub fn take(numbers: impl IntoIterator<Item = u32>) -> Result<Self, Error> {
        let numbers: BTreeSet<u32> = numbers.into_iter().collect();
        for number in &numbers {
            if embryo_syscall::fcntl_getfd(*number as i32).is_err() {
                return Err(Error::new(format!("descriptor {number} is not open in the caller"))
                    .with_hint(format!(
                        "in a shell, {number}<FILE opens a file as descriptor {number}"
                    )));
            }
        }
        let mut inherited = Self::default();
        for number in numbers {
            let fd = duplicate(number as i32)
                .map_err(|errno| Error::io("cannot take descriptor", number, &errno.into()))?;
            inherited.fds.insert(number, fd);
        }
        Ok(inherited)
    }

    /// Takes those that are open, for who wants to look and not to start anything: the others are
    /// stood in for.
    ///
    /// # Errors
    /// One that is open cannot be taken.
    pub fn take_open(numbers: impl IntoIterator<Item = u32>) -> Result<Self, Error> {
        let open = |number: &u32| embryo_syscall::fcntl_getfd(*number as i32).is_ok();
        let mut callers = Self::take(numbers.into_iter().filter(open))?.looking(true);
        callers.stand_in = true;
        Ok(callers)
    }

    /// Says whether nothing is to be started: then no file is made, emptied or opened for writing.
    #[must_use]
    pub fn looking(self, looking: bool) -> Self {
        Self { looking, ..self }
    }

    /// Whether nothing is to be started.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.looking
    }

    /// A handle of its own for the caller's descriptor `number`.
    ///
    /// # Errors
    /// It was not taken.
    pub fn get(&self, number: u32) -> Result<OwnedFd, Error> {
        if self.stand_in && !self.fds.contains_key(&number) {
            return place("/dev/null");
        }
        let fd = self.fds.get(&number).map(OwnedFd::try_clone);
        let fd = fd.unwrap_or_else(|| Err(rustix::io::Errno::BADF.into()));
        fd.map_err(|error| Error::io("cannot take descriptor", number, &error))
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
    use super::Callers;
    use rustix::fd::AsRawFd;
    use std::io::{Read, Write};

    #[test]
    fn a_number_becomes_a_handle_of_its_own() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
        let number = writer.as_raw_fd().unsigned_abs();
        let inherited = Callers::take([number]).expect("it is open");
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
        let failure = Callers::take([1_000_000]).expect_err("it is not open");
        assert!(failure.to_string().contains("descriptor 1000000 is not open"));
        assert!(Callers::default().get(0).is_err());
    }
}
