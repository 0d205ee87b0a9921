//! A server that launches a child for each request, and what its event loop feels of that.
//!
//! It is a big one: gigabytes of memory that it has written to, and thousands of open sockets. Its
//! one thread serves requests over a Unix socket, each by the output of a child, which it launches
//! with `tokio::process::Command`, with posix_spawn(3), and from a hatchery. Beside that a task only
//! looks at the clock whenever the loop gets round to it: what it misses is a stall.
//!
//! `server [GIB] [SOCKETS] [REQUESTS]`: 4, 20000 (as far as the limit goes) and 200 if not given.

use embryo::{Hatchery, SpawnOptions, Stdio};
use std::cell::Cell;
use std::error::Error;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as Client;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The ways to launch; a request begins with the number of one.
const WAYS: [&str; 3] = ["std::process", "posix_spawn", "hatchery"];
const GIB: usize = 1 << 30;
/// Descriptors that are left for the server itself and what it keeps.
const SPARE_FDS: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut next = |default| numbers.next().unwrap_or(Ok(default));
    let (gib, sockets, requests) = (next(4)?, next(20_000)?, next(200)?);

    let ballast = written_memory(gib * GIB);
    let open = open_sockets(sockets)?;
    println!("{gib} GiB of written memory, {} open sockets, {requests} requests each", open.len());
    println!("stall of the event loop, in microseconds:");
    println!("{:>14} {:>10} {:>10} {:>10}", "", "p50", "p99", "worst");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stalls = tokio::task::LocalSet::new().block_on(&runtime, serve(requests))?;
    for (way, mut stalls) in WAYS.into_iter().zip(stalls) {
        stalls.sort();
        let at =
            |part: f64| stalls[((stalls.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
        println!("{way:>14} {:>10.1} {:>10.1} {:>10.1}", at(0.5), at(0.99), at(1.0));
    }
    drop((ballast, open));
    Ok(())
}

/// Memory that is there because something was written to each of its pages.
fn written_memory(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(memory)
}

/// As many as were asked for, or as the limit on open files allows.
fn open_sockets(count: usize) -> std::io::Result<Vec<Client>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    let count = count.min(limit.rlim_cur.saturating_sub(SPARE_FDS) as usize);
    let pairs = (0..count.div_ceil(2)).map(|_| Client::pair()).collect::<Result<Vec<_>, _>>()?;
    Ok(pairs.into_iter().flat_map(|(one, other)| [one, other]).collect())
}

/// Serves that many requests in each way; returns the longest stall during each.
async fn serve(requests: usize) -> Result<[Vec<Duration>; 3], Box<dyn Error>> {
    let socket = std::env::temp_dir().join(format!("embryo-server-{}", std::process::id()));
    let listener = UnixListener::bind(&socket)?;
    let hatchery = Hatchery::builder().size(16).build()?;
    let stall = Rc::new(Cell::new(Duration::ZERO));
    let heart = tokio::task::spawn_local(beat(Rc::clone(&stall)));
    let client = std::thread::spawn({
        let socket = socket.clone();
        move || ask(&socket, requests)
    });

    let mut stalls: [Vec<Duration>; 3] = Default::default();
    for _ in 0..requests * WAYS.len() {
        let (mut connection, _) = listener.accept().await?;
        stall.set(Duration::ZERO);
        let way = usize::from(connection.read_u8().await?);
        let output = match way {
            0 => by_std().await,
            1 => by_posix_spawn().await,
            _ => by_hatchery(&hatchery).await,
        }?;
        connection.write_all(&output).await?;
        close(connection).await?;
        // The heart has to notice before the longest stall is known.
        tokio::task::yield_now().await;
        stalls[way].push(stall.get());
    }
    heart.abort();
    std::fs::remove_file(&socket)?;
    client.join().map_err(|_| "the client failed")??;
    Ok(stalls)
}

async fn close(mut connection: UnixStream) -> std::io::Result<()> {
    connection.shutdown().await
}

/// Looks at the clock each time round the loop, and remembers the longest time that took.
async fn beat(longest: Rc<Cell<Duration>>) {
    let mut last = Instant::now();
    loop {
        tokio::task::yield_now().await;
        let now = Instant::now();
        longest.set(longest.get().max(now - last));
        last = now;
    }
}

/// The client: one request at a time, and each is answered by what the child printed.
fn ask(socket: &PathBuf, requests: usize) -> std::io::Result<()> {
    for _ in 0..requests {
        for (way, name) in WAYS.iter().enumerate() {
            let mut connection = Client::connect(socket)?;
            connection.write_all(&[way as u8])?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            assert_eq!(answer, "hello\n", "{name}");
            // A moment in which the server is idle, as servers are.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

const PROGRAM: &str = "/bin/echo";

async fn by_std() -> std::io::Result<Vec<u8>> {
    let output = tokio::process::Command::new(PROGRAM).arg("hello").output().await?;
    Ok(output.stdout)
}

async fn by_hatchery(hatchery: &Hatchery) -> std::io::Result<Vec<u8>> {
    let launching = embryo::Command::new(PROGRAM)
        .arg("hello")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn_options(SpawnOptions::new())
        .hatchery(hatchery)
        .launch()?;
    let mut process = launching.await?;
    let mut output = Vec::new();
    if let Some(mut stdout) = process.take_stdio()?.stdout {
        stdout.read_to_end(&mut output).await?;
    }
    process.wait().await?;
    Ok(output)
}

/// What the other two are measured against, as a C program would do it.
async fn by_posix_spawn() -> std::io::Result<Vec<u8>> {
    let (reader, writer) = std::io::pipe()?;
    let pid = posix_spawn(Path::new(PROGRAM), "hello", &writer.into())?;
    let mut output = Vec::new();
    let mut stdout = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into())?;
    stdout.read_to_end(&mut output).await?;
    // SAFETY: a child of this process that nobody else waits for; nothing is written.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    Ok(output)
}

fn posix_spawn(program: &Path, argument: &str, stdout: &OwnedFd) -> std::io::Result<libc::pid_t> {
    let program = CString::new(program.as_os_str().as_encoded_bytes())?;
    let argument = CString::new(argument)?;
    let argv = [program.as_ptr().cast_mut(), argument.as_ptr().cast_mut(), std::ptr::null_mut()];
    let envp = [std::ptr::null_mut()];
    let mut pid = 0;
    let mut actions = std::mem::MaybeUninit::uninit();
    // SAFETY: the function initialises what it is given.
    let mut result = unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) };
    let actions = actions.as_mut_ptr();
    if result == 0 {
        // SAFETY: the actions were initialised.
        result = unsafe { libc::posix_spawn_file_actions_adddup2(actions, stdout.as_raw_fd(), 1) };
    }
    if result == 0 {
        // SAFETY: strings and arrays end with a null and outlive the call.
        result = unsafe {
            let (argv, envp) = (argv.as_ptr(), envp.as_ptr());
            libc::posix_spawn(&mut pid, program.as_ptr(), actions, std::ptr::null(), argv, envp)
        };
    }
    // SAFETY: the actions were initialised; a failure of that is none of this kernel's libc.
    unsafe { libc::posix_spawn_file_actions_destroy(actions) };
    if result == 0 { Ok(pid) } else { Err(std::io::Error::from_raw_os_error(result)) }
}
