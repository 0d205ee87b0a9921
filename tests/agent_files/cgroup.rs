//! A child's cgroup is made, found again, emptied and removed, without waiting for anybody.

use embryo::CgroupLimits;
use embryo_agent::files::cgroup::{CgroupError, Own, Parent};
use embryo_tests::{alone, skip, wait_for};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A cgroup to make others in, below that which this process is in.
struct Room(PathBuf);

impl Room {
    fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let name = format!("embryo-test-files-{}", std::process::id());
        let path = PathBuf::from(mount.split(' ').nth(1)?).join(own).join(name);
        std::fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    fn parent(&self) -> Parent {
        Parent::open(&self.0).unwrap()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        let _ = wait_for(PATIENCE, || {
            remove(&self.0);
            !self.0.exists()
        });
    }
}

fn remove(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(path);
}

macro_rules! room {
    () => {
        match Room::make() {
            Some(room) => room,
            None => skip!("no cgroup can be made here"),
        }
    };
}

fn none() -> CgroupLimits {
    CgroupLimits::default()
}

fn other(file: &str, value: &str) -> CgroupLimits {
    CgroupLimits { other: BTreeMap::from([(file.into(), value.into())]), ..none() }
}

/// Puts a process into it that does nothing.
fn sleeper(own: &Own) -> std::process::Child {
    sleeper_in(own.path())
}

fn sleeper_in(path: &Path) -> std::process::Child {
    let child = std::process::Command::new("sleep").arg("3600").spawn().unwrap();
    std::fs::write(path.join("cgroup.procs"), child.id().to_string()).unwrap();
    child
}

#[test]
fn only_a_cgroup_is_one() {
    for path in ["/", "/proc", "/tmp"] {
        let refused = Parent::open(Path::new(path)).unwrap_err();
        assert!(matches!(refused, CgroupError::NotCgroup { .. }), "{refused}");
    }
}

#[test]
fn what_is_beneath_is_found() {
    alone!();
    let room = room!();
    let (a, b) = (room.0.join("a"), room.0.join("b"));
    std::fs::create_dir_all(a.join("deep/deeper")).unwrap();
    std::fs::create_dir(&b).unwrap();
    let parent = Parent::open(&a).unwrap();
    let contains = |path: &Path| parent.contains(File::open(path).unwrap().as_fd());
    assert!(contains(&a) && contains(&a.join("deep")) && contains(&a.join("deep/deeper")));
    assert!(!contains(&b) && !contains(&room.0) && !contains(Path::new("/")));
    assert!(!contains(&a.join("cgroup.procs")) && !contains(Path::new("/proc")));
    let (pipe, _writer) = std::io::pipe().unwrap();
    assert!(!parent.contains(pipe.as_fd()));
    // What was removed has no place any more that it could be given back.
    let gone = File::open(a.join("deep/deeper")).unwrap();
    std::fs::remove_dir(a.join("deep/deeper")).unwrap();
    std::fs::remove_dir(a.join("deep")).unwrap();
    assert!(parent.contains(gone.as_fd()), "its handle says where it was");
}

#[test]
fn limits_are_written() {
    alone!();
    let room = room!();
    let parent = room.parent();
    let own = parent.make(&other("cgroup.max.descendants", "3")).unwrap();
    let written = std::fs::read_to_string(own.path().join("cgroup.max.descendants")).unwrap();
    assert_eq!(written, "3\n");
    assert_ne!(own.path(), parent.make(&none()).unwrap().path());
    let refused = parent.make(&other("nothing.max", "3")).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("nothing.max") && text.contains("subtree_control"), "{text}");
    let refused = parent.make(&other("cgroup.procs", "0")).unwrap_err();
    assert!(matches!(refused, CgroupError::Limit(_)), "{refused}");
    let left = std::fs::read_dir(&room.0).unwrap().flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(left.count(), 2, "what failed is removed");
}

#[test]
fn everybody_in_it_is_killed_and_all_below_removed() {
    alone!();
    let room = room!();
    let own = room.parent().make(&none()).unwrap();
    std::fs::create_dir_all(own.path().join("x/y")).unwrap();
    let mut children = [sleeper_in(&own.path().join("x/y")), sleeper(&own)];
    assert!(own.is_populated());
    assert_eq!(own.try_remove(), Ok(false));
    assert!(own.path().join("x/y").exists());
    own.kill().unwrap();
    for child in &mut children {
        child.wait().unwrap();
    }
    assert!(wait_for(PATIENCE, || own.try_remove() == Ok(true)));
    assert!(!own.path().exists() && !own.is_populated());
    assert_eq!((own.kill(), own.try_remove()), (Ok(()), Ok(true)));
}

#[test]
fn what_an_agent_left_is_removed_by_the_next() {
    alone!();
    let room = room!();
    let parent = room.parent();
    let own = parent.make(&none()).unwrap();
    let name = own.path().file_name().unwrap().to_str().unwrap().to_owned();
    let mut parts: Vec<&str> = name.split('-').collect();
    // The same pid, started at another time.
    parts[4] = "1";
    let gone = room.0.join(parts.join("-"));
    parts[5] = "9";
    let used = room.0.join(parts.join("-"));
    parts[2] = "1";
    let foreign = room.0.join(parts.join("-"));
    let unrelated = room.0.join("embryo-agent-x");
    for path in [&gone, &used, &foreign, &unrelated] {
        std::fs::create_dir(path).unwrap();
    }
    std::fs::create_dir(gone.join("below")).unwrap();
    let mut child = sleeper_in(&used);
    assert_eq!(parent.leftovers(), 1);
    assert!(!gone.exists() && used.exists() && own.path().exists());
    assert!(foreign.exists() && unrelated.exists());
    assert!(child.try_wait().unwrap().is_none(), "nobody is killed");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(wait_for(PATIENCE, || parent.leftovers() == 1));
}
