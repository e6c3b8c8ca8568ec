//! Root file systems with everything that a layer can hold.

use std::path::Path;

use crate::common::{Result, sh};

/// Makes a root file system of small things: links, modes, owners, devices,
/// names, times, attributes.
pub fn first(root: &Path) -> Result<()> {
    std::fs::create_dir_all(root).map_err(|e| e.to_string())?;
    sh(root, FIRST)?;
    Ok(())
}

/// Changes it as a second layer would.
pub fn second(root: &Path) -> Result<()> {
    sh(root, SECOND).map(drop)
}

const FIRST: &str = r#"
umask 022
mkdir -p etc bin usr/bin var/lib/deep/er dev gone/sub opaque/sub modes links names attributes
printf 'root:x:0:0:root:/root:/bin/sh\nweb:x:80:81:web:/var:/bin/sh\n' >etc/passwd
printf 'root:x:0:\nweb:x:81:\nops:x:91:web\n' >etc/group
head -c 300000 /dev/urandom >bin/program
chmod 755 bin/program
echo small >usr/bin/small
: >empty
echo gone >gone/sub/file
echo gone >gone/other
echo hidden >opaque/hidden
echo hidden >opaque/sub/hidden
echo replaced >replaced-by-directory
ln -s usr/bin replaced-by-nothing
# modes and owners
for mode in 0000 0400 0644 0777 1755 2755 4755 6711; do
	echo $mode >modes/file$mode
	chown 1234:5678 modes/file$mode
	chmod $mode modes/file$mode
	mkdir modes/directory$mode
	chmod $mode modes/directory$mode
done
chown 80:81 var/lib
chown 4000000:4000001 var/lib/deep
mkfifo -m 640 fifo
mknod -m 600 dev/null c 1 3
mknod -m 660 dev/block b 7 200
mknod -m 620 dev/large c 300 70000
chown 0:5 dev/block
# links
echo linked >links/a
ln links/a links/b
ln links/a usr/bin/c
ln -s a links/relative
ln -s /etc/passwd links/absolute
ln -s ../../../../../../etc/passwd links/climbing
ln -s nowhere links/dangling
ln -s "$(printf '%0200d' 7)" links/long
ln links/relative links/hard-to-symlink
chown -h 7:8 links/relative
# names
echo x >"names/with blank"
echo x >"names/ümläut"
echo x >"names/$(printf 'new\nline')"
echo x >"names/$(printf '%0250d' 1)"
long=names
for i in 1 2 3 4; do long=$long/$(printf '%0100d' $i); done
mkdir -p "$long"
echo x >"$long/file"
echo x >"names/back\\slash"
echo x >names/-dash
# holes
truncate -s 3000000 sparse
printf middle | dd of=sparse bs=1 seek=1500000 conv=notrunc status=none
# attributes
echo x >attributes/user
setfattr -n user.brig -v 'a value' attributes/user
setfattr -n user.binary -v 0x00ff0a3d attributes/user
mkdir attributes/directory
setfattr -n user.directory -v 1 attributes/directory
cp bin/program attributes/capable
chmod 755 attributes/capable
setcap cap_net_raw+ep attributes/capable
# times
touch -d '2001-02-03 04:05:06.123456789 UTC' empty
touch -d '1969-12-31 23:59:58.5 UTC' usr/bin/small
touch -d '2040-01-01 00:00:00.000000001 UTC' bin/program
touch -h -d '2002-02-03 04:05:06.987654321 UTC' links/dangling
touch -d '2003-03-03 03:03:03 UTC' gone opaque var/lib/deep var/lib
"#;

const SECOND: &str = r#"
umask 022
rm -r gone/sub
rm -r opaque
mkdir opaque
echo new >opaque/new
rm replaced-by-directory && mkdir replaced-by-directory && echo y >replaced-by-directory/inside
rm replaced-by-nothing
echo changed >usr/bin/small
chmod 700 var/lib/deep
# One name of a file gets another content; the others keep theirs.
rm links/b && echo apart >links/b
ln links/b links/d
mkdir -p new/dir
echo new >new/dir/file
ln -sfn /usr/bin/small links/absolute
setfattr -n user.brig -v 'another value' attributes/user
setfattr -x user.binary attributes/user
touch -d '2010-10-10 10:10:10.101010101 UTC' new/dir/file new/dir new
"#;
