//! What may run: which rule fits an image, and the handle by which it runs.
//!
//! The first rule of each mandate that fits counts, and each mandate has to have one. A path is opened once, by the
//! rule of the named mandate; what was opened is what runs. It must never look up a path that no rule fits.

use super::args::{ArgRules, Unfit};
use super::compile::{Become, Whose};
use super::ids::single;
use super::paths::{Kind, PathRule, plain};
use super::work::Work;
use super::{Grant, Image, Refusal, refusal};
use crate::files;
use crate::files::facts::{Facts, Known};
use crate::files::trusted::{Found, Reason, Status, Untrusted};
use embryo::agent::mandate::ImageRule;
use embryo::{ExecFlags, Op, OpCode, Slot};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Directories of a search list in which something is looked for, at most.
const LOOKED_UP_MAX: usize = 64;

/// What it is worth in steps to compare a path with a rule.
const RULE_STEPS: u64 = 32;

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    what: What,
    owners: Box<[u32]>,
    script: bool,
    args: Option<ArgRules>,
}

#[derive(Debug)]
enum What {
    Path(PathRule),
    Sha256([u8; 32]),
    Verity(Box<str>),
    Inode { device: (u32, u32), inode: u64 },
    Registers,
}

impl Rule {
    pub(super) fn new(
        source: &ImageRule,
        whose: Whose,
        children: &Become<'_>,
    ) -> Result<Self, String> {
        let owners = single(&source.owners, whose.users())?;
        if whose == Whose::File
            && let Some(uid) = children.one_of(&owners)
        {
            return Err(format!("a child may be uid {uid}, so its files cannot be trusted"));
        }
        Ok(Self {
            what: what(source, whose, &owners)?,
            owners,
            script: source.script,
            args: source.args.as_ref().map(ArgRules::new),
        })
    }

    /// Whether files of the client itself would be trusted.
    fn trusts(&self, uid: u32) -> bool {
        uid != 0 && self.owners.contains(&uid)
    }

    fn path(&self) -> Option<&PathRule> {
        if let What::Path(rule) = &self.what { Some(rule) } else { None }
    }
}

fn what(source: &ImageRule, whose: Whose, owners: &[u32]) -> Result<What, String> {
    let path = |path: &Path, below| match whose {
        Whose::File => {
            let kind = if below { Kind::Any } else { Kind::File };
            PathRule::opened(path, below, owners, kind)
        }
        Whose::Client => PathRule::written(path, below),
    };
    let digest = |text: &str| hex(text).ok_or_else(|| format!("{text:?} is no SHA-256"));
    let mut found = Vec::new();
    if let Some(at) = &source.path {
        found.push(What::Path(path(at, false)?));
    }
    if let Some(at) = &source.under {
        found.push(What::Path(path(at, true)?));
    }
    if let Some(text) = &source.sha256 {
        found.push(What::Sha256(digest(text)?));
    }
    if let Some(text) = &source.verity {
        let Some(("sha256" | "sha512", hex)) = text.split_once(':') else {
            return Err(format!("{text:?} is no fs-verity digest"));
        };
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("{text:?} is no fs-verity digest"));
        }
        found.push(What::Verity(text.to_ascii_lowercase().into()));
    }
    if let Some(text) = &source.inode {
        found.push(inode(text).ok_or_else(|| format!("{text:?} is not MAJOR:MINOR:INODE"))?);
    }
    if source.registers {
        if source.args.is_some() || source.script {
            return Err("a start by registers has no args, and is no script".into());
        }
        found.push(What::Registers);
    }
    match (found.pop(), found.pop()) {
        (Some(what), None) => Ok(what),
        _ => {
            Err("exactly one of path, under, sha256, verity, inode and registers says what".into())
        }
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(bytes)
}

fn inode(text: &str) -> Option<What> {
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok());
    let (major, minor, inode) = (parts.next()??, parts.next()??, parts.next()??);
    let device = (u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
    parts.next().is_none().then_some(What::Inode { device, inode })
}

/// What has become of the start.
pub(super) struct Resolved {
    pub(super) image: Image,
    pub(super) program: String,
}

