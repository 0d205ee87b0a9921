//! One encoded plan, spawned by many threads at once, each time with another pipe.
//!
//! The plan is checked once. It could come from a file, or be sent to another process.

use embryo::{ExecFlags, Op, Plan};
use std::io::{Read, Write};
use std::os::fd::AsFd;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut draft = Plan::builder();
    let (input, output) = (draft.slot(), draft.slot());
    draft
        .op(&Op::PutFd { slot: input, fd: 0 })
        .op(&Op::PutFd { slot: output, fd: 1 })
        .op(&Op::OpenNull { fd: 2, access: embryo::Access::Write })
        .op(&Op::ChdirPath { path: c"/" })
        .op(&Op::Umask { mode: 0o077 })
        .op(&Op::SetSid)
        .op(&Op::ExecName { name: c"cat", search: c"/usr/bin:/bin", flags: ExecFlags::empty() })
        .arg("cat");
    let plan = draft.build()?;
    print!("{plan:?}");

    std::thread::scope(|scope| {
        for number in 0..8 {
            let plan = &plan;
            scope.spawn(move || {
                let word = format!("thread {number}");
                assert_eq!(echo(plan, &word).expect("cat answers"), word);
            });
        }
    });
    println!("8 threads, 8 children, one plan");
    Ok(())
}

/// Spawns the plan with two fresh pipes and sends a word through the child.
fn echo(plan: &Plan, word: &str) -> Result<String, Box<dyn std::error::Error>> {
    let (child_reads, mut we_write) = std::io::pipe()?;
    let (mut we_read, child_writes) = std::io::pipe()?;
    let mut child = embryo::spawn(plan, &[child_reads.as_fd(), child_writes.as_fd()])?;
    drop((child_reads, child_writes));
    we_write.write_all(word.as_bytes())?;
    drop(we_write);
    let mut answer = String::new();
    we_read.read_to_string(&mut answer)?;
    assert!(child.wait()?.success());
    Ok(answer)
}
