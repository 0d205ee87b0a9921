//! The architectures that a guest can have, and how QEMU, Debian and the C compiler call things
//! there.

use std::path::Path;

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    pub(crate) const HOST: Self =
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The `e_machine` of its executables.
    pub(crate) fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }

    /// The C compiler that makes its programs, and the package with that.
    pub(crate) fn compiler(self) -> (&'static str, &'static str) {
        match self {
            _ if self == Self::HOST => ("cc", "gcc libc6-dev"),
            Self::X86_64 => ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
            Self::Aarch64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        }
    }

    pub(crate) fn qemu(self) -> (&'static str, &'static str) {
        match self {
            Self::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Self::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
        }
    }

    pub(crate) fn machine(self) -> &'static str {
        match self {
            Self::X86_64 => "q35",
            Self::Aarch64 => "virt",
        }
    }

    /// The guest's serial lines: for the kernel's messages, the program's output, init's reports.
    pub(crate) fn lines(self) -> [&'static str; 3] {
        match self {
            Self::X86_64 => ["ttyS0", "ttyS1", "ttyS2"],
            Self::Aarch64 => ["ttyAMA0", "ttyS0", "ttyS1"],
        }
    }

    /// QEMU's options for those lines: the two files, and the program's output on QEMU's own
    /// standard output.
    pub(crate) fn line_options(self, console: &Path, reports: &Path) -> Vec<String> {
        let (console, reports) = (console.display(), reports.display());
        let console = ["-serial".into(), format!("file:{console}")];
        let rest = match self {
            Self::X86_64 => ["-serial", "stdio", "-serial", &format!("file:{reports}")]
                .map(String::from)
                .to_vec(),
            // The board has one serial line of its own.
            Self::Aarch64 => [
                "-chardev",
                "stdio,id=output",
                "-chardev",
                &format!("file,id=reports,path={reports}"),
                "-device",
                "pci-serial-2x,chardev1=output,chardev2=reports",
            ]
            .map(String::from)
            .to_vec(),
        };
        console.into_iter().chain(rest).collect()
    }
}
