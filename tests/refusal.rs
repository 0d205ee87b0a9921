//! A system call that the kernel refuses: the only way to see ops fail whose calls cannot fail by
//! themselves.
//!
//! It must never refuse what a test does not name: a filter stays for the rest of the process, so
//! this is for tests that run alone.

#![allow(dead_code, reason = "every test that includes this uses a part of it")]

/// A call by its number, and which of its uses are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    call: libc::c_long,
    /// The low half of the first argument, if it matters.
    first: Option<u32>,
    /// Whether a second argument of zero is let through: calls that set something and are given
    /// nothing to set only look.
    setting: bool,
    /// What the filter answers.
    answer: u32,
}

impl Refusal {
    /// EPERM to a call whatever its arguments are.
    pub(crate) const fn always(call: libc::c_long) -> Self {
        Self { call, first: None, setting: false, answer: errno(libc::EPERM) }
    }

    /// EPERM to a call with this first argument.
    pub(crate) const fn of(call: libc::c_long, first: u32) -> Self {
        Self { first: Some(first), ..Self::always(call) }
    }

    /// Only where something is set.
    pub(crate) const fn setting(self) -> Self {
        Self { setting: true, ..self }
    }

    /// Another answer than EPERM.
    pub(crate) const fn with(self, number: i32) -> Self {
        Self { answer: errno(number), ..self }
    }

    /// Whoever makes the call is killed by SIGSYS.
    pub(crate) const fn deadly(self) -> Self {
        Self { answer: libc::SECCOMP_RET_KILL_PROCESS, ..self }
    }

    /// Puts it in force for the calling thread and the children that it makes from now on.
    ///
    /// # Panics
    /// If this kernel has no seccomp filters.
    pub(crate) fn enforce(self) {
        // Offsets in struct seccomp_data: the number, the low halves of the first two arguments.
        const NUMBER: u32 = 0;
        const FIRST: u32 = 16;
        const SECOND: u32 = 24;
        let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at);
        let answer = |k| step(libc::BPF_RET | libc::BPF_K, k);
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        // Each condition that does not hold jumps to the next instruction, which allows the call.
        let allow = answer(libc::SECCOMP_RET_ALLOW);
        let only_if = |k| [libc::sock_filter { jt: 1, ..step(equal, k) }, allow];
        let unless = |k| [libc::sock_filter { jf: 1, ..step(equal, k) }, allow];
        let mut program = vec![load(NUMBER)];
        program.extend(only_if(self.call as u32));
        if let Some(first) = self.first {
            program.push(load(FIRST));
            program.extend(only_if(first));
        }
        if self.setting {
            // An address below 4 GiB with a low half of zero is not one that a test passes.
            program.push(load(SECOND));
            program.extend(unless(0));
        }
        program.push(answer(self.answer));
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // Once is enough, and a second time may be refused by now.
        if !embryo_tests::is_root() && rustix::thread::no_new_privs() == Ok(false) {
            rustix::thread::set_no_new_privs(true).expect("anybody may set it");
        }
        // Not seccomp(2), which may be what was refused before.
        let mode = libc::SECCOMP_MODE_FILTER;
        // SAFETY: the kernel reads one sock_fprog and the program it points to, both alive.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
        assert_eq!(result, 0, "no filter: {}", std::io::Error::last_os_error());
    }
}

const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number.cast_unsigned()
}
