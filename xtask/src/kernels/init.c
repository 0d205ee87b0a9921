/* The guest's first process: makes a root, runs one program, reports its status, powers off.
 *
 * In C, because a guest of any architecture then needs that architecture's C compiler and no more.
 *
 * Arguments (from the kernel's command line, after "--"): the tty for the program's output, the tty for reports.
 * From the initramfs: /payload, which becomes the root; /guest/argv and /guest/env, strings each ended by NUL;
 * /guest/modules, kernel modules, loaded in the order of their names.
 * Reports are lines: "boot SECONDS RELEASE", then "exit N", "signal N" or "fail ERRNO WHAT".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int report_fd = -1;

static void report(const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (length >= (int)sizeof line) length = sizeof line - 1;
    if (write(report_fd, line, length) != length) perror("init: report");
}

static _Noreturn void power_off(void) {
    tcdrain(report_fd);
    sync();
    reboot(RB_POWER_OFF);
    reboot(RB_AUTOBOOT);
    for (;;) pause();
}

static _Noreturn void fail(const char *what) {
    report("fail %d %s\n", errno, what);
    power_off();
}

/* A serial line that passes bytes through as they are. */
static int open_tty(const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/dev/%s", name);
    int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios mode;
    if (fd < 0 || tcgetattr(fd, &mode)) return -1;
    cfmakeraw(&mode);
    mode.c_cflag |= CLOCAL;
    tcsetattr(fd, TCSANOW, &mode);
    return fd;
}

/* The file's strings as a vector that ends with NULL. */
static char **read_strings(const char *path) {
    struct stat meta;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &meta)) fail(path);
    char *text = malloc(meta.st_size + 1);
    char **strings = calloc(meta.st_size + 1, sizeof *strings);
    if (!text || !strings || read(fd, text, meta.st_size) != meta.st_size) fail(path);
    close(fd);
    size_t count = 0;
    for (off_t at = 0; at < meta.st_size; at += strlen(text + at) + 1) strings[count++] = text + at;
    return strings;
}

static void load_modules(const char *path) {
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) fail(path);
    for (int i = 0; i < count; i++) {
        char module[512];
        if (entries[i]->d_name[0] == '.') continue;
        snprintf(module, sizeof module, "%s/%s", path, entries[i]->d_name);
        int fd = open(module, O_RDONLY | O_CLOEXEC);
        if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST) fail(module);
        close(fd);
    }
}

/* Moves one file, or a directory with all that is in it, to another file system. */
static void move(const char *from, const char *to) {
    struct stat meta;
    if (lstat(from, &meta)) fail(from);
    if (S_ISDIR(meta.st_mode)) {
        if (mkdir(to, 0700) && errno != EEXIST) fail(to);
        if (chmod(to, meta.st_mode & 07777)) fail(to);
        DIR *dir = opendir(from);
        if (!dir) fail(from);
        for (struct dirent *entry; (entry = readdir(dir));) {
            char source[4096], target[4096];
            const char *name = entry->d_name;
            if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
            if (snprintf(source, sizeof source, "%s/%s", from, name) >= (int)sizeof source) fail(from);
            if (snprintf(target, sizeof target, "%s/%s", to, name) >= (int)sizeof target) fail(to);
            move(source, target);
        }
        closedir(dir);
    } else if (S_ISLNK(meta.st_mode)) {
        char target[4096] = "";
        if (readlink(from, target, sizeof target - 1) < 0 || symlink(target, to)) fail(to);
    } else {
        int in = open(from, O_RDONLY | O_CLOEXEC);
        int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (in < 0 || out < 0) fail(to);
        ssize_t copied;
        while ((copied = sendfile(out, in, NULL, 1 << 30)) > 0) continue;
        if (copied < 0 || fchmod(out, meta.st_mode & 07777)) fail(to);
        close(in);
        close(out);
        unlink(from);
    }
}

static void mount_at(const char *kind, const char *at, const char *options) {
    if (mkdir(at, 0755) && errno != EEXIST) fail(at);
    if (mount(kind, at, kind, 0, options)) fail(at);
}

