//! The kernels at hand, in `target/kernels/ARCH/SERIES/`, each with a record of the packages it
//! came from.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::arch::Arch;
use super::archive::Archive;
use super::build::Build;
use super::error::{Error, Result};
use super::kernel::{Kernel, Selector, Series};

const RECORD: &str = "packages.json";

pub(crate) struct Cache {
    dir: PathBuf,
    arch: Arch,
    refresh: bool,
    builds: OnceCell<BTreeMap<Series, Vec<Build>>>,
    /// Held while the cache is in use for finding kernels, so that two runs do not fetch the same
    /// one.
    _lock: File,
}

impl Cache {
    /// The cache in the build directory that this program was built into.
    pub(crate) fn open(arch: Arch, refresh: bool) -> Result<Self> {
        let own = std::env::current_exe().map_err(Error::at(Path::new("/proc/self/exe")))?;
        let target = own.ancestors().nth(2).unwrap_or(Path::new("/"));
        let dir = target.join("kernels").join(arch.name());
        fs::create_dir_all(&dir).map_err(Error::at(&dir))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(Error::at(&path))?;
        lock.lock().map_err(Error::at(&path))?;
        Ok(Self { dir, arch, refresh, builds: OnceCell::new(), _lock: lock })
    }

    /// The kernels selected, each once, fetched where they are not at hand.
    pub(crate) fn kernels(&self, selectors: &[Selector]) -> Result<Vec<Kernel>> {
        let mut kernels = Vec::<Kernel>::new();
        for selector in selectors {
            let found = match selector {
                Selector::Image(image) => vec![custom(image)?],
                Selector::Series(series) => vec![self.kernel(*series)?],
                Selector::Newest => {
                    let newest = self.builds()?.keys().next_back();
                    newest.map(|series| self.kernel(*series)).into_iter().collect::<Result<_>>()?
                }
                Selector::All => self
                    .builds()?
                    .keys()
                    .map(|series| self.kernel(*series))
                    .collect::<Result<_>>()?,
            };
            for kernel in found {
                if !kernels.iter().any(|other| other.image == kernel.image) {
                    kernels.push(kernel);
                }
            }
        }
        Ok(kernels)
    }

    fn kernel(&self, series: Series) -> Result<Kernel> {
        match self.at_hand(series) {
            Some(kernel) if !self.refresh => Ok(kernel),
            _ => self.fetch(series),
        }
    }

    /// All builds that the archive has, as an index that is read once has it.
    pub(crate) fn builds(&self) -> Result<&BTreeMap<Series, Vec<Build>>> {
        if let Some(builds) = self.builds.get() {
            return Ok(builds);
        }
        let builds = self.archive(self.refresh)?.builds()?;
        match builds.is_empty() {
            true => Err(Error::NoIndex),
            false => Ok(self.builds.get_or_init(|| builds)),
        }
    }

    fn archive(&self, refresh: bool) -> Result<Archive> {
        let dir = self.dir.join("apt");
        fs::create_dir_all(&dir).map_err(Error::at(&dir))?;
        Archive::open(dir, self.arch, refresh)
    }

    /// The series' kernel, if it has been fetched.
    pub(crate) fn at_hand(&self, series: Series) -> Option<Kernel> {
        let dir = self.dir.join(series.to_string());
        let record = fs::read(dir.join(RECORD)).ok()?;
        let build: Build = serde_json::from_slice(&record).ok()?;
        let modules = Some(dir.join("modules")).filter(|modules| modules.join("kernel").is_dir());
        Some(Kernel { name: build.release, image: dir.join("vmlinuz"), modules })
    }

    /// Fetches the best build that the mirror really has: an index can name packages that are gone.
    fn fetch(&self, series: Series) -> Result<Kernel> {
        let there_are = || self.builds().map(|all| all.keys().map(Series::to_string).collect());
        let Some(builds) = self.builds()?.get(&series) else {
            return Err(Error::NoKernel { wanted: series.to_string(), there_are: there_are()? });
        };
        let archive = self.archive(false)?;
        for build in builds {
            eprintln!("fetching kernel {}", build.release);
            let scratch = tempfile::tempdir_in(&self.dir).map_err(Error::at(&self.dir))?;
            match archive.unpack(build, scratch.path()) {
                Ok(()) => self.keep(series, build, scratch.path())?,
                Err(error @ Error::Command { .. }) => {
                    eprintln!("warning: {error}");
                    continue;
                }
                Err(error) => return Err(error),
            }
            return self.at_hand(series).ok_or_else(|| Error::NotFetched(series.to_string()));
        }
        Err(Error::NotFetched(series.to_string()))
    }

    /// Puts what is of use in a build's unpacked packages into the series' place.
    fn keep(&self, series: Series, build: &Build, unpacked: &Path) -> Result<()> {
        let release = &build.release;
        let new = tempfile::tempdir_in(&self.dir).map_err(Error::at(&self.dir))?;
        let modules = new.path().join("modules");
        for dir in ["usr/lib/modules", "lib/modules"].map(|dir| unpacked.join(dir).join(release)) {
            if dir.is_dir() {
                fs::rename(&dir, &modules).map_err(Error::at(&dir))?;
            }
        }
        let image = unpacked.join("boot").join(format!("vmlinuz-{release}"));
        let image = if image.exists() { image } else { modules.join("vmlinuz") };
        fs::rename(&image, new.path().join("vmlinuz")).map_err(Error::at(&image))?;
        let record = new.path().join(RECORD);
        let text = serde_json::to_string_pretty(build).map_err(std::io::Error::other);
        text.and_then(|text| fs::write(&record, text)).map_err(Error::at(&record))?;
        let place = self.dir.join(series.to_string());
        if place.exists() {
            fs::remove_dir_all(&place).map_err(Error::at(&place))?;
        }
        fs::rename(new.keep(), &place).map_err(Error::at(&place))
    }
}

fn custom(image: &Path) -> Result<Kernel> {
    let image = fs::canonicalize(image).map_err(Error::at(image))?;
    Ok(Kernel { name: image.display().to_string(), image, modules: None })
}
