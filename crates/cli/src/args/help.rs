//! What stands below the options in `--help` and in the man pages: examples and exit statuses.
//!
//! A line that ends in a colon and is not indented starts a section; the build script makes
//! sections of a man page from them. It must never hold what the options' own help says.

pub(crate) const TOP: &str = "\
Examples:
  embryo run -- git status
      Run a program with stdio, the working directory and a minimal environment.
  embryo run --explain -- git status
      Print what would be done, and do nothing.
  embryo doctor
      List what this kernel and this user can do.

Exit status:
  That of the program, for 'run'. 125 if embryo itself fails. 'embryo run --help' has a table.";

pub(crate) const RUN: &str = "\
Granted unless said otherwise:
  Descriptors 0, 1 and 2; the working directory; the umask; the session with its
  terminal; and of the environment PATH, HOME, TERM, LANG, LC_* and USER. Every
  other descriptor is closed, every signal has its default action and none is
  blocked. --explain prints all of it.

Signals and job control:
  A signal that is sent to embryo is sent on to the program. One that the
  terminal sends to the whole foreground process group (Ctrl-C, Ctrl-\\, Ctrl-Z)
  has reached the program already if it is in that group, and is not sent on. If
  the program stops, embryo stops too; when embryo is continued, so is the
  program. A signal that embryo's caller ignores, embryo ignores; the program
  does so with --keep-ignored-signals, which is what nohup(1) and the background
  jobs of a script need. If embryo is killed with SIGKILL the program goes on,
  unless --pdeathsig KILL ties it to embryo.

Terminal:
  With --pty the program has a terminal of its own, which is the controlling one
  of a new session. Keys go to it as they are, Ctrl-C and Ctrl-Z too, and mean
  there what the program has set. Where no shell inside could notice a stop,
  Ctrl-Z stops the program and embryo, unless the program has a use of its own
  for it. kill -TSTP stops embryo from elsewhere. In the background embryo goes
  on showing output and takes no keys. The window's size is handed on.
  If standard input is no terminal, what is read is typed, without echo, and at
  its end the character that ends a terminal's input. If standard output is no
  terminal, lines end as the program ends them. When nobody reads the output any
  more, or our terminal hangs up, the program's hangs up. When the program has
  ended embryo ends too, also if the program has left others behind. A
  descriptor that is granted is granted: --fd 3=/dev/tty gives our terminal to
  the program. SIGKILL leaves our terminal as it is; reset(1) helps.

Sources:
  --fd, --stdin, --stdout, --stderr and --grant take a number, which is a
  descriptor that the caller has open, or a path with a mode after a colon (a
  file named 3 is ./3):
    r     read; the default except for --stdout and --stderr
    w     write; created if missing and emptied otherwise, as the shell's >
    a     append; created if missing, as the shell's >>
    rw    read and write; created if missing, as the shell's <>
    x     write; it must not exist yet
    path  O_PATH: a place only, for directories and programs

Durations:
  A number with ns, us, ms, s, m or h; without a unit it is seconds, except for
  --timer-slack and --deadline, where it is nanoseconds.

Examples:
  embryo run -- git status
  embryo run --explain -- make -j8
      Print each operation, the arguments and the environment; run nothing.
  embryo run --trace -- true
      Run, and print how each operation went and how long it took.
  embryo run --env RUST_LOG=debug --env 'CARGO_*' -- cargo test
      Set one variable, pass on those that begin with CARGO_.
  embryo run --fd 3=data.bin:r --stdout out.txt -- ./worker
      Grant an open file as descriptor 3 and write standard output to a file.
  embryo run --rlimit nofile=256 --rlimit as=2G --nice 10 --cpus 0-3 -- ./batch
      Limit descriptors and memory, lower the priority, choose CPUs.
  embryo run --user nobody --no-new-privs --chdir / -- ./server
      Become another user, as root, with no way back.
  embryo run --pty --user nobody -- bash
      An interactive shell that cannot type into our terminal.
  embryo run --seccomp-profile default --landlock-exec /usr --landlock-exec /lib \
      --landlock-exec /lib64 --landlock-ro /etc --landlock-rw . -- ./worker
      Confine it to some files, and to the system calls that ordinary programs make.
  embryo run --load -- ./worker
      Start it without execve: embryo maps it into an empty child itself.
  embryo run --plan job.toml --nice 5 -- --verbose
      Run what a file describes, with an option and an argument more.
  embryo run --save plan.bin -- ./worker
  embryo run --plan plan.bin
      Keep a plan as a file, and run it later.

Exit status:
  N      that of the program, if it exited
  128+N  signal N ended the program. embryo ends itself by the same signal, so
         that its caller sees what it would see with env(1), nice(1) or
         timeout(1); a shell calls that 128+N. With --signal-as-status, embryo
         exits with 128+N
  124    --timeout ended the program
  125    embryo failed: a wrong option, a bad plan, or an operation that was refused
  126    the program was found but could not be executed, or the agent of --agent
         refused: the rule of its mandate is printed
  127    the program was not found";

pub(crate) const CONVERT: &str = "\
Forms:
  A job in TOML says what a child is to be; its keys are those of 'embryo schema'. An encoded
  plan is what was made of one, with the environment and the users of that moment. As text it is
  written op by op, and comes back as the same bytes.

Examples:
  embryo convert --to plan job.toml -o job.plan
  embryo convert --to toml job.plan
  embryo convert --to json job.toml

