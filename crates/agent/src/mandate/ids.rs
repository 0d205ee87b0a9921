//! Sets of ids. It must never take a name for a number, nor look one up for a client.

use embryo::agent::mandate::Ids;

/// Uids or gids, as ranges with both ends in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdSet(Box<[(u32, u32)]>);

/// What a name is looked up as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Names of users.
    Users,
    /// Names of groups.
    Groups,
    /// None: the ids are a client's.
    Refused,
}

impl IdSet {
    /// The ids that a mandate names.
    ///
    /// # Errors
    /// What is none of them, in words.
    pub(crate) fn of(list: &[Ids], names: Names) -> Result<Self, String> {
        list.iter().map(|ids| range(ids, names)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this is one.
    pub(crate) fn has(&self, id: u32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&id))
    }

    /// Those of a list that are in the set, root left out.
    pub(crate) fn common(&self, others: &[u32]) -> Option<u32> {
        others.iter().copied().find(|id| *id != 0 && self.has(*id))
    }
}

/// Ids one by one, for lists that are short by nature.
///
/// # Errors
/// What is none, in words; also a range of more than a hundred.
pub(crate) fn single(list: &[Ids], names: Names) -> Result<Box<[u32]>, String> {
    let mut all = Vec::new();
    for ids in list {
        let (first, last) = range(ids, names)?;
        if last - first >= 100 {
            return Err(format!("{first}-{last} is too long a range here"));
        }
        all.extend(first..=last);
    }
    Ok(all.into())
}

/// One id.
///
/// # Errors
/// What it is instead, in words.
pub(crate) fn one(ids: &Ids, names: Names) -> Result<u32, String> {
    match range(ids, names)? {
        (first, last) if first == last => Ok(first),
        (first, last) => Err(format!("{first}-{last} is more than one id")),
    }
}

fn range(ids: &Ids, names: Names) -> Result<(u32, u32), String> {
    let text = match ids {
        Ids::Number(number) => return sound(*number, *number),
        Ids::Text(text) => text,
    };
    if let Some((first, last)) = text.split_once('-')
        && let (Ok(first), Ok(last)) = (first.parse(), last.parse())
    {
        return sound(first, last);
    }
    if let Ok(number) = text.parse() {
        return sound(number, number);
    }
    let id = embryo_job::value::Id::Name(text.clone());
    let number = match names {
        Names::Users => embryo_job::uid(&id),
        Names::Groups => embryo_job::gid(&id),
        Names::Refused => {
            return Err(format!("{text:?} is no number, and only the agent's file may use names"));
        }
    };
    let number = number.map_err(|error| error.to_string())?;
    sound(number, number)
}

fn sound(first: u32, last: u32) -> Result<(u32, u32), String> {
    if first > last {
        return Err(format!("{first}-{last} is no range"));
    }
    if last == u32::MAX {
        return Err(format!("{last} is no id"));
    }
    Ok((first, last))
}
