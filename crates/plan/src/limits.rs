//! Every length, count and number in a plan has a limit, and this is where it stands.

/// Bytes of a whole plan. The kernel takes at most 6 MiB of argv and envp.
pub const PLAN_BYTES_MAX: usize = 8 << 20;
/// Entries of a plan.
pub const ENTRIES_MAX: u32 = 4096;
/// Grant slots of a plan.
pub const SLOTS_MAX: u32 = 1024;
/// The highest descriptor number that a grant may be put at: the kernel's default `fs.nr_open` less one.
pub const FD_MAX: u32 = (1 << 20) - 1;
/// Bytes of a path with its NUL: the kernel's `PATH_MAX`.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of one argument or environment string with its NUL: the kernel's `MAX_ARG_STRLEN`.
pub const STRING_BYTES_MAX: usize = 128 << 10;
/// Bytes of argv and envp together, with NULs and eight bytes of pointer each: 3/4 of the kernel's
/// default stack limit of 8 MiB.
pub const STRINGS_BYTES_MAX: usize = 6 << 20;
/// Strings in argv or in envp.
pub const STRINGS_MAX: u32 = 1 << 19;
/// Bytes of a search list (`PATH`) with its NUL.
pub const SEARCH_BYTES_MAX: usize = STRING_BYTES_MAX;
/// Supplementary groups: the kernel's `NGROUPS_MAX`.
pub const GROUPS_MAX: usize = 65_536;
/// Bytes of a CPU mask: 8 192 CPUs, the kernel's largest `NR_CPUS`.
pub const CPU_MASK_BYTES_MAX: usize = 1024;
/// Bytes of a mask of memory nodes: 1 024 nodes, the kernel's largest `MAX_NUMNODES`.
pub const NODE_MASK_BYTES_MAX: usize = 128;
/// Bytes of a keyring's name with its NUL.
pub const KEYRING_NAME_BYTES_MAX: usize = 256;
/// The highest capability that has a name here; a set may hold others, up to 63.
pub const CAPABILITY_MAX: u32 = 40;
/// Bytes of a page: what addresses and lengths of regions are multiples of.
pub const PAGE: u64 = 4096;
/// Addresses in a plan are below this: what the smaller of the two machines has.
pub const ADDRESS_END: u64 = (1 << 47) - 4096;
/// Bytes of a region's name with its NUL: the kernel's `ANON_VMA_NAME_MAX_LEN`.
pub const REGION_NAME_BYTES_MAX: usize = 80;
/// Bytes of an auxiliary vector: more than any kernel keeps, which is `AT_VECTOR_SIZE` words.
pub const AUXV_BYTES_MAX: usize = 1024;
/// Ranges of memory that go away at a start.
pub const RANGES_MAX: usize = 61;
/// Instructions of a filter: the kernel's `BPF_MAXINSNS`.
pub const FILTER_INSTRUCTIONS_MAX: usize = 4096;
/// Filters of a plan.
pub const FILTERS_MAX: u32 = 16;
/// Threads of an image besides the first.
pub const THREADS_MAX: u32 = 64;
/// Bytes of the floating-point and vector state of a thread of x86_64: what the components below
/// 10 take, rounded up.
pub const STATE_BYTES_MAX: usize = 4096;
/// `RLIMIT_*` numbers are below this.
pub const RESOURCES_MAX: u32 = 16;
/// Signals are 1 to this.
pub const SIGNAL_MAX: u32 = 64;
/// Lines of an id map: the kernel's `UID_GID_MAP_MAX_EXTENTS` (Linux 4.15).
pub const ID_RANGES_MAX: usize = 340;
/// Bytes of a host or domain name with its NUL: the kernel's `__NEW_UTS_LEN`.
pub const HOST_NAME_BYTES_MAX: usize = 65;
/// The largest pid the kernel hands out (`PID_MAX_LIMIT`).
pub const PID_MAX: u32 = 1 << 22;
/// Bytes of the path of an overlay's layer with its NUL: what fsconfig(2) takes of a string.
pub const LAYER_BYTES_MAX: usize = 256;
/// Layers of an overlay, with its upper and work directory: the kernel's `OVL_MAX_STACK`.
pub const LAYERS_MAX: usize = 500;
/// Bytes of a file that is made from a grant.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
