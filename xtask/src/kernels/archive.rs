//! The Debian archive's kernels, read through a private view of apt: the machine's own mirror, keys
//! and settings, but other suites, and lists of our own. The machine's sources and packages are not
//! touched.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::arch::Arch;
use super::build::{Build, Package, parse};
use super::error::{Error, Result, output};
use super::kernel::Series;

const SUITES: [&str; 7] = [
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "sid",
    "experimental",
];
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How old the index may be before it is fetched anew.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

pub(crate) struct Archive {
    dir: PathBuf,
    arch: Arch,
}

impl Archive {
    /// The view in `dir`, its index fetched if there is none, it is old, or `refresh` says so.
    pub(crate) fn open(dir: PathBuf, arch: Arch, refresh: bool) -> Result<Self> {
        let archive = Self { dir, arch };
        archive.configure()?;
        let stamp = archive.dir.join("fetched");
        let modified = fs::metadata(&stamp).and_then(|meta| meta.modified());
        let age = modified.ok().and_then(|time| time.elapsed().ok());
        if refresh || age.is_none_or(|age| age > MAX_AGE) {
            let sources = archive.dir.join("sources/debian.sources");
            fs::write(&sources, source_list()?).map_err(Error::at(&sources))?;
            eprintln!("fetching the index of Debian's {} packages", arch.debian());
            // A suite that has moved to the archive of old releases is no reason to do without the
            // others.
            if let Err(error) = archive.apt("apt-get", &["update", "-q"]) {
                eprintln!("warning: {error}");
            }
            if !archive.builds()?.is_empty() {
                fs::write(&stamp, "").map_err(Error::at(&stamp))?;
            }
        }
        Ok(archive)
    }

    /// All builds of the cloud flavour, by series, the best first.
    pub(crate) fn builds(&self) -> Result<BTreeMap<Series, Vec<Build>>> {
        let arch = self.arch.debian();
        let names = format!(
            "^linux-(image|binary|modules|base)-[0-9][^-]*(-[0-9][^-]*)?-cloud-{arch}(-unsigned)?$"
        );
        let found = self.apt("apt-cache", &["search", "--names-only", "--full", &names])?;
        let mut series = BTreeMap::<_, Vec<_>>::new();
        for build in parse(&found) {
            match Series::of(&build.release) {
                Some(of) if of >= Series::OLDEST => series.entry(of).or_default().push(build),
                _ => {}
            }
        }
        series.values_mut().for_each(|builds| builds.sort_by(Build::preference));
        Ok(series)
    }

    /// Fetches a build's packages and unpacks them into `to`.
    pub(crate) fn unpack(&self, build: &Build, to: &Path) -> Result<()> {
        let debs = tempfile::tempdir_in(&self.dir).map_err(Error::at(&self.dir))?;
        let exact = |package: &Package| format!("{}={}", package.name, package.version);
        let wanted: Vec<_> = build.packages.iter().map(exact).collect();
        let mut command = self.command("apt-get");
        command.current_dir(debs.path()).args(["download", "-q"]).args(wanted);
        output(&mut command, "apt")?;
        for deb in fs::read_dir(debs.path()).map_err(Error::at(debs.path()))? {
            let deb = deb.map_err(Error::at(debs.path()))?.path();
            output(Command::new("dpkg-deb").arg("--extract").args([&deb, to]), "dpkg")?;
        }
        Ok(())
    }

    fn configure(&self) -> Result<()> {
        for dir in ["sources", "state/lists/partial", "cache/archives/partial"] {
            let dir = self.dir.join(dir);
            fs::create_dir_all(&dir).map_err(Error::at(&dir))?;
        }
        let write = |path: PathBuf, text: &str| fs::write(&path, text).map_err(Error::at(&path));
        write(self.dir.join("state/status"), "")?;
        let (dir, arch) = (self.dir.display(), self.arch.debian());
        let settings = format!(
            "#clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             #clear APT::Architectures;\n\
             APT::Architecture \"{arch}\";\n\
             APT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::GzipIndexes \"true\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\n\
             Dir::Etc::sourceparts \"{dir}/sources\";\n\
             Dir::State \"{dir}/state\";\n\
             Dir::State::lists \"{dir}/state/lists\";\n\
             Dir::State::status \"{dir}/state/status\";\n\
             Dir::Cache \"{dir}/cache\";\n"
        );
        write(self.dir.join("apt.conf"), &settings)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.dir.join("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    }

    fn apt(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = output(self.command(program).args(args), "apt")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Our suites on the mirrors that the machine's own apt uses.
fn source_list() -> Result<String> {
    let mut command = Command::new("apt-get");
    command.args([
        "indextargets",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
        "Created-By: Packages",
    ]);
    let targets = output(&mut command, "apt")?.stdout;
    let targets = String::from_utf8_lossy(&targets).into_owned();
    let mirror = |label: &str| {
        let prefix = format!("Debian|{label}|");
        targets.lines().find_map(|line| line.strip_prefix(&prefix)).map(String::from)
    };
    let mut list = String::new();
    let mut add = |mirror: &str, suites: &[&str]| {
        let keys = match Path::new(KEYRING).exists() {
            true => format!("Signed-By: {KEYRING}\n"),
            false => String::new(),
        };
        let suites = suites.join(" ");
        let _ = write!(
            list,
            "Types: deb\nURIs: {mirror}\nSuites: {suites}\nComponents: main\n\
             Targets: Packages\n{keys}\n"
        );
    };
    add(&mirror("Debian").ok_or(Error::NoArchive)?, &SUITES);
    if let Some(mirror) = mirror("Debian-Security") {
        add(&mirror, &SECURITY_SUITES);
    }
    Ok(list)
}