/// Finds what the plan starts, and puts the start by handle in its place.
pub(super) fn resolve(work: &mut Work<'_>, known: &mut Known) -> Result<Resolved, Refusal> {
    let start = work.ops.last().map(|item| item.op);
    match start {
        Some(Op::ExecPath { path, .. }) => by_path(work, path.to_bytes()),
        Some(Op::ExecName { name, .. }) if name.to_bytes().contains(&b'/') => {
            by_path(work, name.to_bytes())
        }
        Some(Op::ExecName { name, search, .. }) => {
            by_name(work, name.to_bytes(), search.to_bytes())
        }
        Some(Op::ExecSlot { slot, flags }) => by_handle(work, slot, flags, known),
        Some(Op::StartRegs { .. }) => by_registers(work),
        _ => Err(refusal("plan", "it starts nothing")),
    }
}

/// The rules, one of each mandate that has any, that fit a path; the named one's last.
fn rules_for<'a>(work: &Work<'a>, path: &Path) -> Result<Vec<&'a Rule>, Refusal> {
    let mut rules = Vec::with_capacity(work.held.levels.len());
    for level in &work.held.levels {
        let Some(list) = &level.images else { continue };
        let fits = |rule: &&Rule| rule.path().is_some_and(|rule| rule.fits(path));
        work.steps
            .take(RULE_STEPS.saturating_mul(list.len() as u64))
            .map_err(|_| args_refused(Unfit::TooLong))?;
        let rule = list.iter().find(fits).ok_or_else(|| {
            refusal("images", format!("no rule of {} fits {}", level.name, path.display()))
        })?;
        rules.push(rule);
    }
    Ok(rules)
}

fn by_path(work: &mut Work<'_>, bytes: &[u8]) -> Result<Resolved, Refusal> {
    let path = plain(bytes).ok_or_else(|| {
        let path = String::from_utf8_lossy(bytes);
        refusal("images", format!("{path} is not an absolute path without . and .."))
    })?;
    let rules = rules_for(work, path)?;
    match open(work, &rules, path)? {
        Ok(found) => run(work, &rules, path, found),
        Err(error) => Err(refusal("images", error.to_string())),
    }
}

fn by_name(work: &mut Work<'_>, name: &[u8], search: &[u8]) -> Result<Resolved, Refusal> {
    for directory in search.split(|byte| *byte == b':').take(LOOKED_UP_MAX) {
        let candidate = [directory, b"/", name].concat();
        let Some(path) = plain(&candidate) else { continue };
        let Ok(rules) = rules_for(work, path) else { continue };
        match open(work, &rules, path)? {
            Ok(found) => return run(work, &rules, path, found),
            Err(Untrusted {
                reason: Reason::Errno(Errno::NOENT) | Reason::NotDirectory, ..
            }) => {}
            Err(error) => return Err(refusal("images", error.to_string())),
        }
    }
    let name = String::from_utf8_lossy(name);
    Err(refusal("images", format!("no rule fits {name} in its search list, or it is not there")))
}

/// Opens a path by the rule of the named mandate, after what all of them say of trust was compared.
fn open(
    work: &Work<'_>,
    rules: &[&Rule],
    path: &Path,
) -> Result<Result<Found, Untrusted>, Refusal> {
    let Some((named, narrower)) = rules.split_last() else {
        return Err(refusal("images", "the named mandate has no rules"));
    };
    if rules.iter().any(|rule| rule.trusts(work.held.peer.uid)) {
        return Err(refusal("images.owners", "files of the client itself are not trusted"));
    }
    let trusted = |rule: &Rule| named.owners.iter().all(|uid| rule.owners.contains(uid));
    if !narrower.iter().all(|rule| trusted(rule)) {
        let why = "the wider mandate trusts owners that the narrower one does not";
        return Err(refusal("images.owners", why));
    }
    named
        .path()
        .and_then(|rule| rule.open(path, Kind::File))
        .ok_or_else(|| refusal("images", "the rule of the named mandate opens nothing"))
}

fn run(
    work: &mut Work<'_>,
    rules: &[&Rule],
    path: &Path,
    found: Found,
) -> Result<Resolved, Refusal> {
    check_args(work, rules)?;
    let by_name = rules.last().and_then(|rule| rule.path()).is_some_and(PathRule::is_exact);
    if !by_name {
        check_set_id(work, &found.status)?;
    }
    let keep = rules.iter().all(|rule| rule.script);
    let flags = if keep { ExecFlags::KEEP_OPEN } else { ExecFlags::empty() };
    let slot = work.ours(found.handle);
    start_by(work, slot, flags);
    Ok(Resolved { image: Image::Ready, program: path.display().to_string() })
}

