//! Users and groups by the files of the container (passwd(5), group(5)): read
//! by the process that has entered it, so that no path leads out.

use oci_spec::runtime::User;

use crate::error::{Error, Result};

/// Fields of the first line of a colon-separated file that fits.
fn find(file: &str, fits: impl Fn(&[&str]) -> bool) -> Option<Vec<String>> {
    let text = read(file)?;
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.len() > 3 && fits(fields))?;
    Some(found.into_iter().map(String::from).collect())
}

/// The text of a regular file. The container may have put anything in its
/// place; nobody may ever write to a FIFO.
fn read(file: &str) -> Option<String> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let mut opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(file)
        .ok()?;
    let mut text = String::new();
    let regular = opened.metadata().is_ok_and(|m| m.is_file());
    (regular && opened.read_to_string(&mut text).is_ok()).then_some(text)
}

/// The home directory of a user in the current root; `/` when there is none.
pub fn home(uid: u32) -> String {
    let uid = uid.to_string();
    let entry = find("/etc/passwd", |fields| fields[2] == uid);
    let home = entry
        .and_then(|fields| fields.get(5).cloned())
        .filter(|home| !home.is_empty());
    home.unwrap_or_else(|| "/".into())
}

/// The name of a user of the host; the number when it has none.
pub fn name(uid: u32) -> String {
    if uid == 0 {
        return "root".into();
    }
    let number = uid.to_string();
    find("/etc/passwd", |fields| fields[2] == number)
        .map_or(number, |mut fields| fields.swap_remove(0))
}

/// Resolves `USER[:GROUP]`, each a number or a name, in the current root.
///
/// # Errors
/// A name that the container's files do not have.
pub fn resolve(text: &str, user: &mut User) -> Result<()> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    match name.parse::<u32>() {
        Ok(uid) => {
            user.set_uid(uid);
        }
        Err(_) => {
            let entry = find("/etc/passwd", |fields| fields[0] == name);
            let ids =
                entry.and_then(|fields| Some((fields[2].parse().ok()?, fields[3].parse().ok()?)));
            let Some((uid, gid)) = ids else {
                return Err(unknown("user", name, "/etc/passwd"));
            };
            user.set_uid(uid).set_gid(gid);
        }
    }
    let Some(group) = group else { return Ok(()) };
    let gid = match group.parse::<u32>() {
        Ok(gid) => Some(gid),
        Err(_) => find("/etc/group", |fields| fields[0] == group).and_then(|f| f[2].parse().ok()),
    };
    let Some(gid) = gid else {
        return Err(unknown("group", group, "/etc/group"));
    };
    user.set_gid(gid);
    Ok(())
}

/// Refuses 4294967295, (uid_t)-1: to setresuid(2) and its kin it means that the
/// id stays as it is, and that is root's.
///
/// # Errors
/// The property that has it.
pub fn check(user: &User) -> Result<()> {
    let mut all = vec![
        ("process.user.uid".to_string(), user.uid()),
        ("process.user.gid".to_string(), user.gid()),
    ];
    for (i, gid) in user.additional_gids().iter().flatten().enumerate() {
        all.push((format!("process.user.additionalGids[{i}]"), *gid));
    }
    match all.into_iter().find(|(_, id)| *id == u32::MAX) {
        Some((at, id)) => Err(Error::property(at, format_args!("{id} is not an id"))),
        None => Ok(()),
    }
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    let text = format!("unknown {what} {name:?}: it is not in the container's {file}");
    Error::text(text).hint("give a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_that_changes_nothing_is_refused() {
        let mut user = User::default();
        user.set_uid(0)
            .set_gid(0)
            .set_additional_gids(Some(vec![5]));
        assert!(check(&user).is_ok());
        user.set_additional_gids(Some(vec![5, u32::MAX]));
        let text = check(&user).unwrap_err().to_string();
        assert!(text.contains("process.user.additionalGids[1]"), "{text}");
        user.set_gid(u32::MAX);
        assert!(check(&user).unwrap_err().to_string().contains("user.gid"));
        user.set_uid(u32::MAX);
        assert!(check(&user).unwrap_err().to_string().contains("user.uid"));
    }
}
