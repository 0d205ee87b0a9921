//! Images and registers of aarch64.

use embryo::{ArmRegs, Regset};

pub(crate) const IS_X86: bool = false;
pub(crate) const NUMBER_OF_GETPID: libc::c_long = libc::SYS_getpid;

/// What a thread starts with.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    regs: ArmRegs,
    state: Vec<u8>,
}

impl Registers {
    /// At this instruction, with a stack of one page here.
    pub(crate) fn at(instruction: u64, stack: u64) -> Self {
        Self { regs: ArmRegs::at(instruction, stack + 4096), state: Vec::new() }
    }

    pub(crate) fn arguments(mut self, arguments: [u64; 3]) -> Self {
        for (register, value) in self.regs.x.iter_mut().zip(arguments) {
            *register = value.into();
        }
        self
    }

    pub(crate) fn thread_pointer(mut self, at: u64) -> Self {
        self.regs.tpidr = at.into();
        self
    }

    pub(crate) fn state(mut self, state: &[u8]) -> Self {
        self.state = state.to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        Regset::Arm(self.regs).with_state(&self.state)
    }
}

/// Position-independent code. The arguments are in x0, x1 and x2.
macro_rules! code {
    ($($(#[$doc:meta])* $name:ident { $($line:literal),* $(,)? })*) => {
        pub(crate) mod code {
            $(
                core::arch::global_asm!(
                    concat!(".globl embryo_test_", stringify!($name)),
                    concat!("embryo_test_", stringify!($name), ":"),
                    $($line,)*
                    concat!(".globl embryo_test_", stringify!($name), "_end"),
                    concat!("embryo_test_", stringify!($name), "_end:"),
                );
                $(#[$doc])*
                pub(crate) fn $name() -> &'static [u8] {
                    unsafe extern "C" {
                        #[link_name = concat!("embryo_test_", stringify!($name))]
                        static FROM: u8;
                        #[link_name = concat!("embryo_test_", stringify!($name), "_end")]
                        static TO: u8;
                    }
                    let from = &raw const FROM;
                    let len = (&raw const TO as usize) - from as usize;
                    // SAFETY: the code stands between the two labels, and nobody writes to it.
                    unsafe { std::slice::from_raw_parts(from, len) }
                }
            )*
        }
    };
}

code! {
    /// exit_group(first argument).
    leave { "mov x8, #94", "svc #0" }
    /// write(first, second, third), then _exit(7).
    cell { "mov x8, #64", "svc #0", "mov x0, #7", "mov x8, #93", "svc #0", "brk #1" }
    /// exit_group(-getpid()), which is the errno where it is refused.
    curious { "mov x8, #172", "svc #0", "neg x0, x0", "mov x8, #94", "svc #0" }
    /// For ever: ppoll of nothing.
    stay {
        "2: mov x0, #0", "mov x1, #0", "mov x2, #0", "mov x3, #0", "mov x8, #73", "svc #0", "b 2b",
    }
    /// For ever, without a call.
    stay_without_calls { "2: yield", "b 2b" }
    /// What the thread pointer points to is written to the first, one added to the second; _exit(0).
    member {
        "mrs x9, tpidr_el0", "ldr x9, [x9]", "str x9, [x0]", "2: ldaxr x9, [x1]",
        "add x9, x9, #1", "stlxr w10, x9, [x1]", "cbnz w10, 2b", "mov x0, #0", "mov x8, #93",
        "svc #0", "brk #1",
    }
    /// Waits until as many words as the second says are zero from the first on; exit_group(9).
    leader {
        "mov x20, x0", "2: cbz x1, 4f", "3: ldar w9, [x20]", "cbz w9, 5f", "mov x8, #124", "svc #0",
        "b 3b", "5: add x20, x20, #4", "sub x1, x1, #1", "b 2b", "4: mov x0, #9", "mov x8, #94",
        "svc #0", "brk #1",
    }
    /// v3, v31, fpcr and fpsr to the first; exit_group(0).
    vectors {
        "str q3, [x0]", "str q31, [x0, #32]", "mrs x9, fpcr", "str x9, [x0, #64]",
        "mrs x9, fpsr", "str x9, [x0, #72]", "mov x0, #0", "mov x8, #94", "svc #0",
    }
}