fn check_args(work: &Work<'_>, rules: &[&Rule]) -> Result<(), Refusal> {
    for rule in rules {
        if let Some(args) = &rule.args {
            args.check(&work.argv, &work.steps).map_err(args_refused)?;
        }
    }
    Ok(())
}

fn args_refused(unfit: Unfit) -> Refusal {
    let (key, why) = unfit.told();
    refusal(format!("images.{key}"), why)
}

/// A file that would make another user of the child has to be named by itself, or gain nothing.
fn check_set_id(work: &Work<'_>, status: &Status) -> Result<(), Refusal> {
    if status.is_set_id() && work.find(OpCode::NoNewPrivs).is_none() {
        let why = "it is set-user-id or set-group-id; only a path rule for it alone allows that \
                   without no-new-privs";
        return Err(refusal("images", why));
    }
    Ok(())
}

fn start_by(work: &mut Work<'_>, slot: Slot, flags: ExecFlags) {
    if let Some(last) = work.ops.last_mut() {
        last.op = Op::ExecSlot { slot, flags };
    }
}

/// What is known of a granted file.
struct Granted {
    status: Status,
    verity: Option<String>,
}

/// What one mandate says of a granted file.
enum Verdict<'a> {
    /// This rule fits it as it is.
    Fits(&'a Rule),
    /// One of these fits it if it has the digest.
    If(Vec<(&'a Rule, [u8; 32])>),
}

fn by_handle(
    work: &mut Work<'_>,
    slot: Slot,
    flags: ExecFlags,
    known: &mut Known,
) -> Result<Resolved, Refusal> {
    let Some(Grant::Client(grant)) = work.slots.get(slot.0 as usize).cloned() else {
        return Err(refusal("images", "the image is no grant"));
    };
    let fd = work.fd(slot).ok_or_else(|| refusal("grants", "the image was not granted"))?;
    let status =
        Status::of(fd).map_err(|errno| refusal("images", format!("the image: {errno}")))?;
    if status.kind() != FileType::RegularFile {
        return Err(refusal("images", "the image is no regular file"));
    }
    let file = Granted { status, verity: verity(work, fd, known) };
    let mut digests: Option<Vec<[u8; 32]>> = None;
    let mut script = true;
    for level in &work.held.levels {
        let Some(list) = &level.images else { continue };
        match verdict(work, &level.name, list, &file)? {
            Verdict::Fits(rule) => script &= rule.script,
            Verdict::If(rules) => {
                script &= rules.iter().all(|(rule, _)| rule.script);
                let wanted = |digest: &[u8; 32]| rules.iter().any(|(_, known)| known == digest);
                digests = Some(match digests {
                    None => rules.iter().map(|(_, digest)| *digest).collect(),
                    Some(before) => before.into_iter().filter(wanted).collect(),
                });
            }
        }
    }
    if flags.contains(ExecFlags::KEEP_OPEN) && !script {
        return Err(refusal("images.script", "the rule is for no script"));
    }
    let program = work.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into());
    let program = format!("{program} (granted)");
    match digests {
        None => {
            check_set_id(work, &file.status)?;
            Ok(Resolved { image: Image::Ready, program })
        }
        Some(digests) if digests.is_empty() => {
            Err(refusal("images.sha256", "no digest is allowed by every mandate"))
        }
        Some(digests) => {
            let slot = work.slot(Grant::Image);
            start_by(work, slot, flags);
            Ok(Resolved { image: Image::Copy { grant, digests }, program })
        }
    }
}

/// The first rule by inode or fs-verity digest that fits; else all those by SHA-256 whose arguments fit, since
/// which digest it has is found out later.
fn verdict<'a>(
    work: &Work<'_>,
    level: &str,
    list: &'a [Rule],
    file: &Granted,
) -> Result<Verdict<'a>, Refusal> {
    let status = &file.status;
    let fits = |rule: &&Rule| match &rule.what {
        What::Inode { device, inode } => *device == status.device && *inode == status.inode,
        What::Verity(digest) => file.verity.as_deref() == Some(digest),
        _ => false,
    };
    if let Some(rule) = list.iter().find(fits) {
        check_args(work, &[rule])?;
        if let What::Inode { .. } = rule.what {
            if rule.trusts(work.held.peer.uid) {
                return Err(refusal("images.owners", "files of the client itself are not trusted"));
            }
            status
                .trusted(&rule.owners)
                .map_err(|reason| refusal("images.inode", format!("the image {reason}")))?;
        }
        return Ok(Verdict::Fits(rule));
    }
    let mut some: Vec<(&Rule, [u8; 32])> = Vec::new();
    let mut refused = None;
    let mut seen: Vec<[u8; 32]> = Vec::new();
    for rule in list {
        let What::Sha256(digest) = rule.what else { continue };
        // The first one of a digest counts, whatever its arguments.
        if seen.contains(&digest) {
            continue;
        }
        seen.push(digest);
        match check_args(work, &[rule]) {
            Ok(()) => some.push((rule, digest)),
            Err(error) => refused = Some(error),
        }
    }
    match (some.is_empty(), refused) {
        (false, _) => Ok(Verdict::If(some)),
        (true, Some(error)) => Err(error),
        (true, None) => Err(refusal("images", format!("no rule of {level} fits the granted file"))),
    }
}

