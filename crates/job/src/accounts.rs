//! Users and groups by name, as the system's user database has them.
//!
//! It must never take an unknown name for a number or for nobody.

use crate::error::Error;
use crate::value::Id;
use std::path::PathBuf;
use uzers::os::unix::UserExt;

/// What becoming a user means.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

impl Account {
    /// Looks a user up, by name or by number.
    pub(crate) fn of(user: &str) -> Result<Self, Error> {
        let by_number = user.parse().ok().and_then(uzers::get_user_by_uid);
        let Some(user) = by_number.or_else(|| uzers::get_user_by_name(user)) else {
            return Err(unknown("user", user).with_hint("uid and gid take numbers"));
        };
        let name = user.name().to_string_lossy().into_owned();
        let gid = user.primary_group_id();
        let Some(groups) = uzers::get_user_groups(user.name(), gid) else {
            return Err(Error::new(format!("the groups of user {name:?} cannot be read")));
        };
        Ok(Self {
            uid: user.uid(),
            gid,
            groups: groups.iter().map(uzers::Group::gid).collect(),
            home: user.home_dir().to_owned(),
            shell: user.shell().to_owned(),
            name,
        })
    }
}

/// The number of a user; `u32::MAX` for one that stays.
///
/// # Errors
/// There is no such user.
pub fn uid(id: &Id) -> Result<u32, Error> {
    number(id, "user", |name| uzers::get_user_by_name(name).map(|user| user.uid()))
}

/// The number of a group; `u32::MAX` for one that stays.
///
/// # Errors
/// There is no such group.
pub fn gid(id: &Id) -> Result<u32, Error> {
    number(id, "group", |name| uzers::get_group_by_name(name).map(|group| group.gid()))
}

fn number(id: &Id, what: &str, find: impl Fn(&str) -> Option<u32>) -> Result<u32, Error> {
    match id {
        Id::Keep => Ok(u32::MAX),
        Id::Number(number) => Ok(*number),
        Id::Name(name) => find(name).ok_or_else(|| unknown(what, name)),
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(format!("there is no {what} {name:?} in the user database"))
}