/* The initramfs itself cannot be pivoted away from and counts as no root for a user namespace: move to a tmpfs. */
static void make_root(void) {
    mount_at("tmpfs", "/root", "mode=0755,size=75%");
    move("/payload", "/root");
    if (mkdir("/root/dev", 0755) && errno != EEXIST) fail("/dev");
    if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL)) fail("/dev");
    if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/")) fail("/");
    mount_at("proc", "/proc", "");
    mount_at("sysfs", "/sys", "");
    mount_at("cgroup2", "/sys/fs/cgroup", "");
    mount_at("devpts", "/dev/pts", "mode=0620,ptmxmode=0666,newinstance");
    mount_at("tmpfs", "/dev/shm", "mode=1777");
    if (mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL)) fail("shared /");
    symlink("/proc/self/fd", "/dev/fd");
    symlink("/proc/self/fd/0", "/dev/stdin");
    symlink("/proc/self/fd/1", "/dev/stdout");
    symlink("/proc/self/fd/2", "/dev/stderr");
}

/* What a distribution's init has done before the first service starts: controllers on, a name, loopback up. */
static void prepare(void) {
    char controllers[512] = "";
    int fd = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, controllers, sizeof controllers - 1) < 0) fail("cgroup.controllers");
    close(fd);
    fd = open("/sys/fs/cgroup/cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
    for (char *rest = controllers, *name; (name = strtok_r(rest, " \n", &rest));) dprintf(fd, "+%s", name);
    close(fd);

    if (sethostname("guest", 5)) fail("hostname");
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback)) fail("loopback");
    close(fd);
}

static void copy(int from, int to) {
    char buffer[16384];
    ssize_t length;
    while ((length = read(from, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0, n; done < length; done += n)
            if ((n = write(to, buffer + done, length - done)) < 0) fail("output");
}

/* Copies the program's output and reaps whatever dies, until the program itself has died. */
static int supervise(pid_t program, int output, int tty, int children) {
    struct pollfd ready[] = {{.fd = output, .events = POLLIN}, {.fd = children, .events = POLLIN}};
    for (int status, ended = 0;;) {
        if (poll(ready, 2, -1) < 0) fail("poll");
        if (ready[1].revents) {
            struct signalfd_siginfo info;
            if (read(children, &info, sizeof info) < 0) fail("signalfd");
            int each;
            for (pid_t pid; (pid = waitpid(-1, &each, WNOHANG)) > 0;)
                if (pid == program) ended = 1, status = each;
        }
        copy(output, tty);
        if (ended) return status;
        if (ready[0].revents & POLLHUP) ready[0].fd = -1;
    }
}

static _Noreturn void run(int output, char **argv, char **env) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    setsid();
    if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) fail("stdio");
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(argv[0], argv, env);
    report("fail %d execve %s\n", errno, argv[0]);
    _exit(127);
}

int main(int argc, char **args) {
    mount_at("devtmpfs", "/dev", "mode=0755");
    int tty = open_tty(argc > 1 ? args[1] : "");
    report_fd = open_tty(argc > 2 ? args[2] : "");
    if (tty < 0 || report_fd < 0) perror("init: serial lines"), power_off();

    char **argv = read_strings("/guest/argv"), **env = read_strings("/guest/env");
    load_modules("/guest/modules");
    make_root();
    prepare();

    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    int children = signalfd(-1, &child, SFD_CLOEXEC), ends[2];
    if (children < 0 || pipe2(ends, O_CLOEXEC) || fcntl(ends[0], F_SETFL, O_NONBLOCK)) fail("pipe");

    struct utsname kernel;
    struct timespec now;
    uname(&kernel);
    clock_gettime(CLOCK_MONOTONIC, &now);
    report("boot %ld.%03ld %s\n", (long)now.tv_sec, now.tv_nsec / 1000000, kernel.release);

    pid_t program = fork();
    if (program < 0) fail("fork");
    if (program == 0) run(ends[1], argv, env);
    close(ends[1]);
    int status = supervise(program, ends[0], tty, children);
    tcdrain(tty);
    if (WIFEXITED(status)) report("exit %d\n", WEXITSTATUS(status));
    else report("signal %d\n", WTERMSIG(status));
    power_off();
}