/// The fs-verity digest of a granted file, if a rule asks for one, it has one, and its file system can be asked
/// without waiting.
fn verity(work: &Work<'_>, fd: BorrowedFd<'_>, known: &mut Known) -> Option<String> {
    let lists = work.held.levels.iter().filter_map(|level| level.images.as_ref());
    let wanted = lists.flatten().any(|rule| matches!(rule.what, What::Verity(_)));
    let measured = wanted.then(|| files::verity::measure(fd, &Facts::of(fd, known)));
    measured?.ok().flatten()
}

fn by_registers(work: &Work<'_>) -> Result<Resolved, Refusal> {
    for level in &work.held.levels {
        let Some(list) = &level.images else { continue };
        if !list.iter().any(|rule| matches!(rule.what, What::Registers)) {
            let why = format!("no rule of {} allows a start by registers", level.name);
            return Err(refusal("images", why));
        }
    }
    Ok(Resolved { image: Image::Ready, program: "(built in memory)".into() })
}

#[cfg(test)]
mod tests {
    use super::{Granted, Verdict, What, hex, inode, verdict};
    use crate::files::trusted::Status;
    use crate::mandate::tests::{held, plan};
    use crate::mandate::work::Work;
    use std::os::fd::AsFd;

    #[test]
    fn a_verity_rule_fits_the_digest_that_the_kernel_says() {
        let held = held("images = [{ verity = 'sha256:00FF' }]");
        let (level, plan) = (&held.levels[0], plan(|_| {}));
        let work = Work::new(&held, level, &plan.as_plan(), &[]).unwrap();
        let status = Status::of(std::fs::File::open("/usr/bin/true").unwrap().as_fd()).unwrap();
        let fits = |digest: Option<&str>| {
            let file = Granted { status, verity: digest.map(Into::into) };
            let found = verdict(&work, "test", level.images.as_ref().unwrap(), &file);
            found.map(|verdict| matches!(verdict, Verdict::Fits(_))).map_err(|why| why.rule)
        };
        assert_eq!(fits(Some("sha256:00ff")), Ok(true));
        assert_eq!(fits(Some("sha512:00ff")), Err("images".into()));
        assert_eq!(fits(None), Err("images".into()));
    }

    #[test]
    fn digests_and_inodes_are_read_as_they_are_printed() {
        let digest = "00ff".repeat(16);
        assert_eq!(hex(&digest).unwrap()[..4], [0, 255, 0, 255]);
        assert_eq!(hex(&digest[1..]), None);
        assert_eq!(hex(&digest.replace('f', "g")), None);
        assert!(matches!(inode("8:1:77"), Some(What::Inode { device: (8, 1), inode: 77 })));
        for wrong in ["8:1", "8:1:7:7", "8::7", "a:b:c", "4294967296:0:1"] {
            assert!(inode(wrong).is_none(), "{wrong}");
        }
    }
}
