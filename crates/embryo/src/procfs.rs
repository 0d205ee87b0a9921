//! The one thing that only /proc tells of another process.

/// The name of a process that has not been reaped (`comm`); its program's, once it has one.
pub(crate) fn name(pid: i32) -> Option<Vec<u8>> {
    let mut name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    // The name itself may hold any byte.
    name.pop_if(|last| *last == b'\n');
    Some(name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_comes_without_its_newline() {
        let check = || {
            rustix::thread::set_name(c"a) b\nc\n").expect("it is short enough");
            super::name(rustix::thread::gettid().as_raw_pid())
        };
        let name = std::thread::spawn(check).join().expect("it does not panic");
        assert_eq!(name.as_deref(), Some(&b"a) b\nc\n"[..]));
    }
}
