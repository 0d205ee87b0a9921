/* Checks what a program finds when it starts, prints what does not depend on addresses, and exits
 * with 42. */
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
extern char _start[], _end[];
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

#define CHECK(condition) \
    do { if (!(condition)) { printf("line %d: %s\n", __LINE__, #condition); exit(1); } } while (0)

static char bss[3 << 20];
static int data[3000] = { 1, 2, 3, [2999] = 9 };
static const char *relocated[] = { "one", "two" };
static __thread int local = 5;
static int constructed, initialised = 1;

__attribute__((constructor)) static void construct(void) { constructed = 1; }

static long deep(int level) {
    volatile char frame[4096];
    frame[0] = (char)level;
    return level == 0 ? frame[0] : deep(level - 1) + frame[0] * 0;
}

/* Where a mapping with this name begins. */
static uintptr_t mapped_at(const char *name) {
    char line[600];
    uintptr_t at = 0, from;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, name) && sscanf(line, "%lx-", &from) == 1) at = from;
    fclose(maps);
    return at;
}

/* What /proc/self shows is what stands on the stack. */
static void check_proc(int argc, char **argv, const ElfW(auxv_t) *vector) {
    char text[200000];
    size_t len, at = 0;
    FILE *file = fopen("/proc/self/auxv", "r");
    len = fread(text, 1, sizeof text, file);
    fclose(file);
    const ElfW(auxv_t) *shown = (void *)text;
    for (;; shown++, vector++) {
        CHECK((size_t)((char *)(shown + 1) - text) <= len);
        CHECK(shown->a_type == vector->a_type);
        if (vector->a_type == AT_NULL) break;
        CHECK(shown->a_un.a_val == vector->a_un.a_val);
    }
    file = fopen("/proc/self/cmdline", "r");
    len = fread(text, 1, sizeof text, file);
    fclose(file);
    for (int index = 0; index < argc; at += strlen(argv[index++]) + 1)
        CHECK(at < len && !strcmp(text + at, argv[index]));
    CHECK(at == len);
    file = fopen("/proc/self/environ", "r");
    len = fread(text, 1, sizeof text, file);
    fclose(file);
    at = 0;
    for (char **index = environ; *index; at += strlen(*index++) + 1)
        CHECK(at < len && !strcmp(text + at, *index));
    CHECK(at == len);
    CHECK(getauxval(AT_SYSINFO_EHDR) == mapped_at("[vdso]"));

    /* Fields 26 to 28 and 45 to 47: code, stack pointer, data, heap. */
    unsigned long code, code_end, stack, data, data_end, heap;
    file = fopen("/proc/self/stat", "r");
    len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = 0;
    CHECK(sscanf(strrchr(text, ')'),
                 ") %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                 " %*s %*s %*s %*s %lu %lu %lu %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                 " %*s %*s %*s %*s %lu %lu %lu",
                 &code, &code_end, &stack, &data, &data_end, &heap) == 6);
    CHECK(code <= (uintptr_t)_start && (uintptr_t)check_proc < code_end);
    CHECK(stack == (uintptr_t)(argv - 1));
    CHECK(data <= (uintptr_t)&initialised && (uintptr_t)&initialised < data_end);
    if (mapped_at("[heap]")) CHECK(mapped_at("[heap]") == heap);
    char exe[100] = "";
    CHECK(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
    /* The kernel has places of its own for the heap of some kinds of program. */
    if (strstr(exe, "memfd")) CHECK(heap >= (uintptr_t)_end && heap - (uintptr_t)_end <= 1ul << 30);
    CHECK((uintptr_t)sbrk(0) >= heap);
}

static void *thread(void *arg) {
    CHECK(local == 5);
    local = 6;
    return arg;
}

int main(int argc, char **argv) {
    CHECK(constructed && local == 5);
    for (size_t at = 0; at < sizeof bss; at++) CHECK(bss[at] == 0);
    CHECK(data[0] == 1 && data[2999] == 9 && data[1500] == 0);
    CHECK(!strcmp(relocated[1], "two"));

    /* Arguments and environment lie one behind the other, and the vector behind both. */
    char *next = argv[0];
    for (int at = 0; at < argc; at++) {
        printf("arg %s\n", at ? argv[at] : "");
        CHECK(argv[at] == next);
        next += strlen(next) + 1;
    }
    CHECK(argv[argc] == NULL && environ == argv + argc + 1);
    char **variable = environ;
    for (; *variable; variable++) {
        printf("env %s\n", *variable);
        CHECK(*variable == next);
        next += strlen(next) + 1;
    }
    CHECK((char *)getauxval(AT_EXECFN) == next);
    CHECK(!strcmp(next, argv[0]));
    CHECK((uintptr_t)(argv - 1) % 16 == 0);
    for (ElfW(auxv_t) *entry = (void *)(variable + 1); entry->a_type != AT_NULL; entry++) {
        switch (entry->a_type) {
        case AT_PHDR: case AT_BASE: case AT_ENTRY: case AT_RANDOM: case AT_EXECFN:
        case AT_SYSINFO_EHDR: case AT_PLATFORM:
            printf("aux %lu\n", (unsigned long)entry->a_type);
            break;
        default:
            printf("aux %lu %lx\n", (unsigned long)entry->a_type,
                   (unsigned long)entry->a_un.a_val);
        }
    }
    unsigned size;
    /* Where the kernel cannot be told where things are, /proc shows the seed's. */
    if (prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0)
        check_proc(argc, argv, (void *)(variable + 1));
    CHECK(getauxval(AT_ENTRY) == (uintptr_t)_start);
    CHECK(getauxval(AT_PHDR) == (uintptr_t)&__ehdr_start + __ehdr_start.e_phoff);
    CHECK(getauxval(AT_PHNUM) == __ehdr_start.e_phnum);
    const unsigned char *random = (void *)getauxval(AT_RANDOM);
    int bits = 0;
    for (int at = 0; at < 16; at++) bits |= random[at];
    CHECK(bits);
    printf("platform %s\n", (char *)getauxval(AT_PLATFORM));
    const char *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
    if (vdso) CHECK(!memcmp(vdso, ELFMAG, SELFMAG));
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0 && now.tv_sec > 1000000000);

    /* The stack grows; the heap works with and without brk. */
    CHECK(deep(1500) == 0);
    for (size_t size = 1; size < 64 << 20; size *= 3) {
        char *block = malloc(size);
        CHECK(block);
        memset(block, 1, size);
        if (size % 2) free(block);
    }
    pthread_t handle;
    void *answer;
    CHECK(pthread_create(&handle, NULL, thread, argv) == 0);
    CHECK(pthread_join(handle, &answer) == 0 && answer == argv && local == 5);

    /* glibc finds the limits of the main thread's stack in /proc/self/maps. */
    pthread_attr_t attr;
    void *stack;
    size_t len;
    CHECK(pthread_getattr_np(pthread_self(), &attr) == 0);
    CHECK(pthread_attr_getstack(&attr, &stack, &len) == 0);
    CHECK((char *)&attr >= (char *)stack && (char *)&attr < (char *)stack + len);

    void *low = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(low != MAP_FAILED);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(3);
    return 42;
}
