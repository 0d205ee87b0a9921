//! Mounts and the root that is made of them. It must never leave a mount where another process sees it: each
//! draft has a mount namespace of its own.

use super::{Failure, Sample, Who, identity};
use crate::launch::{Draft, Watched, c_path};
use crate::refusal::Refusal;
use embryo::{MountFlags, MountOp, NamespaceOp, Namespaces, Op, OpCode, Spread};
use embryo_tests::{Place, is_root, tempdir};
use rustix::thread::CapabilitySet;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const NONE: MountFlags = MountFlags::empty();

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::NewRoot, "with what is bound, and nothing else", |draft| {
        own_namespaces(draft);
        mount(draft, MountOp::NewRoot { size: 1 << 20, mode: 0o711, inodes: 100 });
        for entry in std::fs::read_dir("/").expect("there is a root").flatten() {
            let path = c_path(&entry.path());
            if let Ok(text) = std::fs::read_link(entry.path()) {
                mount(draft, MountOp::Symlink { text: &c_path(&text), target: &path });
            } else {
                mount(
                    draft,
                    MountOp::Bind { source: &path, target: &path, flags: MountFlags::OPTIONAL },
                );
            }
        }
        enter(draft);
        Box::new(|child| {
            let root = mounted(child, "/");
            assert!(root.contains(" - tmpfs "), "{root}");
            assert!(root.contains("size=1024k") && root.contains("nr_inodes=100"), "{root}");
            assert!(root.contains("nosuid,nodev"), "{root}");
            assert_eq!(seen(child, "").metadata().expect("it is there").mode() & 0o7777, 0o711);
            // Nothing of what it was put together on can be seen.
            assert!(!seen(child, "o").exists() && !seen(child, "n").exists());
        })
    }),
    Sample::new(OpCode::EnterRoot, "the same root again", |draft| {
        root(draft, &[]);
        let (dev, ino) = identity(File::open("/").expect("there is a root"));
        Box::new(move |child| {
            assert_eq!(child.report.root_at, Some(Place { dev, ino }));
            assert_eq!(child.report.cwd_at, Some(Place { dev, ino }));
            let all = child.text("mountinfo");
            let at_root = all.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count();
            assert_eq!(at_root, 1, "{all}");
        })
    }),
    Sample::new(OpCode::Bind, "read-only, with a file in it", |draft| {
        let dir = folder(draft);
        let flags = MountFlags::READ_ONLY | MountFlags::NOSUID | MountFlags::NODEV;
        root(
            draft,
            &[MountOp::Bind {
                source: &c_path(&dir),
                target: c"/mnt/made/here",
                flags: flags | MountFlags::NOEXEC,
            }],
        );
        Box::new(move |child| {
            let line = mounted(child, "/mnt/made/here");
            assert!(line.contains(" ro,nosuid,nodev,noexec,"), "{line}");
            same(&seen(child, "mnt/made/here"), &dir);
            let denied =
                File::create(seen(child, "mnt/made/here/new")).expect_err("it is read-only");
            assert_eq!(denied.raw_os_error(), Some(libc::EROFS));
        })
    }),
    Sample::new(OpCode::Bind, "a file, by a link, and one that is not there", |draft| {
        let dir = folder(draft);
        // Up to the root and down again.
        std::os::unix::fs::symlink("../../../../../../../../etc/passwd", dir.join("link"))
            .expect("a link can be made");
        let source = &c_path(&dir.join("link"));
        let missing = c"/nowhere/to/be/found";
        root(
            draft,
            &[
                MountOp::Bind { source, target: c"/mnt/file", flags: NONE },
                MountOp::Bind {
                    source: missing,
                    target: c"/mnt/none",
                    flags: MountFlags::OPTIONAL,
                },
            ],
        );
        Box::new(|child| {
            same(&seen(child, "mnt/file"), Path::new("/etc/passwd"));
            assert!(!seen(child, "mnt/none").exists());
        })
    }),
    Sample::new(OpCode::BindSlot, "a directory of the caller's namespace", |draft| {
        let dir = folder(draft);
        let slot = draft.grant(File::open(&dir).expect("it can be opened"));
        root(draft, &[MountOp::BindSlot { slot, target: c"/mnt/x", flags: MountFlags::READ_ONLY }]);
        Box::new(move |child| same(&seen(child, "mnt/x"), &dir))
    }),
    Sample::new(OpCode::BindMapped, "a file of another owner", |draft| {
        let (dir, users) = (folder(draft), users(draft, 1234));
        std::os::unix::fs::chown(dir.join("file"), Some(1234), Some(1234)).expect("one is root");
        let slot = draft.grant(users);
        root(
            draft,
            &[MountOp::BindMapped { slot, source: &c_path(&dir), target: c"/mnt/x", flags: NONE }],
        );
        Box::new(move |child| {
            let file = seen(child, "mnt/x/file").metadata().expect("it is there");
            assert_eq!((file.uid(), file.gid()), (0, 0));
        })
    })
    .only_where("root, and files that can be idmapped", maps),
    Sample::new(OpCode::Tmpfs, "small, for all to write to", |draft| {
        root(
            draft,
            &[MountOp::Tmpfs {
                target: c"/mnt/t",
                flags: MountFlags::NOEXEC,
                size: 1 << 16,
                mode: 0o1777,
                inodes: 7,
            }],
        );
        Box::new(|child| {
            let line = mounted(child, "/mnt/t");
            assert!(line.contains("rw,nosuid,nodev,noexec"), "{line}");
            assert!(line.contains("size=64k") && line.contains("nr_inodes=7"), "{line}");
            let mode = seen(child, "mnt/t").metadata().expect("it is there").mode();
            assert_eq!(mode & 0o7777, 0o1777);
        })
    }),
    Sample::new(OpCode::Proc, "of processes alone, those of others hidden", |draft| {
        let flags = MountFlags::PROCESSES | MountFlags::READ_ONLY;
        root(draft, &[MountOp::Proc { target: c"/mnt/proc", flags, hidepid: 2 }]);
        Box::new(|child| {
            let line = mounted(child, "/mnt/proc");
            assert!(line.contains(" ro,nosuid,nodev,noexec"), "{line}");
            assert!(line.contains("hidepid=") && line.contains("subset=pid"), "{line}");
            assert!(!seen(child, "mnt/proc/meminfo").exists());
        })
    })
    .with(CapabilitySet::SYS_ADMIN),
    Sample::new(OpCode::Devpts, "of its own", |draft| {
        root(draft, &[MountOp::Devpts { target: c"/mnt/pts" }]);
        Box::new(|child| {
            let line = mounted(child, "/mnt/pts");
            assert!(line.contains("nosuid,noexec") && line.contains(" - devpts "), "{line}");
            let names = std::fs::read_dir(seen(child, "mnt/pts")).expect("it can be listed");
            assert_eq!(
                names.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>(),
                ["ptmx"]
            );
        })
    }),
    Sample::new(OpCode::Mqueue, "of its IPC namespace", |draft| {
        let kinds = Namespaces::IPC | Namespaces::MOUNT;
        root_in(draft, kinds, &[MountOp::Mqueue { target: c"/mnt/q" }]);
        Box::new(|child| {
            let line = mounted(child, "/mnt/q");
            assert!(line.contains("nosuid,nodev,noexec") && line.contains(" - mqueue "), "{line}");
        })
    }),
    Sample::new(OpCode::Overlay, "two read-only layers", |draft| {
        let (upper, lower) = (folder(draft), folder(draft));
        std::fs::write(upper.join("file"), "upper").expect("it is ours");
        std::fs::write(lower.join("only"), "lower").expect("it is ours");
        overlay(draft, &[&upper, &lower], NONE);
        Box::new(|child| {
            assert_eq!(text(&seen(child, "mnt/o/file")), "upper");
            assert_eq!(text(&seen(child, "mnt/o/only")), "lower");
        })
    })
    .only_where("a kernel with overlayfs", overlays),
    Sample::new(OpCode::Overlay, "what is written is kept", |draft| {
        let (lower, upper, work) = (folder(draft), folder(draft), folder(draft));
        std::fs::remove_file(work.join("file")).expect("it is ours");
        overlay(draft, &[&lower, &upper, &work], MountFlags::UPPER);
        Box::new(move |child| {
            std::fs::write(seen(child, "mnt/o/new"), "new").expect("it can be written");
            assert_eq!(text(&upper.join("new")), "new");
            assert!(!lower.join("new").exists());
        })
    })
    .only_where("a kernel with overlayfs", overlays),
    Sample::new(OpCode::Overlay, "what is written goes away", |draft| {
        let lower = folder(draft);
        overlay(draft, &[&lower], MountFlags::THROWAWAY);
        Box::new(move |child| {
            std::fs::write(seen(child, "mnt/o/new"), "new").expect("it can be written");
            assert_eq!(text(&seen(child, "mnt/o/new")), "new");
            assert!(!lower.join("new").exists());
            let mounts = child.text("mountinfo");
            assert_eq!(mounts.lines().filter(|line| line.contains(" /mnt/o ")).count(), 1);
        })
    })
    .only_where("a kernel with overlayfs", overlays),
    Sample::new(OpCode::Overlay, "more layers than a string has room for", |draft| {
        let layers: Vec<PathBuf> = (0..12).map(|_| folder(draft)).collect();
        overlay(draft, &layers.iter().map(PathBuf::as_path).collect::<Vec<_>>(), NONE);
        Box::new(|child| assert_eq!(text(&seen(child, "mnt/o/file")), "text"))
    })
    .only_where("a kernel with overlayfs", overlays),
    Sample::new(OpCode::Symlink, "twice the same", |draft| {
        let op = MountOp::Symlink { text: c"../some/where", target: c"/mnt/a/link" };
        root(draft, &[op, op]);
        Box::new(|child| {
            let said = std::fs::read_link(seen(child, "mnt/a/link")).expect("it is a link");
            assert_eq!(said, Path::new("../some/where"));
        })
    }),
    Sample::new(OpCode::Directory, "with those above it, whatever the umask is", |draft| {
        draft.op(&Op::Umask { mode: 0o777 });
        let target = c"/mnt/a/b";
        root(
            draft,
            &[
                MountOp::Directory { target, mode: 0o1750 },
                MountOp::Directory { target, mode: 0o700 },
            ],
        );
        Box::new(|child| {
            let mode = |path| seen(child, path).metadata().expect("it is there").mode() & 0o7777;
            assert_eq!((mode("mnt/a"), mode("mnt/a/b")), (0o755, 0o1750));
        })
    }),
    Sample::new(OpCode::FileSlot, "of a file, from its beginning", |draft| {
        let dir = folder(draft);
        let mut file = File::open(dir.join("file")).expect("it can be opened");
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).expect("a file has an end");
        let slot = draft.grant(file);
        root(draft, &[MountOp::FileSlot { slot, target: c"/mnt/f/g", flags: NONE, mode: 0o604 }]);
        Box::new(|child| {
            let file = seen(child, "mnt/f/g");
            assert_eq!(text(&file), "text");
            assert_eq!(file.metadata().expect("it is there").mode() & 0o7777, 0o604);
        })
    }),
    Sample::new(OpCode::FileSlot, "of a pipe, mounted", |draft| {
        let (reader, mut writer) = std::io::pipe().expect("a pipe can be made");
        writer.write_all(b"from a pipe").expect("it has room");
        let slot = draft.grant(OwnedFd::from(reader));
        let flags = MountFlags::OVER | MountFlags::READ_ONLY;
        root(draft, &[MountOp::FileSlot { slot, target: c"/mnt/f", flags, mode: 0o644 }]);
        Box::new(|child| {
            assert_eq!(text(&seen(child, "mnt/f")), "from a pipe");
            assert!(mounted(child, "/mnt/f").contains(" ro,"), "{}", mounted(child, "/mnt/f"));
        })
    }),
    Sample::new(OpCode::Chmod, "of a directory", |draft| {
        root(
            draft,
            &[
                MountOp::Directory { target: c"/mnt/a", mode: 0o700 },
                MountOp::Chmod { target: c"/mnt/a", mode: 0o2511 },
            ],
        );
        Box::new(|child| {
            let mode = seen(child, "mnt/a").metadata().expect("it is there").mode();
            assert_eq!(mode & 0o7777, 0o2511);
        })
    }),
    Sample::new(OpCode::Propagation, "shared", |draft| {
        root(
            draft,
            &[MountOp::Propagation { target: c"/mnt", flags: NONE, spread: Spread::Shared }],
        );
        Box::new(|child| {
            assert!(mounted(child, "/mnt").contains(" shared:"), "{}", mounted(child, "/mnt"));
            assert!(!mounted(child, "/").contains(" shared:"), "{}", mounted(child, "/"));
        })
    }),
    Sample::new(OpCode::Attributes, "one set and one cleared", |draft| {
        root(
            draft,
            &[MountOp::Attributes {
                target: c"/mnt",
                flags: MountFlags::READ_ONLY,
                clear: MountFlags::NODEV,
            }],
        );
        Box::new(|child| {
            let line = mounted(child, "/mnt");
            assert!(line.contains(" ro,nosuid,relatime"), "{line}");
        })
    }),
    Sample::new(OpCode::Unmount, "what was just mounted", |draft| {
        root(
            draft,
            &[MountOp::Devpts { target: c"/mnt/a" }, MountOp::Unmount { target: c"/mnt/a" }],
        );
        Box::new(|child| {
            assert!(!child.text("mountinfo").contains(" /mnt/a "));
            assert!(seen(child, "mnt/a").is_dir());
        })
    }),
];

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::NewRoot, "refused", libc::EPERM, |draft| bare(draft, &[]))
        .refused(Refusal::always(libc::SYS_fsopen)),
    Failure::new(OpCode::EnterRoot, "refused", libc::EPERM, |draft| bare(draft, &[]))
        .refused(Refusal::always(libc::SYS_umount2)),
    Failure::new(OpCode::Bind, "no source", libc::ENOENT, |draft| {
        let source = c"/nowhere/to/be/found";
        bare(draft, &[MountOp::Bind { source, target: c"/x", flags: NONE }]);
    })
    .names("/nowhere/to/be/found"),
    Failure::new(OpCode::Bind, "a read-only place", libc::EROFS, |draft| {
        bare(
            draft,
            &[read_only(), MountOp::Bind { source: c"/etc", target: c"/ro/x", flags: NONE }],
        );
    })
    .names("/ro/x"),
    Failure::new(OpCode::Bind, "a file onto a directory", libc::EISDIR, |draft| {
        bare(
            draft,
            &[
                MountOp::Directory { target: c"/d", mode: 0o755 },
                MountOp::Bind { source: c"/etc/passwd", target: c"/d", flags: NONE },
            ],
        );
    })
    .names("/etc/passwd /d"),
    Failure::new(OpCode::BindSlot, "a pipe", libc::EINVAL, |draft| {
        let (reader, _) = std::io::pipe().expect("a pipe can be made");
        let slot = draft.grant(OwnedFd::from(reader));
        bare(draft, &[MountOp::BindSlot { slot, target: c"/x", flags: NONE }]);
    })
    .names("slot 0"),
    Failure::new(OpCode::BindSlot, "what is no more what its path names", libc::ESTALE, |draft| {
        let dir = folder(draft);
        let path = dir.join("gone");
        std::fs::create_dir(&path).expect("it is ours");
        let slot = draft.grant(File::open(&path).expect("it can be opened"));
        std::fs::remove_dir(&path).expect("it is empty");
        // What /proc calls it now.
        std::fs::create_dir(dir.join("gone (deleted)")).expect("it is ours");
        bare(draft, &[MountOp::BindSlot { slot, target: c"/x", flags: NONE }]);
    })
    .names("slot 0"),
    Failure::new(OpCode::BindMapped, "no user namespace", libc::EINVAL, |draft| {
        let slot = draft.grant(File::open("/dev/null").expect("it is there"));
        let (source, target) = (c"/etc", c"/x");
        bare(draft, &[MountOp::BindMapped { slot, source, target, flags: NONE }]);
    })
    .names("slot 0"),
    Failure::new(OpCode::Tmpfs, "below a link that leads nowhere", libc::EEXIST, |draft| {
        let (size, mode, inodes) = (0, 0o755, 0);
        bare(
            draft,
            &[
                MountOp::Symlink { text: c"/nowhere", target: c"/link" },
                MountOp::Tmpfs { target: c"/link", flags: NONE, size, mode, inodes },
            ],
        );
    })
    .names("/link"),
    Failure::new(OpCode::Proc, "a read-only place", libc::EROFS, |draft| {
        bare(draft, &[read_only(), MountOp::Proc { target: c"/ro/x", flags: NONE, hidepid: 0 }]);
    })
    .with(CapabilitySet::SYS_ADMIN)
    .names("/ro/x"),
    Failure::new(OpCode::Proc, "without a pid namespace of its own", libc::EPERM, |draft| {
        bare(draft, &[MountOp::Proc { target: c"/x", flags: NONE, hidepid: 0 }]);
    })
    .without(CapabilitySet::SYS_ADMIN)
    .names("/x"),
    Failure::new(OpCode::Devpts, "a read-only place", libc::EROFS, |draft| {
        bare(draft, &[read_only(), MountOp::Devpts { target: c"/ro/x" }]);
    })
    .names("/ro/x"),
    Failure::new(OpCode::Mqueue, "a read-only place", libc::EROFS, |draft| {
        let kinds = Namespaces::IPC | Namespaces::MOUNT;
        bare_in(draft, kinds, &[read_only(), MountOp::Mqueue { target: c"/ro/x" }]);
    })
    .names("/ro/x"),
    Failure::new(OpCode::Overlay, "no such layer", libc::ENOENT, |draft| {
        let flags = MountFlags::THROWAWAY | xattrs();
        let layers = b"/etc\0/nowhere/to/be/found\0";
        bare(draft, &[MountOp::Overlay { layers, target: c"/x", flags }]);
    })
    .names("/nowhere/to/be/found")
    .only_where("a kernel with overlayfs", overlays),
    Failure::new(OpCode::Overlay, "an upper directory that cannot be one", libc::EINVAL, |draft| {
        let flags = MountFlags::UPPER | xattrs();
        let layers = b"/etc\0/proc/self\0/proc/self\0";
        bare(draft, &[MountOp::Overlay { layers, target: c"/x", flags }]);
    })
    .names("/proc/self")
    .only_where("a kernel with overlayfs", overlays),
    Failure::new(OpCode::Symlink, "something else is there", libc::EEXIST, |draft| {
        let target = c"/link";
        bare(
            draft,
            &[MountOp::Directory { target, mode: 0o755 }, MountOp::Symlink { text: c"a", target }],
        );
    })
    .names("/link"),
    Failure::new(OpCode::Directory, "a read-only place", libc::EROFS, |draft| {
        bare(draft, &[read_only(), MountOp::Directory { target: c"/ro/x", mode: 0o755 }]);
    })
    .names("/ro/x"),
    Failure::new(OpCode::FileSlot, "something is there", libc::EEXIST, |draft| {
        let slot = draft.grant(File::open("/etc/passwd").expect("it is there"));
        let target = c"/x";
        bare(
            draft,
            &[
                MountOp::Directory { target, mode: 0o755 },
                MountOp::FileSlot { slot, target, flags: NONE, mode: 0 },
            ],
        );
    })
    .names("/x"),
    Failure::new(OpCode::FileSlot, "a full file system", libc::ENOSPC, |draft| {
        let slot = draft.grant(File::open("/dev/zero").expect("it is there"));
        let (size, mode, inodes) = (1 << 16, 0o755, 0);
        bare(
            draft,
            &[
                MountOp::Tmpfs { target: c"/t", flags: NONE, size, mode, inodes },
                MountOp::FileSlot { slot, target: c"/t/x", flags: NONE, mode: 0o644 },
            ],
        );
    })
    .names("/t/x"),
    Failure::new(OpCode::Chmod, "nothing there", libc::ENOENT, |draft| {
        bare(draft, &[MountOp::Chmod { target: c"/x", mode: 0o755 }]);
    })
    .names("/x"),
    Failure::new(OpCode::Propagation, "nothing is mounted there", libc::EINVAL, |draft| {
        let target = c"/d";
        bare(
            draft,
            &[
                MountOp::Directory { target, mode: 0o755 },
                MountOp::Propagation { target, flags: NONE, spread: Spread::Slave },
            ],
        );
    })
    .names("/d"),
    Failure::new(OpCode::Attributes, "nothing is mounted there", libc::EINVAL, |draft| {
        let (target, flags) = (c"/d", MountFlags::READ_ONLY);
        bare(
            draft,
            &[
                MountOp::Directory { target, mode: 0o755 },
                MountOp::Attributes { target, flags, clear: NONE },
            ],
        );
    })
    .names("/d"),
    Failure::new(OpCode::Unmount, "nothing is mounted there", libc::EINVAL, |draft| {
        let target = c"/d";
        bare(draft, &[MountOp::Directory { target, mode: 0o755 }, MountOp::Unmount { target }]);
    })
    .names("/d"),
];

