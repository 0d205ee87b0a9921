//! Images and registers of x86_64.

use embryo::{Regset, X86Regs};

pub(crate) const IS_X86: bool = true;
pub(crate) const NUMBER_OF_GETPID: libc::c_long = libc::SYS_getpid;

/// What a thread starts with.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    regs: X86Regs,
    state: Vec<u8>,
}

impl Registers {
    /// At this instruction, with a stack of one page here.
    pub(crate) fn at(instruction: u64, stack: u64) -> Self {
        Self { regs: X86Regs::at(instruction, stack + 4096), state: Vec::new() }
    }

    pub(crate) fn arguments(mut self, [a, b, c]: [u64; 3]) -> Self {
        (self.regs.rdi, self.regs.rsi, self.regs.rdx) = (a.into(), b.into(), c.into());
        self
    }

    pub(crate) fn thread_pointer(mut self, at: u64) -> Self {
        self.regs.fs_base = at.into();
        self
    }

    pub(crate) fn gs_base(mut self, at: u64) -> Self {
        self.regs.gs_base = at.into();
        self
    }

    pub(crate) fn state(mut self, state: &[u8]) -> Self {
        self.state = state.to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        Regset::X86(self.regs).with_state(&self.state)
    }
}

/// Position-independent code. The arguments are in rdi, rsi and rdx.
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
    leave { "mov eax, 231", "syscall" }
    /// write(first, second, third), then _exit(7).
    cell { "mov eax, 1", "syscall", "mov edi, 7", "mov eax, 60", "syscall", "ud2" }
    /// exit_group(-getpid()), which is the errno where it is refused.
    curious { "mov eax, 39", "syscall", "neg eax", "mov edi, eax", "mov eax, 231", "syscall" }
    /// For ever.
    stay { "2: mov eax, 34", "syscall", "jmp 2b" }
    /// For ever, without a call.
    stay_without_calls { "2: pause", "jmp 2b" }
    /// What the thread pointer points to is written to the first, one added to the second; _exit(0).
    member {
        "mov rax, fs:[0]", "mov [rdi], rax", "lock inc qword ptr [rsi]", "xor edi, edi",
        "mov eax, 60", "syscall", "ud2",
    }
    /// Waits until as many words as the second says are zero from the first on; exit_group(9).
    leader {
        "2: test rsi, rsi", "jz 4f", "3: cmp dword ptr [rdi], 0", "je 5f", "mov eax, 24", "syscall",
        "jmp 3b", "5: add rdi, 4", "dec rsi", "jmp 2b", "4: mov edi, 9", "mov eax, 231", "syscall",
        "ud2",
    }
    /// exit_group(what the gs base points to).
    by_gs { "mov rdi, gs:[0]", "mov eax, 231", "syscall" }
    /// xmm3, ymm4, mxcsr and the x87 control word to the first; exit_group(0).
    vectors {
        "movups [rdi], xmm3", "vmovups [rdi + 32], ymm4", "stmxcsr [rdi + 64]", "fnstcw [rdi + 72]",
        "xor edi, edi", "mov eax, 231", "syscall",
    }
    /// xmm3, xmm4, mxcsr and the x87 control word to the first; exit_group(0).
    legacy_vectors {
        "movups [rdi], xmm3", "movups [rdi + 32], xmm4", "stmxcsr [rdi + 64]", "fnstcw [rdi + 72]",
        "xor edi, edi", "mov eax, 231", "syscall",
    }
}
