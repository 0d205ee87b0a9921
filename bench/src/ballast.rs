//! What the parent is loaded with at one point of an axis, and put down again on drop.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::{fs, io};

use rustix::process::{self, Resource, Rlimit};

use crate::axis::Axis;
use crate::mapping::{Mapping, PAGE};

/// Descriptors that the benchmark itself needs beside the ballast.
const FD_RESERVE: u64 = 512;
/// Memory that must stay free beside the ballast.
const MEMORY_RESERVE: usize = 1 << 30;
/// Parked threads need next to no stack.
const THREAD_STACK: usize = 64 * 1024;

/// The load of one point.
#[derive(Debug)]
pub(crate) struct Ballast {
    _memory: Option<Mapping>,
    _descriptors: Vec<OwnedFd>,
    _threads: Parked,
}

impl Ballast {
    /// Loads the parent with `value` of `axis`. An error says why this machine cannot.
    pub(crate) fn load(axis: Axis, value: usize) -> Result<Self, String> {
        let mut ballast =
            Self { _memory: None, _descriptors: Vec::new(), _threads: Parked::default() };
        match axis {
            Axis::Memory if value > 0 => ballast._memory = Some(dirty_memory(value)?),
            Axis::Mappings if value > 0 => ballast._memory = Some(mappings(value)?),
            Axis::Descriptors => ballast._descriptors = descriptors(value)?,
            Axis::Threads => ballast._threads = Parked::start(value.saturating_sub(1))?,
            Axis::Memory | Axis::Mappings => {}
        }
        Ok(ballast)
    }
}

/// Raises RLIMIT_NOFILE so that `count` more descriptors fit, as far as it can be raised.
pub(crate) fn raise_descriptor_limit(count: usize) {
    let wanted = count as u64 + FD_RESERVE;
    let limit = process::getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let hard = limit.maximum.map(|maximum| maximum.max(wanted));
    let raised = Rlimit { current: Some(wanted), maximum: hard };
    if process::setrlimit(Resource::Nofile, raised).is_ok() {
        return;
    }
    // Without CAP_SYS_RESOURCE the hard limit stands. The point that does not fit will say so.
    let highest = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = process::setrlimit(Resource::Nofile, highest);
}

fn dirty_memory(size: usize) -> Result<Mapping, String> {
    let available = memory_available().map_err(|error| format!("/proc/meminfo: {error}"))?;
    if size.saturating_add(MEMORY_RESERVE) > available {
        return Err(format!("only {} MiB of memory are available", available >> 20));
    }
    let memory = Mapping::new(size).map_err(|error| format!("mmap: {error}"))?;
    memory.dirty();
    Ok(memory)
}

fn mappings(count: usize) -> Result<Mapping, String> {
    let memory = Mapping::new(count * PAGE).map_err(|error| format!("mmap: {error}"))?;
    memory.dirty();
    memory.split().map_err(|error| {
        format!("mprotect: {error} (vm.max_map_count bounds the mappings of a process)")
    })?;
    Ok(memory)
}

fn descriptors(count: usize) -> Result<Vec<OwnedFd>, String> {
    let limit = process::getrlimit(Resource::Nofile).current;
    if limit.is_some_and(|limit| limit < count as u64 + FD_RESERVE) {
        let limit = limit.unwrap_or(0);
        return Err(format!("RLIMIT_NOFILE is {limit} and may not be raised"));
    }
    // Duplicates share one open file: what is measured is the table, whose slots they fill.
    let null = File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    let mut descriptors = Vec::with_capacity(count);
    for _ in 0..count {
        let fd = rustix::io::fcntl_dupfd_cloexec(&null, 3)
            .map_err(|error| format!("dup after {} descriptors: {error}", descriptors.len()))?;
        descriptors.push(fd);
    }
    Ok(descriptors)
}

fn memory_available() -> io::Result<usize> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = text.lines().find_map(|line| {
        let rest = line.strip_prefix("MemAvailable:")?;
        rest.split_whitespace().next()?.parse::<usize>().ok()
    });
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("it has no MemAvailable"))
}

/// Threads that do nothing until they are dropped.
#[derive(Debug, Default)]
struct Parked {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Parked {
    fn start(count: usize) -> Result<Self, String> {
        let mut parked = Self::default();
        for _ in 0..count {
            let done = Arc::clone(&parked.done);
            let thread = thread::Builder::new().stack_size(THREAD_STACK).spawn(move || {
                while !done.load(Ordering::Acquire) {
                    thread::park();
                }
            });
            parked.threads.push(thread.map_err(|error| format!("a thread: {error}"))?);
        }
        Ok(parked)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A parked thread runs no code that could panic.
            let _ = thread.join();
        }
    }
}