/// All of them in one plan, as far as the machine has them.
#[must_use]
pub(crate) fn everything(mut draft: Draft) -> Draft {
    let (dir, lower) = (folder(&mut draft), folder(&mut draft));
    let (slot, file) = {
        let open = |path: &Path| File::open(path).expect("it can be opened");
        (draft.grant(open(&dir)), draft.grant(open(&dir.join("file"))))
    };
    let layers = [&dir, &lower].map(|path| c_path(path).into_bytes_with_nul()).concat();
    let (target, flags, size, mode, inodes) = (c"/mnt/t", NONE, 0, 0o755, 0);
    let mut ops = vec![
        MountOp::BindSlot { slot, target: c"/mnt/slot", flags },
        MountOp::Tmpfs { target, flags, size, mode, inodes },
        MountOp::Devpts { target: c"/mnt/pts" },
        MountOp::Mqueue { target: c"/mnt/q" },
        MountOp::Symlink { text: c"t", target: c"/mnt/link" },
        MountOp::Directory { target: c"/mnt/a/b", mode },
        MountOp::FileSlot { slot: file, target: c"/mnt/file", flags, mode },
        MountOp::FileSlot { slot: file, target: c"/mnt/over", flags: MountFlags::OVER, mode },
        MountOp::Chmod { target: c"/mnt/a", mode: 0o700 },
        MountOp::Propagation { target, flags, spread: Spread::Shared },
        MountOp::Attributes { target, flags: MountFlags::NOEXEC, clear: NONE },
        MountOp::Unmount { target: c"/mnt/pts" },
    ];
    if overlays() {
        let flags = xattrs();
        ops.push(MountOp::Overlay { layers: &layers, target: c"/mnt/o", flags });
    }
    if is_root() {
        ops.push(MountOp::Proc { target: c"/mnt/proc", flags, hidepid: 0 });
    }
    let source = c_path(&lower);
    if maps() {
        let users = users(&mut draft, 1234);
        let slot = draft.grant(users);
        ops.push(MountOp::BindMapped { slot, source: &source, target: c"/mnt/m", flags });
    }
    root_in(&mut draft, Namespaces::MOUNT | Namespaces::IPC, &ops);
    draft
}

