//! `brig plan`: what create would do, on any OS, touching nothing.

use super::Session;
use crate::cli::{Plan, PlanFormat};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::Os;
use crate::plan::{self, Input, print};

pub fn command(session: &Session, args: &Plan) -> Result<()> {
    let bundle = super::create::bundle(args.bundle.clone())?;
    let name = bundle
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let id = args
        .id
        .clone()
        .or(name)
        .unwrap_or_else(|| "container".into());
    crate::container::id::check(&id)?;
    let config = Config::from_bundle(&bundle)?;
    let host = super::facts_for(args.os);
    // A plan for another system's typical host is one for its root.
    let root = match args.os {
        Some(_) if !session.root_is_given => super::system_root(host.os).into(),
        _ => session.root.clone(),
    };
    let plan = plan::plan(&Input {
        id: &id,
        bundle: &bundle,
        directory: &root.join(&id),
        shared_root: false,
        config: &config,
        policy: &session.policy()?,
        host: &host,
        systemd_cgroup: session.systemd_cgroup,
        no_pivot: false,
    })?;
    let text = match args.format {
        PlanFormat::Json => print::json(&plan),
        PlanFormat::Text => print::text(&plan),
        PlanFormat::JailConf if plan.os == Os::Freebsd => print::jail_conf(&plan),
        PlanFormat::JailConf => {
            let fault = Error::text("--format jail.conf is for FreeBSD's plan");
            return Err(fault.hint("add --os freebsd"));
        }
    };
    super::write(&text)
}