Exit status:
  0      it was written
  1      it is neither a job nor a plan
  125    it could not be read or written";

pub(crate) const IMPORT: &str = "\
What bubblewrap does unasked:
  It is written down in the job: the whole environment with PWD, signals as they
  are, no new privileges, a mount namespace with a root of its own, and for an
  ordinary user a user namespace and no capabilities. The working directory is
  looked for as bubblewrap does: where it is called, if that will be there, else
  HOME, else the root.

What differs:
  bubblewrap leaves every descriptor of its caller's open in the program; a job
  grants those that --fd names. bubblewrap's exit status is the program's, or 128
  and the signal's number, which is --signal-as-status here. An option that a job
  cannot say is an error that names it.

Examples:
  embryo import bwrap -- --ro-bind / / --unshare-all -- ls > job.toml
  embryo run --plan job.toml";

pub(crate) const EXPLAIN: &str = "\
Examples:
  embryo explain job.toml
  embryo run --save plan.bin -- git status
  embryo explain plan.bin

Exit status:
  0      it was printed
  1      it is neither a job nor a plan
  125    it could not be read";

pub(crate) const CHECK: &str = "\
Exit status:
  0      it is a job or a plan
  1      it is not: the line or the entry, and the reason are printed
  125    it could not be read";

pub(crate) const DOCTOR: &str = "\
Exit status:
  0      programs can be started; what cannot be had is listed with the reason
  1      no program can be started here";

pub(crate) const SECCOMP: &str = "\
Examples:
  embryo seccomp show default
      Print the default policy, each rule with its reason.
  embryo seccomp show default --toml > mine.toml
  embryo run --seccomp-policy mine.toml -- ./worker
      Change it, and run a program under it.
  embryo seccomp compile mine.toml > mine.bpf
  bwrap --seccomp 9 ... 9<mine.bpf
      A program for others that take one.

Exit status:
  0      it was done
  1      the file is no policy: the rule and the reason are printed
  125    it could not be read, or there is no such profile";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  source <(embryo completions bash)
  embryo completions fish > ~/.config/fish/completions/embryo.fish";

pub(crate) const GENERATE: &str = "\
Files:
  man/man1/embryo*.1
  bash-completion/completions/embryo
  fish/vendor_completions.d/embryo.fish
  zsh/site-functions/_embryo

Examples:
  embryo generate ~/.local/share
  sudo embryo generate /usr/local/share";

pub(crate) const AGENT: &str = "\
Examples:
  embryo agent check /etc/embryo/agent.toml
      Say what each mandate allows.
  embryo agent run --config agent.toml
      Be an agent.
  embryo run --agent /run/embryo/agent.sock -- cc -c a.c
      Have it start a program.
  embryo agent ps
      List what runs, for whom, under which mandate.";

pub(crate) const AGENT_RUN: &str = "\
Signals:
  SIGHUP     read the file again; if it has a mistake, the old one stays
  SIGTERM    stop: children that do not outlive the agent are killed
  SIGINT     the same
  SIGUSR2    start anew, and keep the children

Service manager:
  Sockets that systemd passes (LISTEN_FDS) are those that the file names by fd-name. READY=1,
  RELOADING=1, STOPPING=1 and WATCHDOG=1 are sent to NOTIFY_SOCKET. If standard error is the
  journal, lines have a priority and no time.

Files:
  /etc/embryo/agent.toml       what it is told, unless --config says otherwise
  /run/embryo/agent.sock       where clients connect, most often
  /run/embryo/operator.sock    where 'embryo agent ps' and others connect

Exit status:
  0      it was stopped
  1      the file has a mistake: the line, the key and the reason are printed
  125    it could not start, or not go on";

pub(crate) const AGENT_CHECK: &str = "\
What is checked:
  Every key and word; that each socket has a mandate; that users, groups, profiles and paths
  that are named are there. A warning is about something that is allowed and perhaps not meant:
  the agent starts all the same.

Exit status:
  0      an agent can use it
  1      it cannot: the line, the key and the reason are printed
  125    it could not be read";

pub(crate) const AGENT_PS: &str = "\
Columns:
  CHILD      its number with the agent, for 'embryo agent kill'
  CLIENT     the uid that asked for it
  UID        the uid that it runs as
  CONN       the connection that asked for it, if that still is
  AGE, LEFT  since when it runs, and how long it still may
  CPU, RSS   its time on a CPU, and its memory

Exit status:
  0      it was printed
  125    the agent cannot be reached
  126    it refuses: the rule of the mandate is printed";

pub(crate) const AGENT_TOP: &str = "\
Keys:
  q or Ctrl-C ends it, and the space bar shows it again at once.

Exit status:
  0      it was ended
  125    the agent cannot be reached
  126    it refuses: the rule of the mandate is printed";

pub(crate) const AGENT_LOG: &str = "\
Entries:
  Each has a number. The agent keeps as many as log-entries in its file says; one that is
  missing is gone. Debugging entries are kept only if --log-level asks for them.

Exit status:
  0      it was printed
  125    the agent cannot be reached, or has gone while its log was followed
  126    it refuses: the rule of the mandate is printed";

pub(crate) const AGENT_KILL: &str = "\
Examples:
  embryo agent kill 17
  embryo agent kill --signal TERM 17 18

Exit status:
  0      all were sent it
  1      one was not: it has ended, or there is none of this number
  125    the agent cannot be reached
  126    it refuses: the rule of the mandate is printed";
