//! Which environment strings a plan may have, by their names.
//!
//! It must never let a pattern stand for a name that changes what the loader or a shell does before the image
//! has any say; such a name has to be written out.

use super::pattern::{Pattern, Steps, TooLong};
use std::collections::BTreeSet;

/// Names that only stand for themselves.
///
/// The first block is what glibc takes out of the environment of a set-user-id program
/// (`sysdeps/generic/unsecvars.h`, and ld.so(8) under "secure-execution mode"), beside all that begins with `LD_`;
/// `GLIBC_TUNABLES` and the `MALLOC_` names are of the same kind. The second makes a shell, perl, python or ruby
/// read a file or code before its script: bash(1), dash(1) (`ENV`), zsh(1), perlrun(1), python(1), ruby(1), node(1).
/// The third decides what is found when a name is looked up, by any of them.
pub(crate) const WRITTEN_OUT: &[&str] = &[
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TMPDIR",
    "TZDIR",
    //
    "BASHOPTS",
    "BASH_ENV",
    "ENV",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "SHELLOPTS",
    "ZDOTDIR",
    //
    "CDPATH",
    "GLOBIGNORE",
    "IFS",
    "PATH",
];

/// What such names begin with: the loader's, malloc(3)'s, and functions that bash(1) takes from the environment.
pub(crate) const WRITTEN_OUT_FROM: &[&str] = &["LD_", "DYLD_", "MALLOC_", "BASH_FUNC_"];

/// Names of environment strings.
#[derive(Debug, Default)]
pub(crate) struct NameRules {
    exact: BTreeSet<Box<[u8]>>,
    patterns: Box<[Pattern]>,
}

impl NameRules {
    /// # Errors
    /// A name that can be none.
    pub(crate) fn new(names: &[String]) -> Result<Self, String> {
        if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            return Err(format!("{name:?} is no name"));
        }
        let (wild, exact): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| Pattern::is_wild(name));
        Ok(Self {
            exact: exact.into_iter().map(|name| name.as_bytes().into()).collect(),
            patterns: wild.into_iter().map(|name| Pattern::new(name)).collect(),
        })
    }

    /// Whether a string of this name may be there.
    pub(crate) fn allows(&self, name: &[u8], steps: &Steps) -> Result<bool, TooLong> {
        if self.exact.contains(name) {
            return Ok(true);
        }
        if is_written_out(name) {
            return Ok(false);
        }
        for pattern in &self.patterns {
            if pattern.fits(name, steps)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a name has to be written out.
pub(crate) fn is_written_out(name: &[u8]) -> bool {
    WRITTEN_OUT.iter().any(|known| known.as_bytes() == name)
        || WRITTEN_OUT_FROM.iter().any(|known| name.starts_with(known.as_bytes()))
}

/// The name of an environment string, if it has one.
pub(crate) fn name_of(string: &[u8]) -> Option<&[u8]> {
    let end = string.iter().position(|byte| *byte == b'=')?;
    string.get(..end).filter(|name| !name.is_empty())
}
