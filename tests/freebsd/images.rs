//! What images hold of FreeBSD only.

use super::support::{Case, Outcome, Test, sh};
use crate::check;

pub const CASES: &[Case] = &[Case {
    name: "images/links",
    run: links,
}];

/// Modes and flags of symbolic links, which Linux has not, come back from an
/// image of the directory and from one of an archive that tar(1) made of it.
fn links(t: &Test) -> Outcome {
    let dir = t.dir.display();
    sh(&format!(
        "cd {dir} && mkdir root && cd root && umask 0 && ln -s nowhere open && ln -s nowhere closed && \
         chmod -h 711 closed && ln -s nowhere flagged && chmod -h 755 flagged && \
         chflags -h nodump flagged && tar -cf ../root.tar ."
    ))?;
    for source in ["root", "root.tar"] {
        let image = format!("{dir}/images:{source}");
        let bundle = format!("{dir}/of-{source}");
        t.ok(&[
            "pack",
            "--rootfs",
            &format!("{dir}/{source}"),
            "--image",
            &image,
        ])?;
        t.ok(&["unpack", "--image", &image, &bundle])?;
        let found = sh(&format!(
            "cd {bundle}/rootfs && stat -f '%N %Sp %Sf' closed flagged open"
        ))?;
        let wanted = "closed lrwx--x--x -\nflagged lrwxr-xr-x nodump\nopen lrwxrwxrwx -";
        check!(found == wanted, "of {source}: {found}");
    }
    Ok(())
}
