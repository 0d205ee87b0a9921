//! Moving the vdso, or doing away with it.
//!
//! It is code of the kernel's (`[vdso]`) and in front of it the data that it reads (`[vvar]` and the
//! like), which it finds by distance: so all of it goes together. Where it lies /proc tells alone.

use crate::memory::{Own, map_reserved, spare};
use crate::ops::borrow;
use embryo_plan::limits;
use embryo_syscall::{self as sys, Errno, Result};

/// There is no vdso.
const NONE: Errno = Errno::new(6);
/// Mappings that it may have, on any kernel.
const PIECES_MAX: usize = 8;

/// Where it lies: address and length of each mapping, ascending.
struct Vdso {
    pieces: [[u64; 2]; PIECES_MAX],
    count: usize,
    /// The address of the code.
    code: u64,
}

impl Vdso {
    fn pieces(&self) -> &[[u64; 2]] {
        self.pieces.get(..self.count).unwrap_or(&[])
    }

    /// First address and length of all of it, if nothing else lies in between.
    fn span(&self) -> Option<[u64; 2]> {
        let [first, _] = *self.pieces().first()?;
        let [last, len] = *self.pieces().last()?;
        let span = last.wrapping_add(len).wrapping_sub(first);
        let sum = self.pieces().iter().fold(0u64, |sum, [_, len]| sum.wrapping_add(*len));
        (sum == span).then_some([first, span])
    }

    fn find() -> Result<Self> {
        let mut vdso = Self { pieces: [[0; 2]; PIECES_MAX], count: 0, code: 0 };
        let fd = sys::open(c"/proc/self/maps", 0)?;
        let read = vdso.read(fd);
        let _ = sys::close(fd);
        read?;
        if vdso.code == 0 { Err(NONE) } else { Ok(vdso) }
    }

    fn read(&mut self, fd: i32) -> Result<()> {
        let mut line = Line::new();
        let mut buffer = [0u8; 2048];
        loop {
            let count = match rustix::io::read(borrow(fd)?, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            for byte in buffer.get(..count).unwrap_or(&[]) {
                if *byte == b'\n' {
                    self.take(&line)?;
                    line = Line::new();
                } else {
                    line.take(*byte);
                }
            }
        }
    }

    fn take(&mut self, line: &Line) -> Result<()> {
        let name = line.name();
        if name == b"[vdso]" {
            self.code = line.from;
        } else if !name.starts_with(b"[vvar") {
            return Ok(());
        }
        let piece = self.pieces.get_mut(self.count).ok_or(Errno::TOOBIG)?;
        *piece = [line.from, line.to.wrapping_sub(line.from)];
        self.count = self.count.wrapping_add(1);
        Ok(())
    }
}

/// A line of /proc/PID/maps as it comes in: range, permissions, offset, device, inode, name.
struct Line {
    from: u64,
    to: u64,
    field: u32,
    between: bool,
    name: [u8; 16],
    len: usize,
}

impl Line {
    const NAME: u32 = 5;

    const fn new() -> Self {
        Self { from: 0, to: 0, field: 0, between: false, name: [0; 16], len: 0 }
    }

    fn take(&mut self, byte: u8) {
        if byte == b' ' && self.field < Self::NAME {
            self.between = true;
            return;
        }
        if self.between {
            self.field = self.field.wrapping_add(1);
            self.between = false;
        }
        match (self.field, byte) {
            (0, b'-') => (self.from, self.to) = (self.to, 0),
            (0, digit) => {
                let digit = match digit {
                    b'0'..=b'9' => digit.wrapping_sub(b'0'),
                    _ => digit.wrapping_sub(b'a').wrapping_add(10) & 15,
                };
                self.to = self.to.wrapping_shl(4) | u64::from(digit);
            }
            (Self::NAME, byte) => {
                if let Some(to) = self.name.get_mut(self.len) {
                    *to = byte;
                }
                self.len = self.len.wrapping_add(1);
            }
            _ => {}
        }
    }

    /// The name, if it is a short one; all that are looked for are.
    fn name(&self) -> &[u8] {
        self.name.get(..self.len).unwrap_or(&[])
    }
}

/// Moves it so that it begins at `to`, which nothing may occupy, or where the kernel finds room
/// if that is 0. Answers where its code is then.
pub(crate) fn relocate(to: u64, own: &Own) -> Result<u64> {
    let vdso = Vdso::find()?;
    let [from, span] = vdso.span().ok_or(Errno::INVAL)?;
    spare(own, to, span)?;
    // With five levels of page tables there is memory beyond, which no plan can name.
    if to.saturating_add(span) > limits::ADDRESS_END {
        return Err(Errno::NOMEM);
    }
    let at = map_reserved(to, span)?;
    let target = |start: u64| at.wrapping_add(start.wrapping_sub(from));
    for (index, [start, len]) in vdso.pieces().iter().enumerate() {
        // SAFETY: the range was reserved for it just now, and nothing here calls the vdso.
        let moved = unsafe { sys::mremap(*start, *len, target(*start), *len) };
        if let Err(errno) = moved {
            for [start, len] in vdso.pieces().get(..index).unwrap_or(&[]) {
                // SAFETY: back to where it came from, which is still free.
                let _ = unsafe { sys::mremap(target(*start), *len, *start, *len) };
            }
            // SAFETY: what is left there is the reservation.
            let _ = unsafe { sys::munmap(at, span) };
            return Err(errno);
        }
    }
    Ok(target(vdso.code))
}

/// Unmaps it.
pub(crate) fn remove() -> Result<()> {
    let vdso = Vdso::find()?;
    vdso.pieces().iter().try_for_each(|[from, len]| {
        // SAFETY: the kernel's own mapping, which nothing here calls.
        unsafe { sys::munmap(*from, *len) }
    })
}

#[cfg(test)]
mod tests {
    use super::{Line, Vdso};

    fn read(text: &str) -> Vdso {
        let mut vdso = Vdso { pieces: [[0; 2]; 8], count: 0, code: 0 };
        for text in text.lines() {
            let mut line = Line::new();
            text.bytes().for_each(|byte| line.take(byte));
            vdso.take(&line).expect("there are few");
        }
        vdso
    }

    #[test]
    fn it_is_found_between_its_neighbours_and_not_by_a_files_name() {
        let vdso = read(
            "7f00-7f01 r-xp 00000000 fe:00 17                 /tmp/a [vdso]\n\
             7f10-7f20 r--p 00000000 00:00 0                  [vdso] [vdso]\n\
             7ffff7fb9000-7ffff7fbd000 r--p 00000000 00:00 0                          [vvar]\n\
             7ffff7fbd000-7ffff7fbf000 r--p 00000000 00:00 0                  [vvar_vclock]\n\
             7ffff7fbf000-7ffff7fc1000 r-xp 00000000 00:00 0                          [vdso]\n\
             7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0                          [stack]\n\
             ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0              [vsyscall]",
        );
        assert_eq!(vdso.code, 0x7fff_f7fb_f000);
        assert_eq!(vdso.count, 3);
        assert_eq!(vdso.span(), Some([0x7fff_f7fb_9000, 0x8000]));
    }

    #[test]
    fn one_in_two_places_has_no_span() {
        let vdso = read("1000-2000 r--p 0 0:0 0 [vvar]\n3000-4000 r-xp 0 0:0 0 [vdso]");
        assert_eq!((vdso.count, vdso.span()), (2, None));
        assert_eq!(read("1000-2000 r--p 0 0:0 0 ").span(), None);
    }
}
