//! What the interpreter is made of: everything that its code can reach, followed from relocation to
//! relocation through the crates below it and `core`.
//!
//! It is built optimised and without the half that runs in the creator. A panic needs a path to
//! `core::panicking`, an allocation one to the allocator, libc an undefined symbol: none may be
//! reached. It must never take a name for proof of where code comes from: what is reached is what
//! the linker would take.

use super::{Broken, Tidy, output};
use object::read::archive::ArchiveFile;
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SectionKind, SymbolSection,
};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The memory functions that the compiler takes for granted; the seed brings its own.
const ALLOWED: [&str; 6] = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"];

/// Parts of names that say what must not be there.
const FORBIDDEN: [(&str, &str); 7] = [
    ("panicking", "a panic"),
    ("_Unwind", "unwinding"),
    ("eh_personality", "unwinding"),
    ("__rust_alloc", "an allocation"),
    ("__rust_dealloc", "an allocation"),
    ("__rdl_", "an allocation"),
    ("__tls_get_addr", "thread-local storage"),
];

/// One message of `cargo build --message-format=json`.
#[derive(serde::Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    filenames: Vec<PathBuf>,
    #[serde(default)]
    pub(super) env: Vec<(String, String)>,
}

/// Runs a build and returns what cargo says of it.
pub(super) fn artifacts(build: &mut Command) -> Result<Vec<Message>, Broken> {
    let json = output(build.arg("--message-format=json-render-diagnostics"))?;
    json.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

pub(super) fn check(tidy: &mut Tidy) -> Result<(), Broken> {
    let archives = build(tidy)?;
    let mut members = Vec::new();
    for path in &archives {
        members.extend(objects(path)?);
    }
    let code = Code::new(&members)?;
    let before = tidy.findings.len();
    let reached = code.reach(|member| member.library.starts_with("libembryo_interp"))?;
    for name in &reached.names {
        for (_, what) in FORBIDDEN.iter().filter(|(part, _)| name.contains(part)) {
            let name = rustc_demangle::demangle(name);
            tidy.finding("crates/interp", format_args!("{what} can be reached: {name:#}"));
        }
    }
    for name in reached.outside.iter().filter(|name| !ALLOWED.contains(&name.as_str())) {
        let name = rustc_demangle::demangle(name);
        tidy.finding("crates/interp", format_args!("{name:#} is needed from outside"));
    }
    if reached.thread_local {
        tidy.finding("crates/interp", "thread-local storage can be reached");
    }
    if reached.sections < 50 {
        tidy.finding("crates/interp", "so little can be reached that this check has lost its way");
    }
    tidy.passed(
        "child",
        format_args!(
            "{} pieces of code and data reached from interp, in {}; from outside: {}; \
             {}",
            reached.sections,
            Vec::from_iter(reached.libraries).join(", "),
            Vec::from_iter(reached.outside).join(", "),
            if tidy.findings.len() == before {
                "no allocator, panic, TLS or libc"
            } else {
                "see below"
            },
        ),
    );
    Ok(())
}

/// Builds the interpreter as it is built into the seed, and names every archive it may draw from.
fn build(tidy: &Tidy) -> Result<Vec<PathBuf>, Broken> {
    let sysroot = output(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(tidy.path("target"), PathBuf::from);
    let target = target.join("tidy");
    let mut cargo = tidy.cargo();
    cargo.args(["build", "--release", "--package", "embryo-interp", "--target-dir"]).arg(&target);
    // Unwinding is left out: a guard against panics that cannot happen would name the panic.
    cargo.args(["--config", "profile.release.panic='abort'"]);
    cargo.args(["--config", "profile.release.codegen-units=1"]);
    cargo.args(["--config", "profile.release.debug=false"]);
    let built = artifacts(&mut cargo)?;
    let built = built.into_iter().flat_map(|message| message.filenames);
    let library = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rlib");
    let mut archives: Vec<PathBuf> = built.filter(library).collect();
    for entry in std::fs::read_dir(sysroot.trim())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("libcore-") && library(&path) {
            archives.push(path);
        }
    }
    Ok(archives)
}

/// One object file and the library that it comes from.
struct Member {
    library: String,
    bytes: Vec<u8>,
}

fn objects(archive: &Path) -> Result<Vec<Member>, Broken> {
    let bytes = std::fs::read(archive)?;
    let name = archive.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let file = ArchiveFile::parse(&*bytes)?;
    let mut members = Vec::new();
    for member in file.members() {
        let member = member?;
        if member.name().ends_with(b".o") {
            let library = name.split('-').next().unwrap_or_default().to_owned();
            members.push(Member { library, bytes: member.data(&*bytes)?.to_vec() });
        }
    }
    Ok(members)
}

/// A section of a member.
type Piece = (usize, SectionIndex);

struct Code<'a> {
    members: &'a [Member],
    files: Vec<object::File<'a>>,
    /// Where each name that other members may use is defined.
    defined: HashMap<String, Piece>,
}

/// What can be reached.
#[derive(Default)]
struct Reached {
    sections: usize,
    names: BTreeSet<String>,
    outside: BTreeSet<String>,
    libraries: BTreeSet<String>,
    thread_local: bool,
}

impl<'a> Code<'a> {
    fn new(members: &'a [Member]) -> Result<Self, Broken> {
        let mut files = Vec::new();
        let mut defined = HashMap::new();
        for (index, member) in members.iter().enumerate() {
            let file = object::File::parse(&*member.bytes)?;
            for symbol in file.symbols().filter(|symbol| symbol.is_global()) {
                if let SymbolSection::Section(section) = symbol.section() {
                    defined.entry(symbol.name()?.to_owned()).or_insert((index, section));
                }
            }
            files.push(file);
        }
        Ok(Self { members, files, defined })
    }

    /// Follows everything from the code of the members that `from` names.
    fn reach(&self, from: impl Fn(&Member) -> bool) -> Result<Reached, Broken> {
        let mut reached = Reached::default();
        let mut seen = BTreeSet::new();
        let mut left: Vec<Piece> = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            if from(&self.members[index]) {
                let code = file.sections().filter(|section| section.kind() == SectionKind::Text);
                left.extend(code.map(|section| (index, section.index())));
            }
        }
        while let Some(piece) = left.pop() {
            if !seen.insert((piece.0, piece.1.0)) {
                continue;
            }
            self.look_at(piece, &mut reached, &mut left)?;
        }
        reached.sections = seen.len();
        Ok(reached)
    }

    fn look_at(
        &self,
        (index, section): Piece,
        reached: &mut Reached,
        left: &mut Vec<Piece>,
    ) -> Result<(), Broken> {
        let file = &self.files[index];
        let section = file.section_by_index(section)?;
        reached.libraries.insert(self.members[index].library.replacen("lib", "", 1));
        reached.thread_local |=
            matches!(section.kind(), SectionKind::Tls | SectionKind::UninitializedTls);
        for (_, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                continue;
            };
            let symbol = file.symbol_by_index(symbol)?;
            let name = symbol.name()?.to_owned();
            match symbol.section() {
                SymbolSection::Section(section) => left.push((index, section)),
                _ => match self.defined.get(&name) {
                    Some(piece) => left.push(*piece),
                    None => drop(reached.outside.insert(name.clone())),
                },
            }
            reached.names.insert(name);
        }
        Ok(())
    }
}
