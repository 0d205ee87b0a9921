//! Kernel modules for a guest, in the order in which they must be loaded.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::{Error, Result, output};
use super::kernel::Kernel;

/// The contents of the modules named and of those they depend on, dependencies first.
pub(crate) fn load_order(kernel: &Kernel, names: &[String]) -> Result<Vec<Vec<u8>>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut search = Search { kernel, files: HashMap::new(), done: Vec::new(), order: Vec::new() };
    if let Some(dir) = &kernel.modules {
        search.index(&dir.join("kernel"))?;
    }
    names.iter().try_for_each(|name| search.add(&canonical(name)))?;
    Ok(search.order)
}

struct Search<'a> {
    kernel: &'a Kernel,
    files: HashMap<String, PathBuf>,
    done: Vec<String>,
    order: Vec<Vec<u8>>,
}

impl Search<'_> {
    fn index(&mut self, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir).map_err(Error::at(dir))? {
            let path = entry.map_err(Error::at(dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                self.index(&path)?;
            } else if let Some((name, _)) = name.split_once(".ko") {
                self.files.insert(canonical(name), path);
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str) -> Result<()> {
        if self.done.iter().any(|done| done == name) || self.is_built_in(name) {
            return Ok(());
        }
        self.done.push(name.into());
        let missing = || Error::NoModule(name.into());
        let path = self.files.get(name).ok_or_else(missing)?;
        let module = read(path)?;
        dependencies(&module).iter().try_for_each(|needed| self.add(needed))?;
        self.order.push(module);
        Ok(())
    }

    fn is_built_in(&self, name: &str) -> bool {
        let Some(dir) = &self.kernel.modules else { return false };
        let list = fs::read_to_string(dir.join("modules.builtin")).unwrap_or_default();
        let stem = |line: &str| Some(canonical(Path::new(line).file_stem()?.to_str()?));
        list.lines().filter_map(stem).any(|built_in| built_in == name)
    }
}

/// Module names may be written with either sign.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    match path.extension().is_some_and(|extension| extension == "xz") {
        true => Ok(output(Command::new("xz").arg("-dc").arg(path), "xz-utils")?.stdout),
        false => fs::read(path).map_err(Error::at(path)),
    }
}

/// The names after `depends=` in a module's own description.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let list = module[at + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(canonical).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_depends_on() {
        assert_eq!(dependencies(b"x\0depends=a-b,c\0name=d\0"), ["a_b", "c"]);
        assert!(dependencies(b"x\0depends=\0").is_empty());
        assert!(dependencies(b"no description").is_empty());
    }
}