fn mount(draft: &mut Draft, op: MountOp<'_>) {
    draft.op(&Op::Mount(op));
}

fn own_namespaces(draft: &mut Draft) {
    namespaces(draft, Namespaces::MOUNT);
}

/// Of an ordinary user it takes a user namespace, in which it is who it was.
fn namespaces(draft: &mut Draft, kinds: Namespaces) {
    if !is_root() {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        draft.op(&Op::Namespace(NamespaceOp::User { uid, gid }));
    }
    draft.op(&Op::Namespace(NamespaceOp::Unshare { kinds }));
}

fn enter(draft: &mut Draft) {
    mount(draft, MountOp::EnterRoot);
    draft.op(&Op::ChdirPath { path: c"/" });
}

/// A root like the caller's in which nothing can be written but /mnt, and in it these.
fn root(draft: &mut Draft, ops: &[MountOp<'_>]) {
    root_in(draft, Namespaces::MOUNT, ops);
}

fn root_in(draft: &mut Draft, kinds: Namespaces, ops: &[MountOp<'_>]) {
    namespaces(draft, kinds);
    let (size, mode, inodes) = (0, 0o755, 0);
    mount(draft, MountOp::NewRoot { size, mode, inodes });
    mount(draft, MountOp::Bind { source: c"/", target: c"/", flags: MountFlags::READ_ONLY });
    mount(draft, MountOp::Tmpfs { target: c"/mnt", flags: NONE, size, mode, inodes });
    ops.iter().for_each(|op| mount(draft, *op));
    enter(draft);
}

/// A root that has nothing but these.
fn bare(draft: &mut Draft, ops: &[MountOp<'_>]) {
    bare_in(draft, Namespaces::MOUNT, ops);
}

fn bare_in(draft: &mut Draft, kinds: Namespaces, ops: &[MountOp<'_>]) {
    namespaces(draft, kinds);
    mount(draft, MountOp::NewRoot { size: 0, mode: 0o755, inodes: 0 });
    ops.iter().for_each(|op| mount(draft, *op));
    enter(draft);
}

fn read_only() -> MountOp<'static> {
    let flags = MountFlags::READ_ONLY;
    MountOp::Tmpfs { target: c"/ro", flags, size: 0, mode: 0o755, inodes: 0 }
}

/// What an ordinary user's overlay has to have.
fn xattrs() -> MountFlags {
    if is_root() { NONE } else { MountFlags::USERXATTR }
}

fn overlay(draft: &mut Draft, layers: &[&Path], flags: MountFlags) {
    let layers: Vec<u8> =
        layers.iter().flat_map(|path| c_path(path).into_bytes_with_nul()).collect();
    let flags = flags | xattrs();
    root(draft, &[MountOp::Overlay { layers: &layers, target: c"/mnt/o", flags }]);
}

/// Whether the kernel has overlays, by itself or loaded.
fn overlays() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|all| all.contains("\toverlay\n"))
}

/// For whom an op works: those on mounts for nobody before Linux 5.12.
pub(super) fn who(code: OpCode, who: Who) -> Who {
    let on_mounts = (0x0801..=0x08ff).contains(&(code as u16));
    if on_mounts && !sets_attributes() { Who::Where("Linux 5.12", sets_attributes) } else { who }
}

fn sets_attributes() -> bool {
    kernel() >= (5, 12)
}

fn kernel() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether the caller may map what lies in the directory for temporary files. A tmpfs can since Linux 6.3.
fn maps() -> bool {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    let on_tmpfs = rustix::fs::statfs(std::env::temp_dir()).is_ok_and(|fs| fs.f_type == TMPFS);
    is_root() && (kernel() >= (6, 3) || !on_tmpfs)
}

/// A directory with one file in it.
fn folder(draft: &mut Draft) -> PathBuf {
    let dir = tempdir();
    let path = dir.path().to_owned();
    draft.hold(dir);
    std::fs::write(path.join("file"), "text").expect("it can be written");
    std::fs::set_permissions(path.join("file"), PermissionsExt::from_mode(0o644))
        .expect("it is one's own");
    path
}

/// A user namespace in which the caller is `id`.
fn users(draft: &mut Draft, id: u32) -> File {
    let mut other = Draft::watched();
    other.op(&Op::Namespace(NamespaceOp::User { uid: id, gid: id }));
    let child = other.watch(crate::launch::Way::Seed);
    let users = File::open(child.proc("ns/user")).expect("it is one's own");
    draft.hold(child);
    users
}

/// A path of the child's, as the caller reaches it.
fn seen(child: &Watched, path: &str) -> PathBuf {
    child.proc("root").join(path)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[track_caller]
fn same(one: &Path, other: &Path) {
    let of = |path: &Path| {
        let meta = path.metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (meta.dev(), meta.ino())
    };
    assert_eq!(of(one), of(other));
}

/// The line of mountinfo for what is mounted at a place.
#[track_caller]
fn mounted(child: &Watched, at: &str) -> String {
    let all = child.text("mountinfo");
    let found = all.lines().rfind(|line| line.split(' ').nth(4) == Some(at));
    found.unwrap_or_else(|| panic!("nothing is mounted at {at}: {all}")).to_owned()
}
