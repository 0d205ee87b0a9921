//! What a child can be confined by here: asked, since a child that tried it would be no wiser.

use super::{Ability, ability};
use embryo_syscall::{self as sys, Errno};

/// Landlock and the actions of filters.
pub(super) fn abilities() -> Vec<Ability> {
    let actions = [
        ("seccomp kill-process", 0x8000_0000, "Linux 4.14; without it a filter ends a thread"),
        ("seccomp log", 0x7ffc_0000, "Linux 4.14"),
        ("seccomp listener", 0x7fc0_0000, "Linux 5.0; without it no call can be asked about"),
    ];
    let known =
        |(name, action, note)| ability(name, sys::seccomp_action_available(action).is_ok(), note);
    actions.map(known).into_iter().chain([landlock()]).collect()
}

fn landlock() -> Ability {
    match sys::landlock_abi() {
        Ok(abi) => ability("Landlock", true, format!("ABI {abi}: {}", knows(abi))),
        Err(Errno::OPNOTSUPP) => {
            ability("Landlock", false, "it was not enabled at boot: add landlock to lsm=")
        }
        Err(_) => ability("Landlock", false, "Linux 5.13 with CONFIG_SECURITY_LANDLOCK"),
    }
}

/// What an ABI can restrict, and what it cannot.
fn knows(abi: u32) -> &'static str {
    match abi {
        0..2 => "files, but for moving them between directories (Linux 5.19)",
        2 => "files, but for truncating them (Linux 6.2)",
        3 => "files; no TCP ports (Linux 6.7)",
        4 => "files, TCP ports; no commands to devices (Linux 6.10)",
        5 => "files, devices, TCP ports; no scopes (Linux 6.12)",
        6 => "files, devices, TCP ports, scopes; what is logged cannot be chosen (Linux 6.15)",
        _ => "files, devices, TCP ports, scopes, what is logged",
    }
}
